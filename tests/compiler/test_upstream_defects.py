"""Defects of TVM 0.27 that we work around. A test that fails here tells that upstream mended one.

Then the workaround that docs/tvm-notes.md names can go, and the test with it.
"""

from __future__ import annotations

import warnings
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import pytest

from tests.compiler.onnx_text import model_from_text, random_array


def imported(model: onnx.ModelProto, **options: Any) -> Any:
    from tvm.relax.frontend import onnx as frontend

    from_onnx: Any = frontend.from_onnx
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        return from_onnx(model, **options)


def test_the_importer_ignores_domains() -> None:
    model = model_from_text("g (float[2] x) => (float[2] y) { y = Add (x, x) }")
    model.graph.node[0].domain = "my.domain"
    model.opset_import.append(onnx.helper.make_opsetid("my.domain", 1))
    assert "R.add(x, x)" in imported(model).script()


def test_the_importer_equates_unnamed_dimensions() -> None:
    model = model_from_text("g (float[N,M] x) => (float[N,M] y) { y = Relu (x) }")
    for dim in model.graph.input[0].type.tensor_type.shape.dim:
        dim.Clear()
    first, second = imported(model)["main"].params[0].ty.shape.values
    assert first.same_as(second)


def test_the_importer_reads_arithmetic_in_dimension_names() -> None:
    model = model_from_text("g (float[N,M] x) => (float[N,M] y) { y = Relu (x) }")
    model.graph.input[0].type.tensor_type.shape.dim[1].dim_param = "N - 1"
    assert "(N, N - 1)" in imported(model).script()


def test_the_importer_ignores_unknown_shape_names() -> None:
    model = model_from_text("g (float[2] x) => (float[2] y) { y = Relu (x) }")
    assert "R.Tensor((2,)" in imported(model, shape_dict={"no_such_input": [3]}).script()


def test_the_importer_knows_no_conv_integer() -> None:
    from tvm.relax.frontend.onnx.onnx_frontend import _get_convert_map

    assert "ConvInteger" not in _get_convert_map()


def test_what_a_sum_starts_with_is_dropped() -> None:
    from tvm import te

    data: Any = te.placeholder((4, 8), "int32", "data")
    start: Any = te.placeholder((4,), "int32", "start")
    at = te.reduce_axis((0, 8), "at")
    total: Any = te.compute((4,), lambda row: te.sum(data[row, at], axis=[at], init=start[row]))
    function = te.create_prim_func([data, start, total])
    assert "start[" not in function.script()


def test_a_gather_reads_past_its_table() -> None:
    model = model_from_text(
        "g (int64[4] ids) => (float[4,3] y) { y = Gather (table, ids) }",
        {"table": random_array(5, 3)},
    )
    assert 'mode="fast"' in imported(model).script()


def test_batch_norm_behind_a_bias_is_not_folded() -> None:
    from tvm import relax, transform

    ones = np.ones(4, np.float32)
    model = model_from_text(
        "g (float[1,3,5,5] x) => (float[a,b,c,d] y)"
        "{ c = Conv (x, w, bias) y = BatchNormalization (c, one, one, one, one) }",
        {"w": random_array(4, 3, 3, 3), "bias": ones, "one": ones},
    )
    passes = [relax.transform.FoldConstant(), relax.transform.FoldBatchnormToConv2D()]
    assert "R.nn.batch_norm" in transform.Sequential(passes)(imported(model)).script()


def test_a_graph_with_an_if_has_no_dataflow_block() -> None:
    then = onnx.parser.parse_graph("then () => (float[2] a) { a = Relu (x) }")
    other = onnx.parser.parse_graph("other () => (float[2] b) { b = Neg (x) }")
    graph = onnx.parser.parse_graph("g (float[2] x, bool flag) => (float[2] y) { y = Abs (x) }")
    graph.node[0].CopyFrom(
        onnx.helper.make_node("If", ["flag"], ["y"], then_branch=then, else_branch=other)
    )
    opset = onnx.helper.make_opsetid("", 18)
    module = imported(onnx.helper.make_model(graph, opset_imports=[opset], ir_version=10))
    assert "R.dataflow()" not in module.script()


def test_an_unknown_cpu_is_taken_for_generic(capfd: pytest.CaptureFixture[str]) -> None:
    import tvm

    config = {"kind": "llvm", "mtriple": "aarch64-linux-android24", "mcpu": "cortex-x99"}
    attributes: Any = tvm.target.Target(config).attrs
    assert str(attributes["mcpu"]) == "cortex-x99"


def test_a_library_compiled_anew_in_its_place_is_not_loaded_again(tmp_path: Path) -> None:
    import tvm

    from autoglm_tvm.compiler import compile

    loaded = []
    for operator in ("Relu", "Neg"):
        model = model_from_text(f"g (float[2] x) => (float[2] y) {{ y = {operator} (x) }}")
        library = compile(model, "host", tmp_path / "b", name="same").bundle.library_path
        loaded.append(tvm.runtime.load_module(str(library)))
    device: Any = tvm.cpu()
    vms = [tvm.relax.VirtualMachine(module, device) for module in loaded]
    minus = tvm.runtime.tensor(np.array([-1, 1], np.float32))
    assert [vm["main"](minus).numpy().tolist() for vm in vms] == [[0, 1], [0, 1]]


def test_layout_conversion_ends_at_stack() -> None:
    from tvm import relax

    builder = relax.BlockBuilder()
    shape: Any = (2, 3)
    value = relax.Var("x", relax.TensorType(shape, "float32"))
    with builder.function("main", [value]):
        with builder.dataflow():
            stacked = builder.emit(relax.op.stack([value, value], 0))
            result = builder.emit_output(relax.op.max(stacked, axis=[0]))
        builder.emit_func_output(result)
    convert = relax.transform.ConvertLayout({"relax.nn.conv2d": ["NHWC", "OHWI"]})
    with pytest.raises(Exception, match="source layout"):
        convert(builder.get())


def test_a_select_reads_past_the_end() -> None:
    from tvm import s_tir, te, tirx

    data: Any = te.placeholder((tirx.IntImm("int64", 5),), "float32", "data")
    last = tirx.IntImm("int64", 4)

    def element(at: Any) -> Any:
        return tirx.Select(at < 5, data[te.min(at, last)], tirx.const(0, "float32"))

    guarded: Any = te.compute((tirx.IntImm("int64", 8),), element, "guarded")
    function = te.create_prim_func([data, guarded])
    module = s_tir.transform.StmtSimplify()(s_tir.Schedule(function).mod)
    text = module.script()
    assert "T.min" not in text.split("T.Select")[1], text


def test_a_register_tile_comes_from_the_heap() -> None:
    import tvm
    from tvm import s_tir, te

    data: Any = te.placeholder((64,), "float32", "data")
    twice: Any = te.compute((64,), lambda i: data[i] * 2.0, "twice")
    more: Any = te.compute((64,), lambda i: twice[i] + twice[63 - i], "more")
    schedule = s_tir.Schedule(te.create_prim_func([data, more]))
    schedule.set_scope("twice", 0, "local")
    (loop,) = schedule.get_loops("more")
    outer, _ = schedule.split(loop, [None, 64])
    schedule.parallel(outer)
    schedule.compute_at("twice", outer)
    target = tvm.target.Target({"kind": "llvm"})
    library = tvm.tirx.build(schedule.mod, target)
    # Our pipeline leaves it on the stack (`schedules/lowering/registers.py`).
    assert "load ptr, ptr @__TVMBackendAllocWorkspace" in library.inspect_source("ll")
