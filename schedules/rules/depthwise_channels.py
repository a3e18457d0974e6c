"""Let the last vector of channels overlap the one before it, where the vectors do not divide them.

Of 58 channels and 16 lanes the vectors begin at 0, 16, 32 and 42. The channels that two vectors
have in common are computed twice, by the same steps, so to the same bits. Otherwise the last vector
would be a loop of scalars.
"""

from __future__ import annotations

from typing import Any

from autoglm_tvm.schedules.rules.depthwise_borders import conjuncts, variables


def overlap_last_vector(function: Any, channels: int, lanes: int) -> Any:
    """Return the scheduled kernel without conditions on the channel.

    Parameters
    ----------
    function
        A kernel whose blocks around the sums have the channel as their fourth axis, in vectorised
        loops with a condition.
    channels
        How many there are.
    lanes
        Of a vector; no more than there are channels.
    """
    import tvm_ffi
    from tvm import s_tir, tirx

    local = [b for b in function.body.block.alloc_buffers if b.scope() == "local"]
    shapes = [[*buffer.ty.shape[:-1], -(-channels // lanes) * lanes] for buffer in local]
    wider = {
        buffer: tirx.decl_buffer(shape, buffer.ty.dtype, buffer.name, scope="local")
        for buffer, shape in zip(local, shapes, strict=True)
    }
    sums = set(wider.values())
    body = tvm_ffi.structural_map(function.body, (tirx.Var, lambda var: wider.get(var, var)))

    def overlap(realize: Any) -> Any:
        regions = [*realize.block.reads, *realize.block.writes]
        if not any(region.source in sums for region in regions):
            return realize
        block = _shifted(realize.block, sums, channels, lanes)
        predicate = _without(realize.predicate, _only_of_channel(realize.iter_values))
        return s_tir.SBlockRealize(realize.iter_values, predicate, block)

    return function.with_body(tvm_ffi.structural_map(body, (s_tir.SBlockRealize, overlap)))


def _shifted(block: Any, sums: set[Any], channels: int, lanes: int) -> Any:
    """The block with the last vector's channels moved into range, its sums where they were."""
    import tvm_ffi
    from tvm import ir, s_tir, tirx

    axis = block.iter_vars[3]
    channel = axis.var
    beyond = channel // lanes * lanes + lanes - channels
    moved = channel - tirx.max(beyond, tirx.const(0, channel.ty.dtype))

    def move(variable: Any) -> Any:
        return moved if variable.same_as(channel) else variable

    def load(node: Any) -> Any:
        if node.source not in sums:
            return node
        return tirx.BufferLoad(node.source, [*node.indices[:-1], channel])

    def store(node: Any) -> Any:
        if node.buffer not in sums:
            return node
        return tirx.BufferStore(node.buffer, node.value, [*node.indices[:-1], channel])

    callbacks = [(tirx.Var, move), (ir.TensorLoad, load), (tirx.BufferStore, store)]
    body = tvm_ffi.structural_map(block.body, callbacks)
    extent = tirx.const(-(-channels // lanes) * lanes, channel.ty.dtype)
    whole = ir.Range(tirx.const(0, channel.ty.dtype), extent)
    axes = [*block.iter_vars[:3], tirx.IterVar(whole, channel, axis.iter_type)]
    return s_tir.SBlock(
        [*axes, *block.iter_vars[4:]],
        block.reads,
        block.writes,
        block.name_hint,
        body,
        block.init,
        block.alloc_buffers,
        block.match_buffers,
        block.annotations,
    )


def _only_of_channel(values: Any) -> set[Any]:
    """The loop variables on which only the channel depends."""
    used = [variables(value) for value in values]
    return used[3].difference(*used[:3], *used[4:])


def _without(predicate: Any, lanes: set[Any]) -> Any:
    """The predicate without the conditions on the variables `lanes`."""
    from tvm import tirx

    kept = [part for part in conjuncts(predicate) if not variables(part) & lanes]
    return tirx.all(*kept, True)
