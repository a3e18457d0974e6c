"""What there is to tune in a model: its workloads, each with a kernel that stands for it."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass
from math import prod
from typing import TYPE_CHECKING, Any

from autoglm_tvm.artifacts.trial import TensorType
from autoglm_tvm.compiler.optimise import OptimisedModel
from autoglm_tvm.compiler.schedule import workloads_of
from autoglm_tvm.compiler.tuning.splice import splice
from autoglm_tvm.schedules.choices import Anchor, Choices
from autoglm_tvm.schedules.kernel import constant
from autoglm_tvm.schedules.machine import Machine
from autoglm_tvm.schedules.search.kernel_spaces import space_of
from autoglm_tvm.schedules.search.space import Space

if TYPE_CHECKING:
    import numpy as np


@dataclass(frozen=True)
class TuningTask:
    """One workload of a model.

    Attributes
    ----------
    workload
        What records know it by.
    kernel
        The kernel that is measured for it: of all kernels of the workload the one that is called
        most often.
    calls
        How often a run calls kernels of this workload.
    function
        That kernel before it is scheduled, its anchor lowered by default.
    anchor
        How its anchor can be lowered otherwise; None where it has none.
    space
        The knobs of our rules; None where they have none for it.
    arguments
        Types of its arguments, the result last.
    constants
        Position and value of those arguments that are weights of the model, as they are packed by
        default.
    results
        How many of the last arguments it writes.
    """

    workload: str
    kernel: str
    calls: int
    function: Any
    anchor: Anchor | None
    space: Space | None
    arguments: tuple[TensorType, ...]
    constants: dict[int, np.ndarray]
    results: int = 1

    @property
    def family(self) -> str:
        """What the workload's name begins with: matmul, conv2d, softmax."""
        return self.workload.partition(" ")[0]

    @property
    def features(self) -> dict[str, float]:
        """Numbers that tell it from others of its family."""
        from math import log2

        sizes = {"result": self.arguments[-1], "largest": max(self.arguments, key=_elements)}
        numbers = {name: log2(max(1, _elements(tensor))) for name, tensor in sizes.items()}
        return numbers | {
            f"extent{at}": log2(max(1, extent))
            for at, extent in enumerate(self.arguments[-1].shape[::-1])
        }


def tuning_tasks(model: OptimisedModel, choices: Choices, machine: Machine) -> list[TuningTask]:
    """Return the tasks of a model that was lowered by default; must run below its target.

    Parameters
    ----------
    model
        Its kernels are not scheduled yet.
    choices
        Whose `anchors` were learnt while it was lowered.
    machine
        That it is tuned for.

    Kernels with symbolic extents are left out: there is no size to measure them with.
    """
    workloads = workloads_of(model)
    often: dict[str, Counter[str]] = {}
    for name, _ in model.calls:
        often.setdefault(workloads[name], Counter())[name] += 1
    weights = _weights_of_calls(model)
    outputs = _results_of_calls(model)
    found = []
    for workload, kernels in often.items():
        kernel = kernels.most_common(1)[0][0]
        function = model.module[kernel]
        arguments = _arguments(function)
        if arguments is None:
            continue
        anchor, packed = _anchor(function, choices.anchors.get(workload))
        space = space_of(function, anchor, machine)
        found.append(
            TuningTask(
                *(workload, kernel, kernels.total(), function, anchor, space),
                *(arguments, {**weights.get(kernel, {}), **packed}, outputs[kernel]),
            )
        )
    return found


def _anchor(function: Any, anchor: Anchor | None) -> tuple[Anchor | None, dict[int, np.ndarray]]:
    """The anchor, if the kernel is made of it, and its own weight by its position.

    The kernel that is called most often may have another weight than the anchor that was met first,
    and candidates are made of the anchor: they are compared with the kernel of the same weight.
    """
    if anchor is None:
        return None, {}
    try:
        _, weight = splice(function, anchor, {})
    except ValueError:
        return None, {}
    return anchor, {} if weight is None else dict([weight])


def _elements(tensor: TensorType) -> int:
    return prod(tensor.shape)


def _arguments(function: Any) -> tuple[TensorType, ...] | None:
    """Types of the tensors that a kernel takes; None where it has others, or a symbolic extent."""
    types = []
    for param in function.params:
        shape = getattr(param, "shape", None)
        extents = None if shape is None else [constant(extent) for extent in shape]
        if extents is None or None in extents or 0 in extents:
            return None
        types.append(TensorType(str(param.dtype), tuple(extent or 0 for extent in extents)))
    return tuple(types)


def _kernel_calls(model: OptimisedModel) -> Iterator[Any]:
    from tvm import ir, relax

    for block in model.module["main"].body.blocks:
        for binding in block.bindings:
            value: Any = binding.value
            if isinstance(value, relax.Call) and value.op == ir.Op.get("relax.call_tir"):
                yield value


def _results_of_calls(model: OptimisedModel) -> dict[str, int]:
    """How many tensors each kernel writes."""
    from tvm import relax

    def count(kind: Any) -> int:
        tuples: Any = relax.TupleType
        return len(kind.fields) if isinstance(kind, tuples) else 1

    return {call.args[0].name_hint: count(call.ty) for call in _kernel_calls(model)}


def _weights_of_calls(model: OptimisedModel) -> dict[str, dict[int, np.ndarray]]:
    """For each kernel the weights of its first call, by the position of the argument."""
    arrays = dict(model.weights)
    found: dict[str, dict[int, np.ndarray]] = {}
    for call in _kernel_calls(model):
        name = call.args[0].name_hint
        if name not in found:
            operands = enumerate(call.args[1].fields)
            known = ((at, _value(operand, arrays)) for at, operand in operands)
            found[name] = {at: array for at, array in known if array is not None}
    return found


def _value(operand: Any, arrays: dict[str, np.ndarray]) -> np.ndarray | None:
    from tvm import ir, relax

    if isinstance(operand, relax.Var):
        return arrays.get(operand.name)
    constant: Any = operand
    return constant.value.numpy() if isinstance(operand, ir.GenericConst) else None
