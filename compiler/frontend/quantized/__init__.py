"""Read quantized models of every dialect into one form.

The form is QuantizeLinear and DequantizeLinear around operators on floats, plus the operators that
have no float in them (ConvInteger, MatMulInteger, DynamicQuantizeLinear), plus com.microsoft's
MatMulNBits for weights of 4 or 8 bits. Each rule states what the operator's definition says. The
node on floats keeps the name of the node that it stands for, since recipes and messages name it.
"""
