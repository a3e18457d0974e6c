"""Choose records by what a user writes: a pattern of workloads, a preset's name."""

from __future__ import annotations

from collections.abc import Callable
from fnmatch import fnmatchcase

from autoglm_tvm.schedules.records.target_identity import TargetIdentity, target_identity
from autoglm_tvm.targets import load_presets, resolve_target


def fits(text: str, pattern: str) -> bool:
    """Whether a pattern with `*` and `?` matches a part of the text, ignoring case."""
    return fnmatchcase(text.lower(), f"*{pattern.lower()}*")


def target_filter(wanted: str | None) -> Callable[[TargetIdentity], bool]:
    """Whether a target is meant by `wanted`.

    Parameters
    ----------
    wanted
        `None` for every target; a preset's name (with any number of threads; asks LLVM, 2 s); or a
        pattern of a target's text, such as `cortex-a7?`.
    """
    if wanted is None:
        return lambda _target: True
    if wanted in load_presets():
        preset = target_identity(resolve_target(wanted))
        return lambda target: _without_threads(target) == _without_threads(preset)
    return lambda target: fits(target.text, wanted)


def _without_threads(target: TargetIdentity) -> tuple[object, ...]:
    return target.arch, target.cpu, target.features
