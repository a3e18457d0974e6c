"""TVM's runtime and our device server, built from sources for devices that no wheel is for."""

from __future__ import annotations

from autoglm_tvm.rpc.runtime.build import RUNTIME_TARGETS, RuntimeBuild, build_runtime

__all__ = ["RUNTIME_TARGETS", "RuntimeBuild", "build_runtime"]
