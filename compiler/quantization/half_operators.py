"""What float16 means to each operator: which come along, which never do, which operands stay."""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    import onnx

#: Operators between layers in float16 that compute in it too: they move values, or work on single
#: ones with about the precision of their operands. Softmax and averages sum in float32 inside.
FOLLOWERS = frozenset(
    (
        *("Identity", "Reshape", "Flatten", "Squeeze", "Unsqueeze", "Transpose", "Expand", "Tile"),
        *("Concat", "Split", "Slice", "Gather", "Pad", "DepthToSpace", "SpaceToDepth", "Dropout"),
        *("Add", "Sub", "Mul", "Div", "Neg", "Abs", "Min", "Max", "Clip", "Where"),
        *("Relu", "LeakyRelu", "PRelu", "Elu", "Sigmoid", "HardSigmoid", "HardSwish", "Tanh"),
        *("Erf", "Gelu", "Swish", "Mish", "Softplus", "MaxPool", "AveragePool"),
        *("GlobalAveragePool", "GlobalMaxPool", "BatchNormalization", "Softmax", "Resize"),
        "Upsample",
    )
)

_SUMS = (
    *("LayerNormalization", "InstanceNormalization", "GroupNormalization", "RMSNormalization"),
    *("LpNormalization", "MeanVarianceNormalization", "LRN", "ReduceSum", "ReduceMean"),
    *("ReduceSumSquare", "ReduceL1", "ReduceL2", "ReduceLogSum", "ReduceLogSumExp", "ReduceProd"),
    *("CumSum", "CumProd", "LogSoftmax", "Pow", "Exp", "Log", "Sqrt", "Reciprocal", "Einsum"),
    *("DFT", "STFT"),
)
_COUNTS = (
    *("Range", "Cast", "CastLike", "OneHot", "TopK", "NonMaxSuppression", "ConstantOfShape"),
    *("RoiAlign", "GridSample", "Multinomial", "RandomNormal", "RandomUniform", "ArgMax"),
)
_INTEGERS = (
    *("QuantizeLinear", "DequantizeLinear", "DynamicQuantizeLinear", "MatMulInteger"),
    *("ConvInteger", "QLinearConv", "QLinearMatMul"),
)
#: Operators that stay in float32 even where a recipe names them, and why.
NEVER = {
    **dict.fromkeys(_SUMS, "it sums squares or long rows, which float16 cannot hold"),
    **dict.fromkeys(_COUNTS, "it counts or indexes, and float16 has no whole numbers past 2048"),
    **dict.fromkeys(("LSTM", "GRU", "RNN"), "its state runs through many steps"),
    **dict.fromkeys(("If", "Loop", "Scan"), "it holds a graph of its own"),
    **dict.fromkeys(_INTEGERS, "it computes in integers"),
}

#: Operands of float16, where others of the operator stay what they are: sizes, scales, regions.
_OPERANDS = {"Resize": (0,), "Upsample": (0,), "Expand": (0,), "Tile": (0,), "Reshape": (0,)}
#: Sums of products with a weight.
SUMS = ("Conv", "Gemm", "MatMul")
#: The operand that is added to a sum of products.
BIASES = {"Conv": 2, "ConvTranspose": 2, "Gemm": 2}


def half_inputs(node: onnx.NodeProto) -> list[str]:
    """Return the inputs that are float16 where the node computes in it, if they are floats."""
    at = _OPERANDS.get(node.op_type, range(len(node.input)))
    return [node.input[index] for index in at if index < len(node.input) and node.input[index]]
