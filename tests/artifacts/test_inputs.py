"""Wrong inputs of `run`: each one is refused, with the input's name and what the model takes."""

from __future__ import annotations

import numpy as np
import pytest

from autoglm_tvm.artifacts.inputs import check_inputs
from autoglm_tvm.artifacts.tensor_spec import TensorSpec
from autoglm_tvm.targets.errors import UserInputError

SPECS = (
    TensorSpec("image", "float32", (1, 3, "height", "width")),
    TensorSpec("mask", "bool", ("height", "width")),
    TensorSpec("step", "int64", ()),
)


def _inputs(height: int = 4, width: int = 6) -> dict[str, np.ndarray]:
    return {
        "step": np.array(3, np.int64),
        "mask": np.zeros((height, width), np.bool_),
        "image": np.ones((1, 3, height, width), np.float32),
    }


def _refusal(inputs: dict[str, np.ndarray]) -> UserInputError:
    with pytest.raises(UserInputError) as caught:
        check_inputs(SPECS, inputs)
    return caught.value


def test_right_inputs_come_in_calling_order() -> None:
    inputs = _inputs()
    arrays = check_inputs(SPECS, inputs)
    assert [array.shape for array in arrays] == [(1, 3, 4, 6), (4, 6), ()]
    for spec, array in zip(SPECS, arrays, strict=True):
        np.testing.assert_array_equal(array, inputs[spec.name])


def test_symbolic_sizes_may_be_any() -> None:
    assert check_inputs(SPECS, _inputs(1, 1))[0].shape == (1, 3, 1, 1)
    assert check_inputs(SPECS, _inputs(9, 7))[0].shape == (1, 3, 9, 7)


def test_another_memory_order_is_made_contiguous() -> None:
    inputs = _inputs()
    inputs["image"] = np.arange(72, dtype=np.float32).reshape(6, 4, 3, 1).transpose(3, 2, 1, 0)
    image = check_inputs(SPECS, inputs)[0]
    assert image.flags.c_contiguous
    np.testing.assert_array_equal(image, inputs["image"])


def test_an_unknown_name_is_refused_with_the_near_one() -> None:
    inputs = _inputs()
    inputs["imagge"] = inputs.pop("image")
    error = _refusal(inputs)
    assert error.what == "the model has no input 'imagge'"
    assert "did you mean 'image'?" in error.hint
    assert "image: float32[1, 3, height, width]" in error.hint


def test_a_name_like_no_other_gets_no_guess() -> None:
    error = _refusal({**_inputs(), "qqqq": np.zeros(1)})
    assert "did you mean" not in error.hint
    assert "mask: bool[height, width]" in error.hint


def test_names_are_told_apart_by_case() -> None:
    inputs = _inputs()
    inputs["Mask"] = inputs.pop("mask")
    assert "did you mean 'mask'?" in _refusal(inputs).hint


def test_missing_inputs_are_all_named() -> None:
    error = _refusal({"mask": _inputs()["mask"]})
    assert error.what == "missing inputs: image, step"
    assert "step: int64[]" in error.hint
    assert _refusal({key: _inputs()[key] for key in ("image", "mask")}).what == (
        "missing input: step"
    )


@pytest.mark.parametrize(
    ("name", "dtype"),
    [("image", "float64"), ("image", "float16"), ("mask", "uint8"), ("step", "int32")],
)
def test_another_dtype_is_not_cast(name: str, dtype: str) -> None:
    inputs = _inputs()
    inputs[name] = inputs[name].astype(dtype)
    error = _refusal(inputs)
    spec = next(spec for spec in SPECS if spec.name == name)
    assert error.where == f"input {name!r}"
    assert error.what == f"the dtype is {dtype}, the model takes {spec.dtype}"
    assert spec.dtype in error.hint


@pytest.mark.parametrize("dtype", [">f4", "S4", "O"], ids=["other byte order", "bytes", "objects"])
def test_a_dtype_that_the_model_cannot_take(dtype: str) -> None:
    error = _refusal({**_inputs(), "image": np.ones((1, 3, 4, 6)).astype(dtype)})
    assert error.what.endswith("the model takes float32")


@pytest.mark.parametrize(
    "shape",
    [(3, 4, 6), (1, 1, 3, 4, 6), (), (2, 3, 4, 6), (1, 4, 4, 6), (1, 0, 4, 6)],
    ids=["rank low", "rank high", "scalar", "first dim", "second dim", "no elements"],
)
def test_another_shape_is_refused(shape: tuple[int, ...]) -> None:
    error = _refusal({**_inputs(), "image": np.ones(shape, np.float32)})
    assert error.where == "input 'image'"
    found = f"[{', '.join(map(str, shape))}]"
    assert error.what == f"the shape is {found}, the model takes [1, 3, height, width]"
    assert f"--shape image={','.join(map(str, shape))}" in error.hint


def test_inputs_that_disagree_about_a_symbolic_dimension() -> None:
    error = _refusal({**_inputs(4, 6), "mask": np.zeros((4, 5), np.bool_)})
    assert error.where == "input 'mask'"
    assert error.what == "dimension 'width' is 5 here and 6 in input 'image'"


def test_a_symbol_twice_in_one_shape() -> None:
    spec = TensorSpec("square", "float32", ("n", "n"))
    check_inputs([spec], {"square": np.ones((3, 3), np.float32)})
    with pytest.raises(UserInputError, match="dimension 'n' is 2 here and 3"):
        check_inputs([spec], {"square": np.ones((3, 2), np.float32)})
