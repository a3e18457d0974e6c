"""One record: how fast one configuration of one kernel was on one device, and whether it was right.

A record is one line of JSON. Its `workload_hash` and `checksum` are verified when it is read, so
that a line which a broken disk or an editor changed is never taken for a measurement.
"""

from __future__ import annotations

import hashlib
import json
import math
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from functools import cached_property
from statistics import quantiles
from typing import Any

from autoglm_tvm.schedules.records.target_identity import TargetIdentity
from autoglm_tvm.targets.versions import PINNED_VERSIONS

FORMAT = 1
# Version of the schedule space: raise it when the same configuration comes to mean another kernel,
# or the workload's text another computation. Records of another version are kept but not applied.
SPACE_VERSION = 1
TVM_VERSION = PINNED_VERSIONS["apache-tvm"]
WRONG_RESULT = "wrong_result"
# Failures that say nothing about the configuration: a resumed tuning tries it again.
TRANSIENT_FAILURES = frozenset({"device_lost", "upload"})
_REQUIRED = """
format workload workload_hash target tvm space config timing default_seconds ratio checked failure
device created checksum
"""
_FIELDS = frozenset(_REQUIRED.split())


class UnknownFormatError(ValueError):
    """A line that another version of this program wrote: to be kept, not to be understood."""


@dataclass(frozen=True)
class Timing:
    """Samples of one kernel, in seconds per run.

    Attributes
    ----------
    p50
        Median.
    spread
        Distance between the quartiles as a share of the median.
    samples
        How many there were.
    """

    p50: float
    spread: float
    samples: int

    def __post_init__(self) -> None:
        numbers = _is_number(self.p50) and self.p50 > 0 and _is_number(self.spread)
        if not (numbers and self.spread >= 0 and type(self.samples) is int and self.samples > 0):
            raise ValueError(f"its timing is no measurement: {self}")

    @classmethod
    def of(cls, samples: Sequence[float]) -> Timing:
        """Summarise samples (seconds, at least one)."""
        times = [float(sample) for sample in samples]
        # `statistics` wants two samples at least.
        low, middle, high = quantiles(times * 2 if len(times) == 1 else times, method="inclusive")
        return cls(middle, (high - low) / middle, len(times))


@dataclass(frozen=True)
class RecordFailure:
    """Why a trial gave no usable kernel: the kind of `rpc/farm`'s failures, and what was said."""

    kind: str
    message: str

    def __post_init__(self) -> None:
        if not (isinstance(self.kind, str) and self.kind and isinstance(self.message, str)):
            raise ValueError("its failure has no kind or no message")


@dataclass(frozen=True)
class Record:
    """One configuration of one kernel, tried on one device.

    Attributes
    ----------
    workload
        What the kernel computes, independent of its schedule; readable and canonical.
    target
        What it was compiled for.
    config
        Flat named knobs (numbers, text, booleans, lists of integers), or `{"trace": ...}`. Kept as
        JSON keeps it: tuples become lists.
    device
        Where it was measured: SoC or CPU model.
    timing
        `None` where the trial failed before it was measured.
    default_seconds
        p50 of the untuned kernel, measured interleaved with this one; `None` where it was not.
    ratio
        This kernel's time as a share of the untuned one's in that comparison: below 1 is faster.
    checked
        Whether its results were compared with the untuned kernel's on the device, and were right.
    failure
        Why the trial failed.
    created
        ISO date, or empty. Bundles hold none: `dataclasses.replace(record, created="")`.
    tvm, space
        Version of TVM, and of our schedule space (`SPACE_VERSION`).
    """

    workload: str
    target: TargetIdentity
    config: dict[str, Any]
    device: str
    timing: Timing | None = None
    default_seconds: float | None = None
    ratio: float | None = None
    checked: bool = False
    failure: RecordFailure | None = None
    created: str = ""
    tvm: str = TVM_VERSION
    space: int = SPACE_VERSION

    def __post_init__(self) -> None:
        if not isinstance(self.config, dict) or not all(
            isinstance(key, str) for key in self.config
        ):
            raise ValueError("its config is no mapping of names to values")
        # A copy of its own, in which nothing differs from what a reader will see.
        object.__setattr__(self, "config", json.loads(config_text(self.config)))
        texts = (self.workload, self.device, self.created, self.tvm)
        if not all(isinstance(text, str) for text in texts) or not self.workload:
            raise ValueError("its workload, device, date or TVM version is no text")
        if type(self.space) is not int or type(self.checked) is not bool:
            raise ValueError("its space is no number, or checked is neither true nor false")
        for number in (self.default_seconds, self.ratio):
            if number is not None and not (_is_number(number) and number > 0):
                raise ValueError("its default_seconds or ratio is no positive number")
        if self.failure is None and self.timing is None:
            raise ValueError("it holds neither a timing nor a failure")
        if self.checked and self.failure is not None:
            raise ValueError("it was checked, and failed")

    @cached_property
    def workload_hash(self) -> str:
        """What records of this workload are found by."""
        return workload_hash(self.workload)

    @property
    def seconds(self) -> float | None:
        """Median of its samples; `None` where the trial failed before it was measured."""
        return self.timing.p50 if self.timing else None

    @cached_property
    def config_text(self) -> str:
        """The configuration as canonical text: equal configurations have equal texts."""
        return config_text(self.config)

    @property
    def is_applicable(self) -> bool:
        """Whether a build may use it: measured against the untuned kernel, and right."""
        return self.checked and self.failure is None and self.ratio is not None

    @property
    def is_of_this_version(self) -> bool:
        """Whether this TVM and this schedule space made it."""
        return (self.tvm, self.space) == (TVM_VERSION, SPACE_VERSION)

    @property
    def is_conclusive(self) -> bool:
        """Whether there is no need to try this configuration again."""
        return self.failure is None or self.failure.kind not in TRANSIENT_FAILURES

    def to_json(self) -> dict[str, Any]:
        """Plain values, in the order of the line."""
        values: dict[str, Any] = {
            "format": FORMAT,
            "workload": self.workload,
            "workload_hash": self.workload_hash,
            "target": self.target.to_json(),
            "tvm": self.tvm,
            "space": self.space,
            "config": self.config,
            "timing": asdict(self.timing) if self.timing else None,
            "default_seconds": self.default_seconds,
            "ratio": self.ratio,
            "checked": self.checked,
            "failure": asdict(self.failure) if self.failure else None,
            "device": self.device,
            "created": self.created,
        }
        return values | {"checksum": _checksum(values)}

    @cached_property
    def line(self) -> bytes:
        """The record as it is written, with the end of its line."""
        return json.dumps(self.to_json(), separators=(",", ":"), allow_nan=False).encode() + b"\n"


def parse_record(line: bytes) -> Record:
    """Read one line.

    Raises
    ------
    UnknownFormatError
        Another version of the program wrote it.
    ValueError
        It is no record, or was changed since it was written; the message says which.
    """
    try:
        values = json.loads(line)
    except (ValueError, RecursionError):
        raise ValueError("it is no whole line of JSON") from None
    if not isinstance(values, dict) or "format" not in values:
        raise ValueError("it is no record")
    if values["format"] != FORMAT:
        raise UnknownFormatError(f"it has format {values['format']!r}, this program reads {FORMAT}")
    if set(values) != _FIELDS:
        wrong = ", ".join(sorted(set(values).symmetric_difference(_FIELDS)))
        raise ValueError(f"it has missing or unknown fields: {wrong}")
    if values.pop("checksum") != _checksum(values):
        raise ValueError("its checksum is wrong: it was changed after it was written")
    record = _from_values(values)
    if values["workload_hash"] != record.workload_hash:
        raise ValueError("its workload_hash does not belong to its workload")
    return record


def workload_hash(workload: str) -> str:
    """First 16 hexadecimal digits of the SHA-256 of a workload's text."""
    return hashlib.sha256(workload.encode()).hexdigest()[:16]


def config_text(config: Mapping[str, Any]) -> str:
    """A configuration as canonical JSON; `ValueError` for what JSON cannot keep."""
    try:
        return json.dumps(config, sort_keys=True, separators=(",", ":"), allow_nan=False)
    except (TypeError, RecursionError) as error:
        raise ValueError(f"its config holds what JSON cannot keep: {error}") from None


def _from_values(values: dict[str, Any]) -> Record:
    timing, failure = values["timing"], values["failure"]
    try:
        return Record(
            workload=values["workload"],
            target=TargetIdentity.from_json(values["target"]),
            config=values["config"],
            device=values["device"],
            timing=None if timing is None else Timing(**timing),
            default_seconds=values["default_seconds"],
            ratio=values["ratio"],
            checked=values["checked"],
            failure=None if failure is None else RecordFailure(**failure),
            created=values["created"],
            tvm=values["tvm"],
            space=values["space"],
        )
    except TypeError:
        raise ValueError("its timing or failure has missing or unknown fields") from None


def _checksum(values: Mapping[str, Any]) -> str:
    text = json.dumps(values, sort_keys=True, separators=(",", ":"))
    return hashlib.sha256(text.encode()).hexdigest()[:16]


def _is_number(value: Any) -> bool:
    return isinstance(value, (int, float)) and type(value) is not bool and math.isfinite(value)
