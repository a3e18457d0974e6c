"""Records to test with: made up, but of the kinds that a tuning writes."""

from __future__ import annotations

import random
from dataclasses import replace
from pathlib import Path
from typing import Any

from autoglm_tvm.schedules.records import Record, RecordFailure, TargetIdentity, Timing

PHONE = TargetIdentity("aarch64", "cortex-a76", ("-rcpc",), 16, 32, "dotprod", 4)
OTHER_PHONE = replace(PHONE, cpu="cortex-x1", features=())
OLD_PHONE = replace(PHONE, cpu="generic", features=(), dot_product="neon")
PC = TargetIdentity("x86_64", "znver5", (), 64, 32, "vnni", 2)
CONV = "conv2d float32 1x56x56x64 * 64x3x3x64 s1 p1 d1 g1 + add + relu"
DENSE = "matmul float32 128x384 * 384x1536 + add"


def trial(config: int | dict[str, Any], ratio: float | None = 0.8, **fields: Any) -> Record:
    """A checked record; with `ratio=None` a trial that was measured only."""
    values: dict[str, Any] = {
        "workload": CONV,
        "target": PHONE,
        "config": {"tile": config} if isinstance(config, int) else config,
        "device": "Snapdragon 855",
        "timing": Timing(1e-3 * (ratio or 0.9), 0.02, 20),
        "default_seconds": None if ratio is None else 1e-3,
        "ratio": ratio,
        "checked": ratio is not None,
        "created": "2026-11-20T15:00:00Z",
    }
    return Record(**(values | fields))


def failed(config: int, kind: str = "crash", **fields: Any) -> Record:
    """A trial that failed."""
    failure = RecordFailure(kind, f"{kind} of {config}")
    values: dict[str, Any] = {"ratio": None, "timing": None, "checked": False} | fields
    return trial(config, failure=failure, **values)


def configs(records: Any) -> list[Any]:
    """The `tile` of each record, sorted."""
    return sorted(record.config["tile"] for record in records)


def random_record(numbers: random.Random) -> Record:
    """Any record that can be."""
    kind = numbers.choice(["checked", "measured", "failed"])
    timing = Timing(numbers.uniform(1e-7, 10), numbers.random(), numbers.randrange(1, 1000))
    return Record(
        workload=_text(numbers) or "w",
        target=numbers.choice([PHONE, OTHER_PHONE, OLD_PHONE, PC]),
        config={"trace": _value(numbers, 3)} if numbers.random() < 0.5 else _knobs(numbers),
        device=_text(numbers),
        timing=None if kind == "failed" else timing,
        default_seconds=numbers.choice([None, numbers.uniform(1e-7, 10)]),
        ratio=numbers.choice([None, numbers.uniform(0.01, 5)]),
        checked=kind == "checked",
        failure=RecordFailure("crash", _text(numbers)) if kind == "failed" else None,
        created=numbers.choice(["", "2026-11-20", "2026-11-21T03:00:00Z"]),
        tvm=numbers.choice(["0.27.0.post1", "0.26.0"]),
        space=numbers.randrange(3),
    )


def write_lines(path: Path, *records: Record) -> Path:
    """A record file as a tuning would have left it."""
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(b"".join(record.line for record in records))
    return path


def _knobs(numbers: random.Random) -> dict[str, Any]:
    return {
        f"knob{index}": numbers.choice([7, -1, True, "NHWC", [1, 2], [], 2**70, "\u00e9\n"])
        for index in range(numbers.randrange(6))
    }


def _value(numbers: random.Random, depth: int) -> Any:
    if depth == 0 or numbers.random() < 0.3:
        return numbers.choice([None, True, 0, -5, 1.5e-300, "text", _text(numbers)])
    if numbers.random() < 0.5:
        return [_value(numbers, depth - 1) for _ in range(numbers.randrange(4))]
    return {_text(numbers): _value(numbers, depth - 1) for _ in range(numbers.randrange(4))}


def _text(numbers: random.Random) -> str:
    letters = 'ab "\\/\n\r\t\0\u2028\u00e9\U0001f600{}[]:,'
    return "".join(numbers.choices(letters, k=numbers.randrange(12)))
