"""Keep what schedules meant for registers out of the heap.

TVM 0.27 takes every buffer of scope "local" of a CPU kernel from a pool by a call, so that LLVM
sees memory that others may read and writes every intermediate there. As an `alloca` it becomes
registers (LLVM's SROA), and the dead stores vanish: 4 stores for 64 multiply-adds on arm64.
"""

from __future__ import annotations

from typing import Any

# LowerTVMBuiltin leaves an allocation with this annotation alone.
_STAYS = "disable_lower_builtin"
# Bytes. No more than a full set of vector registers; a stack frame may be that large.
_LARGEST = 16384


def keep_registers() -> Any:
    """The pass: marks the small "local" buffers of constant size."""
    from tvm import tirx

    return tirx.transform.prim_func_pass(_mark_locals, opt_level=0, name="autoglm.KeepRegisters")


def _mark_locals(function: Any, _module: Any, _context: Any) -> Any:
    import tvm_ffi
    from tvm import tirx

    def mark(node: Any) -> Any:
        small = 0 < _constant_bytes(node.buffer) <= _LARGEST
        if node.buffer.scope() != "local" or not small:
            return node
        return tirx.AllocBuffer(node.buffer, {_STAYS: tirx.const(True, "bool")})

    return function.with_body(tvm_ffi.structural_map(function.body, (tirx.AllocBuffer, mark)))


def _constant_bytes(buffer: Any) -> int:
    """Size of `buffer`; 0 where it is symbolic."""
    import tvm
    from tvm import tirx

    dtype = tvm.DataType(str(buffer.dtype))
    size = max(1, dtype.bits * dtype.lanes // 8)
    for extent in buffer.shape:
        if not isinstance(extent, tirx.IntImm):
            return 0
        size *= int(extent)
    return size
