"""Compile a case for this machine, anew or, if asked, once per version of our compiler."""

from __future__ import annotations

import hashlib
import shutil
from pathlib import Path

from autoglm_tvm.artifacts.bundle import hash_file
from autoglm_tvm.compiler import compile
from autoglm_tvm.compiler.compile import CompileResult
from autoglm_tvm.rpc.cache import cached_folder
from autoglm_tvm.targets.versions import PINNED_VERSIONS, installed_version
from benchmarks.models.catalog import Case, model_file

ROOT = Path(__file__).resolve().parent.parent
_ROOMS = ("artifacts", "compiler", "schedules", "targets")
_DIGITS = 16


def compile_case(
    case: Case, threads: int, directory: Path, records: Path | None = None
) -> CompileResult:
    """Compile a case for this machine to a bundle, with what tuning has found where told so."""
    return compile(
        model_file(case),
        "host",
        directory,
        case.shapes or None,
        name=case.name,
        threads=threads,
        records=records,
    )


def cached_bundle(case: Case, threads: int) -> Path:
    """Return a bundle from the cache; those of earlier versions of our sources are removed."""
    name = f"{case.name}-{threads}"

    def fill(folder: Path) -> None:
        for old in folder.parent.glob(f"{name}-{'?' * _DIGITS}"):
            shutil.rmtree(old, ignore_errors=True)
        compile_case(case, threads, folder / "bundle")

    key = f"{sources_digest()} {hash_file(model_file(case)).sha256} {case.shapes}"
    digest = hashlib.sha256(key.encode()).hexdigest()[:_DIGITS]
    return cached_folder(f"benchmark-bundles/{name}-{digest}", fill) / "bundle"


def sources_digest() -> str:
    """Return a hash of all that decides what a compile gives: our sources and TVM's version."""
    digest = hashlib.sha256()
    for name in PINNED_VERSIONS:
        digest.update(f"{name} {installed_version(name)} ".encode())
    for room in _ROOMS:
        for path in sorted((ROOT / room).rglob("*")):
            if path.suffix in (".py", ".yaml"):
                digest.update(str(path.relative_to(ROOT)).encode() + path.read_bytes())
    return digest.hexdigest()
