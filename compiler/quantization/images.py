"""Pictures as calibration data: from files to the one image input of a model."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, fields
from pathlib import Path
from typing import TYPE_CHECKING, Any

from autoglm_tvm.artifacts.tensor_spec import TensorSpec
from autoglm_tvm.compiler.quantization.recipe_settings import check_kind
from autoglm_tvm.targets.errors import UserInputError
from autoglm_tvm.targets.near import did_you_mean

if TYPE_CHECKING:
    import numpy as np

SUFFIXES = (".png", ".jpg", ".jpeg", ".bmp", ".webp")
#: The file beside the pictures that says how they become inputs.
SETTINGS_FILE = "preprocessing.yaml"
_RESIZES = ("stretch", "crop", "pad")
_COLOURS = {1: "L", 3: "RGB"}


@dataclass(frozen=True)
class ImageSettings:
    """How a picture becomes an input: ``(pixel * scale - mean) / std``, for each colour.

    ``preprocessing.yaml`` in the pictures' folder has the same keys.

    Attributes
    ----------
    size
        Height and width; by default those of the model's input, which must be given where it
        leaves them open.
    resize
        ``stretch`` to the size; ``crop`` the middle after scaling the shorter side to it; or
        ``pad`` at the right and the bottom with zeros of the input after scaling the longer side.
    scale
        What a pixel from 0 to 255 is multiplied by. Not used where the input holds integers.
    mean, std
        Of each colour, after `scale`; one value counts for all colours.
    bgr
        Whether colours go in as blue, green, red.
    """

    size: tuple[int, int] | None = None
    resize: str = "stretch"
    scale: float = 1 / 255
    mean: tuple[float, ...] = (0.0,)
    std: tuple[float, ...] = (1.0,)
    bgr: bool = False

    def __post_init__(self) -> None:
        self._check_kinds()
        if self.resize not in _RESIZES:
            raise UserInputError(
                f"resize: '{self.resize}' is unknown{did_you_mean(str(self.resize), _RESIZES)}",
                hint=f"known: {', '.join(_RESIZES)}",
            )
        if self.size is not None and (len(self.size) != 2 or min(self.size) < 1):
            raise UserInputError(
                f"size: {list(self.size)} is no height and width", hint="for example [224, 224]"
            )
        if 0 in self.std:
            raise UserInputError("std: 0 would divide by zero", hint="give deviations over 0")

    def _check_kinds(self) -> None:
        """YAML reads ``1/255`` as text."""
        number, fraction = (int, float), "write 0.00392 for 1/255"
        check_kind("scale", self.scale, number, "a number", fraction)
        for name in ("mean", "std"):
            values = getattr(self, name)
            check_kind(name, values, (tuple,), "a number or a list of them", "such as [0.5]")
            for value in values:
                check_kind(name, value, number, "numbers", "such as [0.485, 0.456, 0.406]")
        check_kind("bgr", self.bgr, (bool,), "true or false", "colours go in as RGB otherwise")
        if self.size is not None:
            check_kind("size", self.size, (tuple,), "two whole numbers", "such as [224, 224]")
            for value in self.size:
                check_kind("size", value, (int,), "whole numbers", "such as [224, 224]")


def read_image_settings(folder: Path) -> ImageSettings:
    """Return what ``preprocessing.yaml`` in the folder says; the usual settings without one.

    Raises
    ------
    UserInputError
        The file is no YAML, or has an unknown key or a wrong value.
    """
    import yaml

    path = folder / SETTINGS_FILE
    if not path.is_file():
        return ImageSettings()
    known = [item.name for item in fields(ImageSettings)]
    hint = f"known: {', '.join(known)}"
    try:
        content = yaml.safe_load(path.read_text(encoding="utf-8")) or {}
        if not isinstance(content, Mapping):
            raise ValueError("it must be names with values")
        for key in content:
            if key not in known:
                unknown = f"the unknown key '{key}'{did_you_mean(str(key), known)}"
                raise UserInputError(f"it has {unknown}", where=str(path), hint=hint)
        return ImageSettings(**{key: _tuple(key, value) for key, value in content.items()})
    except UserInputError as error:
        raise UserInputError(error.what, where=str(path), hint=error.hint) from None
    except (OSError, ValueError, TypeError, yaml.YAMLError) as error:
        text = " ".join(str(error).split())
        raise UserInputError(f"cannot read it: {text}", where=str(path), hint=hint) from error


def image_loaders(
    folder: Path,
    files: Sequence[Path],
    inputs: Sequence[TensorSpec],
    settings: ImageSettings | None,
) -> list[tuple[str, Callable[[], dict[str, np.ndarray]]]]:
    """Return what loads each run: as many pictures as the input's batch has, one where it is open.

    Raises
    ------
    UserInputError
        The model has not one image input, or its size is open and not given.
    """
    frame = _Frame.of(inputs, folder, settings or read_image_settings(folder))
    batch = inputs[0].shape[0]
    count = batch if isinstance(batch, int) else 1
    runs = [files[at : at + count] for at in range(0, len(files) - count + 1, count)]

    def loader(paths: Sequence[Path]) -> tuple[str, Callable[[], dict[str, np.ndarray]]]:
        return str(paths[0]), lambda: {inputs[0].name: frame.load(paths)}

    return [loader(paths) for paths in runs]


@dataclass(frozen=True)
class _Frame:
    """What the input looks like, and how a picture gets there."""

    height: int
    width: int
    colours: int
    channels_last: bool
    dtype: str
    settings: ImageSettings

    @staticmethod
    def of(inputs: Sequence[TensorSpec], folder: Path, settings: ImageSettings) -> _Frame:
        where = str(folder)
        spec = inputs[0]
        shape = spec.shape
        channels_last = len(shape) == 4 and shape[1] not in _COLOURS and shape[3] in _COLOURS
        colours = shape[3 if channels_last else 1] if len(shape) == 4 else None
        if len(inputs) != 1 or colours not in _COLOURS:
            raise UserInputError(
                "images fit a model with one input of shape [N, C, H, W] or [N, H, W, C] with 1 or "
                f"3 colours, and this one takes {'; '.join(map(str, inputs))}",
                where=where,
                hint="write the inputs as .npz files instead",
            )
        bound = shape[1:3] if channels_last else shape[2:4]
        size = settings.size or bound
        if any(not isinstance(dim, int) for dim in size):
            raise UserInputError(
                f"the model leaves the size of the image open: {spec}",
                where=where,
                hint=f"bind it with --shape, or write  size: [224, 224]  into {SETTINGS_FILE}",
            )
        for values in (settings.mean, settings.std):
            if len(values) not in (1, colours):
                raise UserInputError(
                    f"{len(values)} values of mean or std for {colours} colours",
                    where=where,
                    hint="give one value, or one for each colour",
                )
        return _Frame(int(size[0]), int(size[1]), int(colours), channels_last, spec.dtype, settings)

    def load(self, paths: Sequence[Path]) -> np.ndarray:
        """Return the pictures as one array of the input's layout and dtype."""
        import numpy as np

        pixels = np.stack([self._pixels(path) for path in paths])
        return pixels if self.channels_last else np.ascontiguousarray(pixels.transpose(0, 3, 1, 2))

    def _pixels(self, path: Path) -> np.ndarray:
        """Return one picture as (height, width, colours)."""
        import numpy as np
        from PIL import Image, UnidentifiedImageError

        try:
            with Image.open(path) as image:
                shown = self._resized(image.convert(_COLOURS[self.colours]))
        except (OSError, UnidentifiedImageError) as error:
            raise UserInputError(
                f"cannot read the image: {error}", where=str(path), hint="mend or remove the file"
            ) from error
        pixels = np.asarray(shown).reshape(shown.height, shown.width, self.colours)
        if self.settings.bgr:
            pixels = pixels[..., ::-1]
        dtype = np.dtype(self.dtype)
        if dtype.kind in "iu":
            values = pixels.astype(dtype)
        else:
            scaled = pixels * self.settings.scale
            values = (scaled - np.array(self.settings.mean)) / np.array(self.settings.std)
        result = np.zeros((self.height, self.width, self.colours), dtype)
        result[: shown.height, : shown.width] = values
        return result

    def _resized(self, image: Any) -> Any:
        height, width = self.height, self.width
        if self.settings.resize == "stretch":
            return image.resize((width, height))
        ratios = (height / image.height, width / image.width)
        ratio = max(ratios) if self.settings.resize == "crop" else min(ratios)
        wide, high = max(round(image.width * ratio), 1), max(round(image.height * ratio), 1)
        if self.settings.resize == "pad":
            return image.resize((min(wide, width), min(high, height)))
        wide, high = max(wide, width), max(high, height)
        left, top = (wide - width) // 2, (high - height) // 2
        return image.resize((wide, high)).crop((left, top, left + width, top + height))


def _tuple(key: str, value: Any) -> Any:
    if key in ("mean", "std") and type(value) in (int, float):
        return (float(value),)
    return tuple(value) if isinstance(value, list) else value
