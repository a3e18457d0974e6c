"""What quantization brings and costs: subjects, measurements, tables."""
