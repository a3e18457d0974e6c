"""Largest magnitude and mean of each channel of some tensors, on calibration data."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING

from autoglm_tvm.compiler.quantization.float_session import FloatSession

if TYPE_CHECKING:
    import numpy as np
    import onnx

    from autoglm_tvm.compiler.quantization.calibration_data import CalibrationData


@dataclass(frozen=True)
class ChannelStatistics:
    """What the channels of one tensor hold, one number each.

    Attributes
    ----------
    largest
        Largest magnitude.
    mean
        Mean of all values; each run counts as much as it has values.
    """

    largest: np.ndarray
    mean: np.ndarray


def channel_statistics(
    proto: onnx.ModelProto, data: CalibrationData, axes: Mapping[str, int]
) -> dict[str, ChannelStatistics]:
    """Return the statistics of the tensors `axes` along their channels' axis.

    The tensors of one run are in memory together.
    """
    import numpy as np

    names = list(axes)
    if not names:
        return {}
    session = FloatSession(proto, names)
    largest: dict[str, np.ndarray] = {}
    total: dict[str, np.ndarray] = {}
    count: dict[str, int] = {}
    for run in data:
        for name, array in session.run(run).items():
            rows = np.moveaxis(array, axes[name], -1).reshape(-1, array.shape[axes[name]])
            if not rows.size:
                continue
            peak = np.abs(rows).max(axis=0)
            before = largest.get(name)
            largest[name] = peak if before is None else np.maximum(before, peak)
            total[name] = total.get(name, 0.0) + rows.sum(axis=0, dtype=np.float64)
            count[name] = count.get(name, 0) + len(rows)
    return {name: ChannelStatistics(largest[name], total[name] / count[name]) for name in largest}
