"""Weights of few bits are unpacked exactly, and summed as exactly as floats are."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from random import Random

import numpy as np
import onnx
import pytest

from autoglm_tvm.compiler import optimise
from autoglm_tvm.compiler.import_onnx import import_onnx
from autoglm_tvm.compiler.read import read
from autoglm_tvm.compiler.reference import run_reference
from autoglm_tvm.schedules.choices import Choices
from autoglm_tvm.schedules.intrinsics import llvm_code
from autoglm_tvm.schedules.machine import Machine, machine_of
from autoglm_tvm.targets import Target, resolve_target
from autoglm_tvm.targets.errors import UserInputError
from tests.schedules.harness import Compiled, compile_in_memory
from tests.schedules.int4_products import Int4Product, random_product
from tests.schedules.test_knobs import run, tasks_of

# CPU and features.
LEVELS = {
    "this machine": (None, None),
    "AVX-512": ("x86-64-v4", None),
    "AVX2": ("x86-64-v3", None),
    "AVX": ("x86-64-v2", "+avx"),
    "SSE": ("x86-64-v2", None),
}
DIGITS = "digits"


def target_of(level: str, threads: int | None = None) -> Target:
    cpu, features = LEVELS[level]
    try:
        return resolve_target("host", cpu=cpu, features=features, threads=threads)
    except UserInputError as error:
        pytest.skip(error.what)


@pytest.fixture(params=["this machine", "AVX2", DIGITS])
def target(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> Target:
    """Each kind of machine; `DIGITS` has products of signed bytes, made of plain operations."""
    if request.param == DIGITS:
        use_digits(monkeypatch)
        return resolve_target("host")
    return target_of(request.param)


def use_digits(monkeypatch: pytest.MonkeyPatch) -> None:
    def phone(target: Target) -> Machine:
        return replace(machine_of(target), dot_product="dotprod")

    monkeypatch.setattr(optimise, "machine_of", phone)
    # This machine has no such instruction: it gets additions and multiplications.
    monkeypatch.delitem(llvm_code._DECLARED, ("sdot", 4))


def check(product: Int4Product, target: Target | None = None, relative: float = 1e-6) -> Compiled:
    compiled = compile_in_memory(product.network(), target)
    assert "contraction" in compiled.rules, compiled.rules
    product.check(compiled.run(product.x), relative)
    return compiled


@pytest.mark.parametrize("level", LEVELS)
def test_machines(level: str) -> None:
    for rows in (1, 6):
        check(random_product((rows, 96), 71, 32, zeros="packed"), target_of(level))


@pytest.mark.parametrize("group", [16, 32, 64, 128, 256])
def test_every_number_is_unpacked_exactly(group: int, target: Target) -> None:
    """Rows of the identity give the weight itself, without any rounding."""
    product = random_product((1, 256), 19, group)
    identity = replace(product, x=np.eye(256, dtype=np.float32))
    compiled = compile_in_memory(identity.network(), target)
    np.testing.assert_array_equal(compiled.run(identity.x), identity.weight().astype(np.float32))


@pytest.mark.parametrize(
    ("shape", "columns", "group", "zeros"),
    [
        ((1, 64), 1, 32, ""),
        ((3, 100), 37, 32, "packed"),
        ((2, 5, 160), 130, 64, "floats"),
        ((1, 40), 520, 128, "packed"),
    ],
)
def test_sizes(
    shape: tuple[int, ...], columns: int, group: int, zeros: str, target: Target
) -> None:
    check(random_product(shape, columns, group, zeros=zeros, bias=True), target)


@pytest.mark.parametrize("rows", range(2, 10))
def test_rows(rows: int) -> None:
    check(random_product((rows, 64), 40, 32))


@pytest.mark.parametrize(("bits", "zeros"), [(2, "packed"), (8, "packed"), (8, "floats")])
def test_other_widths(bits: int, zeros: str, target: Target) -> None:
    compiled = check(random_product((2, 70), 33, 32, bits=bits, zeros=zeros), target)
    names = {name.rstrip("0123456789") for call in compiled.operators for name in call}
    assert f"int{bits}_matmul" in names


def test_halves(target: Target) -> None:
    check(random_product((3, 96), 40, 32, zeros="packed", dtype="float16", bias=True), target)


@pytest.mark.parametrize(("zeros", "flat"), [("", True), ("packed", False), ("packed", True)])
def test_as_onnxruntime_reads_it(zeros: str, flat: bool) -> None:
    """An odd number of groups: zero points of a column end with half a byte."""
    product = random_product((4, 96), 21, 32, zeros=zeros, bias=True, flat=flat)
    theirs = run_reference(product.network(), {"x": product.x})["y"]
    product.check(theirs, 3e-6)
    ours = compile_in_memory(product.network()).run(product.x)
    product.check(ours)


def test_the_bits_do_not_depend_on_threads(target: Target) -> None:
    product = random_product((1, 256), 300, 32, zeros="packed")
    results = []
    for threads in (1, 2, 8):
        compiled = compile_in_memory(product.network(), replace(target, threads=threads))
        results.append(compiled.run(product.x))
    for other in results[1:]:
        np.testing.assert_array_equal(results[0], other)


def test_rows_that_are_known_when_it_runs(target: Target) -> None:
    product = random_product((7, 100), 50, 32, zeros="packed")
    network = product.network()
    for value in (*network.graph.input, *network.graph.output):
        value.type.tensor_type.shape.dim[0].dim_param = "rows"
    compiled = compile_in_memory(network, target)
    for rows in (1, 2, 7):
        replace(product, x=product.x[:rows]).check(compiled.run(product.x[:rows]))


@pytest.mark.parametrize("group", [32, 64, 128])
def test_bits_of_a_weight(group: int, target: Target) -> None:
    half = machine_of(target).half_conversion
    compiled = check(random_product((1, 256), 256, group), target)
    stored = sum(array.nbytes for array in compiled.weights)
    assert stored * 8 == 256 * 256 * (4 + (16 if half else 32) / group)


def test_scales_that_float16_has_not_stay_float32() -> None:
    product = random_product((1, 64), 64, 32)
    compiled = check(replace(product, scales=product.scales * np.float32(1 + 2**-20)))
    assert sum(array.nbytes for array in compiled.weights) == 64 * 64 // 2 + 64 * 2 * 4


def test_what_follows_stays_in_the_kernel() -> None:
    product = random_product((1, 64), 64, 32, bias=True)
    network = product.network()
    network.graph.node[0].output[0] = "h"
    network.graph.node.append(onnx.helper.make_node("Relu", ["h"], ["y"], name="relu"))
    compiled = compile_in_memory(network)
    names = [name.rstrip("0123456789") for name in compiled.operators[-1]]
    assert names == ["int4_matmul", "add", "relu"]
    expected = np.maximum(product.expected(), 0)
    np.testing.assert_allclose(compiled.run(product.x), expected, atol=1e-5)


def test_an_empty_batch() -> None:
    product = random_product((1, 64), 40, 32)
    empty = replace(product, x=product.x[:0])
    assert compile_in_memory(empty.network()).run(empty.x).shape == (0, 40)


@pytest.mark.parametrize(
    ("bits", "zeros"), [(4, ""), (4, "packed"), (2, "packed"), (8, "packed"), (8, "floats")]
)
def test_a_weight_that_is_an_input(bits: int, zeros: str) -> None:
    product = random_product((3, 70), 20, 32, bits=bits, zeros=zeros)
    network = product.network()
    tensors = {t.name: onnx.numpy_helper.to_array(t) for t in network.graph.initializer}
    del network.graph.initializer[:]
    for name, array in tensors.items():
        kind = onnx.helper.np_dtype_to_tensor_dtype(array.dtype)
        value = onnx.helper.make_tensor_value_info(name, kind, array.shape)
        network.graph.input.append(value)
    product.check(compile_in_memory(network).run(product.x, *tensors.values()))


def test_groups_in_another_order() -> None:
    """`g_idx`: each k says which scale it has."""
    product = random_product((3, 128), 20, 32, zeros="packed")
    network = product.network()
    order = np.random.default_rng(0).permutation(np.arange(128) // 32).astype(np.int32)
    network.graph.initializer.append(onnx.numpy_helper.from_array(order, "g"))
    network.graph.node[0].input.append("g")
    assert product.zeros is not None
    numbers = product.numbers - product.zeros[:, order].astype(np.float64)
    expected = product.x @ (numbers * product.scales[:, order]).T
    np.testing.assert_allclose(
        compile_in_memory(network).run(product.x), expected, rtol=1e-5, atol=1e-5
    )


def test_a_width_that_is_not_there() -> None:
    product = random_product((1, 64), 8, 32)
    network = product.network()
    (bits,) = (item for item in network.graph.node[0].attribute if item.name == "bits")
    bits.i = 3
    with pytest.raises(UserInputError, match="3 bits") as error:
        compile_in_memory(network)
    assert "product" in str(error.value)


class TestDigits:
    """Data as whole multiples of a unit: where that is not float32, and that it is close to it."""

    @pytest.fixture(autouse=True)
    def digits(self, monkeypatch: pytest.MonkeyPatch) -> None:
        use_digits(monkeypatch)

    def run(self, product: Int4Product) -> np.ndarray:
        compiled = compile_in_memory(product.network(), resolve_target("host"))
        names = {name.rstrip("0123456789") for call in compiled.operators for name in call}
        assert {"group_peaks", "digits"} <= names
        return compiled.run(product.x)

    @pytest.mark.parametrize("scale", [1e-37, 1e-20, 1e-3, 1e3, 1e30])
    def test_any_magnitude(self, scale: float) -> None:
        product = random_product((2, 96), 40, 32)
        scaled = replace(product, x=product.x * np.float32(scale))
        # What is smaller than 1e-31 counts as zero.
        limit = scaled.limit(1e-6) + 1e-30
        assert (np.abs(self.run(scaled) - scaled.expected()) <= limit).all()

    def test_one_large_number_in_a_group(self) -> None:
        """Its neighbours are as exact as float32 is for it, even where its weight is zero."""
        product = random_product((2, 96), 40, 32)
        product.x[:, 5] = 1000.0
        as_large = np.repeat(np.abs(product.x).reshape(2, 3, 32).max(axis=-1), 32, axis=-1)
        limit = replace(product, x=as_large).limit(2**-22)
        assert (np.abs(self.run(product) - product.expected()) <= limit).all()

    def test_zeros(self) -> None:
        product = random_product((2, 96), 40, 32)
        product.x[0] = 0
        product.x[1, 32:64] = 0
        result = self.run(product)
        assert (result[0] == 0).all()
        product.check(result)

    @pytest.mark.parametrize("value", [np.nan, np.inf, -np.inf])
    def test_what_is_no_number_is_not_lost(self, value: float) -> None:
        product = random_product((2, 96), 40, 32)
        product.x[1, 50] = value
        result = self.run(product)
        assert np.isfinite(result[0]).all()
        assert not np.isfinite(result[1]).any()

    def test_the_largest_sums(self) -> None:
        """All numbers of one sign and of full size, in the largest group."""
        product = random_product((1, 256), 20, 256)
        product.x[:] = np.nextafter(np.float32(1), np.float32(2))
        product.numbers[:] = 0
        product.check(self.run(product))

    def test_data_is_split_once_for_all_that_read_it(self) -> None:
        product = random_product((1, 64), 32, 32, zeros="packed")
        network = product.network()
        twice = onnx.NodeProto()
        twice.CopyFrom(network.graph.node[0])
        twice.output[0], twice.name = "i", "other"
        network.graph.node[0].output[0] = "h"
        network.graph.node.append(twice)
        network.graph.node.append(onnx.helper.make_node("Add", ["h", "i"], ["y"], name="sum"))
        # Unequal weights, or the second product would be the first.
        other = onnx.numpy_helper.from_array(product.scales * 2, "s2")
        network.graph.initializer.append(other)
        twice = network.graph.node[1]
        twice.input[2] = "s2"
        compiled = compile_in_memory(network)
        names = [name.rstrip("0123456789") for call in compiled.operators for name in call]
        assert names.count("int4_matmul") == 2
        assert [names.count(name) for name in ("group_peaks", "digits", "group_totals")] == [1] * 3
        np.testing.assert_allclose(
            compiled.run(product.x), 3 * product.expected(), rtol=1e-5, atol=1e-5
        )


@pytest.mark.parametrize("threads", [1, 2])
def test_every_way_to_share_the_work_is_right(threads: int) -> None:
    """The tile is fixed, since the weight is packed for it."""
    product = random_product((21, 64), 150, 32)
    network, target = product.network(), resolve_target("host", threads=threads)
    _, (task,) = tasks_of(network, target)
    assert task.space is not None
    assert set(task.space.knobs) == {"share", "pieces", "parallel"}
    random = Random(0)
    for config in random.sample(list(task.space), 6):
        product.check(run(network, target, Choices({task.workload: config}), product.x))


def test_large_weights_that_are_bound_late() -> None:
    """As those above 64 MiB are: the converter sees inputs, the pass constants."""
    product = random_product((1, 128), 256, 32, zeros="packed")
    model = read(product.network(), detach_above=0)
    assert "w" in model.weights
    optimised = optimise.optimise(import_onnx(model), resolve_target("host"))
    assert any(name.startswith("int4_matmul") for name, _ in optimised.calls)


def test_prefetches_are_in_the_code(tmp_path: Path) -> None:
    """Eight lines for eight vectors, some kilobytes ahead."""
    from autoglm_tvm.compiler.compile import compile

    onnx.save(random_product((1, 256), 1024, 32).network(), tmp_path / "m.onnx")
    try:
        compile(
            tmp_path / "m.onnx",
            "host",
            tmp_path / "b",
            cpu="x86-64-v4",
            threads=1,
            dump_dir=tmp_path / "d",
        )
    except UserInputError as error:
        pytest.skip(error.what)
    (assembly,) = (tmp_path / "d").rglob("build.s")
    text = assembly.read_text("utf-8")
    assert text.count("prefetcht0") == 8
    assert "vpermps" in text or "vpermd" in text
