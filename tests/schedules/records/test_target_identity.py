"""What of a target its records depend on."""

from __future__ import annotations

import json
from dataclasses import replace

import pytest

from autoglm_tvm.schedules.records import TargetIdentity, target_identity
from autoglm_tvm.schedules.records.selection import fits, target_filter
from autoglm_tvm.targets import load_presets, resolve_target
from tests.schedules.records.samples import OLD_PHONE, OTHER_PHONE, PC, PHONE


def test_it_comes_back_as_it_was() -> None:
    for identity in (PHONE, OTHER_PHONE, OLD_PHONE, PC):
        again = TargetIdentity.from_json(json.loads(json.dumps(identity.to_json())))
        assert again == identity
        assert again.hash == identity.hash


def test_every_field_counts() -> None:
    others = [
        replace(PHONE, arch="x86_64"),
        replace(PHONE, cpu="cortex-a78"),
        replace(PHONE, features=()),
        replace(PHONE, vector_bytes=32),
        replace(PHONE, vector_registers=16),
        replace(PHONE, dot_product="i8mm"),
        replace(PHONE, threads=1),
    ]
    assert len({identity.hash for identity in (PHONE, *others)}) == 8
    assert len({identity.file_name for identity in (PHONE, *others)}) == 8


def test_its_text_is_for_people() -> None:
    assert PHONE.text == "aarch64 cortex-a76 -rcpc dotprod 4 threads"
    many = replace(PC, features=tuple(f"-f{index}" for index in range(5)), threads=1)
    assert many.text == "x86_64 znver5 -f0 -f1 -f2 (2 more features) vnni 1 thread"


def test_near_is_the_same_kind_of_vectors_and_products() -> None:
    assert PHONE.is_near(OTHER_PHONE)
    assert PHONE.is_near(replace(PHONE, threads=8))
    assert not PHONE.is_near(OLD_PHONE)
    assert not PHONE.is_near(PC)
    assert not PC.is_near(replace(PC, vector_bytes=32))


def test_the_identity_of_presets() -> None:
    identities = {name: target_identity(resolve_target(name)) for name in load_presets()}
    phone = identities["android-arm64-v8.2"]
    assert phone == TargetIdentity("aarch64", "cortex-a76", ("-rcpc",), 16, 32, "dotprod", 4)
    assert identities["android-arm64-v8.6"].dot_product == "i8mm"
    assert identities["android-arm64-v8.6"].features == ("-sve", "-sve2")
    # The glibc server of a phone measures the code that its Android app runs.
    assert identities["linux-arm64"] == identities["android-arm64"]
    for identity in identities.values():
        assert TargetIdentity.from_json(identity.to_json()) == identity


def test_spelling_does_not_count() -> None:
    plain = target_identity(resolve_target("linux-arm64", cpu="cortex-a76"))
    spelt = target_identity(
        resolve_target("linux-arm64", cpu="cortex-a76", features="+dotprod,-sve,+neon")
    )
    assert plain == spelt
    less = target_identity(resolve_target("linux-arm64", cpu="cortex-a76", features="-dotprod"))
    assert less != plain
    assert less.dot_product == "neon"


def test_what_virtual_machines_hide_does_not_count() -> None:
    host = resolve_target("android-x86_64", cpu="znver4")
    hidden = replace(host, features=("-wbnoinvd", "-pku", "-rdpru"))
    assert target_identity(hidden) == target_identity(host)
    assert target_identity(replace(host, features=("-avx512f",))) != target_identity(host)


@pytest.mark.parametrize(
    ("wanted", "found"),
    [
        (None, [PHONE, OTHER_PHONE, OLD_PHONE, PC]),
        ("cortex", [PHONE, OTHER_PHONE]),
        ("CORTEX-A7?", [PHONE]),
        ("aarch64*4 threads", [PHONE, OTHER_PHONE, OLD_PHONE]),
        ("android-arm64-v8.2", [PHONE]),
        ("android-arm64", [OLD_PHONE]),
        ("nothing", []),
    ],
)
def test_targets_are_chosen_by_preset_or_pattern(
    wanted: str | None, found: list[TargetIdentity]
) -> None:
    chosen = target_filter(wanted)
    assert [item for item in (PHONE, OTHER_PHONE, OLD_PHONE, PC) if chosen(item)] == found
    eight = replace(PHONE, threads=8)
    assert target_filter("android-arm64-v8.2")(eight)


def test_a_pattern_fits_a_part() -> None:
    assert fits("conv2d float32 64x3x3x64", "conv2d*3x3")
    assert not fits("conv2d float32 64x1x1x64", "conv2d*3x3")
