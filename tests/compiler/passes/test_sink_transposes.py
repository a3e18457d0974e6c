import numpy as np
import pytest

from tests.compiler.onnx_text import model_from_text, random_array
from tests.schedules.exact import convolve
from tests.schedules.harness import compile_in_memory

# What stands between two convolutions, and what it computes (`g` is a gate of channels, `s` one
# number of a batch of images: both are inputs).
BETWEEN = {
    "clip": ("m = Clip (a, low, high)", lambda a, g: np.clip(a, -0.5, 0.5)),
    "scalars": ("k = Mul (a, low) m = Add (k, high)", lambda a, g: a * -0.5 + 0.5),
    "constant of channels": ("m = Mul (a, c)", lambda a, g: a * CHANNELS),
    "gate": ("m = Mul (a, g)", lambda a, g: a * g),
    "hard swish": (
        "k = Add (a, high) h = Clip (k, low, high) m = Mul (a, h)",
        lambda a, g: a * np.clip(a + 0.5, -0.5, 0.5),
    ),
    "pad": (
        "m = Pad (a, pads)",
        lambda a, g: np.pad(a, ((0, 0), (1, 0), (2, 1), (0, 3))),
    ),
    "select": (
        "z = Greater (a, low) m = Where (z, a, high)",
        lambda a, g: np.where(a > -0.5, a, 0.5),
    ),
    "branch": ("k = Clip (a, low, high) m = Sub (a, k)", lambda a, g: a - np.clip(a, -0.5, 0.5)),
}
CHANNELS = random_array(12, 1, 1, seed=7)


@pytest.mark.parametrize("name", BETWEEN)
def test_no_transpose_stays_between_convolutions(name: str) -> None:
    text, function = BETWEEN[name]
    data, gate = random_array(1, 6, 9, 11), random_array(1, 12, 1, 1, seed=1)
    first = random_array(12, 6, 1, 1, seed=2, scale=0.3)
    middle = function(convolve(data, first), gate)
    second = random_array(5, middle.shape[1], 1, 1, seed=3)
    model = model_from_text(
        "g (float[1,6,9,11] x, float[1,12,1,1] g) => (float[a,b,c,d] y) "
        f"{{ a = Conv (x, u) {text} n = Add (m, m) y = Conv (n, w) }}",
        {
            "u": first,
            "w": second,
            "c": CHANNELS,
            "low": np.array(-0.5, np.float32),
            "high": np.array(0.5, np.float32),
            "pads": np.array([0, 1, 2, 0, 0, 0, 1, 3]),
        },
    )
    compiled = compile_in_memory(model)
    # The graph's own input and output are NCHW; a gate may be transposed too.
    transposes = [operators for operators in compiled.operators if "transpose" in operators[0]]
    assert len(transposes) <= 3, compiled.operators
    assert not any("transpose" in name for ops in compiled.operators for name in ops[1:])
    expected = convolve(middle * 2, second)
    np.testing.assert_allclose(compiled.run(data, gate), expected, atol=1e-5)


def test_a_transposed_output_is_right() -> None:
    data, weight = random_array(2, 6, 5, 7), random_array(12, 6, 1, 1)
    model = model_from_text(
        "g (float[2,6,5,7] x) => (float[2,12,5,7] y) { a = Conv (x, w) y = Mul (a, s) }",
        {"w": weight, "s": np.array(2, np.float32)},
    )
    expected = 2 * convolve(data, weight)
    np.testing.assert_allclose(compile_in_memory(model).run(data), expected, atol=1e-5)
