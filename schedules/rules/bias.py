"""Begin sums with the bias that is added to them, instead of zeros.

    tile = 0, tile += products, result = tile + bias[column]
    tile = bias[panel, column], tile += products, result = tile

For integers, which give the same in any order. It saves an addition for each vector of the result,
and registers: the bias is read before the sums, not while all of them are waiting.
"""

from __future__ import annotations

from typing import Any

from autoglm_tvm.schedules.kernel import Kernel
from autoglm_tvm.schedules.operators.contraction import BIAS, RESULT, ROLE
from autoglm_tvm.schedules.rules.register_tile import tile_of


def start_from_bias(kernel: Kernel) -> None:
    """Rewrite the kernel's function where its tiles have a bias; finds the blocks anew.

    Left alone are pairs of rows, whose lanes are no neighbouring columns, and columns that are no
    whole tiles, whose bias ends before the last of them.
    """
    import tvm_ffi
    from tvm import s_tir

    total, unpack = kernel.marked(ROLE, "sum"), kernel.marked(ROLE, "unpack")
    if total is None or unpack is None or BIAS not in unpack.annotations:
        return
    tile, columns = tile_of(total), unpack.spatial[-1]
    paired = int(total.annotations[RESULT][0]) != tile.rows
    if paired or columns is None or columns % tile.columns:
        return
    bias = unpack.statement.body.value.b.source
    at = len(total.spatial)

    def rewrite(block: Any) -> Any:
        role = block.annotations.get(ROLE)
        if role == "unpack":
            store = _with_value(block.body, block.body.value.a)
            reads = [region for region in block.reads if not region.source.same_as(bias)]
            return _block(block, reads, store, block.init)
        if role == "sum":
            panel, column = block.iter_vars[at - 3].var, block.iter_vars[at - 1].var
            first = _with_value(block.init, bias[panel * tile.columns + column])
            return _block(block, block.reads, block.body, first)
        return block

    function = kernel.schedule.mod["main"]
    body = tvm_ffi.structural_map(function.body, (s_tir.SBlock, rewrite))
    kernel.restart(function.with_body(body))


def _with_value(store: Any, value: Any) -> Any:
    from tvm import tirx

    return tirx.BufferStore(store.buffer, value, store.indices)


def _block(block: Any, reads: Any, body: Any, init: Any) -> Any:
    from tvm import s_tir

    return s_tir.SBlock(
        block.iter_vars,
        reads,
        block.writes,
        block.name_hint,
        body,
        init,
        block.alloc_buffers,
        block.match_buffers,
        block.annotations,
    )
