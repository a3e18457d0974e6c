"""Resolving and refining targets, and what reaches the code generator."""

from __future__ import annotations

import json
from typing import Any

import pytest

from autoglm_tvm.targets import Target, cpus, resolve_target
from autoglm_tvm.targets.errors import UserInputError
from autoglm_tvm.targets.target import parse_features
from tests.targets.tiny_model import compile_for, int8_dot_module


def _asm(target: Target) -> str:
    return compile_for(int8_dot_module(), target).mod.inspect_source("asm")


def test_the_dict_for_tvm_makes_the_same_tvm_target():
    import tvm

    target = resolve_target("android-arm64-v8.2", threads=3)
    config = target.to_tvm_dict()
    assert config == {
        "kind": "llvm",
        "mtriple": "aarch64-linux-android24",
        "mcpu": "cortex-a76",
        "mattr": ["+dotprod", "+fullfp16", "-rcpc", "-sve", "-sme"],
        "num-cores": 3,
        "opt-level": 2,
    }
    attributes: Any = tvm.target.Target(config).attrs
    assert attributes["mcpu"] == "cortex-a76"
    assert int(attributes["num-cores"]) == 3


@pytest.mark.parametrize("name", ["android-arm64", "linux-arm64", "host"])
def test_json_gives_back_the_same_target(name: str):
    target = resolve_target(name)
    assert Target.from_json(json.loads(json.dumps(target.to_json()))) == target


def test_json_with_a_field_too_few_or_too_many_is_refused():
    data = resolve_target("android-arm64").to_json()
    with pytest.raises(UserInputError, match="triple"):
        Target.from_json({key: value for key, value in data.items() if key != "triple"})
    with pytest.raises(UserInputError, match="gpu"):
        Target.from_json(data | {"gpu": "adreno"})


@pytest.mark.parametrize(
    ("name", "features", "dot"),
    [
        ("android-arm64", None, False),
        ("android-arm64", "+dotprod", True),
        ("android-arm64-v8.2", None, True),
        ("android-arm64-v8.2", "-dotprod", False),
        ("android-arm64-v8.6", None, True),
    ],
)
def test_a_feature_changes_the_code(name: str, features: str | None, dot: bool):
    assert ("sdot" in _asm(resolve_target(name, features=features))) == dot


def test_sve_comes_back_when_it_is_asked_for():
    target = resolve_target("android-arm64", cpu="cortex-x3", features="+sve2,+sve")
    assert target.features == ("-sme", "+sve2", "+sve")
    assert "sve2" in cpus.effective_features(target.triple, target.cpu, target.features)


def test_refinements_win_over_the_preset():
    target = resolve_target("android-arm64-v8.2", cpu="cortex-a55", features="-fullfp16", threads=8)
    assert (target.cpu, target.threads) == ("cortex-a55", 8)
    used = cpus.effective_features(target.triple, target.cpu, target.features)
    assert "dotprod" in used
    assert "fullfp16" not in used


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({"cpu": "cortex-a67"}, r"unknown CPU 'cortex-a67'.*'cortex-a76'"),
        ({"cpu": "Cortex-X3"}, r"unknown CPU 'Cortex-X3'.*'cortex-x3'"),
        ({"cpu": "znver4"}, "unknown CPU 'znver4' for aarch64"),
        ({"features": "+dotprd"}, r"unknown feature 'dotprd'.*'dotprod'"),
        ({"features": "+avx2"}, "unknown feature 'avx2' for aarch64"),
        ({"features": "dotprod"}, "'dotprod' lacks its sign"),
        ({"features": "+"}, "lacks its sign"),
        ({"features": "+sve,-sve"}, "'sve' is both added and taken away"),
        ({"features": "-neon"}, "lacks neon"),
        ({"threads": 0}, "0 threads"),
        ({"threads": 5000}, "5000 threads"),
    ],
)
def test_a_wrong_refinement_is_refused(arguments: dict, message: str):
    with pytest.raises(UserInputError, match=message) as caught:
        resolve_target("android-arm64", **arguments)
    assert caught.value.hint
    assert caught.value.where


def test_a_cpu_of_32_bits_is_refused_and_does_not_abort_llvm():
    with pytest.raises(UserInputError, match="lacks 64bit"):
        resolve_target("android-x86_64", cpu="pentium4")


def test_blanks_and_repetitions_in_features_are_harmless():
    assert parse_features(" +dotprod , +dotprod,,-sve ") == ("+dotprod", "-sve")
    assert parse_features("") == parse_features(None) == ()


def test_tvm_still_takes_an_unknown_cpu_without_an_error():
    """The reason for `cpus.check_cpu`; when this fails, upstream has mended it."""
    import tvm

    unknown = {"kind": "llvm", "mtriple": "aarch64-linux-android24", "mcpu": "nonsense"}
    tvm.target.Target(unknown)


def test_the_host_target_is_the_same_each_time_and_runs_here():
    target = resolve_target("host")
    assert target == resolve_target("host")
    assert cpus.host_missing_features(target.cpu, target.features) == ()


def test_what_a_virtual_machine_hides_is_taken_from_the_host(monkeypatch: pytest.MonkeyPatch):
    have, known = cpus._host_features()
    used = cpus.effective_features(cpus.host_triple(), cpus.host_cpu())
    hidden = sorted(name for name in used & have if name not in ("64bit", "sse2", "sse"))[-1]
    monkeypatch.setattr(cpus, "_host_features", lambda: (have - {hidden}, known))
    target = resolve_target("host")
    assert f"-{hidden}" in target.features
    assert hidden not in cpus.effective_features(target.triple, target.cpu, target.features)
    with pytest.raises(UserInputError, match=f"this machine lacks.*{hidden}"):
        resolve_target("host", features=f"+{hidden}")


def test_another_cpu_on_the_host_is_cut_down_to_what_this_machine_has(
    monkeypatch: pytest.MonkeyPatch,
):
    cpu = "neoverse-v2" if cpus.host_arch() == "aarch64" else "graniterapids"
    _, known = cpus._host_features()
    base = {"neon", "fp-armv8", "64bit", "sse2", "sse", "cmov", "cx8", "fxsr", "mmx"}
    monkeypatch.setattr(cpus, "_host_features", lambda: (frozenset(base), known))
    target = resolve_target("host", cpu=cpu)
    used = cpus.effective_features(target.triple, target.cpu, target.features)
    assert used & known <= base


def test_an_arm64_host_is_judged_by_every_core(
    monkeypatch: pytest.MonkeyPatch, tmp_path_factory: pytest.TempPathFactory
):
    cpuinfo = tmp_path_factory.mktemp("proc") / "cpuinfo"
    cpuinfo.write_text(
        "processor\t: 0\nFeatures\t: fp asimd atomics asimddp lrcpc\n\n"
        "processor\t: 1\nFeatures\t: fp asimd atomics lrcpc\n",
        encoding="utf-8",
    )
    monkeypatch.setattr(cpus, "CPUINFO", cpuinfo)
    monkeypatch.setattr(cpus.platform, "machine", lambda: "aarch64")
    missing = cpus.host_missing_features("neoverse-n1")
    assert "dotprod" in missing
    assert "fullfp16" in missing
    assert "lse" not in missing


def test_a_host_that_is_not_linux_is_refused(monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setattr(cpus.platform, "system", lambda: "Darwin")
    with pytest.raises(UserInputError, match="target 'host' needs Linux"):
        resolve_target("host")
