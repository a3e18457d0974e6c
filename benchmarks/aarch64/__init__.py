"""What an arm64 phone would execute, found out without one: qemu counts, llvm-mca models."""
