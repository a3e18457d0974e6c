"""States of a tuning for the tests of what a person sees: usual ones, and those at the edges."""

from __future__ import annotations

from collections import Counter

from autoglm_tvm.compiler.tuning.state import DeviceState, TaskState, TuningState


def make_task(
    number: int,
    default_us: float | None = 100.0,
    ratio: float = 0.8,
    trials: int = 32,
    failures: dict[str, int] | None = None,
    kernel: str = "",
    done: str = "",
) -> TaskState:
    """A task whose best falls in three steps, to the ratio."""
    kernel = kernel or f"fused_conv2d_add_clip{number}"
    seconds = None if default_us is None else default_us * 1e-6
    steps = [(1, 1.3), (max(2, trials // 4), 0.5 + ratio / 2), (max(3, trials // 2), ratio)]
    return TaskState(
        workload=f"conv2d of {kernel}(float32[1,{number},7,7])",
        kernel=kernel,
        calls=1 + number % 3,
        default_seconds=seconds,
        best_seconds=None if seconds is None else seconds * ratio,
        best_ratio=ratio,
        trials=trials,
        failures=Counter(failures or {}),
        history=[] if seconds is None or not trials else [(n, seconds * r) for n, r in steps],
        done=done,
    )


def make_state(tasks: list[TaskState], **changes: object) -> TuningState:
    """A session of ten minutes on one device."""
    state = TuningState(
        model="mobilenet_v2",
        target="android-arm64-v8.2",
        tasks=tasks,
        devices=[DeviceState("pixel8 10.0.0.7:5555", "busy", 41.2, 200)],
        max_trials=1000,
        time_limit_s=7200.0,
        elapsed_s=600.0,
        searching_s=60.0,
        building_s=150.0,
        measuring_s=330.0,
    )
    for name, value in changes.items():
        assert hasattr(state, name)
        setattr(state, name, value)
    return state


def usual() -> TuningState:
    """Ten tasks, some faster, some kept, one done."""
    tasks = [make_task(n, 900.0 / (n + 1), 1.0 if n % 4 == 3 else 0.6 + 0.05 * n) for n in range(8)]
    tasks[0].failures = Counter({"wrong_result": 2, "crash": 5, "time_out": 1})
    tasks[2].done = "no further gain expected"
    return make_state(tasks)


def crowded() -> TuningState:
    """More tasks than fit, with names longer than a line, failures of every kind, ill devices."""
    kinds = ("build", "link", "upload", "time_out", "crash", "wrong_result", "device_lost")
    tasks = [
        make_task(
            n,
            4000.0 / (n + 1),
            0.5 + (n % 9) / 16,
            10 + n,
            {kind: n % (k + 2) for k, kind in enumerate(kinds)},
            kernel=f"fused_{'conv2d_add_sigmoid_multiply_' * (1 + n % 4)}reshape{n}",
            done="the expected gain is spent on the others" if n % 5 == 0 else "",
        )
        for n in range(60)
    ]
    devices = [
        DeviceState("pixel8 127.0.0.1:5001", "busy", 38.0, 900),
        DeviceState("pixel8 127.0.0.1:5002", "quarantined", 44.0, 17),
        DeviceState("pixel8 a-rather-long-host-name.of-the.lab.example.org:5003", "lost"),
        DeviceState("pixel8 127.0.0.1:5004", "cooling", 71.6, 300),
    ]
    note = f"waiting for device {devices[2].name}, lost 12 s ago"
    return make_state(tasks, devices=devices, note=note, resumed_trials=128, max_trials=5000)


def untried() -> TuningState:
    """Tasks that nothing is known of yet."""
    tasks = [make_task(n, None, 1.0, 0) for n in range(3)]
    return make_state(tasks, elapsed_s=0.0, searching_s=0.0, building_s=0.0, measuring_s=0.0)


def all_failed() -> TuningState:
    """Every trial failed: the defaults are kept."""
    tasks = [make_task(n, 50.0, 1.0, 16, {"crash": 12, "build": 4}) for n in range(3)]
    for task in tasks:
        task.history = []
        task.done = "16 trials failed in a row"
    device = DeviceState("pixel8 127.0.0.1:5001", "quarantined", None, 48)
    return make_state(tasks, devices=[device], note="no device is left", time_limit_s=None)


def no_tasks() -> TuningState:
    """A model without kernels to tune, and no device."""
    return make_state([], devices=[], max_trials=0, time_limit_s=None)


SAMPLES = {
    "usual": usual,
    "crowded": crowded,
    "untried": untried,
    "all_failed": all_failed,
    "no_tasks": no_tasks,
}
