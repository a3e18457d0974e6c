"""Inner loops are found in what objdump prints, and described rightly."""

from __future__ import annotations

import pytest

from benchmarks.aarch64.disassembly import Instruction, parse_disassembly
from benchmarks.aarch64.inner_loop import (
    innermost_loops,
    loaded_registers,
    loops_that_ran,
    main_loop,
    multiply_adds,
)
from tests.benchmarks.recorded_code import EXECUTIONS, OBJDUMP


def _instruction(text: str) -> Instruction:
    mnemonic, _, operands = text.partition(" ")
    return Instruction(0, mnemonic, operands)


def test_instructions_and_their_targets_are_read() -> None:
    code = parse_disassembly(OBJDUMP)
    assert len(code) == 27
    by_address = {instruction.address: instruction for instruction in code}
    assert str(by_address[0x500C]) == "mov x9, #0x300"
    assert by_address[0x5038].target == 0x501C
    assert by_address[0x502C].target == 0x5034
    assert by_address[0x5064].target is None, "a call comes back"
    assert by_address[0x5010].target is None


def test_a_loop_around_a_loop_is_not_innermost() -> None:
    code = parse_disassembly(OBJDUMP)
    found = [(code[first].address, code[last].address) for first, last in innermost_loops(code)]
    assert found == [(0x501C, 0x5038), (0x5050, 0x5060)]


def test_a_loop_that_reaches_over_a_gap_is_none() -> None:
    code = [each for each in parse_disassembly(OBJDUMP) if each.address != 0x5028]
    found = [code[first].address for first, _ in innermost_loops(code)]
    assert found == [0x5050]


def test_the_main_loop_multiplies_even_where_another_one_runs_longer() -> None:
    loops = loops_that_ran(parse_disassembly(OBJDUMP), EXECUTIONS)
    assert [loop.executed for loop in loops] == [5000, 240]
    loop = main_loop(loops)
    assert loop is not None
    assert loop.body[0].address == 0x501C
    assert loop.executed_multiply_adds == 30 * 8
    assert loop.multiply_add_instructions == 2
    assert loop.loads == 3
    assert loop.loads_per_multiply_add == 1.5
    assert loop.stores == 1
    assert loop.spills == 1
    assert loop.branches_inside == 1
    assert loop.to_json()["code"][0] == "ldp q2, q3, [x10], #32"


def test_x29_is_a_frame_pointer_only_where_the_function_made_it_one() -> None:
    copy = loops_that_ran(parse_disassembly(OBJDUMP), EXECUTIONS)[0]
    assert copy.body[0].address == 0x5050
    assert copy.spills == 0
    with_frame = OBJDUMP.replace("ldr	q4, [x11], #16", "ldr	q4, [x29, #16]")
    loop = main_loop(loops_that_ran(parse_disassembly(with_frame), EXECUTIONS))
    assert loop is not None
    assert loop.spills == 2


def test_code_that_did_not_run_has_no_loop() -> None:
    code = parse_disassembly(OBJDUMP)
    assert main_loop(loops_that_ran(code, {})) is None


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("fmla v0.4s, v1.4s, v2.s[0]", 4),
        ("fmla v0.8h, v1.8h, v2.8h", 8),
        ("fmls v0.2d, v1.2d, v2.2d", 2),
        ("fmla v0.2s, v1.2s, v2.2s", 2),
        ("fmla s0, s1, v2.s[0]", 1),
        ("fmadd s0, s1, s2, s0", 1),
        ("fnmsub d0, d1, d2, d0", 1),
        ("sdot v0.4s, v1.16b, v2.4b[0]", 16),
        ("udot v0.2s, v1.8b, v2.8b", 8),
        ("smmla v0.4s, v1.16b, v2.16b", 32),
        ("bfmmla v0.4s, v1.8h, v2.8h", 16),
        ("smlal2 v0.4s, v1.8h, v2.8h", 4),
        ("fmul v0.4s, v1.4s, v2.4s", 0),
        ("madd x0, x1, x2, x3", 0),
        ("fadd v0.4s, v1.4s, v2.4s", 0),
    ],
)
def test_multiply_adds_of_an_instruction(text: str, expected: int) -> None:
    assert multiply_adds(_instruction(text)) == expected


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("ldr q0, [x0]", 1),
        ("ldp q0, q1, [x0], #32", 2),
        ("ld1 {v0.4s, v1.4s, v2.4s}, [x0]", 3),
        ("ld1 {v30.4s-v1.4s}, [x0]", 4),
        ("ld1r {v0.4s}, [x0]", 1),
        ("ld1 {v0.s}[1], [x0]", 1),
        ("str q0, [x0]", 0),
        ("fmla v0.4s, v1.4s, v2.s[0]", 0),
    ],
)
def test_loaded_registers_of_an_instruction(text: str, expected: int) -> None:
    assert loaded_registers(_instruction(text)) == expected
