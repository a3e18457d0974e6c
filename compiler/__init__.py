"""From an ONNX model to a bundle, and the proof that it is right."""

from autoglm_tvm.compiler.compile import CompileResult, compile
from autoglm_tvm.compiler.explain import Explanation, explain
from autoglm_tvm.compiler.verify import VerifyResult, verify

__all__ = ["CompileResult", "Explanation", "VerifyResult", "compile", "explain", "verify"]
