"""Tuning: tasks of a model, candidates for their kernels, and what measuring them has shown."""

from autoglm_tvm.compiler.tuning.report import EndToEnd, TuningReport
from autoglm_tvm.compiler.tuning.tune import TuneLimits, tune

__all__ = ["EndToEnd", "TuneLimits", "TuningReport", "tune"]
