"""What code is compiled for: presets as data, CPUs and features, linkers, what this machine has.

Imports nothing of the other rooms, and TVM only when a question needs LLVM's answer.
"""

from __future__ import annotations

from autoglm_tvm.targets.capabilities import Capability, probe
from autoglm_tvm.targets.device_presets import device_presets
from autoglm_tvm.targets.linker import LinkReport, link_shared
from autoglm_tvm.targets.linkers import Linker, choose_linker, find_linkers
from autoglm_tvm.targets.presets import Preset, get_preset, load_presets
from autoglm_tvm.targets.symbols import provided_symbols
from autoglm_tvm.targets.target import Target, resolve_target
from autoglm_tvm.targets.versions import check_versions

__all__ = [
    "Capability",
    "LinkReport",
    "Linker",
    "Preset",
    "Target",
    "check_versions",
    "choose_linker",
    "device_presets",
    "find_linkers",
    "get_preset",
    "link_shared",
    "load_presets",
    "probe",
    "provided_symbols",
    "resolve_target",
]
