"""Norms that a graph spells out: which become one operator, which stay, and that both are right."""

import numpy as np
import onnx
import pytest

from autoglm_tvm.compiler.import_onnx import import_onnx
from autoglm_tvm.compiler.optimise import optimise
from autoglm_tvm.compiler.read import read
from autoglm_tvm.targets import resolve_target
from tests.schedules.harness import compile_in_memory
from tests.schedules.networks import check, network

WEIGHTS = {"two": 2.0, "one": 1.0, "e": 1e-5, "a": [-1], "s": (48,), "b": (48,)}
CENTRE = "m = ReduceMean (x, a) d = Sub (x, m)"
LAYER = {
    "power": f"{CENTRE} q = Pow (d, two) v = ReduceMean (q, a) p = Add (v, e) r = Sqrt (p)"
    " n = Div (d, r) g = Mul (n, s) y = Add (g, b)",
    "product": f"{CENTRE} q = Mul (d, d) v = ReduceMean (q, a) p = Add (e, v) r = Sqrt (p)"
    " n = Div (d, r) g = Mul (s, n) y = Add (b, g)",
    "two differences": f"{CENTRE} c = Sub (x, m) q = Pow (c, two) v = ReduceMean (q, a)"
    " p = Add (v, e) r = Sqrt (p) n = Div (d, r) g = Mul (n, s) y = Add (g, b)",
    "reciprocal": f"{CENTRE} q = Pow (d, two) v = ReduceMean (q, a) p = Add (v, e) r = Sqrt (p)"
    " i = Div (one, r) n = Mul (d, i) g = Mul (n, s) y = Add (g, b)",
    "no shift": f"{CENTRE} q = Pow (d, two) v = ReduceMean (q, a) p = Add (v, e) r = Sqrt (p)"
    " n = Div (d, r) y = Mul (n, s)",
}
ROOT = "q = Pow (x, two) v = ReduceMean (q, a) p = Add (v, e) r = Sqrt (p)"
RMS = {
    "of a difference": "h = Exp (x) m = ReduceMean (h, a) d = Sub (x, m)"
    " q = Pow (d, two) v = ReduceMean (q, a) p = Add (v, e) r = Sqrt (p)"
    " n = Div (d, r) g = Mul (n, s) y = Add (g, b)",
    "quotient": f"{ROOT} n = Div (x, r) y = Mul (n, s)",
    "reciprocal": f"{ROOT} i = Reciprocal (r) n = Mul (x, i) y = Mul (s, n)",
    "product": "q = Mul (x, x) v = ReduceMean (q, a) p = Add (v, e) r = Sqrt (p)"
    " i = Div (one, r) n = Mul (i, x) y = Mul (n, s)",
    "a bias behind": f"{ROOT} n = Div (x, r) g = Mul (n, s) y = Add (g, b)",
}
STAYS = {
    "a part is read twice": f"{ROOT} n = Div (x, r) g = Mul (n, s) y = Add (g, n)",
    "another axis": "q = Pow (x, two) v = ReduceMean (q, k) p = Add (v, e) r = Sqrt (p)"
    " n = Div (x, r) y = Mul (n, s)",
    "a cube": "q = Pow (x, three) v = ReduceMean (q, a) p = Add (v, e) r = Sqrt (p)"
    " n = Div (x, r) y = Mul (n, s)",
    "another numerator": f"{ROOT} h = Exp (x) n = Div (h, r) y = Mul (n, s)",
    "a factor of its own for each row": f"{ROOT} n = Div (x, r) y = Mul (n, rows)",
}


def operators(body: str) -> set[str]:
    optimised = optimise(import_onnx(read(model(body))), resolve_target("host"))
    return {name for _, origin in optimised.calls for name in origin.operators}


def model(body: str) -> onnx.ModelProto:
    words = body.replace("(", " ").replace(")", " ").replace(",", " ").split()
    every = WEIGHTS | {"k": [1], "three": 3.0, "rows": (2, 17, 1)}
    weights = {name: value for name, value in every.items() if name in words}
    return network("float[2,17,48] x", body, "float[2,17,48]", weights)


@pytest.mark.parametrize("name", LAYER)
def test_layer_norm(name: str) -> None:
    assert operators(LAYER[name]) == {"layer_norm"}
    assert check(model(LAYER[name]), tolerance=1e-5) == ("rows",)


@pytest.mark.parametrize("name", RMS)
def test_rms_norm(name: str) -> None:
    found = operators(RMS[name])
    assert "rms_norm" in found
    assert "layer_norm" not in found
    assert "rows" in check(model(RMS[name]), tolerance=1e-5)


@pytest.mark.parametrize("name", STAYS)
def test_what_is_no_norm_stays(name: str) -> None:
    assert not {"rms_norm", "layer_norm"} & operators(STAYS[name])
    check(model(STAYS[name]), tolerance=1e-4)


def test_an_intermediate_that_is_an_output_stays() -> None:
    whole = model(RMS["quotient"])
    whole.graph.output.append(
        onnx.helper.make_tensor_value_info("r", onnx.TensorProto.FLOAT, [2, 17, 1])
    )
    optimised = optimise(import_onnx(read(whole)), resolve_target("host"))
    assert not any("rms_norm" in origin.operators for _, origin in optimised.calls)


def test_the_epsilon_is_kept() -> None:
    """Rows near zero: with another epsilon they would be far off."""
    body = RMS["quotient"]
    compiled = compile_in_memory(model(body))
    x = np.full((2, 17, 48), 1e-3, np.float32)
    gain = weight(model(body), "s")
    expected = x / np.sqrt(np.float64(1e-6) + 1e-5) * gain
    np.testing.assert_allclose(compiled.run(x), expected, rtol=1e-5)


def weight(whole: onnx.ModelProto, name: str) -> np.ndarray:
    (tensor,) = [item for item in whole.graph.initializer if item.name == name]
    return onnx.numpy_helper.to_array(tensor)
