"""What objdump printed of a kernel: a GEMV with its loops over rows and depth, and a small copy."""

OBJDUMP = """
libgemv.so:     file format elf64-littleaarch64


Disassembly of section .text:

0000000000005000 <gemv_compute_>:
    5000:	stp	x29, x30, [sp, #-32]!
    5004:	mov	x29, sp
    5008:	str	q8, [sp, #16]
    500c:	mov	x9, #0x300                 	// #768
    5010:	movi	v0.2d, #0x0
    5014:	mov	x10, x1
    5018:	ldr	q1, [x29, #16]
    501c:	ldp	q2, q3, [x10], #32
    5020:	ldr	q4, [x11], #16
    5024:	fmla	v0.4s, v2.4s, v4.s[0]
    5028:	fmla	v1.4s, v3.4s, v4.s[1]
    502c:	cbz	x12, 5034 <gemv_compute_+0x34>
    5030:	str	q1, [sp, #16]
    5034:	subs	x9, x9, #0x4
    5038:	b.ne	501c <gemv_compute_+0x1c>  // b.any
    503c:	st1	{v0.4s, v1.4s}, [x2], #32
    5040:	cmp	x2, x3
    5044:	b.lt	500c <gemv_compute_+0xc>  // b.tstop
    5048:	ldp	x29, x30, [sp], #32
    504c:	ret

0000000000005050 <copy_compute_>:
    5050:	ldr	x29, [x0], #8
    5054:	str	x29, [x1], #8
    5058:	ldr	x3, [x29, #8]
    505c:	cmp	x0, x2
    5060:	b.ne	5050 <copy_compute_>  // b.any
    5064:	bl	4f00 <memcpy@plt>
    5068:	ret
"""

#: Executions by address: 3 rows of 10 steps, and a copy of 1000 words.
EXECUTIONS = {
    **dict.fromkeys(range(0x5000, 0x500C, 4), 1),
    **dict.fromkeys(range(0x500C, 0x501C, 4), 3),
    **dict.fromkeys(range(0x501C, 0x503C, 4), 30),
    **dict.fromkeys(range(0x503C, 0x5048, 4), 3),
    **dict.fromkeys(range(0x5050, 0x5064, 4), 1000),
}

#: What llvm-mca 22 printed for the loop at 501c on cortex-a76.
MCA_REPORT = """
Iterations:        100
Instructions:      800
Total Cycles:      803
Total uOps:        1100

Dispatch Width:    3
uOps Per Cycle:    1.37
IPC:               1.00
Block RThroughput: 3.0


Resources:
[0]   - A57UnitB
[1.0] - A57UnitI
[1.1] - A57UnitI
[2]   - A57UnitL


Resource pressure per iteration:
[0]    [1.0]  [1.1]  [2]
1.00   0.50   0.50   3.00
"""
