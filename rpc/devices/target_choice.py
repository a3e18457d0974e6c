"""Choose the preset for a phone, and make one that fits it alone: its cores and their features."""

from __future__ import annotations

from dataclasses import replace

from autoglm_tvm.rpc.devices.facts import Core, DeviceFacts
from autoglm_tvm.targets.arm_cores import llvm_names
from autoglm_tvm.targets.cpus import ARM64_HWCAPS, effective_features
from autoglm_tvm.targets.preset import Preset
from autoglm_tvm.targets.presets import load_presets

# The best preset whose features the phone has, by Linux's names of them.
_LEVELS = (
    ("android-arm64-v8.6", {"asimddp", "asimdhp", "i8mm", "bf16"}),
    ("android-arm64-v8.2", {"asimddp", "asimdhp"}),
    ("android-arm64", set[str]()),
)
_MAX_THREADS = 8


def base_preset(facts: DeviceFacts) -> Preset:
    """Return the preset of ours that fits the phone best."""
    if facts.arch == "x86_64":
        return load_presets()["android-x86_64"]
    have = set(facts.features)
    return load_presets()[next(name for name, needs in _LEVELS if needs <= have)]


def make_preset(facts: DeviceFacts, name: str) -> Preset:
    """Return a preset for this phone: the best of ours, with its cores and without what they lack.

    A core's name promises features that a phone may have switched off; those are taken away. SVE
    and SME stay off, as in our presets. Asks LLVM, which takes 2 s the first time.
    """
    base = base_preset(facts)
    fast = fast_cores(facts)
    cpu = _cpu(fast) or base.cpu
    made = replace(
        base,
        name=name,
        description=f"Your device {name}: {facts.name}, {facts.soc}",
        cpu=cpu,
        threads=min(len(fast), _MAX_THREADS),
        page_size=max(base.page_size, facts.page_size),
        examples=f"{facts.name} ({facts.clusters})",
    )
    return replace(made, features=_features(made, facts))


def fast_cores(facts: DeviceFacts) -> tuple[Core, ...]:
    """Return the cores that are not made to save energy; all where they are all alike."""
    return tuple(core for core in facts.cores if not core.little) or facts.cores


def _cpu(cores: tuple[Core, ...]) -> str | None:
    """Return the kind that most of the fast cores are; the slower one of as many.

    The code runs on all of them, so the one prime core of a phone does not decide.
    """
    known = [core for core in cores if core.name in llvm_names()]
    if not known:
        return None
    count = {core.name: sum(other.name == core.name for other in known) for core in known}
    most = max(count.values())
    candidates = [core for core in known if count[core.name] == most]
    return min(candidates, key=lambda core: core.max_mhz or 0).name


def _features(preset: Preset, facts: DeviceFacts) -> tuple[str, ...]:
    if facts.arch != "aarch64":
        return preset.features
    used = effective_features(preset.full_triple, preset.cpu, preset.features)
    have = set(facts.features)
    lacking = {name for name in used if name in ARM64_HWCAPS and ARM64_HWCAPS[name] not in have}
    kept = tuple(item for item in preset.features if item[1:] not in lacking)
    return kept + tuple(f"-{name}" for name in sorted(lacking))
