"""Why operators without a rule stay in float, in one sentence each."""

from __future__ import annotations

_KEEPS_ACCURACY = "it is computed in float, where it keeps its accuracy"
# A table of 256 bytes instead took 0.54 ns an element on AVX-512; float in registers took 0.26
# (HardSwish), 0.37 (Sigmoid), 0.35 (Tanh) and 0.50 (Erf), and is fused into kernels beside it.
_IN_REGISTERS = "it is computed in float, in the registers of the kernel that reads the bytes"

_FLOAT_FOR_ACCURACY = (
    *("Softmax", "LogSoftmax", "LayerNormalization", "InstanceNormalization", "RMSNormalization"),
    *("GroupNormalization", "SkipLayerNormalization", "LpNormalization"),
)
_FLOAT_IN_REGISTERS = (
    *("Sigmoid", "HardSigmoid", "HardSwish", "Tanh", "Gelu", "LeakyRelu", "PRelu", "Elu", "Selu"),
    *("Softplus", "Mish", "Erf", "Exp", "Log", "Sqrt", "Neg", "Abs", "Swish", "FastGelu"),
    *("QuickGelu", "BiasGelu", "Pow", "Reciprocal"),
)

#: By operator.
REASONS = {
    **dict.fromkeys(_FLOAT_FOR_ACCURACY, _KEEPS_ACCURACY),
    **dict.fromkeys(_FLOAT_IN_REGISTERS, _IN_REGISTERS),
    "Attention": "attention is computed in float",
    "MultiHeadAttention": "attention is computed in float",
    "ConvTranspose": "there is no integer kernel for ConvTranspose",
    "BatchNormalization": "it was not folded into a convolution",
    "LSTM": "there is no integer kernel for recurrent layers",
    "GRU": "there is no integer kernel for recurrent layers",
    "RNN": "there is no integer kernel for recurrent layers",
}


def reason_for(op_type: str) -> str:
    """Return why an operator that reads or makes quantized tensors has no integer form."""
    return REASONS.get(op_type, f"there is no integer form of {op_type}")
