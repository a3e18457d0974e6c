"""Instructions that each precision of a model executes on an emulated arm64 phone."""

from __future__ import annotations

import sys
import tempfile
from pathlib import Path
from typing import Any

from autoglm_tvm.targets.errors import AutoglmError
from benchmarks.aarch64.count_instructions import count
from benchmarks.aarch64.tools import Tools
from benchmarks.aarch64.trial import CPUS
from benchmarks.models.catalog import Case
from benchmarks.quantized.measure_precisions import compiled
from benchmarks.quantized.subjects import FLOAT, subject_of

Row = dict[str, Any]


def count_precisions(
    tools: Tools, case: Case, precisions: list[str], target: str
) -> dict[str, Row]:
    """Return for each precision ``instructions`` of one run, and ``ratio`` to float32's.

    A precision that cannot be compiled has ``error`` instead.
    """
    found: dict[str, Row] = {}
    with tempfile.TemporaryDirectory() as name:
        subject = subject_of(case, Path(name))
        for precision in precisions:
            print(f"{target}  {case.name}  {precision} ...", file=sys.stderr, flush=True)
            try:
                result = compiled(subject, precision, target, Path(name) / precision)
                bundle = result.bundle
                arguments = [*bundle.check_inputs(dict(subject.inputs)), *bundle.map_weights()]
                counted = count(
                    tools, tools.run_bundle, bundle.library_path, arguments, CPUS[target]
                )
            except AutoglmError as error:
                found[precision] = {"error": error.what}
                continue
            found[precision] = {"instructions": counted.instructions}
            if FLOAT in found and "instructions" in found[FLOAT]:
                whole = found[FLOAT]["instructions"]
                found[precision]["ratio"] = counted.instructions / whole
    return found
