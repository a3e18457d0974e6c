"""What happens to scheduled kernels on the way to LLVM, beside TVM's own passes."""
