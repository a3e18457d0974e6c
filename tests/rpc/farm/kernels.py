"""Trials of kernels written in C: y = f(x) for 256 floats, and kernels that go wrong."""

from __future__ import annotations

from pathlib import Path

import numpy as np

from autoglm_tvm.rpc.farm import Check, TensorType, Trial
from tests.rpc.c_module import build_c_module

SIZE = 256
VECTOR = TensorType("float32", (SIZE,))
ARM64_CC = "aarch64-linux-gnu-gcc"
# Argument i is 16 bytes, the second 8 of them the address of a DLTensor, which begins with its
# data's.
_DATA = f"float *x = *((float***)args)[1], *y = *((float***)args)[3]; int n = {SIZE};"
DOUBLES = _DATA + "for (int i = 0; i < n; ++i) y[i] = 2 * x[i];"
TRIPLES = _DATA + "for (int i = 0; i < n; ++i) y[i] = 3 * x[i];"
LEAVES_ONE_OUT = _DATA + "for (int i = 0; i < n - 1; ++i) y[i] = 2 * x[i];"
SLOWLY = "for (volatile int k = 0; k < 100000; ++k) {}"
TAKES_100_MS = "usleep(100000);"
SEGFAULTS = "*(volatile int*)8 = 1;"
LEAVES = "_exit(0);"
KILLS_THE_SERVER = "kill(getppid(), SIGKILL); sleep(1);"


def kernel(folder: Path, name: str, body: str = DOUBLES, compiler: str = "gcc") -> Trial:
    """Compile a kernel and return it as a trial of one thread."""
    place = folder / name.replace(" ", "-")
    place.mkdir(parents=True)
    return Trial(name, build_c_module(place, body, compiler), "f", (VECTOR, VECTOR), 1)


def tells(file: Path) -> str:
    """Return C code that takes 100 ms, and makes a symbolic link ``file`` when it begins."""
    return f'symlink("x", "{file}"); {TAKES_100_MS}'


def check_of(candidate: Trial, reference: Trial) -> Check:
    """Return a check with random inputs."""
    x = (np.random.default_rng(0).random(SIZE, dtype=np.float32),)
    return Check(candidate, reference, x, x)
