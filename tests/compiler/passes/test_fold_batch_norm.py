from pathlib import Path

import numpy as np
import onnx
import pytest

from autoglm_tvm.compiler import compile, verify
from autoglm_tvm.compiler.import_onnx import import_onnx
from autoglm_tvm.compiler.passes.fold_batch_norm import fold_batch_norm
from autoglm_tvm.compiler.read import read
from tests.compiler.onnx_text import model_from_text, random_array


def statistics(channels: int, seed: int = 7) -> dict[str, np.ndarray]:
    rng = np.random.default_rng(seed)
    return {
        "scale": rng.uniform(0.5, 2.0, channels).astype(np.float32),
        "shift": rng.standard_normal(channels).astype(np.float32),
        "mean": rng.standard_normal(channels).astype(np.float32),
        "variance": rng.uniform(0.1, 3.0, channels).astype(np.float32),
    }


def norm(source: str, target: str = "y") -> str:
    inputs = f"{source}, scale, shift, mean, variance"
    return f"{target} = BatchNormalization <epsilon=0.001> ({inputs})"


def conv(attributes: str = "group=1", operator: str = "Conv", bias: bool = False) -> str:
    return f"c = {operator} <{attributes}> (x, w{', b' if bias else ''})"


FOLDED = {
    "conv2d": ((1, 3, 9, 7), (5, 3, 3, 3), conv("pads=[1,1,1,1]"), 5),
    "strided, dilated": ((2, 3, 11, 8), (4, 3, 2, 3), conv("strides=[2,1], dilations=[2,1]"), 4),
    "grouped": ((1, 4, 6, 6), (6, 2, 3, 3), conv("group=2"), 6),
    "depthwise": ((1, 5, 6, 6), (5, 1, 3, 3), conv("group=5"), 5),
    "one channel": ((1, 1, 5, 5), (1, 1, 1, 1), conv(), 1),
    "conv1d": ((1, 3, 17), (4, 3, 3), conv(), 4),
    "conv3d": ((1, 2, 4, 5, 6), (3, 2, 2, 2, 2), conv(), 3),
    "transposed": ((1, 3, 5, 6), (3, 4, 3, 3), conv("strides=[2,2]", "ConvTranspose"), 4),
}


def one_convolution(name: str, bias: bool) -> onnx.ModelProto:
    data, weight, line, channels = FOLDED[name]
    line = line.replace("(x, w)", "(x, w, b)") if bias else line
    dims = ",".join(map(str, data))
    text = f"g (float[{dims}] x) => (float[{','.join('abcde'[: len(data)])}] y)"
    weights = {"w": random_array(*weight), **statistics(channels)}
    if bias:
        weights["b"] = random_array(channels, seed=3)
    return model_from_text(f"{text} {{ {line} {norm('c')} }}", weights)


def batch_norms_left(model: onnx.ModelProto) -> int:
    from tvm import relax

    # The importer reshapes a bias in the graph; the pass wants it folded, as `optimise` does.
    module = relax.transform.FoldConstant()(import_onnx(read(model)).module)
    module = fold_batch_norm(module)
    return module.script().count("R.nn.batch_norm")


@pytest.mark.parametrize("bias", [False, True], ids=["", "bias"])
@pytest.mark.parametrize("name", FOLDED)
def test_folds_and_stays_exact(name: str, bias: bool, tmp_path: Path) -> None:
    model = one_convolution(name, bias)
    assert "R.nn.batch_norm" in import_onnx(read(model)).module.script()
    assert batch_norms_left(model) == 0
    result = verify(compile(model, "host", tmp_path / "b").directory, model, tolerance=2e-6)
    assert result.ok, result.outputs


NOT_FOLDED = {
    "grouped transposed convolution": (
        "(float[1,4,5,5] x) => (float[a,b,c,d] y)",
        "c = ConvTranspose <group=2> (x, w)",
        (4, 3, 3, 3),
        6,
        norm("c"),
    ),
    "the convolution has another reader": (
        "(float[1,3,5,5] x) => (float[a,b,c,d] y, float[a,b,c,d] c)",
        "c = Conv (x, w)",
        (4, 3, 3, 3),
        4,
        norm("c"),
    ),
    "no convolution": (
        "(float[1,3,5,5] x) => (float[a,b,c,d] y)",
        "c = Relu (x)",
        None,
        3,
        norm("c"),
    ),
}


@pytest.mark.parametrize("name", NOT_FOLDED)
def test_leaves_alone_what_it_cannot_fold(name: str, tmp_path: Path) -> None:
    head, line, weight, channels, batch_norm = NOT_FOLDED[name]
    weights = statistics(channels)
    if weight is not None:
        weights["w"] = random_array(*weight)
    model = model_from_text(f"g {head} {{ {line} {batch_norm} }}", weights)
    result = verify(compile(model, "host", tmp_path / "b").directory, model, tolerance=2e-6)
    assert result.ok, result.outputs


def test_a_shared_weight_is_folded_for_one_reader_only(tmp_path: Path) -> None:
    text = (
        "g (float[1,3,6,6] x) => (float[a,b,c,d] y, float[a,b,c,d] z)"
        f"{{ c = Conv (x, w) {norm('c')} z = Conv (x, w) }}"
    )
    model = model_from_text(text, {"w": random_array(4, 3, 3, 3), **statistics(4)})
    result = verify(compile(model, "host", tmp_path / "b").directory, model, tolerance=2e-6)
    assert result.ok, result.outputs
