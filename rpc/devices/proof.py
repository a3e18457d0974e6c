"""Prove that a device computes: compile one kernel for it, run it there, compare with numpy."""

from __future__ import annotations

import tempfile
import time
import uuid
from contextlib import ExitStack
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from autoglm_tvm.rpc.session import DeviceSession, open_session
from autoglm_tvm.rpc.tracker_client import TrackerClient
from autoglm_tvm.targets.errors import CheckFailedError
from autoglm_tvm.targets.linker import link_shared
from autoglm_tvm.targets.target import Target

_SIZE = 96
_TOLERANCE = 1e-5
_KERNEL = "matmul"


@dataclass(frozen=True)
class Proof:
    """One kernel that ran and was right.

    Attributes
    ----------
    kernel
        What it computes.
    target
        The target's name, and triple and CPU that it was compiled for.
    relative_error
        Largest difference to numpy, by the largest value.
    """

    kernel: str
    target: str
    relative_error: float

    def to_json(self) -> dict[str, Any]:
        """Plain values."""
        return asdict(self)


def prove(
    tracker: str, key: str, target: Target, *, port: int | None = None, timeout_s: float = 120
) -> Proof:
    """Take a device from the tracker and let it compute.

    Parameters
    ----------
    tracker, key
        The device.
    target
        What it is compiled for.
    port
        The port of the one device that is meant, where several have the key.
    timeout_s
        How long to wait for the device, and for each step on it.

    Raises
    ------
    MissingToolError
        Tracker or device do not answer, or the kernel crashes there.
    CheckFailedError
        The result is wrong.
    """
    with tempfile.TemporaryDirectory(prefix="autoglm-proof-") as folder:
        library = _compile(target, Path(folder))
        with ExitStack() as held:
            session = _take(tracker, key, port, timeout_s, held)
            error = _run(session, library, target)
    if not error <= _TOLERANCE:
        raise CheckFailedError(
            f"the device computes wrong: relative error {error:.2e} in a matrix product",
            where=f"device {key!r}",
            hint=f"tell us the phone and its CPU; it was compiled for {target.cpu} "
            f"{' '.join(target.features)}",
        )
    kernel = f"float32 matrix product {_SIZE}x{_SIZE}x{_SIZE}"
    return Proof(kernel, f"{target.name} ({target.triple}, {target.cpu})", error)


def _take(
    tracker: str, key: str, port: int | None, timeout_s: float, held: ExitStack
) -> DeviceSession:
    """Return a session on the device at ``port``; sessions on others are held, to get past them."""
    # Before a device is taken: the import takes seconds, and an offer is not open for long.
    from tvm import rpc  # noqa: F401

    deadline = time.monotonic() + timeout_s
    while True:
        left = max(1.0, deadline - time.monotonic())
        with TrackerClient(tracker, left) as client:
            address = client.request(key)
        session = open_session(address, key, timeout_s=left, call_timeout_s=timeout_s)
        held.enter_context(session)
        if port in (None, address.port):
            return session


def _compile(target: Target, folder: Path) -> Path:
    import tvm
    from tvm import te, tirx

    shape = (_SIZE, _SIZE)
    a: Any = te.placeholder(shape, "float32", "a")
    b: Any = te.placeholder(shape, "float32", "b")
    k: Any = te.reduce_axis((0, _SIZE), "k")
    c: Any = te.compute(shape, lambda i, j: te.sum(a[i, k] * b[k, j], axis=k), "c")
    function: Any = te.create_prim_func([a, b, c])
    module = tvm.IRModule({_KERNEL: function.with_attr("global_symbol", _KERNEL)})
    built: Any = tirx.build(module, target=tvm.target.Target(target.to_tvm_dict()))
    library = folder / f"libproof-{uuid.uuid4().hex[:8]}.so"

    def link(output: str, objects: list[str], **_: object) -> None:
        link_shared(objects, output, target, library.name)

    built.export_library(str(library), fcompile=link)
    return library


def _run(session: DeviceSession, library: Path, target: Target) -> float:
    """Return the relative error of the device's result."""
    import numpy as np
    import tvm

    random = np.random.default_rng(0)
    a, b = (random.standard_normal((_SIZE, _SIZE), dtype=np.float32) for _ in range(2))
    hint = f"the kernel was compiled for {target.cpu}: is this another phone than was added?"
    with session.calls("running one kernel", hint):
        session.remote.upload(str(library), library.name)
        device = session.remote.cpu(0)
        tensors = [tvm.runtime.tensor(array, device) for array in (a, b, np.zeros_like(a))]
        session.remote.load_module(library.name)[_KERNEL](*tensors)
        result = tensors[-1].numpy()
    expected = a.astype(np.float64) @ b.astype(np.float64)
    return float(np.abs(result - expected).max() / np.abs(expected).max())
