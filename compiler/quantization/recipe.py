"""Recipes: which node gets which precision, and how it is quantized.

A recipe has a default and exceptions. In YAML, as users of on-device language models write it::

    default: int8
    exceptions: {"*/attention/query*": fp16, "*/attention/key*": fp16, "lm_head": int4}
    int8: {method: entropy, activation: uint8}
    int4: {group: 32}

An exception's key is one of

- a pattern of node names with ``*``, ``?`` or ``[...]``, case-sensitive, with or without the
  leading slash that exporters write;
- a plain name: the node of that name, or every node below that module, so that ``lm_head`` names
  ``/lm_head/MatMul`` too;
- ``op:MatMul``: every node of that operator;
- ``layer:3``, ``layer:0-2``, ``layer:-1``: by the order of the layers in the graph, from 0;
  negative ones count from the end. Layers are convolutions and products with a constant weight.

Where several exceptions name one node, the later one wins, as in a style sheet: put the general
ones first. A key given twice, and an exception that is left with no node, are contradictions.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass, field, fields, replace
from pathlib import Path
from typing import Any

from autoglm_tvm.compiler.quantization.recipe_settings import (
    GROUPS,
    METHODS,
    Int4Settings,
    Int8Settings,
    check_choice,
)
from autoglm_tvm.targets.errors import UserInputError
from autoglm_tvm.targets.near import did_you_mean

__all__ = [
    "GROUPS",
    "METHODS",
    "PRECISIONS",
    "Int4Settings",
    "Int8Settings",
    "Recipe",
    "built_in_recipes",
    "layer_range",
    "load_recipe",
    "parse_recipe",
    "recipe_yaml",
    "write_recipe",
]

#: What one node can be computed in. `int8-dynamic` finds its activations' ranges at run time;
#: `int4` has weights of four bits, and float arithmetic.
PRECISIONS = ("fp32", "fp16", "int8", "int8-dynamic", "int4")
_LAYERS = re.compile(r"layer:(-?\d+)(?:-(\d+))?")
_BUILT_IN = Path(__file__).parent / "recipes"
_KEYS = ("name", "default", "exceptions", "int8", "int4")
_HEAD = """\
# A quantization recipe: autoglm-tvm compile MODEL --quantize THIS_FILE --calibration DATA
# An exception's key is a node name or pattern, op:OPERATOR or layer:NUMBER; the later one wins.
"""


@dataclass(frozen=True)
class Recipe:
    """Which node gets which precision, and how it is quantized.

    Attributes
    ----------
    name
        What reports call it.
    default
        Precision of the nodes that can have it, and that no exception names.
    exceptions
        Pairs of a key (see this module's text) and a precision; the later one wins.
    source
        The file that it was read from, as it was given, for messages; empty for another.
    """

    name: str
    default: str
    exceptions: tuple[tuple[str, str], ...] = ()
    int8: Int8Settings = field(default_factory=Int8Settings)
    int4: Int4Settings = field(default_factory=Int4Settings)
    source: str = field(default="", compare=False)

    @property
    def label(self) -> str:
        """What messages call it: the file, or the name of what is in no file."""
        return self.source or self.name

    def __post_init__(self) -> None:
        check_choice("default", self.default, PRECISIONS)
        seen: dict[str, str] = {}
        for key, precision in self.exceptions:
            _check_key(key)
            check_choice(f"the exception '{key}'", precision, PRECISIONS)
            same = key.lstrip("/")
            if same in seen:
                raise UserInputError(
                    f"the recipe contradicts itself: the exception '{key}' is given twice, "
                    f"as {seen[same]} and as {precision}",
                    hint="keep one of them",
                )
            seen[same] = precision

    def to_json(self) -> dict[str, Any]:
        """The fields as a recipe file has them, without those that are as usual."""
        content: dict[str, Any] = {"name": self.name, "default": self.default}
        if self.exceptions:
            content["exceptions"] = dict(self.exceptions)
        for name in ("int8", "int4"):
            settings = getattr(self, name)
            changed = {
                item.name: getattr(settings, item.name)
                for item in fields(settings)
                if getattr(settings, item.name) != item.default
            }
            if changed:
                content[name] = changed
        return content


def layer_range(key: str) -> tuple[int, int] | None:
    """Return the first and the last index that ``layer:...`` names; None for another key."""
    match = _LAYERS.fullmatch(key)
    if match is None:
        return None
    first = int(match[1])
    return first, int(match[2]) if match[2] else first


def built_in_recipes() -> tuple[str, ...]:
    """Return the names of the recipes that come with the package."""
    return tuple(sorted(path.stem for path in _BUILT_IN.glob("*.yaml")))


def load_recipe(name_or_path: str | Path) -> Recipe:
    """Return a built-in recipe by its name, or the one in a YAML file.

    Raises
    ------
    UserInputError
        There is no such recipe or file, or it is wrong: the message names the key.
    """
    name = str(name_or_path)
    if name in built_in_recipes():
        return replace(_read(_BUILT_IN / f"{name}.yaml"), source="")
    path = Path(name_or_path)
    if path.is_file():
        return _read(path)
    known = built_in_recipes()
    raise UserInputError(
        f"there is no recipe and no file called '{name}'{did_you_mean(name, known)}",
        hint=f"built-in recipes: {', '.join(known)}; or give the path of a YAML file",
    )


def recipe_yaml(recipe: Recipe) -> str:
    """Return the recipe as YAML, without comments."""
    import yaml

    return yaml.safe_dump(recipe.to_json(), sort_keys=False, allow_unicode=True, width=100)


def write_recipe(recipe: Recipe, path: str | Path) -> None:
    """Write a recipe as a YAML file that `load_recipe` reads back as the same.

    Raises
    ------
    UserInputError
        The file cannot be written.
    """
    try:
        Path(path).write_text(_HEAD + recipe_yaml(recipe), encoding="utf-8")
    except OSError as error:
        raise UserInputError(
            f"cannot write the recipe: {error.strerror}",
            where=str(path),
            hint="name a file in a folder that exists",
        ) from error


def parse_recipe(content: Any, name: str, where: str = "") -> Recipe:
    """Return the recipe that a file's content is.

    Raises
    ------
    UserInputError
        A key, a precision or a setting is unknown or out of its range.
    """
    content = _mapping(content, "the recipe", where)
    _check_keys(content, _KEYS, "the recipe", where)
    if "default" not in content:
        raise UserInputError(
            "the recipe has no default", where=where, hint="add a line such as  default: int8"
        )
    exceptions = _mapping(content.get("exceptions") or {}, "exceptions", where)
    try:
        return Recipe(
            name=str(content.get("name", name)),
            default=content["default"],
            exceptions=tuple(exceptions.items()),
            int8=Int8Settings(**_settings(content, "int8", Int8Settings, where)),
            int4=Int4Settings(**_settings(content, "int4", Int4Settings, where)),
            source=where,
        )
    except UserInputError as error:
        raise UserInputError(error.what, where=error.where or where, hint=error.hint) from None


def _read(path: Path) -> Recipe:
    import yaml

    where = str(path)
    try:
        content = yaml.load(path.read_text(encoding="utf-8"), _loader())
    except UserInputError as error:
        raise UserInputError(error.what, where=where, hint=error.hint) from None
    except (OSError, UnicodeDecodeError) as error:
        raise UserInputError(
            f"cannot read the recipe: {error}", where=where, hint="give a YAML file"
        ) from error
    except yaml.YAMLError as error:
        text = " ".join(str(error).split())
        hint = 'patterns with * need quotation marks, such as "*/attention/query*": fp16'
        raise UserInputError(f"this is not YAML: {text}", where=where, hint=hint) from error
    return parse_recipe(content, path.stem, where)


def _loader() -> Any:
    """Return a safe YAML loader that refuses a key given twice, which YAML itself overwrites."""
    import yaml

    class Loader(yaml.SafeLoader):
        def construct_mapping(self, node: Any, deep: bool = False) -> dict[Any, Any]:
            keys = [self.construct_object(key, deep=True) for key, _ in node.value]
            for position, key in enumerate(keys):
                if key in keys[:position]:
                    line = node.value[position][0].start_mark.line + 1
                    raise UserInputError(
                        f"the recipe contradicts itself: '{key}' is given twice, "
                        f"again in line {line}",
                        hint="keep one of them",
                    )
            return super().construct_mapping(node, deep)

    return Loader


def _settings(content: Mapping[str, Any], key: str, kind: Any, where: str) -> dict[str, Any]:
    settings = _mapping(content.get(key) or {}, key, where)
    _check_keys(settings, tuple(item.name for item in fields(kind)), key, where)
    return dict(settings)


def _mapping(content: Any, what: str, where: str) -> Mapping[str, Any]:
    if not isinstance(content, Mapping):
        raise UserInputError(
            f"{what} must be names with values, not {type(content).__name__}",
            where=where,
            hint="for example  default: int8",
        )
    return content


def _check_keys(content: Mapping[Any, Any], known: tuple[str, ...], what: str, where: str) -> None:
    for key in content:
        if key not in known:
            raise UserInputError(
                f"{what} has the unknown key '{key}'{did_you_mean(str(key), known)}",
                where=where,
                hint=f"known: {', '.join(known)}",
            )


def _check_key(key: str) -> None:
    if not isinstance(key, str) or not key.strip("/ "):
        raise UserInputError(
            f"the exception {key!r} names nothing",
            hint="its key is a node name or pattern, op:OPERATOR or layer:NUMBER",
        )
    span = layer_range(key)
    if key.startswith("layer:") and (span is None or (span[0] != span[1] and span[0] > span[1])):
        raise UserInputError(
            f"the exception '{key}' names no layers",
            hint="write layer:3, layer:0-2, or layer:-1 for the last one",
        )
