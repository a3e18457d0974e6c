"""What operators that work on single elements make of a channel whose elements are all the same."""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    import numpy as np
    import onnx

Value = Callable[..., Any]

#: Operators on single elements; channels pass through them, whatever the values.
ELEMENTWISE = frozenset(
    (
        *("Identity", "Dropout", "Relu", "LeakyRelu", "PRelu", "Clip", "Elu", "Selu", "Celu"),
        *("Sigmoid", "HardSigmoid", "HardSwish", "Swish", "Mish", "Softplus", "Softsign", "Tanh"),
        *("Gelu", "Erf", "Exp", "Log", "Sqrt", "Reciprocal", "Abs", "Neg", "Sign", "Round"),
        *("Floor", "Ceil", "ThresholdedRelu"),
        *("Add", "Sub", "Mul", "Div", "Pow", "Min", "Max", "Sum"),
    )
)


def elementwise_value(node: onnx.NodeProto, operands: list[Any]) -> np.ndarray:
    """The value of each channel behind `node`; NaN where it is not known.

    Parameters
    ----------
    operands
        For each input the values by channel, a number, or NaN.
    """
    import numpy as np

    function = _functions().get(node.op_type)
    with np.errstate(all="ignore"):
        if function is None:
            return np.full(np.broadcast_shapes(*(np.shape(o) for o in operands)), np.nan)
        return np.asarray(function(node, *operands), np.float32)


def _attribute(node: onnx.NodeProto, name: str, default: float) -> np.float32:
    import numpy as np

    found = [attribute.f for attribute in node.attribute if attribute.name == name]
    return np.float32(found[0] if found else default)


def _functions() -> dict[str, Value]:
    """Functions of a node and its operands, NaN where an operand is; all in float32."""
    import numpy as np

    one, zero = np.float32(1), np.float32(0)

    def multiply(_: Any, left: Any, right: Any) -> Any:
        # Nothing times zero is anything but zero, as activations are finite.
        return np.where((left == 0) | (right == 0), zero, left * right)

    def clip(node: Any, x: Any, low: Any = None, high: Any = None) -> Any:
        low = _attribute(node, "min", -np.inf) if low is None else low
        high = _attribute(node, "max", np.inf) if high is None else high
        return np.minimum(np.maximum(x, low), high)

    def hard_sigmoid(node: Any, x: Any) -> Any:
        alpha, beta = _attribute(node, "alpha", 0.2), _attribute(node, "beta", 0.5)
        return np.clip(alpha * x + beta, zero, one)

    def hard_swish(_: Any, x: Any) -> Any:
        return x * np.clip(x / np.float32(6) + np.float32(0.5), zero, one)

    def leaky(node: Any, x: Any) -> Any:
        return np.where(x < 0, _attribute(node, "alpha", 0.01) * x, x)

    def zero_only(_: Any, x: Any) -> Any:
        # Zero stays zero; of other values the kernels' rounding would have to be known.
        return np.where(x == 0, zero, np.float32(np.nan))

    return {
        "Identity": lambda _, x: x,
        "Dropout": lambda _, x, *others: x,
        "Relu": lambda _, x: np.maximum(x, zero),
        "LeakyRelu": leaky,
        "PRelu": lambda _, x, slope: np.where(x < 0, slope * x, x),
        "Clip": clip,
        "HardSigmoid": hard_sigmoid,
        "HardSwish": hard_swish,
        "Sigmoid": lambda _, x: one / (one + np.exp(-x)),
        "Abs": lambda _, x: np.abs(x),
        "Neg": lambda _, x: -x,
        "Add": lambda _, x, y: x + y,
        "Sub": lambda _, x, y: x - y,
        "Mul": multiply,
        "Div": lambda _, x, y: x / y,
        "Sum": lambda _, *xs: sum(xs, zero),
        "Max": lambda _, *xs: np.maximum.reduce(np.broadcast_arrays(*xs)),
        "Min": lambda _, *xs: np.minimum.reduce(np.broadcast_arrays(*xs)),
        **dict.fromkeys(
            ("Tanh", "Erf", "Gelu", "Elu", "Selu", "Celu", "Softsign", "Mish", "Swish", "Sqrt"),
            zero_only,
        ),
    }
