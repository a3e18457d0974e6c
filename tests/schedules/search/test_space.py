"""Spaces of knobs: membership, equality, and the moves of a search."""

from __future__ import annotations

from random import Random

import pytest

from autoglm_tvm.schedules.search.space import Config, Space

KNOBS = {"rows": (1, 2, 4, 8), "order": ("near", "far"), "threads": (True, False)}
DEFAULT: Config = {"rows": 2, "order": "near", "threads": True}


def _far_is_for_large(config: Config) -> bool:
    return config["order"] == "near" or int(config["rows"]) >= 4


SPACE = Space(KNOBS, DEFAULT, _far_is_for_large)


def test_size_counts_combinations_and_iteration_yields_the_valid_ones() -> None:
    assert SPACE.size == 16
    assert len(list(SPACE)) == 12
    assert all(_far_is_for_large(config) for config in SPACE)
    assert len({SPACE.key(config) for config in SPACE}) == 12


@pytest.mark.parametrize(
    "default",
    [
        {"rows": 3, "order": "near", "threads": True},
        {"rows": 1, "order": "far", "threads": True},
        {"rows": 1, "order": "near"},
        {"rows": 1, "order": "near", "threads": True, "unroll": 1},
    ],
)
def test_a_default_outside_the_space_is_refused(default: Config) -> None:
    with pytest.raises(ValueError, match="default"):
        Space(KNOBS, default, _far_is_for_large)


@pytest.mark.parametrize("values", [(), (1, 1), (1, True)])
def test_a_domain_without_distinct_values_is_refused(values: tuple[int, ...]) -> None:
    with pytest.raises(ValueError, match="rows"):
        Space({"rows": values}, {"rows": 1})


def test_equal_configurations_have_one_key_whatever_the_order_of_their_knobs() -> None:
    other = dict(reversed(DEFAULT.items()))
    assert list(other) != list(DEFAULT)
    assert SPACE.key(other) == SPACE.key(SPACE.default)
    assert SPACE.key({**DEFAULT, "rows": 4}) != SPACE.key(DEFAULT)


@pytest.mark.parametrize(
    ("config", "fitted"),
    [
        ({"rows": 4}, {"rows": 4, "order": "near", "threads": True}),
        ({}, DEFAULT),
        ({"rows": 3}, None),
        ({"rows": [1, 2]}, None),
        ({"order": "far"}, None),
        ({"trace": "[]"}, None),
    ],
)
def test_fit_fills_missing_knobs_and_refuses_strangers(
    config: Config, fitted: Config | None
) -> None:
    assert SPACE.fit(config) == fitted


def test_neighbours_differ_in_one_knob_and_are_valid() -> None:
    config: Config = {"rows": 4, "order": "far", "threads": True}
    assert SPACE.neighbours(config) == [
        {"rows": 8, "order": "far", "threads": True},
        {"rows": 4, "order": "near", "threads": True},
        {"rows": 4, "order": "far", "threads": False},
    ]


def test_random_configurations_are_valid_and_repeat_with_the_seed() -> None:
    first, second = Random(3), Random(3)
    drawn = [SPACE.random(first) for _ in range(200)]
    assert drawn == [SPACE.random(second) for _ in range(200)]
    assert {SPACE.key(config) for config in drawn} == {SPACE.key(config) for config in SPACE}


def test_random_finds_the_one_valid_configuration_of_a_large_space() -> None:
    default: Config = {"a": 77, "b": 3}
    space = Space({"a": range(200), "b": range(200)}, default, lambda config: config == default)
    assert space.random(Random(0)) == default
    assert space.mutate(default, Random(0)) == default


def test_mutation_changes_a_knob_or_two_and_prefers_adjacent_values() -> None:
    space = Space({"rows": range(100), "fixed": (1,)}, {"rows": 50, "fixed": 1})
    rng = Random(0)
    rows = [int(space.mutate(space.default, rng)["rows"]) for _ in range(200)]
    assert 50 not in rows
    assert 60 < sum(abs(row - 50) == 1 for row in rows) < 140


def test_mutation_reaches_what_is_valid_by_two_knobs_only() -> None:
    default: Config = {"algorithm": "direct", "chunk": 0, "rows": 1}
    knobs = {"algorithm": ("direct", "F2"), "chunk": (0, 4, 8), "rows": (1, 2)}
    space = Space(knobs, default, lambda one: (one["algorithm"] == "F2") == (one["chunk"] != 0))
    rng = Random(0)
    children = [space.mutate(default, rng) for _ in range(200)]
    assert {"F2", "direct"} == {one["algorithm"] for one in children}
    assert all(one in space and one != default for one in children)


def test_crossover_mixes_parents_and_falls_back_to_the_first() -> None:
    mother: Config = {"rows": 8, "order": "far", "threads": True}
    father: Config = {"rows": 1, "order": "near", "threads": False}
    rng = Random(0)
    children = [SPACE.crossover(mother, father, rng) for _ in range(100)]
    assert all(child in SPACE for child in children)
    assert {SPACE.key(child) for child in children} == {
        (8, "far", True), (8, "far", False), (8, "near", True), (8, "near", False),
        (1, "near", True), (1, "near", False),
    }  # fmt: skip


def test_features_are_numbers_and_one_hot() -> None:
    assert SPACE.features(DEFAULT) == {
        "rows": 2.0, "order=near": 1.0, "order=far": 0.0, "threads": 1.0,
    }  # fmt: skip
    more = Space(KNOBS, DEFAULT, None, lambda config: {"half": int(config["rows"]) / 2})
    assert more.features(DEFAULT) == {**SPACE.features(DEFAULT), "half": 1.0}


def test_distance_is_by_rank_for_numbers_and_all_or_nothing_for_names() -> None:
    far: Config = {"rows": 8, "order": "far", "threads": True}
    assert SPACE.distance(DEFAULT, DEFAULT) == 0
    assert SPACE.distance(DEFAULT, far) == pytest.approx(2 / 3 + 1)
