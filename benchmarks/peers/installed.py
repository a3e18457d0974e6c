"""Which peers there are, and which of them can be asked here."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from importlib.util import find_spec

from autoglm_tvm.targets.errors import UserInputError
from benchmarks.peers.mnn_peer import Mnn
from benchmarks.peers.ncnn_peer import Ncnn
from benchmarks.peers.onnx_runtime import OnnxRuntime
from benchmarks.peers.openvino_peer import OpenVino
from benchmarks.peers.peer import Peer, Task

YARDSTICK = "onnxruntime"


@dataclass(frozen=True)
class PeerKind:
    """A runtime: the module it is imported as, and what loads a model with it."""

    module: str
    load: Callable[[Task], Peer]


PEERS = {
    YARDSTICK: PeerKind("onnxruntime", OnnxRuntime),
    "openvino": PeerKind("openvino", OpenVino),
    "ncnn": PeerKind("ncnn", Ncnn),
    "mnn": PeerKind("MNN", Mnn),
}
#: Runtimes that cannot take part, by the modules they are imported as, and why.
ABSENT = {"ai_edge_litert": "LiteRT reads no ONNX, and its converter onnx2tf wants TensorFlow"}


def installed_peers() -> list[str]:
    """Return the peers whose package is installed, the yardstick first."""
    return [name for name, kind in PEERS.items() if find_spec(kind.module)]


def excuses() -> list[str]:
    """Return why runtimes that are installed do not take part."""
    return [reason for module, reason in ABSENT.items() if find_spec(module)]


def choose_peers(names: str) -> list[str]:
    """Return the peers of a list such as ``"openvino,mnn"``, the yardstick always among them.

    Raises
    ------
    UserInputError
        One of them is unknown or not installed.
    """
    here = installed_peers()
    if names == "all":
        return here
    wanted = [name for name in names.split(",") if name and name != "none"]
    for name in wanted:
        if name not in here:
            raise UserInputError(
                f"the peer {name!r} is {'not installed' if name in PEERS else 'unknown'}",
                where="--peers",
                hint=f"installed are: {', '.join(here)}",
            )
    return list(dict.fromkeys([YARDSTICK, *wanted]))
