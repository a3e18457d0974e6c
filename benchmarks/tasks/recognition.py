"""Reading drawn lines of text with the recognizers of PaddleOCR."""

from __future__ import annotations

from collections.abc import Sequence
from difflib import SequenceMatcher
from functools import partial
from pathlib import Path

import numpy as np

from benchmarks.tasks.paper import text_line
from benchmarks.tasks.task import Arrays, Task

_HEIGHT, _WIDTH = 48, 320
# Seeds of the lines that are tested with; calibration has those from 0.
_FIRST_TEST = 10000


def recognition(name: str, model: Path, calibration: int, tests: int) -> Task:
    """Return the task of reading lines; its score is the part of characters that is right,
    those that are missing or too many counted against it.

    Parameters
    ----------
    model
        A recognizer with its alphabet in the file, as `rapidocr` ships them.
    calibration, tests
        Lines to calibrate and to test with.
    """
    lines = [text_line(_FIRST_TEST + seed, _HEIGHT, _WIDTH) for seed in range(tests)]
    return Task(
        name,
        "characters right",
        model,
        {"x": (1, 3, _HEIGHT, _WIDTH)},
        [_input(text_line(seed, _HEIGHT, _WIDTH)[1]) for seed in range(calibration)],
        [_input(picture) for _, picture in lines],
        partial(_score, _alphabet(model), [text for text, _ in lines]),
    )


def read_text(alphabet: Sequence[str], outputs: Arrays) -> str:
    """Return the text that a recognizer read: the likeliest path of its CTC output.

    Repetitions count once, and class 0 is the blank between them (Graves et al., 2006).
    """
    (scores,) = outputs.values()
    path = scores[0].argmax(-1)
    kept: list[int] = path[np.diff(path, prepend=-1) != 0].tolist()
    return "".join(alphabet[index] for index in kept if index)


def _input(picture: np.ndarray) -> dict[str, np.ndarray]:
    values = picture[..., ::-1].astype(np.float32) / 127.5 - 1
    return {"x": np.ascontiguousarray(values.transpose(2, 0, 1)[None])}


def _alphabet(model: Path) -> list[str]:
    import onnx

    proto = onnx.load(str(model))
    (text,) = (item.value for item in proto.metadata_props if item.key == "character")
    return ["", *text.splitlines(), " "]


def _score(alphabet: Sequence[str], texts: Sequence[str], outputs: Sequence[Arrays]) -> float:
    right = total = 0
    for text, found in zip(texts, outputs, strict=True):
        # Blank paper behind a line is read as spaces.
        answer = read_text(alphabet, found).strip()
        blocks = SequenceMatcher(None, text, answer, False).get_matching_blocks()
        right += 2 * sum(block.size for block in blocks)
        total += len(text) + len(answer)
    return right / total
