"""Reports on the sample states."""

from __future__ import annotations

from pathlib import Path

from autoglm_tvm.compiler.tuning.report import EndToEnd, TuningReport
from tests.compiler.tuning.sample_states import SAMPLES


def make_report(name: str = "usual", **changes: object) -> TuningReport:
    """A report on a sample state, with a measured gain and two examples of failures."""
    contents: dict[str, object] = {
        "state": SAMPLES[name](),
        "stopped": "1000 trials are done",
        "records": Path("records/mobilenet_v2"),
        "kept": 6,
        "examples": {
            "crash": "the kernel's process died of SIGILL\nat 0x7f <main>",
            "wrong_result": "output 0 differs by 3.1e-01 of its largest magnitude",
        },
        "end_to_end": EndToEnd(
            default_seconds=0.01234,
            tuned_seconds=0.01001,
            ratio=0.8123,
            quartiles=(0.8061, 0.8190),
            threads=2,
            device="pixel8 10.0.0.7:5555",
            how="15 turns of each, 3 s a side",
        ),
    }
    return TuningReport(**(contents | changes))  # pyright: ignore[reportArgumentType]
