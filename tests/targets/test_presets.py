"""The presets as data, and what they promise of phones."""

from __future__ import annotations

import subprocess
import sys

import pytest

from autoglm_tvm.targets import cpus, load_presets, resolve_target
from autoglm_tvm.targets.errors import UserInputError
from autoglm_tvm.targets.presets import get_preset

NAMES = [
    "android-arm64",
    "android-arm64-v8.2",
    "android-arm64-v8.6",
    "android-x86_64",
    "linux-arm64",
    "host",
]
# The cores of one phone run the same code, the smallest too.
PHONE_CPUS = {
    "android-arm64": ["cortex-a35", "cortex-a53", "cortex-a57", "cortex-a73", "kryo", "exynos-m3"],
    "android-arm64-v8.2": ["cortex-a55", "cortex-a76", "cortex-a78", "cortex-x1", "exynos-m4"],
    "android-arm64-v8.6": [
        "cortex-a510",
        "cortex-a520",
        "cortex-a710",
        "cortex-a715",
        "cortex-a725",
        "cortex-x2",
        "cortex-x4",
        "cortex-x925",
        "oryon-1",
    ],
}
# What the code generator uses of its own accord; the rest of LLVM's names are system registers,
# tuning flags and instructions that only intrinsics reach.
CODE_FEATURES = set(cpus.ARM64_HWCAPS) - {"aes", "sha2", "sha3", "sm4", "pauth", "sve-bitperm"}


def test_the_presets_are_those_of_the_manual():
    assert list(load_presets()) == NAMES


@pytest.mark.parametrize("name", NAMES[:-1])
def test_llvm_knows_every_preset(name: str):
    target = resolve_target(name)
    cpus.check_cpu(target.triple, target.cpu)
    cpus.check_features(target.triple, target.features)
    cpus.check_baseline(target.triple, target.arch, target.cpu, target.features)


@pytest.mark.parametrize("name", [name for name in NAMES if name.startswith("android")])
def test_android_presets_suit_androids_loader(name: str):
    target = resolve_target(name)
    assert target.page_size == 16384
    assert set(target.needed) == {"libtvm_ffi.so", "libc.so", "libm.so"}
    assert target.triple.endswith(f"-linux-android{target.api_level}")


@pytest.mark.parametrize(
    ("name", "cpu"), [(name, cpu) for name, list_ in PHONE_CPUS.items() for cpu in list_]
)
def test_a_preset_uses_nothing_that_its_phones_lack(name: str, cpu: str):
    target = resolve_target(name)
    used = cpus.effective_features(target.triple, target.cpu, target.features)
    assert (used - cpus.effective_features(target.triple, cpu)) & CODE_FEATURES == set()


@pytest.mark.parametrize(
    ("name", "features"),
    [
        ("android-arm64", {"neon"}),
        ("android-arm64-v8.2", {"dotprod", "fullfp16", "lse"}),
        ("android-arm64-v8.6", {"dotprod", "fullfp16", "i8mm", "bf16"}),
        ("android-x86_64", {"sse4.2", "ssse3", "popcnt", "cx16"}),
    ],
)
def test_a_preset_has_what_it_is_named_for(name: str, features: set[str]):
    target = resolve_target(name)
    assert features <= cpus.effective_features(target.triple, target.cpu, target.features)


@pytest.mark.parametrize("name", ["android-arm64", "android-arm64-v8.2", "android-arm64-v8.6"])
def test_no_android_preset_uses_sve_even_on_a_cpu_that_has_it(name: str):
    target = resolve_target(name, cpu="cortex-x925")
    used = cpus.effective_features(target.triple, target.cpu, target.features)
    assert not {"sve", "sve2", "sme", "sme2"} & used
    assert "sve2" in cpus.effective_features(target.triple, target.cpu)


def test_an_unknown_target_is_refused_with_near_matches():
    with pytest.raises(UserInputError, match=r"unknown target 'android-amr64'.*'android-arm64'"):
        get_preset("android-amr64")


def test_the_rooms_load_without_tvm_and_onnx():
    code = (
        "import sys; from autoglm_tvm import targets; from autoglm_tvm.artifacts import elf_check;"
        "targets.load_presets(); targets.resolve_target('android-arm64', threads=2);"
        "targets.probe();"
        "print([name for name in ('tvm', 'tvm_ffi', 'onnx', 'onnxruntime', 'numpy')"
        " if name in sys.modules])"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "[]"
