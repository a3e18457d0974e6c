"""Apply tuning records while a model is compiled: choices by workload, and what they cover."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from pathlib import Path
from typing import Any

from autoglm_tvm.artifacts.manifest import KernelEntry
from autoglm_tvm.schedules.choices import Choices
from autoglm_tvm.schedules.records import (
    Coverage,
    RecordSet,
    TargetIdentity,
    load_records,
    shipped_records,
    target_identity,
    workload_hash,
)
from autoglm_tvm.targets import Target

# In place of a folder: only the records that come with this package.
SHIPPED = "shipped"


class RecordedConfigs(Mapping[str, Mapping[str, Any]]):
    """The fastest right configuration of each workload that has one, by the workload's name.

    Parameters
    ----------
    records
        All records.
    identity
        Of the target: records of other targets are not applied.
    """

    def __init__(self, records: RecordSet, identity: TargetIdentity) -> None:
        self.records = records
        self.identity = identity

    def __getitem__(self, workload: str) -> Mapping[str, Any]:
        best = self.records.best(workload_hash(workload), self.identity)
        if best is None:
            raise KeyError(workload)
        return best.config

    def __iter__(self) -> Iterator[str]:
        return iter(sorted({record.workload for record in self.records}))

    def __len__(self) -> int:
        return len(list(iter(self)))


def recorded_choices(records: str | Path, target: Target) -> Choices:
    """The choices of a record folder or file and of the shipped records.

    Raises
    ------
    UserInputError
        There is no such folder or file.
    """
    found = shipped_records() if str(records) == SHIPPED else load_records(Path(records))
    return Choices(RecordedConfigs(found, target_identity(target)))


def coverage(choices: Choices, kernels: Iterable[KernelEntry]) -> Coverage:
    """Which kernels of a network have records; `choices` are those of `recorded_choices`."""
    configs = choices.configs
    assert isinstance(configs, RecordedConfigs)
    names = dict.fromkeys(entry.workload for entry in kernels)
    return configs.records.coverage([workload_hash(name) for name in names], configs.identity)
