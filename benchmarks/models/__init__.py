"""Networks and operators to measure: built here with fixed seeds, or found in PyPI packages."""
