"""Instructions that TVM does not generate: operators of TIR, and their LLVM code."""
