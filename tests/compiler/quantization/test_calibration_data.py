"""Calibration data: every source, and everything that can be wrong with it."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from pathlib import Path

import numpy as np
import pytest

from autoglm_tvm.artifacts.tensor_spec import TensorSpec
from autoglm_tvm.compiler.quantization.calibration_data import CalibrationData, calibration_data
from autoglm_tvm.compiler.quantization.images import ImageSettings
from autoglm_tvm.compiler.quantization.user_score import load_score
from autoglm_tvm.targets.errors import UserInputError

SPEC = TensorSpec("x", "float32", (1, 3))
IMAGE = TensorSpec("x", "float32", (1, 3, 4, 6))


def save(path: Path, run: Mapping[str, np.ndarray]) -> None:
    np.savez(path, **run)  # type: ignore[arg-type]


def sample(value: float) -> dict[str, np.ndarray]:
    return {"x": np.full((1, 3), value, np.float32)}


def values(data: CalibrationData) -> list[float]:
    return [float(run["x"].reshape(-1)[0]) for run in data]


def folder_of(folder: Path, count: int) -> Path:
    for number in range(count):
        save(folder / f"{number:02d}.npz", sample(number))
    return folder


def picture(path: Path, value: int = 128, size: tuple[int, int] = (6, 4)) -> None:
    from PIL import Image

    Image.new("RGB", size, (value, 0, 255)).save(path)


def test_folder_in_order_and_again(tmp_path: Path) -> None:
    data = calibration_data(folder_of(tmp_path, 5), [SPEC])
    assert values(data) == values(data) == [0, 1, 2, 3, 4]
    assert not data.is_random
    assert "5 runs" in data.description
    assert values(calibration_data(tmp_path, [SPEC], limit=2)) == [0, 1]


def test_split_is_spread_and_complete(tmp_path: Path) -> None:
    data = calibration_data(folder_of(tmp_path, 10), [SPEC])
    kept, held_out = data.split()
    assert values(held_out) == [2, 7]
    assert values(kept) == [0, 1, 3, 4, 5, 6, 8, 9]
    for count, share in ((2, 0.2), (3, 0.99), (7, 0.5)):
        parts = data.first(count).split(share)
        assert sorted(values(parts[0]) + values(parts[1])) == list(range(count))
        assert len(parts[0])
        assert len(parts[1])
    alone = data.first(1).split()
    assert [values(part) for part in alone] == [[0], [0]]


def test_recorded_runs_of_one_file(tmp_path: Path) -> None:
    path = tmp_path / "recorded.npz"
    np.savez(path, x=np.arange(12, dtype=np.float32).reshape(4, 1, 3))
    assert values(calibration_data(str(path), [SPEC])) == [0, 3, 6, 9]
    save(path, sample(7))
    assert values(calibration_data(path, [SPEC])) == [7]


def test_recorded_runs_must_be_as_many(tmp_path: Path) -> None:
    path = tmp_path / "recorded.npz"
    np.savez(path, x=np.zeros((4, 1, 3), np.float32), z=np.zeros((5, 1), np.float32))
    with pytest.raises(UserInputError, match="different numbers of recorded runs: 'x' 4, 'z' 5"):
        calibration_data(path, [SPEC, TensorSpec("z", "float32", (1,))])


def test_generators(tmp_path: Path) -> None:
    def endless() -> Iterator[dict[str, np.ndarray]]:
        number = 0
        while True:
            yield sample(number)
            number += 1

    data = calibration_data(endless, [SPEC], limit=3)
    assert values(data) == values(data) == [0, 1, 2]
    assert len(calibration_data(endless, [SPEC])) == 256
    assert values(calibration_data([sample(4)], [SPEC])) == [4]
    assert calibration_data(data, [SPEC]) is data

    file = tmp_path / "data.py"
    file.write_text(
        "import numpy as np\n"
        "def runs():\n    yield {'x': np.ones((1, 3), 'float32')}\n"
        "def broken():\n    raise KeyError('no camera')\n",
        encoding="utf-8",
    )
    assert values(calibration_data(f"{file}:runs", [SPEC])) == [1]
    with pytest.raises(UserInputError, match="did you mean 'runs'"):
        calibration_data(f"{file}:run", [SPEC])
    with pytest.raises(UserInputError, match="no camera"):
        calibration_data(f"{file}:broken", [SPEC])
    with pytest.raises(UserInputError, match="no such Python file"):
        calibration_data(f"{tmp_path}/other.py:runs", [SPEC])
    file.write_text("import nowhere_to_be_found\n", encoding="utf-8")
    with pytest.raises(UserInputError, match="ModuleNotFoundError"):
        calibration_data(f"{file}:runs", [SPEC])


def test_a_generator_may_reuse_its_array() -> None:
    def runs() -> Iterator[dict[str, np.ndarray]]:
        array = np.zeros((1, 3), np.float32)
        for number in range(3):
            array[:] = number
            yield {"x": array}

    assert values(calibration_data(runs, [SPEC])) == [0, 1, 2]


def test_random_is_marked_and_repeats() -> None:
    first, again = (calibration_data("random", [SPEC]) for _ in range(2))
    assert first.is_random
    assert all(part.is_random for part in first.split())
    assert values(first) == values(again)
    assert len(set(values(first))) == len(first) == 8


def test_images_with_settings_beside_them(tmp_path: Path) -> None:
    picture(tmp_path / "b.png", 51)
    picture(tmp_path / "a.jpg")
    (tmp_path / "notes.txt").write_text("not a picture", encoding="utf-8")
    plain = list(calibration_data(tmp_path, [IMAGE]))[1]["x"]
    assert plain.shape == (1, 3, 4, 6)
    assert plain[0, :, 0, 0] == pytest.approx([0.2, 0, 1])
    (tmp_path / "preprocessing.yaml").write_text(
        "scale: 1.0\nmean: [1, 2, 3]\nstd: 2\nbgr: true\n", encoding="utf-8"
    )
    scaled = list(calibration_data(tmp_path, [IMAGE]))[1]["x"]
    assert scaled[0, :, 0, 0] == pytest.approx([(255 - 1) / 2, (0 - 2) / 2, (51 - 3) / 2])


@pytest.mark.parametrize("resize", ["stretch", "crop", "pad"])
def test_images_are_resized(tmp_path: Path, resize: str) -> None:
    picture(tmp_path / "a.png", 255, size=(40, 10))
    spec = TensorSpec("image", "uint8", (1, 8, 8, 3))
    data = calibration_data(tmp_path, [spec], images=ImageSettings(resize=resize))
    pixels = next(iter(data))["image"]
    assert pixels.shape == (1, 8, 8, 3)
    assert pixels.dtype == np.uint8
    covered = int((pixels[0, :, :, 0] == 255).sum())
    assert covered == (16 if resize == "pad" else 64)


def test_images_fill_a_batch(tmp_path: Path) -> None:
    for number in range(5):
        picture(tmp_path / f"{number}.png", number)
    spec = TensorSpec("x", "float32", (2, 3, 4, 6))
    data = calibration_data(tmp_path, [spec], images=ImageSettings(scale=1.0))
    assert [run["x"][:, 0, 0, 0].tolist() for run in data] == [[0, 1], [2, 3]]


@pytest.mark.parametrize(
    ("text", "part"),
    [
        ("men: [1, 2, 3]", "did you mean 'mean'"),
        ("mean: [1, 2]", "2 values of mean or std for 3 colours"),
        ("resize: strech", "did you mean 'stretch'"),
        ("std: 0", "divide by zero"),
        ("size: [4]", "no height and width"),
        ("size: 4", "size is 4, and must be two whole numbers"),
        ("size: [4.5, 6]", "size is 4.5, and must be whole numbers"),
        ("scale: 1/255", "scale is '1/255', and must be a number\n  -> write 0.00392 for 1/255"),
        ("scale: true", "scale is True"),
        ("mean: [a, b, c]", "mean is 'a', and must be numbers"),
        ("std: null", "std is None"),
        ("bgr: 1", "bgr is 1, and must be true or false"),
        ("- 1", "names with values"),
    ],
)
def test_bad_image_settings(tmp_path: Path, text: str, part: str) -> None:
    picture(tmp_path / "a.png")
    (tmp_path / "preprocessing.yaml").write_text(text, encoding="utf-8")
    with pytest.raises(UserInputError) as refusal:
        calibration_data(tmp_path, [IMAGE])
    assert part in str(refusal.value)
    assert str(tmp_path) in str(refusal.value)


def test_images_need_one_image_input(tmp_path: Path) -> None:
    picture(tmp_path / "a.png")
    with pytest.raises(UserInputError, match="one input of shape"):
        calibration_data(tmp_path, [SPEC])
    with pytest.raises(UserInputError, match="leaves the size of the image open"):
        calibration_data(tmp_path, [TensorSpec("x", "float32", ("n", 3, "h", "w"))])
    (tmp_path / "a.png").write_bytes(b"not a picture")
    with pytest.raises(UserInputError, match=r"a\.png: cannot read the image"):
        calibration_data(tmp_path, [IMAGE])


@pytest.mark.parametrize(
    ("run", "part"),
    [
        ({"X": np.zeros((1, 3), np.float32)}, "did you mean 'x'"),
        ({}, "missing input: x"),
        ({"x": np.zeros((1, 4), np.float32)}, "the shape is [1, 4], the model takes [1, 3]"),
        ({"x": np.zeros((1, 3))}, "the dtype is float64"),
        ({"x": np.array([[0, np.nan, 0]], np.float32)}, "input 'x' has the value nan at [0, 1]"),
        ({"x": np.array([[0, 0, np.inf]], np.float32)}, "input 'x' has the value inf at [0, 2]"),
    ],
)
def test_runs_that_do_not_fit_are_named(
    tmp_path: Path, run: dict[str, np.ndarray], part: str
) -> None:
    save(tmp_path / "good.npz", sample(0))
    save(tmp_path / "wrong.npz", run)
    with pytest.raises(UserInputError) as refusal:
        calibration_data(tmp_path, [SPEC])
    assert part in str(refusal.value)
    assert "wrong.npz" in str(refusal.value)
    with pytest.raises(UserInputError, match="run 0"):
        calibration_data([run], [SPEC])


@pytest.mark.parametrize("recorded", [False, True])
def test_every_run_of_files_is_checked_before_any_work(tmp_path: Path, recorded: bool) -> None:
    runs = [sample(0.0), sample(1.0), sample(np.nan)]
    source = tmp_path
    if recorded:
        source = tmp_path / "runs.npz"
        save(source, {"x": np.stack([run["x"] for run in runs])})
    else:
        for number, run in enumerate(runs):
            save(tmp_path / f"{number}.npz", run)
    with pytest.raises(UserInputError, match="has the value nan at") as refusal:
        calibration_data(source, [SPEC])
    assert ("run 2" if recorded else "2.npz") in str(refusal.value)
    assert len(calibration_data(source, [SPEC], limit=2)) == 2


@pytest.mark.parametrize(
    "text",
    [
        "import sys\nsys.exit(5)\n",
        "import sys\ndef data():\n    sys.exit(5)\n",
        "import numpy, sys\ndef data():\n"
        "    yield {'x': numpy.zeros((1, 3), 'float32')}\n    sys.exit(5)\n",
    ],
)
def test_a_generator_that_exits_is_one_that_fails(tmp_path: Path, text: str) -> None:
    (tmp_path / "gen.py").write_text(text, encoding="utf-8")
    with pytest.raises(UserInputError, match=r"fails.*SystemExit: 5"):
        calibration_data(f"{tmp_path / 'gen.py'}:data", [SPEC])


@pytest.mark.parametrize("text", ["import sys\nsys.exit(5)\n", "def score(o, i):\n    exit(5)\n"])
def test_a_score_that_exits_is_one_that_fails(tmp_path: Path, text: str) -> None:
    (tmp_path / "score.py").write_text(text, encoding="utf-8")
    with pytest.raises(UserInputError, match="fails: SystemExit: 5"):
        load_score(f"{tmp_path / 'score.py'}:score")([], [])


def test_sources_that_are_none(tmp_path: Path) -> None:
    with pytest.raises(UserInputError, match="no calibration data in it"):
        calibration_data(tmp_path, [SPEC])
    with pytest.raises(UserInputError, match="no calibration data in it"):
        calibration_data([], [SPEC])
    with pytest.raises(UserInputError, match="no such calibration data"):
        calibration_data(tmp_path / "missing", [SPEC])
    with pytest.raises(UserInputError, match="no calibration data was given"):
        calibration_data(None, [SPEC])
    with pytest.raises(UserInputError, match="0 runs is impossible"):
        calibration_data("random", [SPEC], limit=0)
    with pytest.raises(UserInputError, match="a mapping of input name to array, not ndarray"):
        calibration_data([np.zeros(3)], [SPEC])
    (tmp_path / "a.npz").write_bytes(b"PK\x03\x04 cut off")
    with pytest.raises(UserInputError, match=r"a\.npz: cannot read it as \.npz"):
        calibration_data(tmp_path, [SPEC])
    picture(tmp_path / "a.png")
    with pytest.raises(UserInputError, match=r"1 \.npz files and 1 images"):
        calibration_data(tmp_path, [SPEC])
