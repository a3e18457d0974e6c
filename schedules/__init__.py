"""Default schedules: how each kernel's loops are ordered, split and parallelised."""

from autoglm_tvm.schedules.default import (
    FALLBACK,
    Decision,
    ScheduledModule,
    apply_default_schedules,
)

__all__ = ["FALLBACK", "Decision", "ScheduledModule", "apply_default_schedules"]
