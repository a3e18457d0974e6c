"""Sentences to token ids, as BERT's uncased vocabulary wants them (Wu et al., 2016)."""

from __future__ import annotations

import re
import unicodedata
from collections.abc import Mapping

import numpy as np

_LONGEST_WORD = 100


def encode(text: str, vocabulary: Mapping[str, int], length: int) -> dict[str, np.ndarray]:
    """Return ``input_ids``, ``attention_mask`` and ``token_type_ids``, int64 ``(1, length)``.

    Accents are dropped, letters are made small, what is longer is cut off.
    """
    plain = unicodedata.normalize("NFD", text.lower())
    plain = "".join(letter for letter in plain if unicodedata.category(letter) != "Mn")
    pieces = [
        piece for word in re.findall(r"\w+|[^\w\s]", plain) for piece in _split(word, vocabulary)
    ]
    ids = [vocabulary["[CLS]"], *(vocabulary[piece] for piece in pieces)][: length - 1]
    ids.append(vocabulary["[SEP]"])
    padding = length - len(ids)
    return {
        "input_ids": np.array([ids + [vocabulary["[PAD]"]] * padding], np.int64),
        "attention_mask": np.array([[1] * len(ids) + [0] * padding], np.int64),
        "token_type_ids": np.zeros((1, length), np.int64),
    }


def _split(word: str, vocabulary: Mapping[str, int]) -> list[str]:
    """Return the longest pieces from the left; ``[UNK]`` where there are none."""
    pieces: list[str] = []
    start = 0
    while start < len(word) <= _LONGEST_WORD:
        prefix = "##" if start else ""
        ends = range(len(word), start, -1)
        end = next((end for end in ends if prefix + word[start:end] in vocabulary), None)
        if end is None:
            return ["[UNK]"]
        pieces.append(prefix + word[start:end])
        start = end
    return pieces or ["[UNK]"]
