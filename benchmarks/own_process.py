"""Measure in a process of its own, whose thread pools are new: both sides of the question.

    python benchmarks/measure.py REQUEST.json ANSWER.json

A request names at least ``model`` and ``threads``; the answer is a row of a report.
"""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import tempfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

from autoglm_tvm.targets.errors import AutoglmError
from benchmarks.models.catalog import Case, choose

#: Seconds for one model on one number of threads, from the compiler to the last run.
TIME_LIMIT = 900
Row = dict[str, Any]


def ask(script: Path, request: dict[str, Any], time_limit: int = TIME_LIMIT) -> Row:
    """Return the answer of a script; a row with ``error``, and ``died`` if a signal ended it.

    It has `time_limit` seconds.
    """
    with tempfile.TemporaryDirectory() as folder:
        question, answer = Path(folder) / "request.json", Path(folder) / "answer.json"
        question.write_text(json.dumps(request), encoding="utf-8")
        command = [sys.executable, str(script), str(question), str(answer)]
        try:
            done = subprocess.run(command, capture_output=True, text=True, timeout=time_limit)
        except subprocess.TimeoutExpired:
            return {"error": f"no answer within {time_limit} s"}
        if answer.exists():
            return json.loads(answer.read_text("utf-8"))
    if done.returncode < 0:
        return {"error": f"died of {signal.Signals(-done.returncode).name}", "died": True}
    # Not an error of ours with a message, but a defect: whoever mends it wants the traceback.
    print(done.stderr, file=sys.stderr)
    return {"error": (done.stderr.strip() or f"exit code {done.returncode}").splitlines()[-1]}


def answer(measure: Callable[[Case, dict[str, Any]], Row]) -> int:
    """Be the script that is asked: read the request, measure, write the answer."""
    request, written = Path(sys.argv[1]), Path(sys.argv[2])
    wanted = json.loads(request.read_text("utf-8"))
    # Read once, when TVM makes its pool. Threads that TVM binds to cores would take those of the
    # process along, and none of the other runtimes binds any here.
    os.environ["TVM_NUM_THREADS"] = str(wanted["threads"])
    os.environ.setdefault("TVM_BIND_THREADS", "0")
    (case,) = choose([wanted["model"]])
    try:
        row = measure(case, wanted)
    except AutoglmError as error:
        row = {"error": str(error)}
    written.write_text(json.dumps(row), encoding="utf-8")
    return 0
