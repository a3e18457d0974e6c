"""Libraries with one function each, written in C, for a device to load: good and bad ones."""

from __future__ import annotations

import subprocess
from pathlib import Path

# TVM's calling convention for a function in a library (tvm/ffi/c_api.h, TVMFFISafeCallType).
_TEMPLATE = """
#include <signal.h>
#include <unistd.h>
int __tvm_ffi_f(void* self, const void* args, int count, void* result) {
  (void)self; (void)args; (void)count; (void)result;
  %s
  return 0;
}
"""

NOTHING = ""
HANGS = "for (volatile int i = 0;; i = !i) {}"
CHATTERS = "char x[1 << 20]; for (int i = 0; i < 1 << 20; ++i) x[i] = 10; write(2, x, 1 << 20);"
SLEEPS = "usleep(2000);"
# An argument is 16 bytes, the second 8 of them a DLTensor's address, which begins with its data's.
COUNTS = "++**((int***)args)[1];"
SEGFAULTS = "raise(SIGSEGV);"
# Armv8.2 dot product, which a Cortex-A53 lacks.
SDOT = '__asm__ volatile(".arch armv8.2-a+dotprod\\n sdot v0.4s, v1.16b, v2.16b" ::: "v0");'


def build_c_module(folder: Path, body: str, compiler: str = "gcc") -> Path:
    """Compile a library whose function ``f`` does ``body``; return its path."""
    source = folder / "f.c"
    source.write_text(_TEMPLATE % body)
    library = folder / "libf.so"
    command = [compiler, "-shared", "-fPIC", "-o", str(library), str(source)]
    subprocess.run(command, check=True, timeout=60)
    return library
