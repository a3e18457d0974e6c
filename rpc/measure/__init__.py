"""Measure a bundle on a device or on this machine: `bench`, and the parts that tuning shares."""

from __future__ import annotations

from autoglm_tvm.rpc.measure.bench import bench
from autoglm_tvm.rpc.measure.options import BenchOptions
from autoglm_tvm.rpc.measure.result import BenchResult

__all__ = ["BenchOptions", "BenchResult", "bench"]
