"""Names for symbolic dimensions that mean the same to ONNX, to TVM and to us."""

from __future__ import annotations

import re

#: What exporters write where they know nothing about a dimension. Two of these are not equal.
UNNAMED = ("", "?", "None", "-1", "0", "unknown")


def is_unnamed(name: str) -> bool:
    """Say whether a ``dim_param`` carries no name: such dimensions are not equal to each other."""
    return name.strip() in UNNAMED or name.startswith("unk__")


class SymbolTable:
    """Gives each dimension one identifier: ``[A-Za-z_][A-Za-z0-9_]*``, without arithmetic."""

    def __init__(self) -> None:
        self._by_name: dict[str, str] = {}
        self._used: set[str] = set()

    def reserve(self, symbol: str) -> None:
        """Mark a symbol as taken."""
        self._used.add(symbol)

    def for_dimension(self, name: str, tensor: str, axis: int) -> str:
        """Return the symbol of dimension `axis` of `tensor`, which the model calls `name`.

        The same name gives the same symbol; unnamed dimensions each get one of their own.
        """
        if is_unnamed(name):
            return self._take(f"{tensor}_d{axis}")
        if name not in self._by_name:
            self._by_name[name] = self._take(name)
        return self._by_name[name]

    def _take(self, wanted: str) -> str:
        plain = re.sub(r"[^A-Za-z0-9_]+", "_", wanted).strip("_") or "dim"
        if plain[0].isdigit():
            plain = f"d{plain}"
        name, number = plain, 1
        while name in self._used:
            name, number = f"{plain}_{number}", number + 1
        self._used.add(name)
        return name
