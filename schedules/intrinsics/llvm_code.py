"""LLVM code of the operators of `operators.py`, for as many lanes as a vector has."""

from __future__ import annotations

from autoglm_tvm.schedules.intrinsics.dot_product import INSTRUCTIONS, SDOT, DotProduct

_DECLARED = {
    ("sdot", 4): "llvm.aarch64.neon.sdot.v4i32.v16i8",
    ("usdot", 4): "llvm.aarch64.neon.usdot.v4i32.v16i8",
    ("smmla", 4): "llvm.aarch64.neon.smmla.v4i32.v16i8",
    ("usmmla", 4): "llvm.aarch64.neon.usmmla.v4i32.v16i8",
    ("vpdpbusd", 16): "llvm.x86.avx512.vpdpbusd.512",
    ("vpdpbusd", 8): "llvm.x86.avx512.vpdpbusd.256",
    ("vpdpbusd", 4): "llvm.x86.avx512.vpdpbusd.128",
    ("pmaddwd", 16): "llvm.x86.avx512.pmaddw.d.512",
    ("pmaddwd", 8): "llvm.x86.avx2.pmadd.wd",
    ("pmaddwd", 4): "llvm.x86.sse2.pmadd.wd",
}

_FENCED = "<4 x float> @llvm.arithmetic.fence.v4f32(<4 x float>)"
# Floats in a vector of AVX-512, and so in a table.
_TABLE = 16


def symbol(name: str, lanes: int) -> str:
    """The function's name, in the way of LLVM's own."""
    return f"autoglm.{name}.{_vector(lanes, 'i32', 'v')}"


def load_words(lanes: int) -> str:
    """Return the definition of a function of a pointer that loads words from any address."""
    kind = _vector(lanes, "i32")
    body = [f"  %r = load {kind}, ptr %p, align 1"]
    return _function(symbol("word", lanes), kind, "ptr %p", body)


def prefetch_line(name: str, *, near: bool) -> str:
    """Return the definition of a function of a pointer that fetches its line for reading.

    Locality 2 of 3 is the second cache: `prefetcht1`, `prfm pldl2keep`; 3 the first.
    """
    intrinsic = "llvm.prefetch.p0"
    declaration = f"declare void @{intrinsic}(ptr, i32, i32, i32)\n"
    fetch = f"  call void @{intrinsic}(ptr %p, i32 0, i32 {3 if near else 2}, i32 1)"
    body = [fetch, "  %r = add i32 0, 0"]
    return declaration + _function(symbol(name, 1), "i32", "ptr %p", body)


def rounded_floats(name: str, lanes: int) -> str:
    """Return the definition of floats -> the same, which LLVM does not contract with additions."""
    kind, suffix = _vector(lanes, "float"), f"v{lanes}f32" if lanes > 1 else "f32"
    intrinsic = f"llvm.arithmetic.fence.{suffix}"
    declaration = f"declare {kind} @{intrinsic}({kind})\n"
    return declaration + _function(
        name, kind, f"{kind} %x", [f"  %r = call {kind} @{intrinsic}({kind} %x)"]
    )


def signed_field(name: str, lanes: int, shift: int, bits: int, *, lookup: bool) -> str:
    """Return the definition of words -> floats of the signed field of `bits` bits at `shift`.

    Parameters
    ----------
    name
        Of the function.
    lanes
        Words in a vector.
    shift, bits
        Where the field lies.
    lookup
        Whether AVX-512 looks it up in a register of 16 floats: `vpermps` ignores all but the lowest
        four bits of an index.
    """
    words, floats = _vector(lanes, "i32"), _vector(lanes, "float")
    if lookup and (lanes, bits) == (_TABLE, 4):
        numbers = [*range(8), *range(-8, 0)]
        table = ", ".join(f"float {number}.0" for number in numbers)
        intrinsic = "llvm.x86.avx512.permvar.sf.512"
        declaration = f"declare {floats} @{intrinsic}({floats}, {words})\n"
        body = [
            f"  %s = lshr {words} %w, {_splat(lanes, shift)}",
            f"  %r = call {floats} @{intrinsic}({floats} <{table}>, {words} %s)",
        ]
        return declaration + _function(name, floats, f"{words} %w", body)
    body = [
        f"  %u = shl {words} %w, {_splat(lanes, 32 - bits - shift)}",
        f"  %s = ashr {words} %u, {_splat(lanes, 32 - bits)}",
        f"  %r = sitofp {words} %s to {floats}",
    ]
    return _function(name, floats, f"{words} %w", body)


def byte_halves(name: str, lanes: int, *, upper: bool) -> str:
    """Return the definition of words -> words of the halves of their bytes, times 16.

    A half lies in the upper one of its byte then: one instruction, where a sign takes two.
    """
    words, data = _vector(lanes, "i32"), f"<{lanes * 4} x i8>"
    step = "and {} %b, splat (i8 -16)" if upper else "shl {} %b, splat (i8 4)"
    body = [
        f"  %b = bitcast {words} %w to {data}",
        f"  %s = {step.format(data)}",
        f"  %r = bitcast {data} %s to {words}",
    ]
    return _function(name, words, f"{words} %w", body)


def multiply_add(name: str, lanes: int) -> str:
    """Return the definition of (sums, left words, right words) -> sums."""
    instruction = INSTRUCTIONS[name]
    intrinsic = _DECLARED.get((name, lanes))
    operands = _operands(instruction, lanes)
    if instruction.in_halves:
        body, declaration = _widening(instruction), f"declare {_FENCED}\n"
    elif intrinsic is None:
        body, declaration = _plain(instruction, lanes), ""
    else:
        body, declaration = _call(instruction, intrinsic, lanes)
    kind = _vector(lanes, "i32")
    parameters = f"{kind} %c, {kind} %a, {_vector(lanes, _bits(instruction.word))} %b"
    return declaration + _function(symbol(name, lanes), kind, parameters, [*operands, *body])


def _operands(instruction: DotProduct, lanes: int) -> list[str]:
    """Words taken apart: %x and %y."""
    count, width = _elements(instruction, lanes), _bits(instruction.left)
    words, elements = _vector(lanes, "i32"), f"<{count} x {width}>"
    stored, narrow = _vector(lanes, _bits(instruction.word)), f"<{count} x i8>"
    lines = [f"  %x = bitcast {words} %a to {elements}"]
    if width == "i8":
        return [*lines, f"  %y = bitcast {stored} %b to {narrow}"]
    return [
        *lines,
        f"  %n = bitcast {stored} %b to {narrow}",
        f"  %y = sext {narrow} %n to {elements}",
    ]


def _call(instruction: DotProduct, intrinsic: str, lanes: int) -> tuple[list[str], str]:
    """The instruction itself."""
    sums = _vector(lanes, "i32")
    elements = f"<{_elements(instruction, lanes)} x {_bits(instruction.left)}>"
    if instruction.registers:
        declaration = f"declare {sums} @{intrinsic}({elements}, {elements})\n"
        call = f"call {sums} @{intrinsic}({elements} %x, {elements} %y)"
        return [f"  %d = {call}", f"  %r = add {sums} %c, %d"], declaration
    # LLVM makes an `sdot` by a lane only if the lane comes last.
    first, second = ("%y", "%x") if instruction is SDOT else ("%x", "%y")
    declaration = f"declare {sums} @{intrinsic}({sums}, {elements}, {elements})\n"
    call = f"call {sums} @{intrinsic}({sums} %c, {elements} {first}, {elements} {second})"
    return [f"  %r = {call}"], declaration


def _widening(instruction: DotProduct) -> list[str]:
    """Armv8.0's multiplications of 8 bytes to 8 int16, and the sum of neighbours into int32."""
    lines = ["  %w = bitcast <16 x i8> %x to <8 x i16>"]
    for half, pair in (("l", 0), ("h", 1)):
        # The same two bytes of the left word everywhere: one `dup` of a lane.
        same = ", ".join([f"i32 {pair}"] * 8)
        splat = f"shufflevector <8 x i16> %w, <8 x i16> poison, <8 x i32> <{same}>"
        lines += [f"  %s{half} = {splat}"]
        if half == "h":
            # Where LLVM sees that both halves are the same, it takes the lower one, and moves the
            # other operand's upper half down for it: an `ext` instead of a `smlal2`.
            lines += [
                "  %f = bitcast <8 x i16> %sh to <4 x float>",
                f"  %g = call {_FENCED.replace('(<4 x float>)', '(<4 x float> %f)')}",
                "  %dh = bitcast <4 x float> %g to <16 x i8>",
            ]
        else:
            lines.append("  %dl = bitcast <8 x i16> %sl to <16 x i8>")
        for wide, source in ((f"%x{half}", f"%d{half}"), (f"%y{half}", "%y")):
            lines.append(_shuffle(f"{wide}n", source, list(range(pair * 8, pair * 8 + 8))))
            lines.append(f"  {wide} = sext <8 x i8> {wide}n to <8 x i16>")
        lines.append(f"  %m{half} = mul nsw <8 x i16> %x{half}, %y{half}")
    pairs = "call <4 x i32> @llvm.aarch64.neon.saddlp.v4i32.v8i16(<8 x i16> %m{})"
    if instruction.lowest > -128:
        lines += ["  %m = add nsw <8 x i16> %ml, %mh", f"  %s = {pairs.format('')}"]
        return [*lines, "  %r = add <4 x i32> %c, %s"]
    for half in "lh":
        lines.append(f"  %p{half} = {pairs.format(half)}")
    return [*lines, "  %t = add <4 x i32> %c, %pl", "  %r = add <4 x i32> %t, %ph"]


def _shuffle(result: str, source: str, picked: list[int]) -> str:
    mask = ", ".join(f"i32 {at}" for at in picked)
    kind = f"<{len(picked)} x i32>"
    return f"  {result} = shufflevector <16 x i8> {source}, <16 x i8> poison, {kind} <{mask}>"


def _plain(instruction: DotProduct, lanes: int) -> list[str]:
    """The same in additions and multiplications, for lanes that no instruction has."""
    count = lanes * instruction.group
    narrow, wide = f"<{count} x {_bits(instruction.left)}>", f"<{count} x i32>"
    kind = _vector(lanes, "i32")
    lines = [
        f"  %p = {'zext' if instruction.left[0] == 'u' else 'sext'} {narrow} %x to {wide}",
        f"  %q = sext {narrow} %y to {wide}",
        f"  %m0 = mul {wide} %p, %q",
    ]
    if lanes == 1:
        reduce = f"call i32 @llvm.vector.reduce.add.v{count}i32({wide} %m0)"
        return [*lines, f"  %s = {reduce}", "  %r = add i32 %c, %s"]
    total = "%c"
    for at in range(instruction.group):
        picked = ", ".join(f"i32 {lane * instruction.group + at}" for lane in range(lanes))
        lines.append(
            f"  %e{at} = shufflevector {wide} %m0, {wide} poison, <{lanes} x i32> <{picked}>"
        )
        result = "%r" if at == instruction.group - 1 else f"%t{at}"
        lines.append(f"  {result} = add {kind} {total}, %e{at}")
        total = result
    return lines


def _function(name: str, kind: str, parameters: str, body: list[str]) -> str:
    head = f'define {kind} @"{name}"({parameters}) alwaysinline {{'
    return "\n".join([head, *body, f"  ret {kind} %r", "}", ""])


def _elements(instruction: DotProduct, lanes: int) -> int:
    """How many elements of the left operand the words of a vector hold."""
    return lanes * 32 // int(_bits(instruction.left)[1:])


def _bits(dtype: str) -> str:
    """LLVM's integer type: it knows no signs."""
    return f"i{dtype.lstrip('uint')}"


def _splat(lanes: int, value: int) -> str:
    return f"splat (i32 {value})" if lanes > 1 else str(value)


def _vector(lanes: int, element: str, letter: str = "") -> str:
    if letter:
        return f"v{lanes}{element}" if lanes > 1 else element
    return f"<{lanes} x {element}>" if lanes > 1 else element
