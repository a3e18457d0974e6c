"""Layers of the same shape share a kernel: it is scheduled and compiled once."""

from __future__ import annotations

from typing import Any

import numpy as np
import onnx

from autoglm_tvm.compiler.import_onnx import import_onnx
from autoglm_tvm.compiler.optimise import OptimisedModel, optimise
from autoglm_tvm.compiler.read import read
from autoglm_tvm.targets import resolve_target
from tests.compiler.onnx_text import model_from_text, random_array

LAYERS = 4


def layers() -> onnx.ModelProto:
    """Layers of attention-like products, normalisation and a residual sum, each with own names."""
    body: list[str] = []
    weights: dict[str, np.ndarray] = {"scale": random_array(32), "shift": random_array(32)}
    current = "x"
    for layer in range(LAYERS):
        weights[f"up{layer}"] = random_array(32, 64, seed=layer)
        weights[f"down{layer}"] = random_array(64, 32, seed=layer + LAYERS)
        body += [
            f"n{layer} = LayerNormalization <axis=-1> ({current}, scale, shift)",
            f"u{layer} = MatMul (n{layer}, up{layer})",
            f"r{layer} = Relu (u{layer})",
            f"t{layer} = Transpose <perm=[0,2,1]> (r{layer})",
            f"s{layer} = Softmax <axis=-1> (t{layer})",
            f"b{layer} = Transpose <perm=[0,2,1]> (s{layer})",
            f"d{layer} = MatMul (b{layer}, down{layer})",
            f"h{layer} = Add (d{layer}, {current})",
        ]
        current = f"h{layer}"
    body.append(f"y = Identity ({current})")
    text = "g (float[1,16,32] x) => (float[1,16,32] y) { " + "\n".join(body) + " }"
    return model_from_text(text, weights)


def optimised(model: onnx.ModelProto) -> OptimisedModel:
    return optimise(import_onnx(read(model)), resolve_target("host"))


def equal_kernels(model: OptimisedModel) -> list[set[str]]:
    """The groups of kernels that are the same but for their names."""
    import tvm_ffi
    from tvm import tirx

    content: Any = model.module
    groups: dict[int, set[str]] = {}
    for variable, function in content.functions.items():
        if isinstance(function, tirx.PrimFunc):
            nameless = function.without_attr("global_symbol")
            key = tvm_ffi.structural_hash(nameless, map_free_vars=True)
            groups.setdefault(key, set()).add(variable.name_hint)
    return [names for names in groups.values() if len(names) > 1]


def test_no_two_kernels_are_the_same() -> None:
    found = optimised(layers())
    assert equal_kernels(found) == []
    calls = [name for name, _ in found.calls]
    assert len(calls) >= 4 * LAYERS
    assert len(set(calls)) == len(calls) // LAYERS


def test_the_same_kernel_under_two_names_would_be_found() -> None:
    found = optimised(layers())
    content: Any = found.module
    first = found.calls[0][0]
    content["copy"] = content[first].with_attr("global_symbol", "copy")
    assert equal_kernels(found) == [{first, "copy"}]
