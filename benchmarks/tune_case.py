"""Tune a case for this machine, as `autoglm-tvm tune --local` does."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from autoglm_tvm.compiler.tuning.display import TuningDisplay
from autoglm_tvm.compiler.tuning.tune import TuneLimits, tune
from autoglm_tvm.rpc.farm import DevicePool, local_device
from benchmarks.models.catalog import Case, model_file
from benchmarks.record import cpu_name

Row = dict[str, Any]


def tune_case(case: Case, threads: int, trials: int, records: Path) -> Row | None:
    """Tune and return the report as JSON values; None where no trial is wanted.

    Trials that the folder of records holds already count.
    """
    if trials <= 0:
        return None
    with (
        local_device() as local,
        DevicePool(local.tracker, local.key) as pool,
        TuningDisplay() as display,
    ):
        report = tune(
            model_file(case),
            "host",
            pool,
            records,
            device=cpu_name(),
            shapes=case.shapes or None,
            threads=threads,
            limits=TuneLimits(trials),
            resume=True,
            progress=display.update,
        )
    return report.to_json()
