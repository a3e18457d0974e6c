"""A resolved target: what code is emitted, for which loader, and with how many threads."""

from __future__ import annotations

import os
from dataclasses import asdict, dataclass, fields
from typing import Any

from autoglm_tvm.targets import cpus
from autoglm_tvm.targets.errors import UserInputError
from autoglm_tvm.targets.presets import Preset, get_preset

MAX_THREADS = 1024
# LLVM's -O2. TVM's default, -O3, unrolls the loops of a convolution until a text recogniser takes
# four times as long to compile for arm64 and its library is twice as large; it ran no faster.
OPTIMISATION_LEVEL = 2
# Bytes; arm64 kernels have pages of up to 64 KB.
HOST_PAGE_SIZES = {"aarch64": 65536, "x86_64": 4096}


@dataclass(frozen=True)
class Target:
    """What a library is compiled and linked for.

    Attributes
    ----------
    name
        The preset it came from.
    triple
        LLVM's triple, with the API level for Android.
    arch
        `aarch64` or `x86_64`.
    abi
        `android` (bionic) or `gnu` (glibc).
    api_level
        Lowest Android API level that can load the library; None outside Android.
    cpu
        LLVM's CPU name.
    features
        LLVM features added (`+name`) to or taken (`-name`) from those of the CPU.
    threads
        Default number of worker threads.
    page_size
        Largest page size, in bytes, of the kernels that may load the library.
    layout
        Memory layout of activations: `NCHW` leaves the model's, `NHWC` converts the convolutions.
    needed
        Libraries that the library names in DT_NEEDED.
    """

    name: str
    triple: str
    arch: str
    abi: str
    api_level: int | None
    cpu: str
    features: tuple[str, ...]
    threads: int
    page_size: int
    layout: str
    needed: tuple[str, ...]

    def to_tvm_dict(self) -> dict[str, Any]:
        """The dict for `tvm.target.Target`."""
        config: dict[str, Any] = {
            "kind": "llvm",
            "mtriple": self.triple,
            "mcpu": self.cpu,
            "num-cores": self.threads,
            "opt-level": OPTIMISATION_LEVEL,
        }
        if self.features:
            config["mattr"] = list(self.features)
        return config

    def to_json(self) -> dict[str, Any]:
        """Plain values for the manifest; `from_json` reads them back."""
        return asdict(self) | {"features": list(self.features), "needed": list(self.needed)}

    @classmethod
    def from_json(cls, data: dict[str, Any]) -> Target:
        """The target that `to_json` wrote; `UserInputError` when a field is missing or unknown."""
        names = {field.name for field in fields(cls)}
        wrong = sorted(names.symmetric_difference(data))
        if wrong:
            raise UserInputError(
                f"target description with missing or unknown fields: {', '.join(wrong)}",
                where="manifest",
                hint="compile the bundle again with this version of autoglm-tvm",
            )
        lists: dict[str, Any] = {key: tuple(data[key]) for key in ("features", "needed")}
        return cls(**(data | lists))


def resolve_target(
    name: str,
    *,
    cpu: str | None = None,
    features: str | None = None,
    threads: int | None = None,
) -> Target:
    """The preset `name`, refined.

    Parameters
    ----------
    name
        A preset of `presets.yaml`.
    cpu
        LLVM's name of another CPU.
    features
        Comma separated features to add or take away, such as `+dotprod,-sve`; they win over the
        preset's.
    threads
        Default number of worker threads, 1 to 1024.

    Raises
    ------
    UserInputError
        Unknown preset, CPU or feature (with near matches), or a feature that this machine lacks
        where `name` is `host`.
    MissingToolError
        LLVM has to be asked and the installed TVM is another version than the pinned one.
    """
    preset = get_preset(name)
    asked = parse_features(features)
    if threads is not None and not 1 <= threads <= MAX_THREADS:
        raise UserInputError(
            f"{threads} threads asked for",
            where="--threads",
            hint=f"give a number from 1 to {MAX_THREADS}",
        )
    resolve = _for_host if preset.is_native else _from_preset
    return resolve(preset, cpu, asked, threads)


def target_of_preset(preset: Preset) -> Target:
    """The target that a preset stands for, as it is; not for `host`, which asks the machine."""
    return _from_preset(preset, None, (), None)


def parse_features(text: str | None) -> tuple[str, ...]:
    """Split `+dotprod,-sve`; `UserInputError` for a missing sign or a contradiction."""
    parts = [part.strip() for part in text.split(",")] if text else []
    features = tuple(dict.fromkeys(part for part in parts if part))
    for feature in features:
        if feature[0] not in "+-" or len(feature) < 2:
            raise UserInputError(
                f"'{feature}' lacks its sign",
                where="--features",
                hint=f"write +{feature.lstrip('+-')} to add it or -{feature.lstrip('+-')} to "
                "take it away, for example --features +dotprod,-sve",
            )
        if feature[0] == "+" and f"-{feature[1:]}" in features:
            raise UserInputError(
                f"'{feature[1:]}' is both added and taken away",
                where="--features",
                hint="name each feature once",
            )
    return features


def _from_preset(
    preset: Preset, cpu: str | None, asked: tuple[str, ...], threads: int | None
) -> Target:
    target = Target(
        name=preset.name,
        triple=preset.full_triple,
        arch=preset.arch,
        abi=preset.abi,
        api_level=preset.api_level,
        cpu=cpu or preset.cpu,
        features=_merge(preset.features, asked),
        threads=threads or preset.threads,
        page_size=preset.page_size,
        layout=preset.layout,
        needed=preset.needed,
    )
    # Presets as they stand are checked by our tests; to ask LLVM again would import TVM (2 s).
    if cpu is not None or asked:
        _check_with_llvm(target, asked)
    return target


def _for_host(
    preset: Preset, cpu: str | None, asked: tuple[str, ...], threads: int | None
) -> Target:
    arch, triple = cpus.host_arch(), cpus.host_triple()
    if cpu is not None:
        cpus.check_cpu(triple, cpu)
    cpu = cpu or cpus.host_cpu()
    hidden = tuple(f"-{name}" for name in cpus.host_missing_features(cpu))
    target = Target(
        name=preset.name,
        triple=triple,
        arch=arch,
        abi=preset.abi,
        api_level=None,
        cpu=cpu,
        features=_merge(hidden, asked),
        threads=threads or os.cpu_count() or 1,
        page_size=HOST_PAGE_SIZES[arch],
        layout=preset.layout,
        needed=preset.needed,
    )
    _check_with_llvm(target, asked)
    lacking = cpus.host_missing_features(cpu, target.features)
    if lacking:
        raise UserInputError(
            f"this machine lacks {', '.join(lacking)}",
            where="--features",
            hint="leave the feature out, or compile for the machine that has it",
        )
    return target


def _check_with_llvm(target: Target, asked: tuple[str, ...]) -> None:
    cpus.check_cpu(target.triple, target.cpu)
    cpus.check_features(target.triple, asked)
    cpus.check_baseline(target.triple, target.arch, target.cpu, target.features)


def _merge(base: tuple[str, ...], asked: tuple[str, ...]) -> tuple[str, ...]:
    """`base` without the features that `asked` names, then `asked`: the later one wins in LLVM."""
    named = {feature[1:] for feature in asked}
    return tuple(feature for feature in base if feature[1:] not in named) + asked
