"""What records say: best, tried, seeds and coverage."""

from __future__ import annotations

import itertools
from dataclasses import replace

import pytest

from autoglm_tvm.schedules.records import Record, RecordSet, Timing, workload_hash
from autoglm_tvm.schedules.records.evidence import evidence
from tests.schedules.records.samples import (
    CONV,
    DENSE,
    OLD_PHONE,
    OTHER_PHONE,
    PC,
    PHONE,
    configs,
    failed,
    trial,
)

HASH = workload_hash(CONV)


def _best(*records: Record) -> int | None:
    found = RecordSet(records).best(HASH, PHONE)
    return found and found.config["tile"]


def test_the_fastest_ratio_wins() -> None:
    assert _best(trial(1, 0.9), trial(2, 0.5), trial(3, 0.7)) == 2
    # The ratio, which was measured interleaved, and not seconds, which were not.
    assert _best(trial(1, 0.9, timing=Timing(1e-9, 0, 9)), trial(2, 0.5)) == 2


@pytest.mark.parametrize(
    "useless",
    [
        trial(9, 0.1, checked=False),
        trial(9, None),
        failed(9),
        failed(9, "wrong_result", ratio=0.1),
        trial(9, 0.1, tvm="0.26.0"),
        trial(9, 0.1, space=0),
        trial(9, 0.1, target=OTHER_PHONE),
        trial(9, 0.1, target=PC),
        trial(9, 0.1, workload=DENSE),
    ],
)
def test_what_is_not_applied(useless: Record) -> None:
    assert _best(useless) is None
    assert _best(useless, trial(1, 0.9), useless) == 1


def test_nothing_slower_than_the_default_is_applied() -> None:
    assert _best(trial(1, 1.0), trial(2, 1.2)) is None


def test_a_configuration_counts_with_its_worst_device() -> None:
    good_here, bad_there = trial(1, 0.5), trial(1, 1.3, device="Kirin 980")
    assert _best(good_here, bad_there) is None
    assert _best(good_here, bad_there, trial(2, 0.9)) == 2
    assert _best(good_here, trial(1, 0.7, device="Kirin 980"), trial(2, 0.6)) == 2


def test_a_configuration_that_was_once_wrong_is_never_applied() -> None:
    wrong = failed(1, "wrong_result", device="Kirin 980")
    for order in itertools.permutations([wrong, trial(1, 0.5), trial(2, 0.9)]):
        assert _best(*order) == 2
    # On the same device as well: the wrong run is the better evidence, in any order.
    here = failed(1, "wrong_result")
    assert _best(here, trial(1, 0.5)) is None
    assert _best(trial(1, 0.5), here) is None


BETTER = [
    (failed(1, "wrong_result"), trial(1)),
    (trial(1, None), failed(1, "crash")),
    (trial(1), trial(1, checked=False)),
    (trial(1, checked=False), trial(1, None)),
    (trial(1, 0.9, timing=Timing(1e-3, 0, 50)), trial(1, 0.5, timing=Timing(1e-3, 0, 5))),
    (trial(1, 0.9, created="2026-11-21"), trial(1, 0.5, created="2026-11-20")),
]


@pytest.mark.parametrize(("better", "worse"), BETTER)
def test_of_two_records_of_one_trial_the_better_evidence_counts(
    better: Record, worse: Record
) -> None:
    assert evidence(better) > evidence(worse)
    assert list(RecordSet([worse, better])) == [better]
    assert list(RecordSet([better, worse])) == [better]
    assert not RecordSet([better]).would_learn(worse)
    assert not RecordSet([better]).would_learn(better)
    assert RecordSet([worse]).would_learn(better)


def test_tried_is_what_need_not_be_tried_again() -> None:
    records = RecordSet(
        [
            trial(1),
            failed(2, "crash"),
            failed(3, "device_lost"),
            failed(4, "upload"),
            trial(5, tvm="0.26.0"),
            trial(6, target=OTHER_PHONE),
            trial(7, workload=DENSE),
            trial(8, None, device="Kirin 980"),
        ]
    )
    tried = records.tried(HASH, PHONE)
    assert configs(tried.values()) == [1, 2, 8]
    assert all(text == record.config_text for text, record in tried.items())
    assert configs(records.tried(HASH, PHONE, "Kirin 980").values()) == [8]
    assert records.tried("no such workload", PHONE) == {}


def test_seeds_come_from_near_targets_and_other_versions_of_tvm() -> None:
    records = RecordSet(
        [
            trial(1, 0.5, target=OTHER_PHONE),
            trial(2, 0.9, tvm="0.26.0"),
            trial(3, None, target=OTHER_PHONE),
            trial(4, 0.4, target=OTHER_PHONE),
            trial(4, 0.6, target=replace(PHONE, threads=8)),
            trial(5, 0.1, target=OLD_PHONE),
            trial(6, 0.1, target=PC),
            trial(7, 0.1, space=0),
            trial(8, 0.1, target=OTHER_PHONE, workload=DENSE),
            failed(9, target=OTHER_PHONE),
            trial(10, 0.1, target=OTHER_PHONE),
            trial(10, 0.9),
        ]
    )
    # This very target first; then near ones by ratio, and those that were not compared.
    assert [seed.config["tile"] for seed in records.seeds(HASH, PHONE)] == [2, 4, 1, 3]
    assert [seed.config["tile"] for seed in records.seeds(HASH, PHONE, limit=2)] == [2, 4]
    assert records.best(HASH, PHONE) == trial(10, 0.9)


def test_coverage_of_a_network() -> None:
    records = RecordSet([trial(1), trial(2, 1.1, workload=DENSE), trial(3, tvm="0.26.0")])
    names = [HASH, workload_hash(DENSE), workload_hash("softmax"), HASH]
    found = records.coverage(names, PHONE)
    assert found.best == {HASH: trial(1)}
    assert found.default_is_best == (workload_hash(DENSE),)
    assert found.missing == (workload_hash("softmax"),)
    assert found.summary() == (
        "2 of 3 kernels have records; for 1 of them the default schedule is the fastest"
    )
    assert len(found.notes) == 1
    assert "1 records of TVM 0.26.0" in found.notes[0]
    assert found.to_json()["best"][HASH]["ratio"] == 0.8
    assert RecordSet().coverage(names, PHONE).summary() == "0 of 3 kernels have records"


def test_of_equals_the_users_own_wins() -> None:
    for shipped_first in (True, False):
        records = RecordSet()
        steps = [(trial(1, 0.5, device="lab"), True), (trial(2, 0.5), False)]
        for record, shipped in steps if shipped_first else reversed(steps):
            records.add(record, shipped=shipped)
        best = records.best(HASH, PHONE)
        assert best == trial(2, 0.5)
    records.add(trial(3, 0.4), shipped=True)
    assert records.best(HASH, PHONE) == trial(3, 0.4)
