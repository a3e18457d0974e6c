"""The passes from scheduled loops to LLVM, TVM's for CPUs and ours, under a name of our own."""

from __future__ import annotations

from typing import Any

from autoglm_tvm.schedules.intrinsics.lower import lower_intrinsics
from autoglm_tvm.schedules.lowering.flatten import flatten_buffers
from autoglm_tvm.schedules.lowering.image_borders import split_image_borders
from autoglm_tvm.schedules.lowering.prefetch import prefetch_panels
from autoglm_tvm.schedules.lowering.registers import keep_registers
from autoglm_tvm.schedules.lowering.requantize import requantize
from autoglm_tvm.schedules.lowering.vector_math import vector_math
from autoglm_tvm.schedules.lowering.vector_tails import split_vector_tails

# What `tir_pipeline=` of TVM's build functions is given.
PIPELINE = "autoglm"


def register_pipeline() -> str:
    """Make the pipeline known to TVM, once, and return its name."""
    from tvm import ir
    from tvm.tirx import compilation_pipeline

    if ir.Op.get("tirx.nearbyint").get_attr("TVectorizable") is None:
        # Without it a loop that rounds is taken apart into scalars.
        ir.register_op_attr("tirx.nearbyint", "TVectorizable", True)
    known: dict[str, Any] = compilation_pipeline.PIPELINE_MAP
    known.setdefault(PIPELINE, _pipeline)
    return PIPELINE


def _pipeline() -> tuple[Any, Any, Any]:
    from tvm import transform
    from tvm.tirx.compilation_pipeline import finalize_device_passes, finalize_host_passes

    passes = [
        *_blocks_to_loops(),
        split_vector_tails(),
        *_loops_to_functions(),
        lower_intrinsics(),
        requantize(),
        vector_math(),
    ]
    return transform.Sequential(passes), finalize_host_passes, finalize_device_passes


def _blocks_to_loops() -> list[Any]:
    """What TVM's own pipeline does to blocks and buffers, without the passes for GPUs."""
    from tvm import tirx
    from tvm.s_tir import transform

    return [
        transform.CanonicalizeLoop(),
        transform.LowerInitBlock(),
        transform.PlanAndUpdateBufferAllocationLocation(),
        transform.ConvertBlocksToOpaque(),
        transform.CompactBufferAllocation(),
        transform.LowerMatchBuffer(),
        transform.AnnotateIrregularLoop(),
        transform.LowerOpaqueBlock(),
        # Before anything is simplified, which takes quotients and remainders of one index apart.
        flatten_buffers(),
        prefetch_panels(),
        split_image_borders(),
        tirx.transform.StmtSimplify(),
    ]


def _loops_to_functions() -> list[Any]:
    """Vectors, and the calling convention of a packed function."""
    from tvm import s_tir, tirx

    return [
        tirx.transform.BF16ComputeLegalize(),
        tirx.transform.NarrowDataType(32),
        tirx.transform.VectorizeLoop(True),
        tirx.transform.StorageRewrite(),
        s_tir.transform.HoistIfThenElse(),
        tirx.transform.UnrollLoop(),
        s_tir.transform.RenormalizeSplitPattern(),
        tirx.transform.StmtSimplify(),
        tirx.transform.RemoveNoOp(),
        s_tir.transform.RewriteUnsafeSelect(),
        tirx.transform.CommonSubexprElim(),
        tirx.transform.FP8ComputeLegalize(),
        tirx.transform.VerifyMemory(),
        tirx.transform.AnnotateEntryFunc(),
        tirx.transform.SplitHostDevice(),
        tirx.transform.MakePackedAPI(),
        tirx.transform.FP8StorageLegalize(),
        tirx.transform.BF16StorageLegalize(),
        keep_registers(),
    ]
