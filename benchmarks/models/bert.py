"""BERT encoders (Devlin et al., 2018) as `transformers` exports them, attention decomposed."""

from __future__ import annotations

from typing import TYPE_CHECKING

from benchmarks.models.graph import Graph
from benchmarks.models.layers import gelu, layer_norm, linear

if TYPE_CHECKING:
    import onnx

_VOCABULARY = 30522
_MASKED = -10000.0


def bert(
    layers: int, hidden: int, heads: int = 12, sequence: int = 128, vocabulary: int = _VOCABULARY
) -> onnx.ModelProto:
    """Return an encoder from token ids to hidden states.

    Parameters
    ----------
    layers, hidden, heads
        6, 384 and 12 are the size of MiniLM-L6; 12, 768 and 12 that of BERT-base. The feed-forward
        part is four times as wide as `hidden`.
    sequence
        Tokens; the inputs ``input_ids``, ``attention_mask`` and ``token_type_ids`` are
        ``int64 (1, sequence)``.
    """
    graph = Graph(f"bert_{layers}x{hidden}")
    x = _embeddings(graph, hidden, sequence, vocabulary)
    mask = _additive_mask(graph, sequence)
    for _ in range(layers):
        attended = _attention(graph, x, mask, hidden, heads, sequence)
        x = layer_norm(graph, graph.node("Add", attended, x), hidden)
        wide = gelu(graph, linear(graph, x, (hidden, 4 * hidden)))
        y = linear(graph, wide, (4 * hidden, hidden))
        x = layer_norm(graph, graph.node("Add", y, x), hidden)
    graph.output(x, (1, sequence, hidden), "last_hidden_state")
    return graph.model()


def _embeddings(graph: Graph, hidden: int, sequence: int, vocabulary: int) -> str:
    ids = graph.input("input_ids", (1, sequence), "int64")
    types = graph.input("token_type_ids", (1, sequence), "int64")
    words = graph.node("Gather", graph.weight((vocabulary, hidden), 1.0), ids, axis=0)
    kinds = graph.node("Gather", graph.weight((2, hidden), 0.1), types, axis=0)
    places = graph.weight((1, sequence, hidden), 0.1)
    sum_ = graph.node("Add", graph.node("Add", words, kinds), places)
    return layer_norm(graph, sum_, hidden)


def _additive_mask(graph: Graph, sequence: int) -> str:
    """Return ``(1 - mask) * -10000`` of shape (1, 1, 1, sequence)."""
    mask = graph.input("attention_mask", (1, sequence), "int64")
    wide = graph.node("Unsqueeze", graph.node("Unsqueeze", mask, graph.shape(1)), graph.shape(2))
    inverse = graph.node("Sub", graph.constant(1.0), graph.node("Cast", wide, to=1))
    return graph.node("Mul", inverse, graph.constant(_MASKED))


def _attention(graph: Graph, x: str, mask: str, hidden: int, heads: int, sequence: int) -> str:
    depth = hidden // heads

    def split(perm: list[int]) -> str:
        y = linear(graph, x, (hidden, hidden))
        y = graph.node("Reshape", y, graph.shape(1, sequence, heads, depth))
        return graph.node("Transpose", y, perm=perm)

    q, k, v = split([0, 2, 1, 3]), split([0, 2, 3, 1]), split([0, 2, 1, 3])
    scores = graph.node("Div", graph.node("MatMul", q, k), graph.constant(depth**0.5))
    weights = graph.node("Softmax", graph.node("Add", scores, mask), axis=-1)
    mixed = graph.node("Transpose", graph.node("MatMul", weights, v), perm=[0, 2, 1, 3])
    flat = graph.node("Reshape", mixed, graph.shape(1, sequence, hidden))
    return linear(graph, flat, (hidden, hidden))
