"""Attention as networks spell it in ONNX, with inputs, and what it computes in float64."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import onnx

from tests.compiler.onnx_text import model_from_text, random_array

LOWEST = float(np.finfo(np.float32).min)


@dataclass(frozen=True)
class Shape:
    """Sizes of an attention: batch, heads, queries, keys, elements of a key and of a value."""

    batch: int = 1
    heads: int = 2
    rows: int = 8
    keys: int = 8
    depth: int = 16
    width: int = 16

    def operands(self) -> dict[str, np.ndarray]:
        """Inputs `qx`, `kx` and `vx` of shape [batch, tokens, heads * elements]."""
        sizes = {"qx": (self.rows, self.depth), "kx": (self.keys, self.depth)}
        sizes["vx"] = (self.keys, self.width)
        return {
            name: random_array(self.batch, tokens, self.heads * size, seed=at)
            for at, (name, (tokens, size)) in enumerate(sizes.items())
        }


def projected(
    shape: Shape, scores: str, weights: dict[str, np.ndarray], mask: np.ndarray | None = None
) -> onnx.ModelProto:
    """The attention of a transformer: heads are split off, transposed, and joined again.

    `scores` is ONNX text that computes `s` from `q`, `k` (transposed: [.., depth, keys]) and, if
    there is one, the input `m`.
    """
    text, constants = [], dict(weights)
    sizes = {"q": (shape.rows, shape.depth), "k": (shape.keys, shape.depth)}
    sizes["v"] = (shape.keys, shape.width)
    for name, (tokens, size) in sizes.items():
        constants[f"{name}s"] = np.array([0, tokens, shape.heads, size])
        order = "[0,2,3,1]" if name == "k" else "[0,2,1,3]"
        text.append(f"{name}r = Reshape ({name}x, {name}s)")
        text.append(f"{name} = Transpose <perm = {order}> ({name}r)")
    constants["ys"] = np.array([0, shape.rows, shape.heads * shape.width])
    text += [scores, "p = Softmax <axis = -1> (s) o = MatMul (p, v)"]
    text.append("t = Transpose <perm = [0,2,1,3]> (o) y = Reshape (t, ys)")
    declared = [
        f"float[{','.join(map(str, array.shape))}] {name}"
        for name, array in shape.operands().items()
    ]
    if mask is not None:
        kind = "bool" if mask.dtype == np.bool_ else "float"
        declared.append(f"{kind}[{','.join(map(str, mask.shape))}] m")
    head = f"g ({', '.join(declared)}) => (float[a,b,c] y)"
    return model_from_text(f"{head} {{ {' '.join(text)} }}", constants)


def attend(
    shape: Shape, operands: dict[str, np.ndarray], mask: np.ndarray | float = 0.0
) -> np.ndarray:
    """softmax(q k / sqrt(depth) + mask) v in float64, heads joined again."""
    split = {
        name: array.astype(np.float64)
        .reshape(shape.batch, array.shape[1], shape.heads, -1)
        .transpose(0, 2, 1, 3)
        for name, array in operands.items()
    }
    scores = split["qx"] @ split["kx"].transpose(0, 1, 3, 2) / np.sqrt(shape.depth) + mask
    with np.errstate(invalid="ignore"):
        powers = np.exp(scores - scores.max(axis=-1, keepdims=True))
    mixed = (powers / powers.sum(axis=-1, keepdims=True)) @ split["vx"]
    return mixed.transpose(0, 2, 1, 3).reshape(shape.batch, shape.rows, -1)
