"""Running bundles in this process: right, repeatable, and refused where it cannot be right."""

from __future__ import annotations

import re
import shutil
import subprocess
import sys
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from autoglm_tvm.artifacts import open_bundle
from autoglm_tvm.artifacts.bundle import read_bundle
from autoglm_tvm.compiler import compile
from autoglm_tvm.compiler.reference import run_reference
from autoglm_tvm.targets.errors import CheckFailedError, MissingToolError, UserInputError
from tests.tiny_networks import FEATURES, ROWS, linear_input, write_linear


def _close(found: dict[str, np.ndarray], model: Path, inputs: dict[str, np.ndarray]) -> None:
    expected = run_reference(model, inputs)
    assert list(found) == list(expected)
    for name, array in expected.items():
        # Winograd's sums, and functions computed as vectors, round in another order.
        np.testing.assert_allclose(found[name], array, rtol=1e-5, atol=1e-5)


def test_a_bundle_computes_what_the_model_computes(linear_bundle: Path, linear_model: Path) -> None:
    inputs = linear_input()
    outputs = open_bundle(linear_bundle).run(inputs)
    assert np.any(outputs["y"] > 0)
    _close(outputs, linear_model, inputs)


def test_outputs_of_one_run_survive_the_next(linear_bundle: Path) -> None:
    bundle = open_bundle(linear_bundle)
    first = bundle.run(linear_input())["y"]
    kept = first.copy()
    bundle.run({"x": np.full((ROWS, FEATURES), 3, np.float32)})
    np.testing.assert_array_equal(first, kept)


def test_an_input_is_not_changed(linear_bundle: Path) -> None:
    inputs = linear_input()
    inputs["x"].flags.writeable = False
    open_bundle(linear_bundle).run(inputs)
    np.testing.assert_array_equal(inputs["x"], linear_input()["x"])


def test_wrong_inputs_are_refused_and_the_bundle_still_runs(
    linear_bundle: Path, linear_model: Path
) -> None:
    bundle = open_bundle(linear_bundle)
    with pytest.raises(UserInputError, match="no input 'X'"):
        bundle.run({"X": linear_input()["x"]})
    with pytest.raises(UserInputError, match="missing input: x"):
        bundle.run({})
    with pytest.raises(UserInputError, match="the dtype is float64"):
        bundle.run({"x": np.zeros((ROWS, FEATURES))})
    with pytest.raises(UserInputError, match=re.escape("the shape is [3, 8]")):
        bundle.run(linear_input(rows=3))
    _close(bundle.run(linear_input()), linear_model, linear_input())


def test_symbolic_sizes_are_run_one_after_the_other(linear_model: Path, tmp_path: Path) -> None:
    compile(linear_model, "host", tmp_path / "symbolic")
    bundle = open_bundle(tmp_path / "symbolic")
    assert bundle.manifest.inputs[0].shape == ("n", FEATURES)
    for rows in (1, 5, 2):
        inputs = linear_input(rows)
        _close(bundle.run(inputs), linear_model, inputs)


def test_another_model_in_the_same_folder_runs_its_own_code(tmp_path: Path) -> None:
    """The dynamic linker knows libraries by path, and would run the code that it has."""
    directory, inputs = tmp_path / "bundle", linear_input()
    shapes = {"x": (ROWS, FEATURES)}
    opened = []
    for activation in ("Relu", "Neg", "Sigmoid"):
        model = write_linear(tmp_path / f"{activation}.onnx", activation=activation)
        compile(model, "host", directory, shapes, name="same")
        bundle = open_bundle(directory)
        _close(bundle.run(inputs), model, inputs)
        opened.append((bundle, model))
    # And what was opened before it was replaced still runs as it did.
    for bundle, model in opened:
        _close(bundle.run(inputs), model, inputs)


def test_two_bundles_at_once(
    linear_bundle: Path, linear_model: Path, convolutions_bundle: Path, convolutions_model: Path
) -> None:
    image = {"x": np.random.default_rng(1).random((1, 3, 33, 33), dtype=np.float32)}
    linear, convolutions = open_bundle(linear_bundle), open_bundle(convolutions_bundle, threads=1)
    for _ in range(2):
        _close(linear.run(linear_input()), linear_model, linear_input())
        _close(convolutions.run(image), convolutions_model, image)


def test_the_number_of_threads_changes_no_bit(convolutions_bundle: Path) -> None:
    image = {"x": np.random.default_rng(1).random((1, 3, 33, 33), dtype=np.float32)}
    bundles = [open_bundle(convolutions_bundle, threads=count) for count in (1, 2, 3)]
    assert [bundle.threads for bundle in bundles] == [1, 2, 3]
    # The code does divide its work: otherwise the question would answer itself.
    assert b"TVMBackendParallelLaunch" in bundles[0].bundle.library_path.read_bytes()
    outputs = [bundle.run(image)["y"] for bundle in bundles]
    assert outputs[0].tobytes() == outputs[1].tobytes() == outputs[2].tobytes()
    assert open_bundle(convolutions_bundle).threads == 2  # what it was compiled for


_USED_THREADS = """
import os, sys
# TVM may have bound the process that started this one to some of its cores.
os.sched_setaffinity(0, range(os.cpu_count()))
import numpy as np
from autoglm_tvm.artifacts import open_bundle

cores = os.sched_getaffinity(0)
for count in (1, 2, 64):
    open_bundle(sys.argv[1], threads=count).run({"x": np.zeros((1, 3, 33, 33), np.float32)})
    import tvm
    print(tvm.get_global_func("runtime.NumThreads")())
    assert os.sched_getaffinity(0) == cores, "processes started from here would share fewer cores"
print(len(cores))
"""


def test_as_many_threads_are_used_as_asked_for(convolutions_bundle: Path) -> None:
    """In a process of its own, because TVM's pool is made once. At most one for each core."""
    done = subprocess.run(
        [sys.executable, "-c", _USED_THREADS, convolutions_bundle],
        capture_output=True,
        text=True,
        timeout=120,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    *used, cores = (int(line) for line in done.stdout.split())
    assert used == [1, min(2, cores), min(64, cores)]
    assert done.stderr == ""  # TVM warns where there are more threads than cores


@pytest.mark.parametrize("threads", [0, -1])
def test_no_threads_are_refused(threads: int, linear_bundle: Path) -> None:
    with pytest.raises(UserInputError, match=f"threads must be 1 or more, not {threads}"):
        open_bundle(linear_bundle, threads=threads)


def test_the_weights_are_the_pages_of_the_file(own_bundle: Path) -> None:
    """TVM's tensors lie where the file is mapped: no copy is made of a model's weights."""
    bundle = open_bundle(own_bundle)
    assert bundle._weights
    ranges = []
    for line in Path("/proc/self/maps").read_text("utf-8").splitlines():
        if line.endswith(str(own_bundle / "weights.bin")):
            start, end = line.split()[0].split("-")
            ranges.append(range(int(start, 16), int(end, 16)))
    for tensor in bundle._weights:
        address = np.from_dlpack(tensor).ctypes.data
        assert any(address in mapped for mapped in ranges)


def test_a_bundle_for_a_phone_is_refused_here(phone_bundle: Path) -> None:
    with pytest.raises(UserInputError, match="the bundle is for android-arm64") as caught:
        open_bundle(phone_bundle)
    assert caught.value.where == str(phone_bundle)
    assert "--tracker" in caught.value.hint
    assert "--target host" in caught.value.hint


def _rewrite_manifest(directory: Path, **fields: object) -> None:
    """Change fields as if the bundle had been written so: the manifest's own digest is right."""
    manifest = replace(read_bundle(directory).manifest, **fields)
    (directory / "manifest.json").write_text(manifest.to_json(), encoding="utf-8")


def test_a_bundle_for_the_emulator_of_this_processor_is_refused_too(own_bundle: Path) -> None:
    target = {**read_bundle(own_bundle).manifest.target, "abi": "android", "name": "emulator"}
    _rewrite_manifest(own_bundle, target=target)
    with pytest.raises(UserInputError, match="the bundle is for emulator"):
        open_bundle(own_bundle)


@pytest.mark.parametrize("package", ["apache-tvm", "apache-tvm-ffi"])
def test_a_bundle_of_another_abi_is_refused(package: str, own_bundle: Path) -> None:
    abi = {**read_bundle(own_bundle).manifest.abi, package: "0.26.0"}
    _rewrite_manifest(own_bundle, abi=abi)
    with pytest.raises(MissingToolError, match=f"compiled with .*{package} 0.26.0") as caught:
        open_bundle(own_bundle)
    assert "installed is" in caught.value.what
    assert "compile the model again" in caught.value.hint


def test_a_changed_bundle_is_refused_although_it_was_open_before(
    own_bundle: Path, tmp_path: Path
) -> None:
    open_bundle(own_bundle).run(linear_input())
    other = shutil.copytree(own_bundle, tmp_path / "other")
    with (other / "weights.bin").open("r+b") as file:
        file.write(b"\xff")
    with pytest.raises(CheckFailedError):
        open_bundle(other)


def test_results_of_each_kernel_are_recorded(convolutions_bundle: Path) -> None:
    image = {"x": np.random.default_rng(1).random((1, 3, 33, 33), dtype=np.float32)}
    bundle = open_bundle(convolutions_bundle)
    outputs, recorded = bundle.run_with_kernel_outputs(image)
    assert [name for name, _ in recorded] == [entry.function for entry in bundle.manifest.kernels]
    # The image is turned to NHWC first; conv1 and relu1 are fused.
    assert recorded[0][1].shape == (1, 33, 33, 3)
    assert recorded[1][1].shape == (1, 33, 33, 16)
    assert np.all(recorded[1][1] >= 0)
    np.testing.assert_array_equal(recorded[-1][1], outputs["y"])
    np.testing.assert_array_equal(bundle.run(image)["y"], outputs["y"])
