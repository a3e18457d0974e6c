"""Steps that turn any ONNX file into one that TVM's importer reads rightly, one step a file.

Each step takes an ``onnx.ModelProto``, changes it in place and returns notes (what it changed and
why), or raises :class:`~autoglm_tvm.targets.errors.UserInputError`. `compiler/read.py` calls them
in order. Nothing here imports onnx, onnxruntime or TVM before it is called.
"""
