"""What LLVM knows of CPUs and their features, and what this machine has.

TVM only logs an unknown CPU or feature and compiles for something else, so every name that a user
gives is looked up here first.
"""

from __future__ import annotations

import platform
from functools import lru_cache
from pathlib import Path
from typing import Any

from autoglm_tvm.targets.errors import UserInputError
from autoglm_tvm.targets.near import did_you_mean
from autoglm_tvm.targets.versions import check_versions

CPUINFO = Path("/proc/cpuinfo")

# Without these TVM's code generator emits calls to soft-float routines, or LLVM aborts.
REQUIRED_FEATURES = {"aarch64": ("neon", "fp-armv8"), "x86_64": ("64bit", "sse2")}

# Linux's name of an arm64 CPU feature (the Features line of /proc/cpuinfo) for each LLVM feature
# that the code generator may use unasked. LLVM's own detection lists only what it found.
ARM64_HWCAPS = {
    "aes": "aes",
    "bf16": "bf16",
    "complxnum": "fcma",
    "crc": "crc32",
    "cssc": "cssc",
    "dotprod": "asimddp",
    "faminmax": "faminmax",
    "flagm": "flagm",
    "fp16fml": "asimdfhm",
    "fptoint": "frint",
    "fullfp16": "asimdhp",
    "hbc": "hbc",
    "i8mm": "i8mm",
    "jsconv": "jscvt",
    "lse": "atomics",
    "lse2": "uscat",
    "lut": "lut",
    "mops": "mops",
    "pauth": "paca",
    "rcpc": "lrcpc",
    "rcpc-immo": "ilrcpc",
    "rcpc3": "lrcpc3",
    "rdm": "asimdrdm",
    "sha2": "sha2",
    "sha3": "sha3",
    "sm4": "sm4",
    "sme": "sme",
    "sme2": "sme2",
    "sve": "sve",
    "sve-aes": "sveaes",
    "sve-bitperm": "svebitperm",
    "sve-sha3": "svesha3",
    "sve-sm4": "svesm4",
    "sve2": "sve2",
}


@lru_cache(maxsize=64)
def effective_features(triple: str, cpu: str, mattr: tuple[str, ...] = ()) -> frozenset[str]:
    """Names of all LLVM features that code for this CPU, with `mattr` applied, may use."""
    config: dict[str, object] = {"kind": "llvm", "mtriple": triple, "mcpu": cpu}
    if mattr:
        config["mattr"] = list(mattr)
    codegen, target_class = _llvm()
    return frozenset(str(name) for name in codegen.llvm_get_cpu_features(target_class(config)))


@lru_cache(maxsize=8)
def cpu_names(triple: str) -> tuple[str, ...]:
    """All CPU names that LLVM knows for a triple, sorted."""
    codegen, target_class = _llvm()
    target = target_class({"kind": "llvm", "mtriple": triple})
    return tuple(sorted(str(name) for name in codegen.llvm_get_cpu_archlist(target)))


@lru_cache(maxsize=8)
def feature_names(triple: str) -> frozenset[str]:
    """Features of at least one CPU of this triple.

    LLVM accepts a few more that no CPU has; it offers no list of them, and to ask for one that it
    does not know prints a warning that no caller can catch.
    """
    every = (effective_features(triple, cpu) for cpu in cpu_names(triple))
    return frozenset().union(*every)


def check_cpu(triple: str, cpu: str) -> None:
    """Refuse a CPU that LLVM does not know for this triple."""
    codegen, _ = _llvm()
    if not codegen.llvm_is_valid_cpu(cpu, triple):
        names = cpu_names(triple)
        matches = did_you_mean(cpu, names)
        raise UserInputError(
            f"unknown CPU '{cpu}' for {triple}{matches}",
            where="--cpu",
            hint="use LLVM's name of the CPU" if matches else f"choose one of: {', '.join(names)}",
        )


def check_features(triple: str, features: tuple[str, ...]) -> None:
    """Refuse a feature (`+name` or `-name`) that no CPU of this triple has."""
    known = feature_names(triple)
    for feature in features:
        name = feature[1:]
        if name not in known:
            raise UserInputError(
                f"unknown feature '{name}' for {triple}{did_you_mean(name, known)}",
                where="--features",
                hint="features are LLVM's, for example --features +dotprod,-sve",
            )


def check_baseline(triple: str, arch: str, cpu: str, features: tuple[str, ...]) -> None:
    """Refuse a CPU and features without the floating point unit that every kernel needs."""
    have = effective_features(triple, cpu, features)
    missing = [name for name in REQUIRED_FEATURES[arch] if name not in have]
    if missing:
        raise UserInputError(
            f"CPU '{cpu}' with features '{','.join(features)}' lacks {', '.join(missing)}, "
            f"which code for {arch} needs",
            where="--cpu, --features",
            hint="choose another CPU, or drop the '-' features",
        )


def host_cpu() -> str:
    """LLVM's name of this machine's CPU; `generic` or `x86-64` when LLVM cannot name it."""
    codegen, _ = _llvm()
    name = str(codegen.llvm_get_system_cpu())
    if codegen.llvm_is_valid_cpu(name, host_triple()) and name != "generic":
        return name
    return "generic" if host_arch() == "aarch64" else "x86-64"


def host_missing_features(cpu: str, mattr: tuple[str, ...] = ()) -> tuple[str, ...]:
    """Features that code for `cpu` with `mattr` may use but this machine does not offer, sorted.

    A virtual machine often hides some features of the CPU that it reports, and code that uses
    them dies with SIGILL.
    """
    have, known = _host_features()
    used = effective_features(host_triple(), cpu, mattr)
    return tuple(sorted(name for name in used if name in known and name not in have))


def host_arch() -> str:
    """`x86_64` or `aarch64`; anything else, or not Linux, is refused."""
    arch = {"amd64": "x86_64", "arm64": "aarch64"}.get(platform.machine(), platform.machine())
    if platform.system() != "Linux" or arch not in REQUIRED_FEATURES:
        raise UserInputError(
            f"target 'host' needs Linux on x86-64 or arm64; this is {platform.system()} on {arch}",
            where="--target",
            hint="compile for another target, for example --target android-arm64",
        )
    return arch


def host_triple() -> str:
    """LLVM's triple for this machine."""
    return f"{host_arch()}-unknown-linux-gnu"


def _host_features() -> tuple[frozenset[str], frozenset[str]]:
    """LLVM names of the features this machine has, and of those that were judged at all."""
    if host_arch() == "aarch64":
        hwcaps = _proc_cpuinfo_features()
        have = frozenset(name for name, hwcap in ARM64_HWCAPS.items() if hwcap in hwcaps)
        return have, frozenset(ARM64_HWCAPS)
    _llvm()
    import tvm_ffi

    found = tvm_ffi.get_global_func("tvm.codegen.llvm.GetHostCPUFeatures")()
    judged = {str(name): bool(has) for name, has in found.items()}
    return frozenset(name for name, has in judged.items() if has), frozenset(judged)


def _proc_cpuinfo_features() -> frozenset[str]:
    """Feature words that every core of an arm64 Linux machine has."""
    lines = CPUINFO.read_text(encoding="utf-8").splitlines()
    cores = [frozenset(line.split(":", 1)[1].split()) for line in lines if line[:8] == "Features"]
    return frozenset.intersection(*cores) if cores else frozenset()


def _llvm() -> tuple[Any, Any]:
    """TVM's LLVM queries and its Target class, after the version check; 2 s the first time."""
    check_versions()
    from tvm.target import Target, codegen

    return codegen, Target
