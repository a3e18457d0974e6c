"""Turn what TVM raises while it works on a graph into a message with a next step."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import contextmanager

from autoglm_tvm.artifacts.tensor_spec import TensorSpec
from autoglm_tvm.targets.errors import AutoglmError, UserInputError


@contextmanager
def refusal(doing: str, inputs: Sequence[TensorSpec]) -> Iterator[None]:
    """Raise `UserInputError` for any error of TVM in the block.

    Parameters
    ----------
    doing
        What TVM cannot do, as in "TVM cannot ... this graph".
    inputs
        The graph's inputs; symbolic dimensions among them are the usual cause.
    """
    try:
        yield
    except AutoglmError:
        raise
    except Exception as error:
        message = (str(error).strip() or type(error).__name__).splitlines()[-1]
        raise UserInputError(
            f"TVM cannot {doing} this graph: {message}",
            hint=f"{how_to_bind(inputs)}--debug shows TVM's whole message",
        ) from error


def how_to_bind(inputs: Sequence[TensorSpec]) -> str:
    """Return the options that fix what is still symbolic, as the start of a hint."""
    options = [
        f"--shape {spec.name}={','.join(str(d) if isinstance(d, int) else '?' for d in spec.shape)}"
        for spec in inputs
        if any(isinstance(dim, str) for dim in spec.shape)
    ]
    if not options:
        return ""
    return f"fix the symbolic dimensions with numbers for ?: {' '.join(options)}; "
