"""Measure one model on one number of threads, in a process of its own: its thread pools are new.

    python benchmarks/measure.py REQUEST.json ANSWER.json

Called by `latency.py`.
"""

from __future__ import annotations

import sys
import tempfile
from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict
from math import isfinite
from pathlib import Path
from typing import TYPE_CHECKING, Any

sys.path.insert(0, str(Path(__file__).resolve().parent.parent))

from autoglm_tvm.compiler.compare import compare
from autoglm_tvm.compiler.read import ReadModel, read
from benchmarks.bundles import cached_bundle, compile_case
from benchmarks.inputs import inputs_of
from benchmarks.interleave import QUICK, THOROUGH, compare_latency, interleave
from benchmarks.models.catalog import Case, model_file
from benchmarks.multiply_adds import total_multiply_adds
from benchmarks.other_load import watch_other_load
from benchmarks.ours import OurSide
from benchmarks.own_process import answer
from benchmarks.peers.installed import PEERS, YARDSTICK
from benchmarks.peers.onnx_runtime import profile_onnxruntime
from benchmarks.peers.peer import Peer, Task

if TYPE_CHECKING:
    import numpy as np

#: Share of an output's largest magnitude that our result may be off by.
TOLERANCE = 1e-3
#: The same for a peer's: only one that computes something else is left out.
PEER_TOLERANCE = 1e-2

Row = dict[str, Any]


def main() -> int:
    """Answer a request: model, threads, quick, peers, profile, bundles (a folder), reuse."""
    return answer(measure)


def measure(case: Case, wanted: dict[str, Any]) -> Row:
    """Compile, check and time one model; return a row of the report."""
    model, task = task_of(case, wanted["threads"])
    yardstick = PEERS[YARDSTICK].load(task)
    expected = yardstick.outputs()
    with tempfile.TemporaryDirectory() as folder:
        directory, stages = _bundle(case, wanted, folder)
        ours = OurSide(directory, task.inputs, task.threads)
        error = worst_error(ours.outputs(), expected)
        kernels = ours.bundle.manifest.kernels
        row: Row = {
            "relative_error": error if isfinite(error) else None,
            "right": error <= TOLERANCE,
            "compile_seconds": sum(stages.values()) if stages else None,
            "stage_seconds": stages,
            "kernels": len({kernel.function for kernel in kernels}),
            "kernel_calls": len(kernels),
            "multiply_adds": total_multiply_adds(model),
        }
        peers, row["peers_failed"] = load_peers(wanted["peers"], task, expected)
        others = {YARDSTICK: yardstick, **peers}
        sides = {"ours": ours.run, **{name: peer.run for name, peer in others.items()}}
        row |= latencies(sides, "ours", wanted["quick"])
        if wanted["profile"]:
            kernel_times = ours.profile(model, 1.0 if wanted["quick"] else 3.0)
            row["profile"] = {
                "ours": [asdict(kernel) for kernel in kernel_times],
                YARDSTICK: profile_onnxruntime(task),
            }
    return row


def task_of(case: Case, threads: int) -> tuple[ReadModel, Task]:
    """The model of a case as we read it, and what every side is to do with it."""
    path = model_file(case)
    model = read(path, case.shapes or None)
    outputs = tuple(spec.name for spec in model.outputs)
    return model, Task(path, inputs_of(case, model), outputs, threads)


def worst_error(found: Sequence[np.ndarray], expected: Sequence[np.ndarray]) -> float:
    """Return the largest relative error of any output; infinite where a shape differs."""
    pairs = zip(found, expected, strict=True)
    return max(compare("", mine, theirs).relative for mine, theirs in pairs)


def load_peers(
    names: Sequence[str], task: Task, expected: Sequence[np.ndarray]
) -> tuple[dict[str, Peer], dict[str, str]]:
    """Return the peers that run the model rightly, and for the others why not."""
    import numpy as np

    peers: dict[str, Peer] = {}
    failed: dict[str, str] = {}
    for name in names:
        # Any error of another runtime is a remark in the table, not the end of the benchmark.
        try:
            peer = PEERS[name].load(task)
            found = [np.asarray(a, e.dtype) for a, e in zip(peer.outputs(), expected, strict=True)]
            error = worst_error(
                [a.reshape(e.shape) for a, e in zip(found, expected, strict=True)], expected
            )
        except Exception as problem:
            failed[name] = (str(problem).strip() or type(problem).__name__).splitlines()[0]
            continue
        if error <= PEER_TOLERANCE:
            peers[name] = peer
        else:
            failed[name] = f"its result is wrong (by {error:.1e})"
    return peers, failed


def _bundle(case: Case, wanted: dict[str, Any], folder: str) -> tuple[Path, dict[str, float]]:
    """Return a bundle, and how long each stage took if it was compiled."""
    threads = wanted["threads"]
    if wanted["reuse"]:
        return cached_bundle(case, threads), {}
    directory = Path(wanted["bundles"] or folder) / f"{case.name}-{threads}"
    return directory, compile_case(case, threads, directory).seconds


def latencies(sides: Mapping[str, Callable[[], object]], subject: str, quick: bool) -> Row:
    """Time all sides in turns; ``ratio`` holds the subject's time over that of each other side."""
    with watch_other_load() as others:
        found = interleave(sides, QUICK if quick else THOROUGH)
    return {
        "milliseconds": {name: latency.seconds * 1e3 for name, latency in found.items()},
        "shortest_milliseconds": {name: item.shortest * 1e3 for name, item in found.items()},
        "ratio": {
            name: asdict(compare_latency(found[subject], latency))
            for name, latency in found.items()
            if name != subject
        },
        "other_cores": others.cores,
    }


if __name__ == "__main__":
    sys.exit(main())
