"""Instructions that sum the products of two or four neighbouring integers into lanes of int32.

All of them are exact: none saturates on the way (as `vpmaddubsw` does).
"""

from __future__ import annotations

from dataclasses import dataclass

from autoglm_tvm.schedules.machine import Machine

# Lanes of a vector whose words lie in halves.
LANES = 4


@dataclass(frozen=True)
class DotProduct:
    """One instruction.

    Attributes
    ----------
    name
        What LLVM or the assembler calls it.
    group
        How many neighbours of the reduced axis are multiplied and added for each sum.
    left
        Type of the left operand's elements. A word of 32 bits holds a group, or half of one.
    word
        Type that holds a word of the right operand, whose elements are int8.
    registers
        Vector registers that it needs beside sums and operands, as LLVM orders it.
    lowest
        The smallest element of the right operand that it takes.
    in_halves
        Whether the first two bytes of all words of a vector lie before all others.
    in_pairs
        Whether a vector holds two rows of one operand or two columns of the other, and the sums of
        each with each: [row 0 column 0, row 0 column 1, row 1 column 0, row 1 column 1].
    """

    name: str
    group: int
    left: str
    word: str
    registers: int = 0
    lowest: int = -128
    in_halves: bool = False
    in_pairs: bool = False

    def fills(self, rows: int | None, columns: int) -> bool:
        """Whether a product has the vectors that it needs: TVM cuts others down to what is read."""
        if self.in_pairs and rows == 1:
            return False
        return columns >= LANES or not (self.in_pairs or self.in_halves)


# Armv8.2: four bytes, both signed. The left operand may be a lane.
SDOT = DotProduct("sdot", 4, "int8", "int32")
# Armv8.0, three instructions: smull, smlal2, sadalp. The first two add two products in int16, which
# those of -128 do not fit.
SMLAL = DotProduct("smlal", 4, "int8", "int32", registers=13, lowest=-127, in_halves=True)
# Four instead: smull, sadalp, smull2, sadalp.
SMULL = DotProduct("smull", 4, "int8", "int32", registers=13, in_halves=True)
# Armv8.6: unsigned by signed, and two rows by two columns.
USDOT = DotProduct("usdot", 4, "uint8", "int32")
SMMLA = DotProduct("smmla", 8, "int8", "int32", in_pairs=True)
USMMLA = DotProduct("usmmla", 8, "uint8", "int32", in_pairs=True)
# AVX512-VNNI and AVX-VNNI: unsigned by signed.
VPDPBUSD = DotProduct("vpdpbusd", 4, "uint8", "int32")
# SSE2, AVX2, AVX512-BW: two int16. The right one's bytes are widened in registers.
PMADDWD = DotProduct("pmaddwd", 2, "int16", "int16", registers=1)

INSTRUCTIONS = {
    each.name: each for each in (SDOT, SMLAL, SMULL, USDOT, SMMLA, USMMLA, VPDPBUSD, PMADDWD)
}

# By the machine's kind and the type of the left operand; the first that takes the right one.
_BY_MACHINE = {
    ("i8mm", "uint8"): (USMMLA, USDOT),
    ("i8mm", "int8"): (SMMLA, SDOT),
    ("dotprod", "uint8"): (SDOT,),
    ("dotprod", "int8"): (SDOT,),
    ("neon", "uint8"): (SMLAL, SMULL),
    ("neon", "int8"): (SMLAL, SMULL),
    ("vnni", "uint8"): (VPDPBUSD,),
    ("vnni", "int8"): (VPDPBUSD,),
    ("pmaddwd", "uint8"): (PMADDWD,),
    ("pmaddwd", "int8"): (PMADDWD,),
}


def dot_product_for(
    machine: Machine, dtype: str, lowest: int, rows: int | None, columns: int = LANES
) -> DotProduct | None:
    """The instruction for a product, if the machine has one.

    Parameters
    ----------
    machine
        What it is for.
    dtype
        Of the left operand's elements: uint8 or int8.
    lowest
        The smallest element of the right operand, an int8.
    rows
        Of the left operand; None where symbolic.
    columns
        Of the right one; in a grouped convolution, of one group.
    """
    candidates = _BY_MACHINE.get((machine.dot_product, dtype), ())
    fit = (each for each in candidates if each.lowest <= lowest and each.fills(rows, columns))
    return next(fit, None)
