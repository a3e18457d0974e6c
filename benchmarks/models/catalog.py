"""The list of what is measured: names, groups, and the ONNX file of each."""

from __future__ import annotations

import hashlib
from collections.abc import Callable
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING

from autoglm_tvm.rpc.cache import cached_folder
from autoglm_tvm.targets.errors import MissingToolError, UserInputError
from benchmarks.models.bert import bert
from benchmarks.models.decoder import decoder_layer
from benchmarks.models.efficientnet import efficientnet_b0
from benchmarks.models.mobilenet import mobilenet_v2
from benchmarks.models.operators import OPERATORS
from benchmarks.models.packaged import INSTALL, PACKAGED
from benchmarks.models.resnet import resnet18, resnet50
from benchmarks.models.squeezenet import squeezenet
from benchmarks.models.vit import vit_tiny

if TYPE_CHECKING:
    import onnx

END_TO_END = "end-to-end"

NETWORKS: dict[str, Callable[[], onnx.ModelProto]] = {
    "mobilenet_v2": mobilenet_v2,
    "resnet18": resnet18,
    "resnet50": resnet50,
    "squeezenet": squeezenet,
    "efficientnet_b0": efficientnet_b0,
    "minilm": partial(bert, 6, 384),
    "bert_base": partial(bert, 12, 768),
    "vit_tiny": vit_tiny,
    "decoder_prefill": partial(decoder_layer, 128, 0),
    "decoder_decode": partial(decoder_layer, 1, 128),
}
#: Measured only where it is named: it is there for the time that it takes to compile.
_ON_DEMAND = ("bert_base",)


@dataclass(frozen=True)
class Case:
    """A model to measure.

    Attributes
    ----------
    name
        As ``--models`` knows it.
    group
        `END_TO_END`, or the operator family.
    build
        Makes the model; ``None`` where it is a file of a package.
    path
        The file of a package; ``None`` also where the package is not installed.
    shapes
        What the file's symbolic inputs are bound to.
    shows_text
        Whether the input is an image of text.
    """

    name: str
    group: str
    build: Callable[[], onnx.ModelProto] | None = None
    path: Path | None = None
    shapes: dict[str, tuple[int, ...]] = field(default_factory=dict)
    shows_text: bool = False


def all_cases() -> dict[str, Case]:
    """Return every case by its name: networks, files of packages, operators."""
    cases = [Case(name, END_TO_END, build) for name, build in NETWORKS.items()]
    for name, found in PACKAGED.items():
        cases.append(Case(name, END_TO_END, None, found.path(), found.shapes, found.shows_text))
    cases += [Case(name, family, build) for name, (family, build) in OPERATORS.items()]
    return {case.name: case for case in cases}


def choose(names: list[str]) -> list[Case]:
    """Return the named cases, or those of the named groups; with no names the default ones.

    Raises
    ------
    UserInputError
        Nothing has such a name.
    """
    cases = all_cases()
    if not names:
        return [case for case in cases.values() if case.name not in _ON_DEMAND]
    chosen: dict[str, Case] = {}
    for name in names:
        group = [c for c in cases.values() if c.group == name and c.name not in _ON_DEMAND]
        found = [cases[name]] if name in cases else group
        if not found:
            groups = dict.fromkeys(case.group for case in cases.values())
            raise UserInputError(
                f"there is no model or group {name!r}",
                where="--models",
                hint=f"groups: {', '.join(groups)}; models: {', '.join(cases)}",
            )
        chosen.update((case.name, case) for case in found)
    return list(chosen.values())


def model_file(case: Case) -> Path:
    """Return the ONNX file of a case, built once per version of the code that builds it.

    Raises
    ------
    MissingToolError
        It lies in a package that is not installed.
    """
    if case.path is not None:
        return case.path
    build = case.build
    if build is None:
        package = PACKAGED[case.name]
        raise MissingToolError(
            f"{package.package} is not installed, or has no {package.file}", hint=INSTALL
        )

    def fill(folder: Path) -> None:
        (folder / "model.onnx").write_bytes(build().SerializeToString())

    sources = sorted(Path(__file__).parent.glob("*.py"))
    digest = hashlib.sha256(b"".join(path.read_bytes() for path in sources)).hexdigest()
    return cached_folder(f"benchmark-models/{case.name}-{digest[:16]}", fill) / "model.onnx"
