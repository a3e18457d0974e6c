"""Object files shared by the tests of this room."""

from __future__ import annotations

from pathlib import Path

import pytest

from autoglm_tvm.targets import resolve_target
from tests.targets.tiny_model import compile_for, dense_module, object_files


@pytest.fixture(scope="session")
def android_objects(tmp_path_factory: pytest.TempPathFactory) -> list[Path]:
    """Objects of a small network for android-arm64; they need expf and erff."""
    executable = compile_for(dense_module(), resolve_target("android-arm64"))
    return object_files(executable, tmp_path_factory.mktemp("objects"))
