"""A user's own score of outputs, from a Python file."""

from __future__ import annotations

import math
import runpy
from pathlib import Path
from typing import TYPE_CHECKING, Any

from autoglm_tvm.targets.errors import UserInputError
from autoglm_tvm.targets.near import did_you_mean

if TYPE_CHECKING:
    from autoglm_tvm.compiler.quantization.search_exceptions import Score

_HINT = (
    "write def score(outputs, inputs): of two lists of arrays by name, one entry a held-out input, "
    "that returns a number; higher is better"
)


def load_score(source: str) -> Score:
    """Return the function that ``file.py:function`` names; what it raises becomes a clear error.

    Raises
    ------
    UserInputError
        There is no such file or function, or the file cannot be run.
    """
    file, separator, name = source.rpartition(":")
    if not separator or not file.endswith(".py"):
        raise UserInputError("it is not of the form file.py:function", where=source, hint=_HINT)
    if not Path(file).is_file():
        raise UserInputError("there is no such Python file", where=file, hint=_HINT)
    try:
        content: dict[str, Any] = runpy.run_path(file, run_name="score")
    except (Exception, SystemExit) as error:
        raise _fails("the Python file", file, error) from error
    function = content.get(name)
    if not callable(function):
        known = [key for key, value in content.items() if callable(value) and key[0] != "_"]
        raise UserInputError(
            f"it has no function '{name}'{did_you_mean(name, known)}", where=file, hint=_HINT
        )

    call: Any = function

    def score(outputs: Any, inputs: Any) -> float:
        try:
            value = float(call(outputs, inputs))
        except (Exception, SystemExit) as error:
            raise _fails("the score", source, error) from error
        if not math.isfinite(value):
            raise UserInputError(f"the score is {value}", where=source, hint=_HINT)
        return value

    return score


def _fails(what: str, where: str, error: BaseException) -> UserInputError:
    return UserInputError(f"{what} fails: {type(error).__name__}: {error}", where=where, hint=_HINT)
