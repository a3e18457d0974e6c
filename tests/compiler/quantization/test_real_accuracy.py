"""Real networks keep their task: int8 loses less than 1 % of what the float model scores."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from autoglm_tvm.compiler.quantization.reference_runs import OnnxSession
from autoglm_tvm.compiler.read import read
from benchmarks.models.minilm_weights import minilm, vocabulary
from benchmarks.quantization_accuracy import CALIBRATION, TASKS, make_task, measure
from benchmarks.tasks.detection import find_boxes
from benchmarks.tasks.paper import Box, text_line, text_page
from benchmarks.tasks.similarity import embedding
from benchmarks.tasks.task import Task
from benchmarks.tasks.wordpiece import encode

TESTS = 60
LARGEST_LOSS = 0.01
# What the float models score: a task that they cannot do says nothing about quantization.
FLOAT_SCORES = {
    "ppocr6_rec": 0.99,
    "ppocr4_rec": 0.97,
    "ppocr6_det": 0.92,
    "ppocr4_det": 0.97,
    "minilm": 0.65,
}


@pytest.mark.slow
@pytest.mark.parametrize("name", TASKS)
def test_int8_stays_within_a_percent(name: str, tmp_path: Path) -> None:
    task = make_task(name, tmp_path, CALIBRATION, TESTS)
    model = read(task.model, task.shapes)
    score = task.result(OnnxSession(model).run)
    assert score > FLOAT_SCORES[name]
    row = measure(task, "int8", model, score, tmp_path / "bundle")
    assert row.quantized_score >= score * (1 - LARGEST_LOSS), row
    assert row.bundle_score is not None
    assert row.bundle_score >= score * (1 - LARGEST_LOSS), row
    # MiniLM's table of words stays in float: that is half of it.
    assert row.weights_after < (0.7 if name == "minilm" else 0.3) * row.weights_before


def test_a_score_can_be_bad() -> None:
    """A network that answers nothing scores nothing: the tasks are able to fail."""
    for name, output in (
        ("ppocr4_rec", np.eye(1, 6625, dtype="float32").repeat(40, 0)[None]),
        ("ppocr4_det", np.zeros((1, 1, 320, 320), "float32")),
    ):
        task = make_task(name, Path(), 1, 3)
        assert task.result(lambda _inputs, output=output: {"y": output}) == 0.0


def test_calibration_and_test_data_differ() -> None:
    task: Task = make_task("ppocr4_rec", Path(), 8, 8)
    seen = {inputs["x"].tobytes() for inputs in task.calibration}
    assert len(seen) == 8
    assert not any(inputs["x"].tobytes() in seen for inputs in task.tests)


def test_drawn_lines_and_pages_are_the_same_each_time_and_hold_their_text() -> None:
    assert text_line(3)[0] == text_line(3)[0]
    np.testing.assert_array_equal(text_line(3)[1], text_line(3)[1])
    boxes, page = text_page(5)
    assert page.shape == (320, 320, 3)
    assert len(boxes) >= 2
    paper = np.median(page.reshape(-1, 3), 0)
    ink = (np.abs(page - paper).sum(-1) > 120).astype(float)
    for box in boxes:
        assert ink[box.top : box.bottom, box.left : box.right].mean() > 0.05
        ink[box.top - 2 : box.bottom + 2, box.left - 2 : box.right + 2] = 0
    assert ink.mean() < 1e-3


def test_boxes_are_found_around_connected_pixels() -> None:
    chances = np.zeros((1, 1, 64, 64), "float32")
    chances[0, 0, 10:16, 8:40] = 0.9
    chances[0, 0, 40:44, 8:20] = 0.4
    (box,) = find_boxes({"y": chances})
    assert box == Box(4, 6, 44, 20)


def test_minilm_knows_which_sentences_are_alike() -> None:
    """Weights, vocabulary and pooling are in their places: a paraphrase is nearer than a topic."""
    words = vocabulary()
    assert encode("Embeddings, unaffable!", words, 16)["input_ids"][0, :10].tolist() == [
        *(101, 7861, 8270, 4667, 2015, 1010, 14477, 20961, 3468, 999)
    ]
    session = OnnxSession(read(minilm(32)))

    def vector(text: str) -> np.ndarray:
        inputs = encode(text, words, 32)
        return embedding(session.run(inputs), inputs["attention_mask"])

    first = vector("The cat is sleeping on the warm sofa.")
    same = vector("A kitten naps on the heated couch.")
    other = vector("Share prices fell sharply on Monday.")
    assert first @ same > 0.6
    assert first @ other < 0.2
