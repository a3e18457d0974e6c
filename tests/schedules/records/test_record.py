"""One record and its line."""

from __future__ import annotations

import json
import random
from dataclasses import replace
from typing import Any

import pytest

from autoglm_tvm.schedules.records import (
    Record,
    RecordFailure,
    Timing,
    config_text,
    workload_hash,
)
from autoglm_tvm.schedules.records.record import UnknownFormatError, parse_record
from tests.schedules.records.samples import CONV, PHONE, failed, random_record, trial


def _resealed(record: Record, **changes: Any) -> bytes:
    """The record's line with changed fields, and the checksum that belongs to them."""
    from autoglm_tvm.schedules.records import record as module

    values = record.to_json() | changes
    values.pop("checksum")
    return json.dumps(values | {"checksum": module._checksum(values)}).encode()


def test_a_line_says_what_was_measured() -> None:
    line = trial(7).line
    assert line.count(b"\n") == 1
    assert line.endswith(b"\n")
    values = json.loads(line)
    assert values["format"] == 1
    assert values["workload"] == CONV
    assert values["workload_hash"] == workload_hash(CONV)
    assert values["target"]["cpu"] == "cortex-a76"
    assert values["config"] == {"tile": 7}
    assert values["ratio"] == 0.8
    assert values["tvm"] == "0.27.0.post1"
    assert values["failure"] is None


def test_the_workload_hash_is_what_others_can_compute() -> None:
    # echo -n matmul | sha256sum | head -c 16
    expected = "f14bdf6076533540"
    assert workload_hash("matmul") == expected


def test_every_record_comes_back_as_it_was() -> None:
    numbers = random.Random(0)
    for _ in range(300):
        record = random_record(numbers)
        again = parse_record(record.line)
        assert again == record
        assert again.line == record.line
        assert again.config_text == record.config_text


def test_a_changed_byte_is_never_another_measurement() -> None:
    record = trial(7, failure=None)
    line = record.line[:-1]
    for place in range(len(line)):
        for bit in (1, 2, 16):
            changed = bytearray(line)
            changed[place] ^= bit
            try:
                read = parse_record(bytes(changed))
            except ValueError:
                continue
            assert read == record


@pytest.mark.parametrize(
    ("line", "says"),
    [
        (b"", "no whole line"),
        (b"\xff\xfe", "no whole line"),
        (b"[" * 100_000, "no whole line"),
        (b"\0" * 100, "no whole line"),
        (b"7", "no record"),
        (b"{}", "no record"),
        (trial(1).line[:-1] + trial(2).line, "no whole line"),
        (_resealed(trial(1), workload="matmul"), "workload_hash does not belong"),
        (_resealed(trial(1), more=1), "unknown fields: more"),
        (_resealed(trial(1), target={}), "target has missing"),
        (_resealed(trial(1), target=PHONE.to_json() | {"cpu": "../../etc"}), "of a wrong kind"),
        (_resealed(trial(1), target=PHONE.to_json() | {"threads": "4"}), "of a wrong kind"),
        (_resealed(trial(1), timing={"p50": 1}), "timing or failure"),
        (_resealed(trial(1), timing={"p50": 0, "spread": 0, "samples": 1}), "no measurement"),
        (_resealed(trial(1), timing=None), "neither a timing nor a failure"),
        (_resealed(trial(1), ratio=-1), "no positive number"),
        (_resealed(trial(1), ratio=float("nan")), "no positive number"),
        (_resealed(trial(1), config=[1]), "no mapping"),
        (_resealed(trial(1), checked=1), "neither true nor false"),
        (_resealed(failed(1), checked=True), "checked, and failed"),
        (_resealed(failed(1), failure={"kind": "", "message": ""}), "no kind"),
        (trial(1).line.replace(b'"ratio":0.8', b'"ratio":0.1'), "checksum is wrong"),
    ],
)
def test_what_is_no_record_is_refused(line: bytes, says: str) -> None:
    with pytest.raises(ValueError, match=says) as caught:
        parse_record(line)
    assert not isinstance(caught.value, UnknownFormatError)


def test_another_format_is_told_apart() -> None:
    with pytest.raises(UnknownFormatError, match=r"format 2, this program reads 1"):
        parse_record(b'{"format": 2, "anything": "else"}')


def test_equal_configurations_have_equal_texts() -> None:
    assert config_text({"b": [1, 2], "a": True}) == config_text({"a": True, "b": (1, 2)})
    assert config_text({"a": 1}) != config_text({"a": "1"})
    assert trial({"tile": (4, 8)}) == trial({"tile": [4, 8]})


def test_a_record_does_not_change_with_the_mapping_it_was_made_of() -> None:
    knobs = {"tile": [4, 8]}
    record = trial(knobs)
    knobs["tile"].append(2)
    assert record.config == {"tile": [4, 8]}


@pytest.mark.parametrize("config", [{"a": object()}, {"a": float("inf")}, {"a": {1, 2}}, {1: 2}])
def test_a_configuration_that_json_cannot_keep_is_refused(config: Any) -> None:
    with pytest.raises(ValueError, match=r"config|JSON"):
        trial(config)


def test_what_may_be_applied() -> None:
    assert trial(1).is_applicable
    assert not replace(trial(1), ratio=None).is_applicable
    assert not replace(trial(1), checked=False).is_applicable
    assert not failed(1).is_applicable
    assert failed(1, "time_out").is_conclusive
    assert not failed(1, "device_lost").is_conclusive
    assert trial(1).is_of_this_version
    assert not trial(1, tvm="0.26.0").is_of_this_version
    assert not trial(1, space=0).is_of_this_version


def test_a_timing_of_samples() -> None:
    assert Timing.of([5, 1, 2, 4, 3]) == Timing(3, (4 - 2) / 3, 5)
    assert Timing.of([2.0]) == Timing(2.0, 0.0, 1)
    assert Timing.of([1, 2]) == Timing(1.5, 0.5 / 1.5, 2)
    with pytest.raises(ValueError, match="no measurement"):
        Timing(float("nan"), 0, 1)
    with pytest.raises(ValueError, match="no kind"):
        RecordFailure("", "message")
