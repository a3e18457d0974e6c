"""One trial's steps inside an open session, each with a deadline and a class of failure."""

from __future__ import annotations

import contextlib
import uuid
from collections.abc import Iterator, Sequence
from typing import TYPE_CHECKING, Any

from autoglm_tvm.artifacts.local_run import BIG_CORES_FIRST
from autoglm_tvm.artifacts.trial import Failure, FailureKind, TensorType, Trial
from autoglm_tvm.rpc.device_errors import CallEnd, DeviceCallError
from autoglm_tvm.rpc.farm.limits import Limits, MeasureSettings
from autoglm_tvm.rpc.measure.statistics import parse_samples, undisturbed_seconds
from autoglm_tvm.rpc.session import DeviceSession

if TYPE_CHECKING:
    import numpy as np

MEASURE = "autoglm.measure.kernel"
RANDOM = "autoglm.measure.random"
PIN = "autoglm.device.pin"
# Of the weights there are several sets, used in turn; of more than these nothing is gained.
_MAX_SETS, _MAX_COLD_BYTES = 128, 64 << 20
# How much is kept on the device for later trials.
_KEPT_BYTES = 160 << 20


class TrialFailedError(Exception):
    """A step failed.

    Attributes
    ----------
    end
        What became of the session; None: no device was asked.
    side
        Of two kernels the one that failed.
    """

    def __init__(self, failure: Failure, end: CallEnd | None) -> None:
        super().__init__(failure.message)
        self.failure = failure
        self.end = end
        self.side: int | None = None


class DeviceSteps:
    """The steps of trials on one device. Every method raises `TrialFailedError`."""

    def __init__(self, session: DeviceSession, limits: Limits) -> None:
        self.session = session
        self.limits = limits
        self._threads: int | None = None
        self._functions: dict[str, Any] = {}
        self._kept: dict[tuple[TensorType, int], list[Any]] = {}

    @contextlib.contextmanager
    def step(self, doing: str, kind: FailureKind, seconds: float) -> Iterator[None]:
        """Give a step a deadline; ``kind`` is the failure's where the device refuses it."""
        self.session.call_timeout_s = seconds
        try:
            with self.session.calls(doing):
                yield
        except DeviceCallError as error:
            raise TrialFailedError(classify(error, kind), error.end) from error

    def function(self, name: str) -> Any:
        """Return a function of the device's server; to be called inside of `step`."""
        if name not in self._functions:
            self._functions[name] = self.session.remote.get_function(name)
        return self._functions[name]

    def look_for_functions(self) -> None:
        """See that the device runs our server."""
        doing = "a look for its measuring functions (it has to run autoglm-device-server)"
        with self.step(doing, FailureKind.device_lost, self.limits.load_s):
            for name in (MEASURE, RANDOM):
                self.function(name)

    @contextlib.contextmanager
    def loaded(self, trial: Trial) -> Iterator[Any]:
        """Upload and load a trial's library; its file goes from the device afterwards."""
        try:
            data = bytearray(trial.library.read_bytes())
        except OSError as error:
            message = f"{trial.library.name} cannot be read: {error.strerror}"
            raise TrialFailedError(Failure(FailureKind.upload, message), None) from error
        # A library that is written over while it is loaded crashes the device.
        name = f"{uuid.uuid4().hex}.so"
        remote = self.session.remote
        try:
            with self.step(
                f"uploading {trial.library.name}", FailureKind.upload, self.limits.upload_s
            ):
                remote.upload(data, name)
            with self.step(f"loading {trial.library.name}", FailureKind.link, self.limits.load_s):
                module = remote.load_module(name)
                module[trial.function]  # so that a missing one is told here
            yield module
        finally:
            with (
                contextlib.suppress(TrialFailedError),
                self.step("removing a library", FailureKind.upload, self.limits.load_s),
            ):
                remote.remove(name)

    def set_threads(self, threads: int) -> None:
        """Give kernels so many threads."""
        if threads == self._threads:
            return
        with self.step("setting up threads", FailureKind.device_lost, self.limits.load_s):
            self.function("runtime.config_threadpool")(BIG_CORES_FIRST, threads)
        self._threads = threads

    def pin(self, cpus: str) -> None:
        """Pin the session to these CPUs, as in ``4-7``."""
        with self.step(f"pinning to CPUs {cpus}", FailureKind.device_lost, self.limits.load_s):
            self.function(PIN)(cpus)

    def measure(self, trial: Trial, module: Any, settings: MeasureSettings) -> list[float]:
        """Run a loaded kernel many times; seconds per run of each sample."""
        tensors = self._arguments_of(trial)
        self.set_threads(trial.threads)
        limit_s = self.limits.run_s + 1e-3 * settings.limit_ms
        with self.step(f"running {trial.name}", FailureKind.crash, limit_s):
            data = self.function(MEASURE)(
                *[module, trial.function, len(trial.arguments)],
                *[settings.warmup_ms, settings.samples, settings.sample_us, settings.limit_ms],
                *tensors,
            )
        return undisturbed_seconds(parse_samples(bytes(data)))

    def run(
        self, trial: Trial, inputs: Sequence[np.ndarray], outputs: Sequence[np.ndarray]
    ) -> list[np.ndarray]:
        """Run a kernel once; ``outputs`` are what its results hold before. Returns the results."""
        import tvm

        with self.loaded(trial) as module:
            device = self.session.remote.cpu(0)
            with self.step(
                f"sending the inputs of {trial.name}", FailureKind.upload, self.limits.upload_s
            ):
                tensors = [tvm.runtime.tensor(array, device) for array in (*inputs, *outputs)]
            self.set_threads(trial.threads)
            with self.step(f"running {trial.name}", FailureKind.crash, self.limits.run_s):
                module[trial.function](*tensors)
            with self.step(
                f"fetching the results of {trial.name}", FailureKind.upload, self.limits.upload_s
            ):
                return [tensor.numpy() for tensor in tensors[len(inputs) :]]

    def try_memory(self) -> None:
        """Fill a tensor on the device and read it back: the least that a device must manage."""
        with self.step("making arguments", FailureKind.crash, self.limits.prepare_s):
            tensor = self._random(TensorType("float32", (1024,)), 0)
        with self.step("reading a tensor back", FailureKind.device_lost, self.limits.load_s):
            if abs(float(tensor.numpy().mean())) > 0.5:
                message = "the device does not fill a tensor as it should"
                raise TrialFailedError(Failure(FailureKind.device_lost, message), CallEnd.refused)

    def _arguments_of(self, trial: Trial) -> list[Any]:
        """Return tensors on the device: sets of arguments that differ in their weights.

        So many that together the weights are as large as what the network reads in between.
        Activations are the same in all sets: in a network they were just written.
        """
        weights = sum(_bytes(trial.arguments[at]) for at in trial.constants)
        wanted = min(trial.cold_bytes, _MAX_COLD_BYTES)
        sets = min(_MAX_SETS, max(1, -(-wanted // weights))) if weights else 1
        columns = [
            self._tensors(kind, at, sets if at in trial.constants else 1)
            for at, kind in enumerate(trial.arguments)
        ]
        return [column[turn % len(column)] for turn in range(sets) for column in columns]

    def _tensors(self, kind: TensorType, position: int, count: int) -> list[Any]:
        """Return that many random tensors; kept for later trials, the last used as long as any."""
        kept = self._kept.pop((kind, position), [])
        self._kept[kind, position] = kept
        missing = max(0, count - len(kept))
        while self._kept_bytes() + missing * _bytes(kind) > _KEPT_BYTES and len(self._kept) > 1:
            self._kept.pop(next(iter(self._kept)))
        if missing:
            with self.step("making arguments", FailureKind.crash, self.limits.prepare_s):
                for _ in range(missing):
                    kept.append(self._random(kind, 1000 * position + len(kept)))
        return kept[:count]

    def _kept_bytes(self) -> int:
        return sum(_bytes(kind) * len(tensors) for (kind, _), tensors in self._kept.items())

    def _random(self, kind: TensorType, seed: int) -> Any:
        import tvm

        tensor = tvm.runtime.empty(kind.shape, kind.dtype, self.session.remote.cpu(0))
        self.function(RANDOM)(tensor, seed)
        return tensor


def _bytes(tensor: TensorType) -> int:
    import tvm_ffi

    count = 1
    for size in tensor.shape:
        count *= size
    return count * -(-tvm_ffi.dtype(tensor.dtype).bits // 8)


def classify(error: DeviceCallError, kind: FailureKind) -> Failure:
    """Return what a failed call means for the trial; ``kind`` is it where the device refused."""
    if error.end in (CallEnd.expired, CallEnd.limit):
        kind = FailureKind.time_out
    elif error.end is CallEnd.killed:
        kind = FailureKind.crash
    elif error.end is CallEnd.gone:
        kind = FailureKind.device_lost
    return Failure(kind, error.what)
