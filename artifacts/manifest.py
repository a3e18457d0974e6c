"""The manifest: what a bundle holds, for what machine, and the SHA-256 of every file in it."""

from __future__ import annotations

import hashlib
import json
from dataclasses import asdict, dataclass, field
from typing import Any

from autoglm_tvm.artifacts.tensor_spec import TensorSpec
from autoglm_tvm.targets.errors import CheckFailedError

FORMAT = "autoglm-tvm-bundle/1"
FILE_NAME = "manifest.json"
WEIGHTS_FILE_NAME = "weights.bin"
REPORT_FILE_NAME = "report.json"
_KERNEL_LISTS = ("operators", "inner", "arguments")


@dataclass(frozen=True)
class WeightEntry:
    """Where one constant tensor lies in ``weights.bin`` (offset and size in bytes)."""

    name: str
    dtype: str
    shape: tuple[int, ...]
    offset: int
    nbytes: int


@dataclass(frozen=True)
class KernelEntry:
    """One kernel call of the network, in the order of execution.

    Attributes
    ----------
    function
        Name of the kernel in the library; calls with equal code share one.
    operators
        The graph operators that fusion put into it.
    output
        The ONNX tensor (of the normalised graph) that the call computes; empty where the call
        computes something that the ONNX graph has no name for.
    inner
        The ONNX tensors that exist only inside of the call.
    arguments
        Type and shape of each argument, such as ``float32[1, 8]``, the result last.
    rule
        The schedule rule that took it; empty where its loops were left as they were.
    description
        What the rule did, or why the loops were left.
    closest_rule, refusal
        The rule that came closest before `rule` took it, and why it refused; empty where no rule
        that refused has anything in common with it.
    iterations
        Of its loop nests together, about its multiply-adds; ``None`` where they are not known.
    workload
        By which tuning records know it.
    tuned
        Whether a record chose its schedule.
    """

    function: str
    operators: tuple[str, ...]
    output: str
    rule: str
    description: str
    closest_rule: str = ""
    refusal: str = ""
    inner: tuple[str, ...] = ()
    arguments: tuple[str, ...] = ()
    iterations: int | None = None
    workload: str = ""
    tuned: bool = False

    @property
    def schedule(self) -> str:
        """How its loops were scheduled, in one line for people."""
        by = f"{self.rule or 'unscheduled'}{' (tuned)' if self.tuned else ''}"
        taken = f"{by}: {self.description}"
        return f"{taken}; not {self.closest_rule}: {self.refusal}" if self.closest_rule else taken


@dataclass(frozen=True)
class Memory:
    """Bytes that a run needs beside its inputs.

    Attributes
    ----------
    weights_bytes
        Size of ``weights.bin``, mapped from the file.
    activations_peak_bytes
        What static memory planning reserves for intermediate tensors and outputs at once;
        ``None`` where a dimension is symbolic and has no upper bound.
    """

    weights_bytes: int
    activations_peak_bytes: int | None


@dataclass(frozen=True)
class FileEntry:
    """Size in bytes and SHA-256 (hexadecimal) of one file of the bundle."""

    bytes: int
    sha256: str


@dataclass(frozen=True)
class Manifest:
    """Everything a runtime and a person need to know about a bundle.

    ``entry`` is called as ``entry(*inputs, *weights)``, both in the order given here, and returns
    one tensor, or a tuple of them, in the order of ``outputs``.
    """

    name: str
    target: dict[str, Any]
    abi: dict[str, str]
    library: str
    inputs: tuple[TensorSpec, ...]
    outputs: tuple[TensorSpec, ...]
    weights: tuple[WeightEntry, ...]
    memory: Memory
    kernels: tuple[KernelEntry, ...]
    linker: dict[str, Any]
    elf_check: dict[str, Any]
    model_sha256: str
    dimensions: dict[str, dict[str, int | None]] = field(default_factory=dict)
    quantization: dict[str, Any] | None = None
    files: dict[str, FileEntry] = field(default_factory=dict)
    entry: str = "main"
    format: str = FORMAT

    def to_json(self) -> str:
        """Return the file's text; its ``manifest_sha256`` covers all other fields."""
        fields = asdict(self)
        fields["manifest_sha256"] = _digest(fields)
        return json.dumps(fields, indent=1, sort_keys=True) + "\n"

    @staticmethod
    def from_json(text: str, where: str) -> Manifest:
        """Read a manifest; ``where`` names the file in errors.

        Raises
        ------
        CheckFailedError
            The text is no manifest, is of another format, or was changed by hand.
        """
        hint = "compile the model again; a bundle's files must not be edited"
        try:
            fields = json.loads(text)
            found_format = fields["format"]
            digest = fields.pop("manifest_sha256")
        except (ValueError, KeyError, TypeError, AttributeError):
            raise CheckFailedError(
                "this is not a bundle's manifest", where=where, hint=hint
            ) from None
        if found_format != FORMAT:
            raise CheckFailedError(
                f"the bundle has format {found_format!r}; this program reads {FORMAT!r}",
                where=where,
                hint="compile the model again with this version",
            )
        if digest != _digest(fields):
            raise CheckFailedError(
                "the manifest was changed after it was written", where=where, hint=hint
            )
        try:
            return _from_fields(fields)
        except (KeyError, TypeError, AttributeError) as error:
            raise CheckFailedError(
                f"the manifest lacks a field or has one too many: {error}", where=where, hint=hint
            ) from None


def _digest(fields: dict[str, Any]) -> str:
    canonical = json.dumps(fields, sort_keys=True, separators=(",", ":"))
    return hashlib.sha256(canonical.encode()).hexdigest()


def _from_fields(fields: dict[str, Any]) -> Manifest:
    def specs(key: str) -> tuple[TensorSpec, ...]:
        return tuple(
            TensorSpec(item["name"], item["dtype"], tuple(item["shape"])) for item in fields[key]
        )

    return Manifest(
        **{
            **fields,
            "inputs": specs("inputs"),
            "outputs": specs("outputs"),
            "weights": tuple(
                WeightEntry(**{**item, "shape": tuple(item["shape"])}) for item in fields["weights"]
            ),
            "memory": Memory(**fields["memory"]),
            "kernels": tuple(
                KernelEntry(**{**item, **{key: tuple(item[key]) for key in _KERNEL_LISTS}})
                for item in fields["kernels"]
            ),
            "files": {name: FileEntry(**item) for name, item in fields["files"].items()},
        }
    )
