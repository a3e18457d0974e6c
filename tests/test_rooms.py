"""The rooms: who may import whom, what is installed, how large a file is, what is imported late."""

from __future__ import annotations

import ast
import fnmatch
import importlib
import json
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

ROOT = Path(__file__).parents[1]
MAY_IMPORT = {
    "targets": set(),
    "artifacts": {"targets"},
    "schedules": {"targets"},
    "rpc": {"targets", "artifacts"},
    "compiler": {"targets", "schedules", "artifacts"},
}
ROOMS = tuple(MAY_IMPORT)
# Top-level folders that an installation lacks, under names that only a checkout knows.
NOT_INSTALLED = {"tests", "examples", "benchmarks", *ROOMS}
COMMAND_LINE = "autoglm_tvm.compiler.cli"
MAX_LINES = 400
COUNTED = ("*.py", "*.cc", "*.h", "*.sh")
# Each costs 0.2 s or more to import, and `autoglm-tvm --help` may take 0.3 s.
IMPORTED_LATE = {"tvm", "tvm_ffi", "onnx", "onnxruntime", "onnxslim", "scipy", "xgboost"}


def _files(*patterns: str) -> list[Path]:
    """Files of ours below the rooms, the tests and what else there is, such as examples."""
    folders = [
        path
        for path in ROOT.iterdir()
        if path.is_dir() and not path.name.startswith(".") and path.name not in ("build", "dist")
    ]
    folders = [path for path in folders if not (path / "pyvenv.cfg").exists()]
    found = [path for at in folders for pattern in patterns for path in at.rglob(pattern)]
    return sorted(path for path in found if path.is_file() and "__pycache__" not in path.parts)


def _module_name(path: Path) -> str:
    parts = path.relative_to(ROOT).with_suffix("").parts
    return ".".join(("autoglm_tvm", *(part for part in parts if part != "__init__")))


def _modules() -> list[str]:
    files = _files("*.py")
    return [_module_name(path) for path in files if path.relative_to(ROOT).parts[0] in ROOMS]


def _imports(path: Path, source: str) -> Iterator[tuple[int, str]]:
    """Line and full name of everything that a file imports, at any depth of it."""
    package = _module_name(path).split(".")
    if path.name != "__init__.py":
        package = package[:-1]
    for node in ast.walk(ast.parse(source, str(path))):
        if isinstance(node, ast.Import):
            yield from ((node.lineno, alias.name) for alias in node.names)
        elif isinstance(node, ast.ImportFrom):
            start = package[: len(package) - node.level + 1] if node.level else []
            base = ".".join([*start, *([node.module] if node.module else [])])
            yield from ((node.lineno, f"{base}.{alias.name}") for alias in node.names)


def _forbidden(path: Path, source: str) -> list[str]:
    room = path.relative_to(ROOT).parts[0]
    allowed = MAY_IMPORT[room] | {room}
    if _module_name(path).startswith(COMMAND_LINE):
        allowed = set(ROOMS)
    found = []
    for line, name in _imports(path, source):
        parts = name.split(".")
        ours = parts[0] == "autoglm_tvm" and (len(parts) < 2 or parts[1] not in allowed)
        up = name.startswith(COMMAND_LINE) and not _module_name(path).startswith(COMMAND_LINE)
        if ours or up or parts[0] in NOT_INSTALLED:
            found.append(f"{path.relative_to(ROOT)}:{line} imports {name}")
    return found


@pytest.mark.parametrize("room", ROOMS)
def test_a_room_imports_only_its_neighbours(room: str) -> None:
    files = sorted((ROOT / room).rglob("*.py"))
    assert files
    wrong = [line for path in files for line in _forbidden(path, path.read_text("utf-8"))]
    assert not wrong, "\n".join(wrong)


@pytest.mark.parametrize(
    ("file", "line"),
    [
        ("targets/near.py", "from autoglm_tvm.artifacts import open_bundle"),
        ("targets/near.py", "def f():\n    import autoglm_tvm.compiler.read"),
        ("artifacts/bundle.py", "from autoglm_tvm.compiler.read import read"),
        ("artifacts/bundle.py", "from autoglm_tvm import rpc"),
        ("artifacts/bundle.py", "from ..rpc import session"),
        ("schedules/default.py", "from autoglm_tvm.artifacts.bundle import Bundle"),
        ("rpc/session.py", "from autoglm_tvm.compiler import compile"),
        ("compiler/read.py", "from autoglm_tvm.rpc.session import connect"),
        ("compiler/read.py", "from .cli import main"),
        ("compiler/passes/layout.py", "from autoglm_tvm.compiler.cli.options import Json"),
        ("compiler/cli/main.py", "import tests.tiny_networks"),
    ],
)
def test_a_forbidden_import_is_found(file: str, line: str) -> None:
    assert _forbidden(ROOT / file, line)


def test_the_command_line_may_import_every_room() -> None:
    lines = "\n".join(f"import autoglm_tvm.{room}" for room in ROOMS)
    assert not _forbidden(ROOT / "compiler/cli/main.py", lines)


def _setuptools() -> dict[str, Any]:
    # tomllib is there from Python 3.11 on; before it, pytest brings tomli.
    tomllib = importlib.import_module("tomllib" if sys.version_info >= (3, 11) else "tomli")
    return tomllib.loads((ROOT / "pyproject.toml").read_text("utf-8"))["tool"]["setuptools"]


def test_every_package_is_installed_and_nothing_else() -> None:
    """A package that is not listed works in an editable installation, and is not in a wheel."""
    folders = {path.parent for room in ROOMS for path in (ROOT / room).rglob("*.py")}
    packages = {
        ".".join(("autoglm_tvm", *folder.relative_to(ROOT).parts)): folder for folder in folders
    }
    assert all((folder / "__init__.py").is_file() for folder in folders)
    settings = _setuptools()
    assert sorted(settings["packages"]) == sorted(packages)
    listed = {name: ROOT / folder for name, folder in settings["package-dir"].items()}
    assert listed == packages


def test_every_data_file_is_installed() -> None:
    settings = _setuptools()
    folders = {settings["package-dir"][name]: name for name in settings["packages"]}
    data = [
        (room, path.relative_to(ROOT / room))
        for room in ROOMS
        for path in (ROOT / room).rglob("*")
        if path.is_file() and path.suffix not in (".py", ".pyc")
    ]
    assert data
    for room, path in data:
        patterns = settings["package-data"].get(folders[room], [])
        matching = [pattern for pattern in patterns if fnmatch.fnmatch(str(path), pattern)]
        assert matching, f"{room}/{path} is in no package-data of pyproject.toml"


def test_no_file_is_longer_than_a_reader_can_hold() -> None:
    sizes = {path: path.read_bytes().count(b"\n") for path in _files(*COUNTED)}
    assert len(sizes) > 50
    assert any(path.suffix == ".cc" for path in sizes)
    long = {str(path.relative_to(ROOT)): size for path, size in sizes.items() if size > MAX_LINES}
    assert not long


def _imported_by(code: str) -> tuple[set[str], str]:
    """Run code in a fresh interpreter; top-level modules that it imported, and what it printed."""
    script = f"import sys, json\n{code}\nprint('\\n' + json.dumps(sorted(sys.modules)))"
    done = subprocess.run(
        [sys.executable, "-c", script], capture_output=True, text=True, timeout=120, check=False
    )
    assert done.returncode == 0, done.stderr
    printed, _, modules = done.stdout.rstrip().rpartition("\n")
    return {name.split(".")[0] for name in json.loads(modules)}, printed + done.stderr


def test_importing_our_modules_imports_no_heavy_package() -> None:
    modules = _modules()
    assert len(modules) > 40
    code = f"import importlib\nfor name in {modules!r}: importlib.import_module(name)"
    imported, _ = _imported_by(code)
    assert "autoglm_tvm" in imported
    assert not imported & IMPORTED_LATE


@pytest.mark.parametrize(
    ("arguments", "exit_code", "says"),
    [
        (["--help"], 0, "Exit codes"),
        (["compile", "--help"], 0, "--target"),
        (["--version-of-nothing"], 2, "No such option"),
        (["compile"], 2, "Missing argument"),
        (["compile", "m.onnx", "--shape", "x"], 2, "--shape 'x' is not of the form"),
        (["verify", "b", "--reference", "m.onnx", "--key", "k"], 2, "--tracker and --key"),
        (["targets", "--json"], 0, "android-arm64"),
    ],
)
def test_light_commands_import_no_heavy_package(
    arguments: list[str], exit_code: int, says: str
) -> None:
    code = f"""
from autoglm_tvm.compiler.cli.main import main
sys.argv = ["autoglm-tvm", *{arguments!r}]
try:
    main()
except SystemExit as end:
    assert end.code == {exit_code}, end.code
"""
    imported, printed = _imported_by(code)
    assert says in printed
    assert not imported & IMPORTED_LATE
