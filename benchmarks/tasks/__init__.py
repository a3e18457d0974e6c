"""Tasks with a right answer, for real networks: what quantization costs where it matters."""
