"""How far ONNX Runtime itself is off, for outputs whose scale says nothing about it.

Its float32 Sigmoid and Softmax are exact to about 1.2e-7 of their range [0, 1], not of the value.
A text detector that finds nothing puts out values below 1e-5, of which that is more than 1 %.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    import onnx

NOISE = 5e-7
_NOISY = ("Sigmoid", "Softmax")
# Operators that hand values on unchanged.
_PASSES_ON = ("Cast", "Concat", "Flatten", "Identity", "Reshape", "Slice", "Squeeze", "Transpose")


def reference_noise(graph: onnx.GraphProto) -> dict[str, float]:
    """Return the absolute error of ONNX Runtime for each output, 0 where none is known of."""
    producers = {name: node for node in graph.node for name in node.output}
    noise: dict[str, float] = {}
    for output in graph.output:
        node = producers.get(output.name)
        while node is not None and node.op_type in _PASSES_ON:
            node = producers.get(node.input[0])
        noise[output.name] = NOISE if node is not None and node.op_type in _NOISY else 0.0
    return noise
