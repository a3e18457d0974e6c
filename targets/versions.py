"""The one pair of TVM and tvm-ffi versions that was tried together.

Read from the installed packages' metadata, so that asking costs no import of TVM (2 s).
"""

from __future__ import annotations

from autoglm_tvm.targets.errors import MissingToolError

# The ABI of tvm-ffi differs between patch releases: with 0.1.15 MetaSchedule and ConvertLayout
# crash this TVM with a segmentation fault. Hence exact pins, the same as in pyproject.toml.
PINNED_VERSIONS = {"apache-tvm": "0.27.0.post1", "apache-tvm-ffi": "0.1.14.post1"}


def pip_install_pins() -> str:
    """The command that installs the pinned versions."""
    pins = " ".join(f'"{name}=={version}"' for name, version in PINNED_VERSIONS.items())
    return f"pip install {pins}"


def installed_version(package: str) -> str | None:
    """Version of an installed distribution, None when it is not installed."""
    from importlib import metadata  # 15 ms, which `--help` need not pay

    try:
        return metadata.version(package)
    except metadata.PackageNotFoundError:
        return None


def check_versions() -> None:
    """Raise `MissingToolError` unless the pinned TVM and tvm-ffi are installed."""
    wrong = [
        f"{name} {found or 'is missing'} (need {pinned})"
        for name, pinned in PINNED_VERSIONS.items()
        if (found := installed_version(name)) != pinned
    ]
    if wrong:
        raise MissingToolError(
            f"the installed TVM cannot be used: {', '.join(wrong)}", hint=pip_install_pins()
        )
