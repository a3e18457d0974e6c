"""How nodes of 8 and of 4 bits are quantized: the settings of a recipe, and their limits."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from autoglm_tvm.targets.errors import UserInputError
from autoglm_tvm.targets.near import did_you_mean

#: How a range is chosen from what was seen while calibrating; see `ranges.py`.
METHODS = ("minmax", "moving-average", "percentile", "entropy", "mse")
ACTIVATIONS = ("uint8", "int8")
REQUANTIZATIONS = ("float32", "fixed-point")
GROUPS = (32, 64, 128)


@dataclass(frozen=True)
class Int8Settings:
    """How nodes of 8 bits are quantized.

    Attributes
    ----------
    method
        How an activation's range is chosen: one of `METHODS`.
    percentile
        Part of the values in percent that the range must hold, for method ``percentile``.
    per_channel
        Whether each output channel of a weight has a scale of its own.
    activation
        Stored type of activations, ``uint8`` or ``int8``. The machine's own wish is met later.
    symmetric_activations
        Whether the zero point of activations is the middle of the type.
    smooth
        Strength (alpha) of SmoothQuant's migration of outliers from activations into the weights
        of matrix products, from 0 to 1; None leaves it out. See `smooth.py`.
    bias_correction
        Whether the mean error of each layer's output is taken off its bias. See
        `bias_correction.py`.
    least_sqnr
        A layer whose input would keep a smaller ratio of signal to rounding noise (dB) is ``fp16``
        instead; None keeps all. See `sensitive.py`.
    requantization
        ``float32`` (what onnxruntime does, bit-exact) or ``fixed-point``.
    """

    method: str = "moving-average"
    percentile: float = 99.99
    per_channel: bool = True
    activation: str = "uint8"
    symmetric_activations: bool = False
    smooth: float | None = 0.5
    bias_correction: bool = False
    least_sqnr: float | None = None
    requantization: str = "float32"

    def __post_init__(self) -> None:
        check_kind("int8: percentile", self.percentile, (int, float), "a number")
        for name in ("per_channel", "symmetric_activations", "bias_correction"):
            check_kind(f"int8: {name}", getattr(self, name), (bool,), "true or false")
        check_choice("int8: method", self.method, METHODS)
        check_choice("int8: activation", self.activation, ACTIVATIONS)
        check_choice("int8: requantization", self.requantization, REQUANTIZATIONS)
        if not 50 < self.percentile <= 100:
            raise UserInputError(
                f"int8: percentile is {self.percentile}, outside of 50 to 100",
                hint="it is the part of the values that the range must hold, for example 99.99",
            )
        if self.least_sqnr is not None:
            check_kind("int8: least_sqnr", self.least_sqnr, (int, float), "a number")
        if self.smooth is not None:
            check_kind("int8: smooth", self.smooth, (int, float), "a number")
            if not 0 <= self.smooth <= 1:
                raise UserInputError(
                    f"int8: smooth is {self.smooth}, outside of 0 to 1",
                    hint="0.5 shares outliers evenly between activations and weights",
                )


@dataclass(frozen=True)
class Int4Settings:
    """How weights of 4 bits are stored: in groups along K, each with a scale of its own.

    Attributes
    ----------
    group
        Weights to a scale: one of `GROUPS`.
    symmetric
        Whether zero is the middle; if not, each group has a zero point too.
    """

    group: int = 32
    symmetric: bool = True

    def __post_init__(self) -> None:
        check_kind("int4: symmetric", self.symmetric, (bool,), "true or false")
        check_kind("int4: group", self.group, (int,), f"one of {listed(GROUPS)}")
        if self.group not in GROUPS:
            raise UserInputError(
                f"int4: group is {self.group!r}, and must be one of {listed(GROUPS)}",
                hint="32 is the most accurate, 128 the smallest",
            )


def check_choice(what: str, value: Any, known: tuple[str, ...]) -> None:
    """Refuse a value that is none of the known ones, with near matches."""
    if not isinstance(value, str) or value not in known:
        raise UserInputError(
            f"{what}: '{value}' is unknown{did_you_mean(str(value), known)}",
            hint=f"known: {listed(known)}",
        )


def check_kind(
    what: str,
    value: Any,
    kinds: tuple[type, ...],
    wanted: str,
    hint: str = "change the recipe",
) -> None:
    """Refuse a value of another type than `kinds`; true and false are no numbers."""
    is_bool = isinstance(value, bool)
    if not isinstance(value, kinds) or (is_bool and bool not in kinds):
        raise UserInputError(f"{what} is {value!r}, and must be {wanted}", hint=hint)


def listed(items: tuple[Any, ...]) -> str:
    """Return the items with commas."""
    return ", ".join(str(item) for item in items)
