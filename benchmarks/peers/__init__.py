"""Other runtimes on the same ONNX file: onnxruntime always, the others where they are installed."""
