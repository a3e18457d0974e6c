"""Run tasks in worker processes that may crash or hang without taking the others along."""

from __future__ import annotations

import multiprocessing
import os
import signal
import time
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from multiprocessing import connection
from typing import Any, Generic, TypeVar

Task = TypeVar("Task")
Result = TypeVar("Result")


@dataclass(frozen=True)
class Lost:
    """What comes back for a task whose worker ended or did not answer in time."""

    reason: str


class _Worker(Generic[Task, Result]):
    """A forked process that answers one task at a time; tasks are not pickled but inherited."""

    def __init__(self, run: Callable[[Task], Result], tasks: Sequence[Task]) -> None:
        context = multiprocessing.get_context("fork")
        self.pipe, theirs = context.Pipe()
        self.process = context.Process(
            target=_serve, args=(theirs, self.pipe, run, tasks), daemon=True
        )
        self.process.start()
        theirs.close()
        self.task = -1
        self.deadline = 0.0

    def begin(self, task: int, seconds: float) -> None:
        self.task, self.deadline = task, time.monotonic() + seconds
        self.pipe.send(task)

    def end(self) -> None:
        self.process.kill()
        self.process.join()
        self.pipe.close()


def run_all(
    run: Callable[[Task], Result], tasks: Sequence[Task], workers: int, seconds: float
) -> Iterator[tuple[int, Result | Lost]]:
    """Run every task, `workers` at a time, and yield the number and result of each as it ends.

    Parameters
    ----------
    run
        Called in a worker process; what it returns must pickle, what it raises is a loss.
    seconds
        Time limit of one task.
    """
    waiting = list(range(len(tasks)))[::-1]
    busy: list[_Worker[Task, Result]] = []
    try:
        for _ in range(min(workers, len(tasks))):
            busy.append(_Worker(run, tasks))
            busy[-1].begin(waiting.pop(), seconds)
        while busy:
            connection.wait([worker.pipe for worker in busy], timeout=1.0)
            for place, worker in enumerate(busy):
                result = _answer(worker, seconds)
                if result is None:
                    continue
                yield worker.task, result
                if isinstance(result, Lost):
                    worker.end()
                    worker = busy[place] = _Worker(run, tasks) if waiting else worker
                if waiting:
                    worker.begin(waiting.pop(), seconds)
                else:
                    worker.task = -1
            for worker in [worker for worker in busy if worker.task < 0]:
                worker.end()
                busy.remove(worker)
    finally:
        for worker in busy:
            worker.end()


def _answer(worker: _Worker[Any, Result], seconds: float) -> Result | Lost | None:
    """Return the worker's result, a loss, or None while it is still at work."""
    if worker.pipe.poll():
        try:
            return worker.pipe.recv()
        except EOFError:
            worker.process.join()
            code = worker.process.exitcode or 0
            return Lost(signal.Signals(-code).name if code < 0 else f"exit code {code}")
    if time.monotonic() > worker.deadline:
        return Lost(f"no answer within {seconds:.0f} s")
    return None


def _serve(pipe: Any, parents: Any, run: Callable[[Any], Any], tasks: Sequence[Any]) -> None:
    parents.close()
    # Libraries print to both, past Python's own streams.
    silent = os.open(os.devnull, os.O_WRONLY)
    os.dup2(silent, 1)
    os.dup2(silent, 2)
    while True:
        try:
            number = pipe.recv()
        except EOFError:
            return
        pipe.send(run(tasks[number]))
