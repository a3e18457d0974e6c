"""Operators as tensor expressions, in the memory layouts and tiles that the rules work on."""
