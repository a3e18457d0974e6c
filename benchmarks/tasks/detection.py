"""Finding the lines of drawn pages with the text detectors of PaddleOCR."""

from __future__ import annotations

from collections.abc import Sequence
from functools import partial
from pathlib import Path

import numpy as np

from benchmarks.tasks.paper import Box, text_page
from benchmarks.tasks.task import Arrays, Task

_SIZE = 320
_FIRST_TEST = 10000
_MEAN = np.array([0.485, 0.456, 0.406], np.float32)
_DEVIATION = np.array([0.229, 0.224, 0.225], np.float32)
# As rapidocr uses these detectors: a pixel is text above the first, a box is text above the second.
_TEXT_ABOVE = 0.3
_BOX_ABOVE = 0.5
# The network draws text smaller than it is, by this times area over circumference (DBNet, 2019).
_UNCLIP = 1.6
_SMALLEST = 3
# A line counts as found if a box overlaps it so much (the measure of the ICDAR contests).
_FOUND_ABOVE = 0.5


def detection(name: str, model: Path, calibration: int, tests: int) -> Task:
    """Return the task of finding lines; its score is the F-measure of boxes found."""
    pages = [text_page(_FIRST_TEST + seed, _SIZE) for seed in range(tests)]
    return Task(
        name,
        "F-measure of lines found",
        model,
        {"x": (1, 3, _SIZE, _SIZE)},
        [_input(text_page(seed, _SIZE)[1]) for seed in range(calibration)],
        [_input(picture) for _, picture in pages],
        partial(_score, [boxes for boxes, _ in pages]),
    )


def find_boxes(outputs: Arrays) -> list[Box]:
    """Return the boxes around connected pixels of text, in no order."""
    from scipy import ndimage

    (output,) = outputs.values()
    chances = output[0, 0]
    labels = np.zeros(chances.shape, np.int32)
    ndimage.label(chances > _TEXT_ABOVE, output=labels)
    boxes = []
    for number, (rows, columns) in enumerate(ndimage.find_objects(labels), start=1):
        height, width = rows.stop - rows.start, columns.stop - columns.start
        inside = labels[rows, columns] == number
        if min(height, width) < _SMALLEST or chances[rows, columns][inside].mean() < _BOX_ABOVE:
            continue
        grow = round(_UNCLIP * height * width / (2 * (height + width)))
        boxes.append(
            Box(
                max(columns.start - grow, 0),
                max(rows.start - grow, 0),
                min(columns.stop + grow, chances.shape[1]),
                min(rows.stop + grow, chances.shape[0]),
            )
        )
    return boxes


def _input(picture: np.ndarray) -> dict[str, np.ndarray]:
    values = (picture.astype(np.float32) / 255 - _MEAN) / _DEVIATION
    return {"x": np.ascontiguousarray(values.transpose(2, 0, 1)[None])}


def _score(pages: Sequence[Sequence[Box]], outputs: Sequence[Arrays]) -> float:
    matched = total = 0
    for expected, output in zip(pages, outputs, strict=True):
        found = find_boxes(output)
        total += len(expected) + len(found)
        for box in expected:
            best = max(found, key=box.overlap, default=None)
            if best is not None and box.overlap(best) > _FOUND_ABOVE:
                found.remove(best)
                matched += 2
    return matched / total if total else 1.0
