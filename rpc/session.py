"""Use a device: get one from a tracker, open a bundle on it, run it there."""

from __future__ import annotations

import contextlib
import time
import uuid
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

from autoglm_tvm.artifacts.bundle import Bundle, read_bundle
from autoglm_tvm.artifacts.local_run import BIG_CORES_FIRST
from autoglm_tvm.rpc.connection import Connection
from autoglm_tvm.rpc.device_about import ask_device, refuse_other_device
from autoglm_tvm.rpc.device_errors import explain
from autoglm_tvm.rpc.tracker_client import DeviceAddress, TrackerClient, parse_address
from autoglm_tvm.targets.errors import AutoglmError, MissingToolError

if TYPE_CHECKING:
    import numpy as np


def connect(
    tracker: str, key: str, *, timeout_s: float = 60, call_timeout_s: float = 600
) -> DeviceSession:
    """Take a device of ``key`` from the tracker.

    Parameters
    ----------
    tracker
        ``HOST:PORT``.
    key
        The name under which the device's server was started.
    timeout_s
        How long to wait for a free device and its greeting.
    call_timeout_s
        How long one step on the device (an upload, a run) may take; then the session is broken off.

    Raises
    ------
    UserInputError
        The address is malformed.
    MissingToolError
        No tracker there, no device of that key, or none answers in time.
    """
    parse_address(tracker)
    # Before a device is taken: the import takes seconds, and the device takes its offer back when
    # whoever has taken it does not come.
    from tvm import rpc  # noqa: F401

    deadline = time.monotonic() + timeout_s
    with TrackerClient(tracker, timeout_s) as client:
        address = client.request(key)
    left = max(1.0, deadline - time.monotonic())
    return open_session(address, key, timeout_s=left, call_timeout_s=call_timeout_s)


def open_session(
    address: DeviceAddress, key: str, *, timeout_s: float, call_timeout_s: float
) -> DeviceSession:
    """Open a session on a device that the tracker has given; the other half of `connect`.

    Raises
    ------
    MissingToolError
        The device does not answer in time.
    """
    from tvm import rpc

    where = f"device {key!r} at {address.host}:{address.port}"
    connection = Connection(address.host, address.port)
    try:
        with connection.deadline(timeout_s):
            remote = rpc.connect(address.host, address.port, address.match_key)
    except Exception as error:
        raise MissingToolError(
            "the tracker names this device, but it does not answer"
            if connection.expired
            else f"cannot open a session on the device: {str(error).splitlines()[0]}",
            where=where,
            hint="see the log of the device's server, or start it again",
        ) from error
    connection.found()
    return DeviceSession(remote, connection, where, call_timeout_s)


class DeviceSession:
    """A device that is ours until `close`; a context manager. Not thread-safe.

    Attributes
    ----------
    remote
        TVM's session (``tvm.rpc.RPCSession``). Its calls have no deadline outside of `calls`.
    where
        Key and address, for messages.
    """

    def __init__(
        self, remote: Any, connection: Connection, where: str, call_timeout_s: float
    ) -> None:
        self.remote = remote
        self.where = where
        self.call_timeout_s = call_timeout_s
        self._connection = connection

    def __enter__(self) -> DeviceSession:
        return self

    def __exit__(self, *exception: object) -> None:
        self.close()

    def close(self) -> None:
        """Give the device back to the tracker."""
        with contextlib.suppress(Exception), self._connection.deadline(5):
            self.remote.get_function("CloseRPCConnection")()
        self._connection.close()

    @contextlib.contextmanager
    def calls(self, doing: str, hint: str = "") -> Iterator[None]:
        """Put a deadline on the calls to the device in the block, and make their errors clear.

        Parameters
        ----------
        doing
            What the block does, as in "the session ended while ...".
        hint
            What to do where the device's code crashed.

        Raises
        ------
        MissingToolError
            The session ended, the device refused, or the deadline passed.
        """
        try:
            with self._connection.deadline(self.call_timeout_s):
                yield
        except AutoglmError:
            raise
        except Exception as error:
            limit = self.call_timeout_s if self._connection.expired else None
            raise explain(str(error), doing, self.where, hint, limit) from error

    def open_bundle(self, directory: str | Path) -> RemoteBundle:
        """Check a bundle's files by hash, upload library and weights, and load it on the device.

        Raises
        ------
        UserInputError
            There is no bundle, or it is for another kind of device.
        CheckFailedError
            A file of it was changed.
        MissingToolError
            The device cannot load it.
        """
        return RemoteBundle(self, read_bundle(directory))


class RemoteBundle:
    """A bundle loaded on a device; made by `DeviceSession.open_bundle`. Not thread-safe.

    The weights are sent once. TVM copies them on the device at every run, because over RPC only
    `set_input` takes tensors: a run needs twice their memory.

    Attributes
    ----------
    vm
        TVM's virtual machine on the device.
    threads
        Worker threads of a run; by default what the bundle was compiled for.
    """

    def __init__(self, session: DeviceSession, bundle: Bundle, threads: int | None = None) -> None:
        from tvm import relax

        self.session = session
        self.bundle = bundle
        self.manifest = bundle.manifest
        self.threads = threads or int(bundle.manifest.target["threads"])
        remote = session.remote
        with session.calls("asking what it is"):
            about = ask_device(remote)
        if about is not None:
            refuse_other_device(bundle, about, session.where)
        # A library that is written over while it is loaded crashes the device.
        name = f"{uuid.uuid4().hex}-{self.manifest.library}"
        with session.calls(f"loading {self.manifest.library}", self._wrong_cpu_hint()):
            self._device = remote.cpu(0)
            remote.upload(str(bundle.library_path), name)
            self.vm = relax.VirtualMachine(remote.load_module(name), self._device)
            remote.get_function("runtime.config_threadpool")(BIG_CORES_FIRST, self.threads)
        self._weights = [self._send(array, "sending the weights") for array in bundle.map_weights()]

    def run(self, inputs: Mapping[str, np.ndarray]) -> dict[str, np.ndarray]:
        """Run the network once on the device; as `artifacts.open_bundle(DIR).run`.

        Raises
        ------
        UserInputError
            A name, dtype or shape is wrong.
        MissingToolError
            The device's session ended or did not answer in time.
        """
        self.set_inputs(inputs)
        entry = self.manifest.entry
        with self.session.calls(f"running {self.manifest.name}", self._wrong_cpu_hint()):
            self.vm.invoke_stateful(entry)
            result: Any = self.vm.get_outputs(entry)
            results = result if isinstance(result, tuple) else (result,)
            outputs = [tensor.numpy() for tensor in results]
        return self.bundle.name_outputs(outputs)

    def set_inputs(self, inputs: Mapping[str, np.ndarray]) -> None:
        """Send the inputs for runs by ``vm.invoke_stateful``; raises what `run` raises."""
        arrays = self.bundle.check_inputs(inputs)
        tensors = [self._send(array, "sending the inputs") for array in arrays]
        with self.session.calls("setting the inputs"):
            self.vm.set_input(self.manifest.entry, *tensors, *self._weights)

    def run_with_kernel_outputs(
        self, inputs: Mapping[str, np.ndarray]
    ) -> tuple[dict[str, np.ndarray], list[tuple[str, np.ndarray]]]:
        """Run once and fetch what every kernel call wrote, in the order of the calls.

        Needs our own device server. The device keeps all the copies until they are fetched.

        Returns
        -------
        outputs
            As `run` returns them.
        kernels
            Name of each call's kernel in the library, and its last tensor argument after the call
            (of a kernel with several outputs: the last one).
        """
        remote = self.session.remote
        listed = {entry.function for entry in self.manifest.kernels}
        hook = self.vm.module["set_instrument"]
        with self.session.calls("installing the recorder (part of autoglm-device-server)"):
            hook("autoglm.recorder.start")
        try:
            outputs = self.run(inputs)
            with self.session.calls("fetching what the kernels wrote"):
                name = remote.get_function("autoglm.recorder.name")
                output = remote.get_function("autoglm.recorder.output")
                count = remote.get_function("autoglm.recorder.count")()
                names = [str(name(i)) for i in range(count)]
                kernels = [(n, output(i).numpy()) for i, n in enumerate(names) if n in listed]
        finally:
            with contextlib.suppress(Exception), self.session.calls("removing the recorder"):
                hook("autoglm.recorder.stop")
                remote.get_function("autoglm.recorder.clear")()
        return outputs, kernels

    def _send(self, array: np.ndarray, doing: str) -> Any:
        import tvm

        with self.session.calls(doing):
            return tvm.runtime.tensor(array, self._device)

    def _wrong_cpu_hint(self) -> str:
        target = self.manifest.target
        return (
            f"the library was compiled for {target['name']} ({target['triple']}): compile it for a "
            "target, --cpu and --features that this device has"
        )
