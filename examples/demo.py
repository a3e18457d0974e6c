"""Compile a real model for a phone, check it, and run the same network on this machine.

The model is the text direction classifier of PaddleOCR, as the PyPI package `rapidocr` carries it
(Apache-2.0).
"""

from __future__ import annotations

import importlib.util
import sys
from pathlib import Path

import numpy as np

from autoglm_tvm.artifacts import open_bundle
from autoglm_tvm.compiler import compile, verify

MODEL = "models/ch_ppocr_mobile_v2.0_cls_mobile.onnx"
SHAPES = {"x": (1, 3, 48, 192)}
OUTPUT = Path("build/demo")


def main() -> int:
    """Run the demo; return 0 if the outputs are right."""
    # Found, not imported: the package itself needs libraries that the demo does not install.
    package = importlib.util.find_spec("rapidocr")
    if package is None or package.origin is None:
        print("error: the package with the demo's model is missing\n  -> run: make demo")
        return 3
    model = Path(package.origin).parent / MODEL

    print(f"1. compile {model.name} for an Android phone")
    phone = compile(model, "android-arm64", OUTPUT / "classifier-android-arm64", SHAPES)
    manifest = phone.bundle.manifest
    library = manifest.files[manifest.library]
    print(f"   {manifest.library}: {library.bytes / 1e6:.2f} MB, {manifest.target['triple']}")
    for check in manifest.elf_check["checks"]:
        print(f"   ok  {check['name']}: {check['detail']}")

    print("2. compile the same network for this machine, and run it")
    host = compile(model, "host", OUTPUT / "classifier-host", SHAPES)
    image = np.random.default_rng(0).random((1, 3, 48, 192), dtype=np.float32)
    scores = open_bundle(host.directory).run({"x": image})
    for name, array in scores.items():
        print(f"   {name} = {np.round(array, 4).tolist()}")

    print("3. compare with ONNX Runtime")
    result = verify(host.directory, model)
    print(
        f"   largest relative error {result.worst.relative:.1e}, largest absolute error "
        f"{result.worst.max_abs:.1e}: {'right' if result.ok else 'WRONG'}"
    )

    print("\nThe bundle for the phone lies in", phone.directory)
    for path in sorted(phone.directory.iterdir()):
        print(f"   {path.name:36} {path.stat().st_size:>9} bytes")
    return 0 if result.ok else 1


if __name__ == "__main__":
    sys.exit(main())
