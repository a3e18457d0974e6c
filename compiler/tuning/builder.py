"""Build candidates in processes of their own: one that hangs or crashes LLVM takes only itself."""

from __future__ import annotations

import contextlib
import hashlib
import os
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path

from autoglm_tvm.artifacts.trial import Failure, FailureKind, Trial
from autoglm_tvm.artifacts.worker_process import (
    WorkerEndedError,
    WorkerProcess,
    WorkerStuckError,
)
from autoglm_tvm.compiler.tuning.build_worker import SYMBOL, BuildJob
from autoglm_tvm.compiler.tuning.candidate import Candidate
from autoglm_tvm.targets import Target

_MODULE = "autoglm_tvm.compiler.tuning.build_worker"
_TIMEOUT_S = 60.0
_NAME_DIGITS = 16


@dataclass(frozen=True)
class Built:
    """A candidate that can be sent to a device, or why it cannot.

    Attributes
    ----------
    candidate
        Which.
    trial
        What is sent; None where it could not be built.
    description
        What its schedule did.
    failure
        Why there is no trial.
    """

    candidate: Candidate
    trial: Trial | None
    description: str = ""
    failure: Failure | None = None


class Builder:
    """A pool of builder processes; a context manager.

    Parameters
    ----------
    target
        That kernels are built for.
    folder
        Where libraries go; they stay until the folder is removed.
    workers
        Processes; by default one for each CPU that we may use.
    cold_bytes
        What the rest of the model reads between two calls of one kernel, so that weights are
        measured as cold as they are in the model.
    """

    def __init__(
        self, target: Target, folder: Path, workers: int | None = None, cold_bytes: int = 0
    ) -> None:
        self._target = target
        self._folder = folder
        self._workers = workers or len(os.sched_getaffinity(0))
        self._cold_bytes = cold_bytes
        self._processes: list[WorkerProcess] = []

    def __enter__(self) -> Builder:
        self._processes = [WorkerProcess(_MODULE) for _ in range(self._workers)]
        return self

    def __exit__(self, *exception: object) -> None:
        for process in self._processes:
            process.close()
        self._processes = []

    def build(self, candidates: Sequence[Candidate]) -> list[Built]:
        """Build all of them, in their order."""
        jobs = [self._job(candidate) for candidate in candidates]
        waiting = list(enumerate(jobs))[::-1]
        answers: dict[int, Failure | str] = {}

        def work(process: WorkerProcess) -> None:
            while waiting:
                with contextlib.suppress(IndexError):  # another thread took the last one
                    number, job = waiting.pop()
                    answers[number] = _built(process, job)

        with ThreadPoolExecutor(len(self._processes)) as threads:
            try:
                for done in [threads.submit(work, process) for process in self._processes]:
                    done.result()
            finally:
                waiting.clear()  # Ctrl-C waits for what is being built, and for no more
        results = [answers[number] for number in range(len(jobs))]
        return [self._result(*each) for each in zip(candidates, jobs, results, strict=True)]

    def _job(self, candidate: Candidate) -> BuildJob:
        from tvm import ir

        text = ir.save_json(candidate.function)
        config = dict(candidate.config)
        digest = hashlib.sha256(f"{text}{sorted(config.items())}".encode()).hexdigest()
        library = self._folder / f"{digest[:_NAME_DIGITS]}.so"
        return BuildJob(text, config, self._target, library)

    def _result(self, candidate: Candidate, job: BuildJob, answer: Failure | str) -> Built:
        if isinstance(answer, Failure):
            return Built(candidate, None, failure=answer)
        trial = Trial(
            name=f"{candidate.task.kernel} {job.library.stem}",
            library=job.library,
            function=SYMBOL,
            arguments=candidate.arguments,
            threads=self._target.threads,
            constants=tuple(candidate.task.constants),
            cold_bytes=self._cold_bytes,
        )
        return Built(candidate, trial, answer)


def _built(process: WorkerProcess, job: BuildJob) -> Failure | str:
    """What the schedule did, or why there is no library."""
    if job.library.exists():
        return ""
    try:
        description, reason = process.ask(job, timeout_s=_TIMEOUT_S)
    except (WorkerEndedError, WorkerStuckError) as error:
        description, reason = "", str(error)
    return Failure(FailureKind.build, reason) if reason else description
