"""Quantization: from a float model and a recipe to a Q/DQ model, and what that costs."""
