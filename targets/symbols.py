"""What the system and tvm-ffi provide: the symbols that a library may leave undefined.

The linker is given stub libraries with these names (`linker.py`), and the ELF check judges every
undefined symbol by them.
"""

from __future__ import annotations

from functools import lru_cache
from importlib.util import find_spec
from pathlib import Path

from autoglm_tvm.targets.errors import MissingToolError
from autoglm_tvm.targets.target import Target
from autoglm_tvm.targets.versions import pip_install_pins

SYMBOLS_FILE = Path(__file__).with_name("symbols.yaml")
FFI_LIBRARY = "libtvm_ffi.so"
FFI_PREFIX = "TVMFFI"


def provided_symbols(target: Target) -> dict[str, tuple[str, ...]]:
    """For each library of `target.needed`, the sorted names that it provides."""
    system = system_symbols(target.abi)
    return {
        library: ffi_symbols() if library == FFI_LIBRARY else system[library]
        for library in target.needed
    }


@lru_cache(maxsize=4)
def system_symbols(abi: str) -> dict[str, tuple[str, ...]]:
    """Names that libc and libm of an ABI (`android` or `gnu`) provide, by library."""
    import yaml

    loader = getattr(yaml, "CSafeLoader", yaml.SafeLoader)
    libraries: dict[str, dict[str, str]] = yaml.load(SYMBOLS_FILE.read_bytes(), Loader=loader)[abi]
    return {library: _expand(entry) for library, entry in libraries.items()}


@lru_cache(maxsize=1)
def ffi_symbols() -> tuple[str, ...]:
    """The C API of the installed tvm-ffi, read from its library.

    The same version has the same names on every platform, so this machine's library speaks for
    the phone's.
    """
    from elftools.elf.elffile import ELFFile
    from elftools.elf.sections import SymbolTableSection

    library = _ffi_library()
    with library.open("rb") as stream:
        table = ELFFile(stream).get_section_by_name(".dynsym")
        symbols = table.iter_symbols() if isinstance(table, SymbolTableSection) else ()
        names = {symbol.name for symbol in symbols}
    return tuple(sorted(name for name in names if name.startswith(FFI_PREFIX)))


def _ffi_library() -> Path:
    spec = find_spec("tvm_ffi")
    folders = spec.submodule_search_locations if spec else None
    for folder in folders or []:
        library = Path(folder) / "lib" / FFI_LIBRARY
        if library.is_file():
            return library
    raise MissingToolError(f"{FFI_LIBRARY} is not installed", hint=pip_install_pins())


def _expand(entry: dict[str, str]) -> tuple[str, ...]:
    bases = entry.get("double_and_float", "").split()
    return tuple(sorted({*entry.get("names", "").split(), *bases, *(f"{b}f" for b in bases)}))
