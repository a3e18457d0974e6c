"""A phone's facts, and the target that is made from them."""

from __future__ import annotations

from pathlib import Path

import pytest

from autoglm_tvm.rpc.devices.facts import DeviceFacts, refuse_unfit
from autoglm_tvm.rpc.devices.read_facts import parse_facts
from autoglm_tvm.rpc.devices.target_choice import base_preset, fast_cores, make_preset
from autoglm_tvm.targets.arm_cores import LITTLE_CORES, llvm_names
from autoglm_tvm.targets.cpus import cpu_names, effective_features
from autoglm_tvm.targets.errors import MissingToolError
from autoglm_tvm.targets.target import target_of_preset
from tests.devices.adbd.file_system import cpuinfo

A53, A55, A76, A510, A715, X3, UNKNOWN = 0xD03, 0xD05, 0xD0B, 0xD46, 0xD4D, 0xD4E, 0xFFF
V8_0 = "fp asimd evtstrm aes pmull sha1 sha2 crc32"
V8_2 = f"{V8_0} atomics fphp asimdhp cpuid asimdrdm lrcpc dcpop asimddp"
V8_6 = f"{V8_2} sha3 sm3 sm4 asimdfhm dit uscat ilrcpc flagm jscvt fcma frint i8mm bf16 bti paca"


def facts_of(parts: list[int], features: str, more: str = "") -> DeviceFacts:
    text = f"@@@machine\naarch64\n@@@/proc/cpuinfo\n{cpuinfo(parts, features)}{more}"
    return parse_facts(text)


def test_everything_that_a_phone_says() -> None:
    facts = parse_facts(
        "@@@properties\n[ro.product.manufacturer]: [Google]\n[ro.product.model]: [Pixel 8]\n"
        "[ro.soc.manufacturer]: [Google]\n[ro.soc.model]: [Tensor G3]\n"
        "[ro.build.version.release]: [14]\n[ro.build.version.sdk]: [34]\n"
        "[ro.opengles.version]: [196610]\n[ro.hardware.vulkan]: [mali]\n"
        "@@@machine\naarch64\n@@@kernel\n5.15.110-android14\n@@@page\n16384\n"
        "@@@storage\nFilesystem 1K-blocks Used Available Use% Mounted\n/dev/x 100 9 2048000 1% /\n"
        "@@@drivers\nlibOpenCL.so\n@@@/proc/meminfo\nMemTotal: 7654321 kB\nMemFree: 1 kB\n"
        "@@@/proc/cpuinfo\n" + cpuinfo([A510, X3], V8_6) + "\n"
        "@@@/sys/devices/system/cpu/cpu0/cpufreq/cpuinfo_max_freq\n1704000\n"
        "@@@/sys/devices/system/cpu/cpu1/cpufreq/cpuinfo_max_freq\n2914000\n"
        "@@@/sys/class/misc/mali0/device/gpuinfo\nMali-G715 7 cores\n"
    )
    assert (facts.name, facts.soc) == ("Google Pixel 8", "Google Tensor G3")
    assert (facts.android, facts.api_level, facts.kernel) == ("14", 34, "5.15.110-android14")
    assert (facts.page_size, facts.memory_mib, facts.free_storage_mib) == (16384, 7474, 2000)
    assert facts.clusters == "1x cortex-a510 1.7 GHz, 1x cortex-x3 2.9 GHz"
    assert (facts.gpu, facts.gpu_interfaces) == (
        "Mali-G715 7 cores",
        ("OpenCL", "Vulkan", "OpenGL ES 3.2"),
    )
    assert "i8mm" in facts.features
    assert DeviceFacts.from_json(facts.to_json()) == facts


def test_a_phone_that_says_nothing_is_refused() -> None:
    with pytest.raises(MissingToolError, match="architecture is unknown"):
        refuse_unfit(parse_facts(""), "phone x")
    with pytest.raises(MissingToolError, match="does not show its CPU"):
        refuse_unfit(parse_facts("@@@machine\naarch64\n"), "phone x")


def test_a_core_that_is_offline_is_known_by_its_register() -> None:
    register = "@@@/sys/devices/system/cpu/cpu0/regs/identification/midr_el1\n0x00000000411fd4e0\n"
    assert facts_of([UNKNOWN], V8_2, register).cores[0].name == "cortex-x3"


@pytest.mark.parametrize(
    ("parts", "features", "base", "cpu", "threads"),
    [
        ([A53] * 8, V8_0, "android-arm64", "cortex-a53", 8),
        ([A55] * 4 + [A76] * 4, V8_2, "android-arm64-v8.2", "cortex-a76", 4),
        ([A55] * 6 + [A76] * 2, V8_2, "android-arm64-v8.2", "cortex-a76", 2),
        ([A510] * 4 + [A715] * 4 + [X3], V8_6, "android-arm64-v8.6", "cortex-a715", 5),
        ([UNKNOWN] * 8, V8_6, "android-arm64-v8.6", "cortex-a710", 8),
    ],
)
def test_the_target_that_is_made(
    parts: list[int], features: str, base: str, cpu: str, threads: int
) -> None:
    facts = facts_of(parts, features)
    made = make_preset(facts, "mine")
    assert base_preset(facts).name == base
    assert (made.name, made.cpu, made.threads) == ("mine", cpu, threads)
    assert (made.abi, made.api_level) == ("android", 24)
    used = effective_features(made.full_triple, made.cpu, made.features)
    assert not {"sve", "sve2", "sme"} & used
    assert ("dotprod" in used) == ("asimddp" in features)
    assert ("i8mm" in used) == ("i8mm" in features)
    target = target_of_preset(made)
    assert (target.name, target.threads) == ("mine", threads)


def test_features_that_the_phone_has_switched_off_are_not_used() -> None:
    facts = facts_of([A715] * 4, V8_2)  # an int8 matrix unit that the kernel hides
    made = make_preset(facts, "mine")
    assert {"-i8mm", "-bf16"} <= set(made.features)
    used = effective_features(made.full_triple, made.cpu, made.features)
    assert not {"i8mm", "bf16", "sve2"} & used
    assert "dotprod" in used


def test_a_feature_counts_only_when_every_core_has_it() -> None:
    text = cpuinfo([A55], V8_0) + cpuinfo([A76], V8_2).replace("processor\t: 0", "processor\t: 1")
    facts = parse_facts(f"@@@machine\naarch64\n@@@/proc/cpuinfo\n{text}")
    assert len(facts.cores) == 2
    assert "asimddp" not in facts.features
    assert base_preset(facts).name == "android-arm64"


def test_fast_cores() -> None:
    cores = fast_cores(facts_of([A510] * 4 + [A715] * 3 + [X3], V8_6))
    assert [core.number for core in cores] == [4, 5, 6, 7]
    assert len(fast_cores(facts_of([A53] * 4, V8_0))) == 4


def test_llvm_knows_every_core_of_the_table() -> None:
    assert llvm_names() <= set(cpu_names("aarch64-linux-android24"))
    assert llvm_names() >= LITTLE_CORES


def test_this_machines_own_words_are_read() -> None:
    """Not invented ones: whatever Linux runs these tests."""
    text = f"@@@machine\nx86_64\n@@@/proc/cpuinfo\n{Path('/proc/cpuinfo').read_text()}"
    assert len(parse_facts(text).cores) >= 1
