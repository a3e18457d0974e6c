"""Which outputs are logits: those whose largest entry along the last axis is a decision."""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    import onnx

    from autoglm_tvm.compiler.read import ReadModel

# What hands values on, or changes nothing in their order along the last axis.
_PASSES_ON = ("Identity", "Cast", "Reshape", "Flatten", "Squeeze", "Unsqueeze", "Transpose")
# What classifiers end with, with and without their last Softmax.
_SCORES = (
    *("Softmax", "LogSoftmax", "Gemm", "MatMul", "Conv"),
    *("GlobalAveragePool", "ReduceMean"),
)
# One row of scores for a run, or one for each place of a sequence (CTC, language models).
_RANKS = (2, 3)


def logit_outputs(model: ReadModel) -> frozenset[str]:
    """Return the outputs of the float model that are logits or probabilities of classes.

    An output counts as such if it is of floats, of rank 2 (batch, classes) or 3 (batch, sequence,
    classes) with at least 2 classes, and comes from a Softmax or LogSoftmax, or straight from a
    matrix product, convolution or global pooling, with or without a bias. Hidden states behind a
    normalisation and maps behind a Sigmoid are none.
    """
    graph = model.proto.graph
    producers = {name: node for node in graph.node for name in node.output}
    constants = {tensor.name for tensor in graph.initializer} | set(model.weights)
    return frozenset(
        spec.name
        for spec in model.outputs
        if spec.dtype in ("float32", "float16", "float64")
        and len(spec.shape) in _RANKS
        and spec.shape[-1] != 1
        and _scores_classes(spec.name, producers, constants)
    )


def _scores_classes(name: str, producers: dict[str, onnx.NodeProto], constants: set[str]) -> bool:
    node = producers.get(name)
    biased = False
    while node is not None:
        if node.op_type in _SCORES:
            return True
        if node.op_type == "Add" and not biased and constants.intersection(node.input):
            biased = True
            name = next(item for item in node.input if item not in constants)
        elif node.op_type in _PASSES_ON:
            name = node.input[0]
        else:
            return False
        node = producers.get(name)
    return False
