"""What a schedule has to know of the machine: vectors, registers, caches, cores."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import TypeVar

from autoglm_tvm.targets import Target

_T = TypeVar("_T")

# x86-64 features, widest first: bytes of a vector, and vector registers that exist at that width.
_X86_VECTORS = {"avx512f": (64, 32), "avx2": (32, 16), "avx": (32, 16)}
_SSE = (16, 16)
_NEON = (16, 32)
# Features with an instruction that sums products of integers, best first, and what we call it; by
# the bytes of the vectors that it has to take.
_DOT_PRODUCTS = {
    ("aarch64", 16): {"i8mm": "i8mm", "dotprod": "dotprod", "neon": "neon"},
    ("x86_64", 64): {"avx512vnni": "vnni", "avx512bw": "pmaddwd"},
    ("x86_64", 32): {"avxvnni": "vnni", "avx2": "pmaddwd"},
    ("x86_64", 16): {"sse2": "pmaddwd"},
}
_HALF = {"fullfp16": True}
_HALF_CONVERSION = {"aarch64": {"neon": True}, "x86_64": {"f16c": True}}
# What can be counted on everywhere: the little cores of phones have 32 KB and 128 KB.
_L1_BYTES = 32 << 10
_L2_BYTES = {"aarch64": 256 << 10, "x86_64": 1 << 20}


@dataclass(frozen=True)
class Machine:
    """The part of a target that default schedules depend on.

    Attributes
    ----------
    arch
        `aarch64` or `x86_64`.
    vector_bytes
        Bytes of a vector register.
    vector_registers
        How many of them there are.
    lane_operand
        Whether a multiply-add takes one lane of a register as its operand (NEON `fmla v.s[i]`).
        Otherwise it takes a scalar of memory, broadcast (AVX-512), or after a load that broadcasts.
    threads
        Threads that share the work.
    l1_bytes, l2_bytes
        Data caches of one core.
    half_conversion
        Whether vectors of float16 become float32 by an instruction (NEON, F16C); otherwise a
        library is called for each number.
    dot_product
        The best instructions that sum products of integers (`intrinsics/dot_product.py`):
        `i8mm`, `dotprod`, `neon`, `vnni`, `pmaddwd`, or empty.
    half_arithmetic
        Whether vectors of float16 are added and multiplied (NEON with `fullfp16`); elsewhere
        float16 is a form to store numbers in.
    """

    arch: str
    vector_bytes: int
    vector_registers: int
    lane_operand: bool
    threads: int
    l1_bytes: int
    l2_bytes: int
    half_conversion: bool
    dot_product: str = ""
    half_arithmetic: bool = False

    def lanes(self, dtype: str) -> int:
        """Elements of `dtype` in a vector; 1 for what does not fit twice into one."""
        import tvm

        return max(1, self.vector_bytes // max(1, tvm.DataType(dtype).itemsize))


def machine_of(target: Target) -> Machine:
    """What `target` offers; LLVM is asked which vector extension its CPU and features mean."""
    if target.arch == "aarch64":
        vector_bytes, registers = _NEON
    else:
        vector_bytes, registers = _x86_vectors(target)
    return Machine(
        arch=target.arch,
        vector_bytes=vector_bytes,
        vector_registers=registers,
        lane_operand=target.arch == "aarch64",
        threads=target.threads,
        l1_bytes=_L1_BYTES,
        l2_bytes=_L2_BYTES[target.arch],
        half_conversion=any(_of_features(target, _HALF_CONVERSION[target.arch])),
        dot_product=next(_of_features(target, _DOT_PRODUCTS[target.arch, vector_bytes]), ""),
        half_arithmetic=target.arch == "aarch64" and any(_of_features(target, _HALF)),
    )


def _x86_vectors(target: Target) -> tuple[int, int]:
    return next(_of_features(target, _X86_VECTORS), _SSE)


def _of_features(target: Target, values: Mapping[str, _T]) -> Iterator[_T]:
    """The values of those features that LLVM says the target has, in order."""
    import tvm
    from tvm.target.codegen import target_has_features

    tvm_target = tvm.target.Target(target.to_tvm_dict())
    for feature, value in values.items():
        if target_has_features(feature, tvm_target):
            yield value
