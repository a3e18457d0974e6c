"""An emulated phone, and tests of it."""
