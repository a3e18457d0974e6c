"""Tuning records: one line for each configuration of a kernel that was tried on a device.

`RecordStore` is what a tuning writes to, `load_records` what a build reads from. Imports no TVM.
"""

from __future__ import annotations

from autoglm_tvm.schedules.records.export import ExportResult, export_records
from autoglm_tvm.schedules.records.folder_lock import RecordFolderError
from autoglm_tvm.schedules.records.merge import MergeResult, merge_records
from autoglm_tvm.schedules.records.prune import PruneResult, prune_records
from autoglm_tvm.schedules.records.read import load_records, read_records, shipped_records
from autoglm_tvm.schedules.records.record import (
    SPACE_VERSION,
    WRONG_RESULT,
    Record,
    RecordFailure,
    Timing,
    config_text,
    workload_hash,
)
from autoglm_tvm.schedules.records.record_set import Coverage, RecordSet
from autoglm_tvm.schedules.records.store import RecordStore
from autoglm_tvm.schedules.records.summary import RecordsSummary, summarise_records
from autoglm_tvm.schedules.records.target_identity import TargetIdentity, target_identity

__all__ = [
    "SPACE_VERSION",
    "WRONG_RESULT",
    "Coverage",
    "ExportResult",
    "MergeResult",
    "PruneResult",
    "Record",
    "RecordFailure",
    "RecordFolderError",
    "RecordSet",
    "RecordStore",
    "RecordsSummary",
    "TargetIdentity",
    "Timing",
    "config_text",
    "export_records",
    "load_records",
    "merge_records",
    "prune_records",
    "read_records",
    "shipped_records",
    "summarise_records",
    "target_identity",
    "workload_hash",
]
