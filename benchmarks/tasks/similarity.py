"""Telling how alike sentences are with all-MiniLM-L6-v2."""

from __future__ import annotations

from collections.abc import Sequence
from functools import partial
from pathlib import Path

import numpy as np

from benchmarks.tasks.task import Arrays, Task
from benchmarks.tasks.wordpiece import encode

_SENTENCES = Path(__file__).with_name("sentences.yaml")
# How alike two sentences are: of the same statement, of the same topic, of different topics.
_SAME_STATEMENT, _SAME_TOPIC, _OTHER = 2, 1, 0


def similarity(name: str, folder: Path, tokens: int = 64) -> Task:
    """Return the task of ranking pairs of sentences; its score is Spearman's correlation.

    Parameters
    ----------
    folder
        Where the model is written to.
    tokens
        Length that every sentence is padded to.

    Raises
    ------
    FileNotFoundError
        The package with the weights is not installed.
    """
    import onnx
    import yaml

    from benchmarks.models.minilm_weights import minilm, vocabulary

    model = folder / f"{name}.onnx"
    onnx.save(minilm(tokens), str(model))
    words = vocabulary()
    content = yaml.safe_load(_SENTENCES.read_text(encoding="utf-8"))
    places = [
        (topic, number, text)
        for topic, statements in content["tests"].items()
        for number, wordings in enumerate(statements)
        for text in wordings
    ]
    tests = [encode(text, words, tokens) for _, _, text in places]
    return Task(
        name,
        "Spearman's correlation",
        model,
        {key: (1, tokens) for key in tests[0]},
        [encode(text, words, tokens) for text in content["calibration"]],
        tests,
        partial(_score, [place[:2] for place in places], [t["attention_mask"] for t in tests]),
    )


def embedding(outputs: Arrays, mask: np.ndarray) -> np.ndarray:
    """Return the mean of the hidden states of a sentence's tokens, of length 1."""
    (hidden,) = outputs.values()
    mean = (hidden[0] * mask[0][:, None]).sum(0)
    return mean / np.linalg.norm(mean)


def _score(
    places: Sequence[tuple[str, int]], masks: Sequence[np.ndarray], outputs: Sequence[Arrays]
) -> float:
    from scipy.stats import rankdata

    vectors = np.stack([embedding(found, mask) for found, mask in zip(outputs, masks, strict=True)])
    cosines = vectors @ vectors.T
    pairs = [(a, b) for a in range(len(places)) for b in range(a)]
    grades = [_alike(places[a], places[b]) for a, b in pairs]
    # Pairs of different topics are by far the most: as many of them count as of one topic.
    others = [i for i, grade in enumerate(grades) if grade == _OTHER]
    chosen = [i for i, grade in enumerate(grades) if grade != _OTHER]
    chosen += others[:: len(others) // len(chosen)]
    found = [cosines[pairs[i]] for i in chosen]
    # Spearman's correlation is Pearson's of the ranks; equal ones share theirs.
    ranks = rankdata(found), rankdata([grades[i] for i in chosen])
    return float(np.corrcoef(*ranks)[0, 1])


def _alike(one: tuple[str, int], other: tuple[str, int]) -> int:
    if one == other:
        return _SAME_STATEMENT
    return _SAME_TOPIC if one[0] == other[0] else _OTHER
