"""Defects of MetaSchedule in TVM 0.27 that we avoid. A failure tells that upstream mended one."""

from __future__ import annotations

import inspect
from typing import Any

import numpy as np

from autoglm_tvm.schedules.search.metaschedule_postproc import decompose_reductions
from tests.schedules.kernels import build_kernel, call

X = np.arange(24, dtype=np.float32).reshape(8, 3)
EXPECTED = np.array([X[j : j + 5].sum() for j in range(4)], np.float32)


def overlapping_sums() -> Any:
    """Sums of rows, computed where sums of windows of them need them: windows overlap."""
    from tvm import s_tir, te

    data: Any = te.placeholder((8, 3), "float32", "data")
    k = te.reduce_axis((0, 3), "k")
    rows: Any = te.compute((8,), lambda i: te.sum(data[i, k], axis=k), "rows")
    s = te.reduce_axis((0, 5), "s")
    windows: Any = te.compute((4,), lambda j: te.sum(rows[j + s], axis=s), "windows")
    schedule: Any = s_tir.Schedule(te.create_prim_func([data, windows]))
    kept, reduced = schedule.get_loops("windows")
    schedule.reorder(reduced, kept)
    schedule.compute_at("rows", reduced)
    return schedule


def computed(schedule: Any) -> np.ndarray:
    return call(build_kernel(schedule.mod["main"]), X, np.zeros(4, np.float32))


def test_sums_begin_where_they_should() -> None:
    schedule = overlapping_sums()
    np.testing.assert_array_equal(computed(schedule), EXPECTED)
    decompose_reductions(schedule)
    assert "rows_init" in schedule.mod.script()
    np.testing.assert_array_equal(computed(schedule), EXPECTED)


def test_tvm_takes_the_beginning_of_a_sum_out_of_foreign_loops() -> None:
    from tvm.s_tir.meta_schedule.postproc import RewriteReductionBlock

    schedule = overlapping_sums()
    rewrite: Any = RewriteReductionBlock()
    assert rewrite.apply(schedule)
    assert not np.array_equal(computed(schedule), EXPECTED)


def test_a_tune_context_imports_every_tensor_intrinsic() -> None:
    """That takes 20 to 30 s (`metaschedule_context.search_context`)."""
    from tvm.s_tir.meta_schedule import TuneContext

    assert "import tvm.s_tir.tensor_intrin" in inspect.getsource(TuneContext.__init__)
