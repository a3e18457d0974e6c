"""Q/DQ islands become integer operators; what cannot stays in float, with the reason."""

from autoglm_tvm.compiler.integer.lower import IntegerModel, lower_to_integers
from autoglm_tvm.compiler.integer.node_execution import NodeExecution

__all__ = ["IntegerModel", "NodeExecution", "lower_to_integers"]
