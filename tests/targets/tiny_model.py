"""Small networks compiled with TVM, for tests of targets, linkers and ELF files."""

from __future__ import annotations

import shutil
from pathlib import Path
from typing import Any

from autoglm_tvm.targets import Target


def dense_module() -> Any:
    """y[4, 8] = erf(exp(x[4, 16] @ w[16, 8])), which calls expf and erff of libm."""
    from tvm import relax

    builder = relax.BlockBuilder()
    tensor: Any = relax.TensorType  # its annotations refuse a tuple, which it takes
    x = relax.Var("x", tensor((4, 16), "float32"))
    w = relax.Var("w", tensor((16, 8), "float32"))
    with builder.function("main", [x, w]):
        with builder.dataflow():
            product = builder.emit(relax.op.matmul(x, w))
            y = builder.emit_output(relax.op.erf(builder.emit(relax.op.exp(product))))
        builder.emit_func_output(y)
    return builder.get()


def int8_dot_module(parallel: bool = True) -> Any:
    """C[16] = sum over 64 of A[16, 64] * B[16, 64], int8 into int32, one parallel loop."""
    from tvm import te
    from tvm.ir import IRModule
    from tvm.s_tir import Schedule

    a: Any = te.placeholder((16, 64), "int8", "A")
    b: Any = te.placeholder((16, 64), "int8", "B")
    k = te.reduce_axis((0, 64), "k")
    c: Any = te.compute(
        (16,), lambda i: te.sum(a[i, k].astype("int32") * b[i, k].astype("int32"), k), "C"
    )
    function = te.create_prim_func([a, b, c]).with_attr("tirx.noalias", True)
    schedule = Schedule(IRModule({"main": function}))
    if parallel:
        schedule.parallel(schedule.get_loops(schedule.get_sblock("C"))[0])
    return schedule.mod


def compile_for(module: Any, target: Target) -> Any:
    """Compile with TVM for one of our targets."""
    import tvm

    tvm_target = tvm.target.Target(target.to_tvm_dict())
    with tvm_target:
        return tvm.compile(module, tvm_target)


def object_files(executable: Any, folder: Path) -> list[Path]:
    """Write the object files that `export_library` would link."""
    folder.mkdir(parents=True, exist_ok=True)

    def keep(_output: str, files: list[str], **_: Any) -> None:
        for name in files:
            shutil.copy(name, folder)

    executable.export_library(str(folder / "unused.so"), fcompile=keep)
    return sorted(folder.glob("*.o"))
