"""Default schedules: how each kernel's loops are ordered, split and parallelised."""

from autoglm_tvm.schedules.default import ScheduledModule, apply_default_schedules

__all__ = ["ScheduledModule", "apply_default_schedules"]
