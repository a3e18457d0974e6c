"""How fast one token goes through a GLM-style decoder layer with weights of four bits.

    python benchmarks/int4_decode.py [--threads 1,2] [--layer glm4-9b] [--groups 32] [--quick]
        [--zero-points] [--json FILE]

All sides run in turns in one process for each number of threads: our float32 layer, our layer with
weights of four bits, ONNX Runtime's MatMulNBits on the same file, once as it is and once allowed to
round activations to bytes (`accuracy_level` 4), and a sum over a buffer that no cache holds, which
says at what speed memory streams.
"""

from __future__ import annotations

import argparse
import json
import os
import subprocess
import sys
import tempfile
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

sys.path.insert(0, str(Path(__file__).resolve().parent.parent))

from benchmarks.interleave import QUICK, THOROUGH, Latency, compare_latency, interleave
from benchmarks.models.decoder import GLM4_9B, PHONE, decoder_layer
from benchmarks.other_load import watch_other_load

if TYPE_CHECKING:
    import onnx

LAYERS = {"glm4-9b": GLM4_9B, "phone": PHONE}
_OURS = ("float", "int4")
_PAST = 128
# Bytes that are summed: more than any cache.
_STREAMED = 1 << 28
_ROWS = 64
_MEGA, _GIGA = 1e6, 1e9


@dataclass(frozen=True)
class Row:
    """What was measured with a number of threads; times in milliseconds, speeds in GB/s.

    Attributes
    ----------
    float_ms, int4_ms, onnxruntime_ms, rounded_ms
        Medians of a run of the layer; the last is ONNX Runtime's with activations of a byte.
    speedup, against_onnxruntime, against_rounded
        float32 / int4, and int4 / ONNX Runtime's: medians over neighbouring turns.
    gemv_speedup
        Of the products with constant weights alone.
    int4_mb, bits
        Weights of the products, and bits of each, as the bundle stores them.
    stream
        Speed at which memory is read: by our sum, or by the float32 layer where that is faster.
    layer_share, gemv_share
        Share of it at which the weights are read, by the time of the whole layer and of the
        products alone.
    error
        Largest difference from ONNX Runtime's run of the same file, to its largest output.
    other_load
        Cores that other programs kept busy.
    """

    threads: int
    group: int
    float_ms: float
    int4_ms: float
    onnxruntime_ms: float
    rounded_ms: float
    speedup: float
    against_onnxruntime: float
    against_rounded: float
    gemv_speedup: float
    int4_mb: float
    bits: float
    stream: float
    layer_share: float
    gemv_share: float
    error: float
    other_load: float


def main() -> int:
    """Measure each number of threads in a process of its own and print the table."""
    options = _parser().parse_args()
    if options.child:
        row = measure(options)
        options.child.write_text(json.dumps(asdict(row)), encoding="utf-8")
        return 0
    rows = []
    print(_HEADER, flush=True)
    for group in options.groups.split(","):
        for threads in options.threads.split(","):
            rows.append(_in_own_process(options, threads, group))
            print(_line(rows[-1]), flush=True)
    if options.json:
        options.json.write_text(json.dumps([asdict(row) for row in rows], indent=1) + "\n", "utf-8")
    return 0


def _in_own_process(options: argparse.Namespace, threads: str, group: str) -> Row:
    """TVM and ONNX Runtime make their threads once in a process."""
    with tempfile.TemporaryDirectory() as folder:
        answer = Path(folder) / "row.json"
        command = [sys.executable, __file__, "--child", str(answer), "--threads", threads]
        command += ["--groups", group, "--layer", options.layer]
        command += ["--quick"] * options.quick + ["--zero-points"] * options.zero_points
        environment = os.environ | {"TVM_NUM_THREADS": threads, "TVM_BIND_THREADS": "0"}
        if subprocess.run(command, env=environment).returncode:
            raise SystemExit(f"measuring groups of {group} on {threads} threads failed")
        return Row(**json.loads(answer.read_text("utf-8")))


def measure(options: argparse.Namespace) -> Row:
    """Compile the layers and the sum, and let all sides take turns."""
    import numpy as np

    from autoglm_tvm.compiler.random_inputs import random_inputs
    from autoglm_tvm.compiler.read import read
    from benchmarks.peers.onnx_runtime import OnnxRuntime
    from benchmarks.peers.peer import Task

    threads, group = int(options.threads), int(options.groups)
    with tempfile.TemporaryDirectory() as temporary:
        folder = Path(temporary)
        layer = decoder_layer(1, _PAST, LAYERS[options.layer])
        _save(layer, folder / "float.onnx")
        weights = _to_int4(layer, group, symmetric=not options.zero_points)
        _save(layer, folder / "int4.onnx")
        _save(_rounding_activations(layer), folder / "rounded.onnx")
        del layer
        model = read(folder / "int4.onnx")
        inputs = random_inputs(model.inputs, model.proto.graph)
        sides: dict[str, Any] = {}
        for kind in _OURS:
            sides[kind] = _compiled(folder / f"{kind}.onnx", folder / kind, inputs, threads)
        outputs = tuple(spec.name for spec in model.outputs)
        for kind, name in (("onnxruntime", "int4"), ("rounded", "rounded")):
            task = Task(folder / f"{name}.onnx", inputs, outputs, threads)
            sides[kind] = OnnxRuntime(task)
        sides["stream"] = _stream(folder, threads)
        expected, found = sides["onnxruntime"].outputs()[0], sides["int4"].outputs()[0]
        error = float(np.abs(found - expected).max() / np.abs(expected).max())
        effort = QUICK if options.quick else THOROUGH
        runs = {name: side.run for name, side in sides.items()}
        with watch_other_load() as load:
            times = interleave(runs, effort)
        gemv = {kind: _gemv_share(sides[kind], folder / f"{kind}.onnx") for kind in _OURS}
        stored = _weight_bytes(sides["int4"])
    return _row(threads, group, times, gemv, (stored, weights), error, load.cores)


def _row(
    threads: int,
    group: int,
    times: dict[str, Latency],
    gemv: dict[str, float],
    sizes: tuple[int, int],
    error: float,
    other_load: float,
) -> Row:
    """`gemv` are shares of a run, `sizes` the bytes and the number of the weights."""
    stored, weights = sizes
    by_sum = _STREAMED / times["stream"].seconds / _GIGA
    by_floats = 4 * weights / times["float"].seconds / _GIGA
    stream = max(by_sum, by_floats)
    in_products = {kind: times[kind].seconds * gemv[kind] for kind in _OURS}
    return Row(
        threads,
        group,
        times["float"].seconds * 1e3,
        times["int4"].seconds * 1e3,
        times["onnxruntime"].seconds * 1e3,
        times["rounded"].seconds * 1e3,
        compare_latency(times["float"], times["int4"]).value,
        compare_latency(times["int4"], times["onnxruntime"]).value,
        compare_latency(times["int4"], times["rounded"]).value,
        in_products["float"] / in_products["int4"],
        stored / _MEGA,
        stored * 8 / weights,
        stream,
        stored / times["int4"].seconds / _GIGA / stream,
        stored / in_products["int4"] / _GIGA / stream,
        error,
        other_load,
    )


def _save(model: onnx.ModelProto, path: Path) -> None:
    import onnx

    onnx.save(model, path)


def _to_int4(layer: onnx.ModelProto, group: int, symmetric: bool) -> int:
    """Quantize all products with constant weights, in place; return the number of weights."""
    from math import prod

    from autoglm_tvm.compiler.quantization.int4 import to_int4
    from autoglm_tvm.compiler.quantization.recipe import Int4Settings

    constants = {tensor.name: tensor for tensor in layer.graph.initializer}
    chosen = [
        node
        for node in layer.graph.node
        if node.op_type in ("MatMul", "Gemm") and node.input[1] in constants
    ]
    weights = sum(prod(constants[node.input[1]].dims) for node in chosen)
    # How well the weights are rounded changes no time.
    names = {node.name for node in chosen}
    to_int4(layer, names, Int4Settings(group, symmetric), search=False)
    return weights


def _rounding_activations(layer: onnx.ModelProto) -> onnx.ModelProto:
    """Allow products to round activations to bytes, in place."""
    from onnx import helper

    for node in layer.graph.node:
        if node.op_type == "MatMulNBits":
            node.attribute.append(helper.make_attribute("accuracy_level", 4))
    return layer


def _compiled(path: Path, bundle: Path, inputs: dict[str, Any], threads: int) -> Any:
    from autoglm_tvm.compiler import compile
    from benchmarks.ours import OurSide

    compile(path, "host", bundle, threads=threads)
    return OurSide(bundle, inputs, threads)


def _stream(folder: Path, threads: int) -> Any:
    """A sum over a buffer in memory, as our compiler makes it."""
    import numpy as np
    import onnx

    columns = _STREAMED // 4 // _ROWS
    text = (
        f'<ir_version: 10, opset_import: ["" : 18]> g (float[{_ROWS},{columns}] x) '
        f"=> (float[{_ROWS}] y) <int64[1] axis = {{1}}> "
        "{ y = ReduceSum <keepdims = 0> (x, axis) }"
    )
    path = folder / "stream.onnx"
    onnx.save(onnx.parser.parse_model(text), path)
    return _compiled(path, folder / "stream", {"x": np.ones((_ROWS, columns), "f4")}, threads)


def _gemv_share(side: Any, path: Path) -> float:
    """Share of a run's time in the kernels that multiply with constant weights."""
    from autoglm_tvm.compiler.read import read

    kernels = side.profile(read(path), 2.0)
    chosen = [k for k in kernels if any(_is_product(name) for name in k.operators)]
    return sum(k.microseconds for k in chosen) / sum(k.microseconds for k in kernels)


def _is_product(operator: str) -> bool:
    return operator.rstrip("0123456789") in ("matmul", "int4_matmul")


def _weight_bytes(side: Any) -> int:
    """Bytes of the packed weights and their scales: all that is larger than a vector."""
    arrays = side.bundle.map_weights()
    return sum(array.nbytes for array in arrays if array.ndim > 2)


_HEADER = (
    "threads  group  fp32 ms  int4 ms  ORT ms  ORT rounded ms  fp32/int4  (GEMVs)  int4/ORT  "
    "rounded  bits  "
    "stream GB/s  share of it: layer  GEMVs  error    other load"
)


def _line(row: Row) -> str:
    return (
        f"{row.threads:7d}  {row.group:5d}  {row.float_ms:7.2f}  {row.int4_ms:7.2f}  "
        f"{row.onnxruntime_ms:6.2f}  {row.rounded_ms:14.2f}  {row.speedup:9.2f}  "
        f"{row.gemv_speedup:7.2f}  {row.against_onnxruntime:8.2f}  {row.against_rounded:7.2f}  "
        f"{row.bits:4.2f}  {row.stream:11.1f}  "
        f"{row.layer_share:18.2f}  {row.gemv_share:5.2f}  {row.error:.1e}  {row.other_load:10.2f}"
    )


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(description=str(__doc__).partition("\n")[0])
    parser.add_argument("--threads", default="1,2", help="numbers of threads, such as 1,2")
    parser.add_argument("--groups", default="32", help="sizes of the groups, such as 32,64,128")
    parser.add_argument("--layer", choices=LAYERS, default="glm4-9b")
    parser.add_argument("--zero-points", action="store_true", help="instead of symmetric groups")
    parser.add_argument("--quick", action="store_true", help="a second for each side")
    parser.add_argument("--json", type=Path, help="write the table to a file")
    parser.add_argument("--child", type=Path, help=argparse.SUPPRESS)
    return parser


if __name__ == "__main__":
    sys.exit(main())
