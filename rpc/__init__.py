"""Devices over TVM RPC: the tracker, the native device server, and sessions on a device."""

from __future__ import annotations

from autoglm_tvm.rpc.session import DeviceSession, RemoteBundle, connect

__all__ = ["DeviceSession", "RemoteBundle", "connect"]
