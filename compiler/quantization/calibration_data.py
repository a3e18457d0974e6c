"""Calibration data: inputs that look like the real ones, from files, a generator or chance.

What a source may be:

- a folder of ``.npz`` files, one run each, keys are the inputs' names; taken in the order of names;
- one ``.npz`` file: one run, or recorded runs with a leading axis of samples in every array;
- a folder of images, for a model with one image input; see `images.py`;
- ``file.py:function``: a Python function without arguments that yields (or returns an iterable of)
  mappings of input name to array; or such a function, or iterable, from Python;
- ``"random"``: random numbers, which tell nothing about accuracy.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from autoglm_tvm.artifacts.inputs import check_inputs
from autoglm_tvm.artifacts.tensor_spec import TensorSpec
from autoglm_tvm.targets.errors import UserInputError

if TYPE_CHECKING:
    import numpy as np
    import onnx

    from autoglm_tvm.compiler.quantization.images import ImageSettings

    Run = Mapping[str, np.ndarray]
    #: Where a run comes from (for messages), and what loads it.
    Loader = tuple[str, Callable[[], Run]]

#: Runs of random numbers, where no number is asked for.
RANDOM_RUNS = 8
#: Runs taken from a generator, which may never end, where no number is asked for.
GENERATED_RUNS = 256
#: What is generated is kept in memory, since a generator may give something else the next time.
LARGEST_GENERATED = 2 * 2**30


class CalibrationData:
    """Runs of a model, the same ones in the same order each time it is iterated over.

    Each is checked when it is loaded: names, shapes and dtypes, and that no number is NaN or
    infinite.

    Attributes
    ----------
    inputs
        The model's inputs.
    description
        Where the data comes from, in a few words.
    is_random
        Whether it is random numbers, so that accuracy measured on it means nothing.
    """

    def __init__(
        self,
        inputs: Sequence[TensorSpec],
        loaders: Sequence[Loader],
        description: str,
        is_random: bool = False,
        all_checked: bool = False,
    ) -> None:
        self.inputs = tuple(inputs)
        self._loaders = tuple(loaders)
        self._source = description
        self.is_random = is_random
        self._all_checked = all_checked

    def __len__(self) -> int:
        return len(self._loaders)

    def __iter__(self) -> Iterator[dict[str, np.ndarray]]:
        for where, load in self._loaders:
            yield _checked(self.inputs, load(), where)

    def check(self) -> None:
        """Refuse a run that does not fit the model or is not finite, before any work is done.

        Of pictures and random numbers the first run stands for all.
        """
        runs = iter(self)
        next(runs)
        if self._all_checked:
            for _run in runs:
                pass

    @property
    def description(self) -> str:
        """Where the data comes from, and how many runs."""
        return f"{self._source}, {len(self)} run{'s' if len(self) != 1 else ''}"

    def split(self, held_out: float = 0.2) -> tuple[CalibrationData, CalibrationData]:
        """Return the part to calibrate with and the part to measure accuracy on.

        The held-out runs are spread evenly over the data. Of one single run both parts have it.

        Parameters
        ----------
        held_out
            Share of the runs to hold out, between 0 and 1; at least one run, and not all of them.
        """
        count = len(self)
        if count == 1:
            return self, self
        held = min(max(round(count * held_out), 1), count - 1)
        chosen = {(2 * i + 1) * count // (2 * held) for i in range(held)}
        return (
            self._part([i for i in range(count) if i not in chosen]),
            self._part(sorted(chosen)),
        )

    def first(self, count: int) -> CalibrationData:
        """Return at most the first `count` runs."""
        return self._part(range(min(count, len(self))))

    def _part(self, positions: Iterable[int]) -> CalibrationData:
        loaders = [self._loaders[position] for position in positions]
        return CalibrationData(
            self.inputs, loaders, self._source, self.is_random, self._all_checked
        )


def calibration_data(
    source: str | Path | Callable[[], Any] | Iterable[Any] | None,
    inputs: Sequence[TensorSpec],
    *,
    limit: int | None = None,
    images: ImageSettings | None = None,
    graph: onnx.GraphProto | None = None,
    seed: int = 0,
) -> CalibrationData:
    """Return the runs that a source holds.

    Parameters
    ----------
    source
        See this module's text. `CalibrationData` is handed on.
    inputs
        The model's inputs.
    limit
        Take at most this many runs.
    images
        How pictures become inputs; by default as ``preprocessing.yaml`` in their folder says.
    graph
        With ``"random"``: the graph that the inputs go into, which tells what integers index.
    seed
        With ``"random"``: equal seeds give equal data.

    Raises
    ------
    UserInputError
        There is no such source, it is empty, or a run does not fit the model.
    """
    if limit is not None and limit < 1:
        raise UserInputError(
            f"calibration on {limit} runs is impossible", hint="take at least one run"
        )
    if source is None:
        raise UserInputError("no calibration data was given", hint=_SOURCES)
    if isinstance(source, CalibrationData):
        return source if limit is None else source.first(limit)
    if isinstance(source, str) and source == "random":
        data = _random(inputs, limit or RANDOM_RUNS, graph, seed)
    elif isinstance(source, (str, Path)):
        data = _from_path(source, inputs, limit, images)
    else:
        data = _generated(source, inputs, limit, getattr(source, "__name__", "a generator"))
    if not len(data):
        raise UserInputError("there is no calibration data in it", where=str(source), hint=_SOURCES)
    if limit is not None:
        data = data.first(limit)
    data.check()
    return data


_SOURCES = (
    "give a folder of .npz files or images, a .npz file, file.py:function, or 'random' (which "
    "tells nothing about accuracy)"
)


def _checked(inputs: Sequence[TensorSpec], run: Any, where: str) -> dict[str, np.ndarray]:
    """Return the arrays of one run by name."""
    import numpy as np

    if not isinstance(run, Mapping):
        raise UserInputError(
            f"a run must be a mapping of input name to array, not {type(run).__name__}",
            where=where,
            hint="yield for example {'x': numpy.zeros((1, 3, 224, 224), 'float32')}",
        )
    try:
        arrays = check_inputs(inputs, run)
    except UserInputError as error:
        place = f"{where}: {error.where}" if error.where else where
        raise UserInputError(error.what, where=place, hint=error.hint) from None
    for spec, array in zip(inputs, arrays, strict=True):
        if array.dtype.kind in "iub":
            continue
        finite = np.isfinite(array.astype(np.float32, copy=False))
        if not finite.all():
            position = tuple(int(i) for i in np.argwhere(~finite)[0])
            raise UserInputError(
                f"input '{spec.name}' has the value {array[position]} at {list(position)}",
                where=where,
                hint="calibration data must be finite: mend or remove this run",
            )
    return {spec.name: array for spec, array in zip(inputs, arrays, strict=True)}


def _random(
    inputs: Sequence[TensorSpec], count: int, graph: onnx.GraphProto | None, seed: int
) -> CalibrationData:
    import onnx

    from autoglm_tvm.compiler.random_inputs import random_inputs, symbolic_sizes

    network = onnx.GraphProto() if graph is None else graph
    sizes = next(symbolic_sizes(inputs, {}))

    def loader(number: int) -> Loader:
        name = f"random run {number}"
        return name, lambda: random_inputs(inputs, network, seed * 1_000_003 + number, sizes)

    return CalibrationData(inputs, [loader(i) for i in range(count)], "random numbers", True)


def _from_path(
    source: str | Path,
    inputs: Sequence[TensorSpec],
    limit: int | None,
    images: ImageSettings | None,
) -> CalibrationData:
    file, separator, function = str(source).rpartition(":")
    if separator and file.endswith(".py"):
        return _generated(_function(Path(file), function), inputs, limit, str(source))
    path = Path(source)
    if path.is_file() and path.suffix == ".npz":
        return CalibrationData(inputs, _recorded(path, inputs), path.name, all_checked=True)
    if path.is_dir():
        return _from_folder(path, inputs, images)
    what = "this is no calibration data" if path.exists() else "there is no such calibration data"
    raise UserInputError(what, where=str(source), hint=_SOURCES)


def _from_folder(
    folder: Path, inputs: Sequence[TensorSpec], images: ImageSettings | None
) -> CalibrationData:
    from autoglm_tvm.compiler.quantization.images import SUFFIXES, image_loaders

    files = sorted(path for path in folder.iterdir() if not path.name.startswith("."))
    arrays = [path for path in files if path.suffix.lower() == ".npz"]
    pictures = [path for path in files if path.suffix.lower() in SUFFIXES]
    if arrays and pictures:
        raise UserInputError(
            f"the folder has {len(arrays)} .npz files and {len(pictures)} images",
            where=str(folder),
            hint="keep one kind in it",
        )
    if pictures:
        loaders = image_loaders(folder, pictures, inputs, images)
        return CalibrationData(inputs, loaders, f"images of {folder.name}")
    loaders = [(str(path), _npz_loader(path)) for path in arrays]
    description = f".npz files of {folder.name}"
    return CalibrationData(inputs, loaders, description, all_checked=True)


def _npz_loader(path: Path) -> Callable[[], Run]:
    return lambda: _load_npz(path)


def _load_npz(path: Path) -> dict[str, np.ndarray]:
    import numpy as np

    try:
        content = np.load(path, allow_pickle=False)
        if isinstance(content, np.ndarray):
            raise ValueError("this is a single array without a name (.npy)")
        with content:
            return {name: content[name] for name in content.files}
    except Exception as error:
        raise UserInputError(
            f"cannot read it as .npz: {(str(error) or type(error).__name__).splitlines()[0]}",
            where=str(path),
            hint="write it with numpy.savez(path, **{input name: array})",
        ) from error


def _recorded(path: Path, inputs: Sequence[TensorSpec]) -> list[Loader]:
    """Return the runs of one file: one, or as many as the leading axis of every array has."""
    arrays = _load_npz(path)
    ranks = {spec.name: len(spec.shape) for spec in inputs}
    if not arrays or any(
        name not in ranks or array.ndim != ranks[name] + 1 for name, array in arrays.items()
    ):
        return [(str(path), lambda: arrays)]
    counts = {name: len(array) for name, array in arrays.items()}
    if len(set(counts.values())) > 1:
        listed = ", ".join(f"'{name}' {count}" for name, count in counts.items())
        raise UserInputError(
            f"the inputs have different numbers of recorded runs: {listed}",
            where=str(path),
            hint="the leading axis of every array counts the runs",
        )

    def loader(number: int) -> Loader:
        return f"{path} run {number}", lambda: {n: a[number] for n, a in arrays.items()}

    return [loader(number) for number in range(next(iter(counts.values())))]


def _function(file: Path, name: str) -> Callable[[], Any]:
    """Return a function of a Python file."""
    import runpy

    hint = "write a function without arguments that yields {input name: array}"
    if not file.is_file():
        raise UserInputError("there is no such Python file", where=str(file), hint=hint)
    try:
        content = runpy.run_path(str(file), run_name="calibration")
    except (Exception, SystemExit) as error:
        raise UserInputError(
            f"the Python file fails: {type(error).__name__}: {error}", where=str(file), hint=hint
        ) from error
    function = content.get(name)
    if not callable(function):
        from autoglm_tvm.targets.near import did_you_mean

        known = [key for key, value in content.items() if callable(value) and key[0] != "_"]
        raise UserInputError(
            f"it has no function '{name}'{did_you_mean(name, known)}", where=str(file), hint=hint
        )
    return function


def _generated(
    source: Callable[[], Any] | Iterable[Any],
    inputs: Sequence[TensorSpec],
    limit: int | None,
    description: str,
) -> CalibrationData:
    """Take the runs of a generator into memory."""
    from itertools import islice

    runs: list[dict[str, np.ndarray]] = []
    size = 0
    try:
        iterable = source() if callable(source) else source
        for run in islice(iterable, limit or GENERATED_RUNS):
            checked = _checked(inputs, run, f"{description} run {len(runs)}")
            runs.append({name: array.copy() for name, array in checked.items()})
            size += sum(array.nbytes for array in checked.values())
            if size > LARGEST_GENERATED:
                raise UserInputError(
                    f"{len(runs)} runs take more than {LARGEST_GENERATED >> 30} GiB of memory",
                    where=description,
                    hint="take fewer runs, or write them as .npz files into a folder",
                )
    except UserInputError:
        raise
    except (Exception, SystemExit) as error:
        raise UserInputError(
            f"the generator fails after {len(runs)} runs: {type(error).__name__}: {error}",
            where=description,
            hint="it must yield mappings of input name to array",
        ) from error

    def loader(number: int) -> Loader:
        return f"{description} run {number}", lambda: runs[number]

    return CalibrationData(inputs, [loader(i) for i in range(len(runs))], description)
