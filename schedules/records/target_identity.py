"""What of a target decides whether a measurement made for it holds for another one."""

from __future__ import annotations

import hashlib
import json
import re
from dataclasses import asdict, dataclass, fields
from functools import cached_property, lru_cache
from typing import Any

from autoglm_tvm.schedules.machine import machine_of
from autoglm_tvm.targets import Target
from autoglm_tvm.targets.cpus import effective_features

# LLVM's names of CPUs. They become part of file names, so nothing else may come out of a record.
_NAME = re.compile(r"[a-z0-9][a-z0-9_.+-]{0,63}", re.IGNORECASE)
_MOST_FEATURES = 3
# Features that differ between virtual machines of one CPU and that no kernel's loop is made of:
# instructions for operating systems, random numbers, memory barriers and cache control.
_SYSTEM_FEATURES = """
cldemote clflushopt clwb clzero cmpccxadd enqcmd fsgsbase hreset invpcid lwp movdir64b movdiri
mwaitx pconfig pku prefetchi ptwrite rdpid rdpru rdrnd rdseed rtm serialize sgx shstk tsxldtrk uintr
usermsr waitpkg wbnoinvd xsave xsavec xsaveopt xsaves
"""
_NOT_IN_KERNELS = frozenset(_SYSTEM_FEATURES.split())


@dataclass(frozen=True)
class TargetIdentity:
    """The part of a target that its kernels' machine code and times depend on.

    Name, ABI, API level, page size and linker are left out: a kernel measured with the glibc server
    of a phone is the kernel that its Android app runs.

    Attributes
    ----------
    arch
        `aarch64` or `x86_64`.
    cpu
        LLVM's CPU name.
    features
        What the target adds to (`+name`) or takes from (`-name`) the features of its CPU, sorted;
        what changes nothing, such as `-sve` on a CPU without it, is not among them.
    vector_bytes, vector_registers
        Of the vector extension that default schedules use.
    dot_product
        Their instructions for sums of integer products; empty where there are none.
    threads
        Worker threads that shared the work.
    """

    arch: str
    cpu: str
    features: tuple[str, ...]
    vector_bytes: int
    vector_registers: int
    dot_product: str
    threads: int

    @cached_property
    def hash(self) -> str:
        """First 16 hexadecimal digits of the SHA-256 of all fields."""
        text = json.dumps(self.to_json(), sort_keys=True, separators=(",", ":"))
        return hashlib.sha256(text.encode()).hexdigest()[:16]

    @cached_property
    def text(self) -> str:
        """For people, such as `aarch64 cortex-a76 -rcpc dotprod 4 threads`."""
        shown = self.features[:_MOST_FEATURES]
        more = len(self.features) - len(shown)
        parts = [
            self.arch,
            self.cpu,
            *shown,
            f"({more} more features)" if more else "",
            self.dot_product,
            f"{self.threads} thread{'s' if self.threads > 1 else ''}",
        ]
        return " ".join(part for part in parts if part)

    @property
    def file_name(self) -> str:
        """Where the records of this target are kept in their folder."""
        return f"{self.arch}-{self.cpu}-{self.hash[:8]}.jsonl"

    def is_near(self, other: TargetIdentity) -> bool:
        """Whether what is fast here is worth trying there: same vectors, same products."""
        return (self.arch, self.vector_bytes, self.dot_product) == (
            other.arch,
            other.vector_bytes,
            other.dot_product,
        )

    def to_json(self) -> dict[str, Any]:
        """Plain values; `from_json` reads them back."""
        return asdict(self) | {"features": list(self.features)}

    @classmethod
    def from_json(cls, data: Any) -> TargetIdentity:
        """The identity that `to_json` wrote; `ValueError` for anything else."""
        if not isinstance(data, dict) or set(data) != {field.name for field in fields(cls)}:
            raise ValueError("its target has missing or unknown fields")
        numbers = [data["vector_bytes"], data["vector_registers"], data["threads"]]
        names = [data["arch"], data["cpu"]]
        features = data["features"]
        if not (
            all(type(number) is int and number > 0 for number in numbers)
            and all(isinstance(name, str) and _NAME.fullmatch(name) for name in names)
            and isinstance(features, list)
            and all(isinstance(feature, str) for feature in features)
            and isinstance(data["dot_product"], str)
        ):
            raise ValueError("its target has a field of a wrong kind")
        values: dict[str, Any] = data | {"features": tuple(features)}
        return cls(**values)


@lru_cache(maxsize=64)
def target_identity(target: Target) -> TargetIdentity:
    """The identity of a target; LLVM is asked what its features mean, which loads TVM."""
    own = effective_features(target.triple, target.cpu) - _NOT_IN_KERNELS
    used = effective_features(target.triple, target.cpu, target.features) - _NOT_IN_KERNELS
    machine = machine_of(target)
    return TargetIdentity(
        arch=target.arch,
        cpu=target.cpu,
        features=(
            *(f"+{name}" for name in sorted(used - own)),
            *(f"-{name}" for name in sorted(own - used)),
        ),
        vector_bytes=machine.vector_bytes,
        vector_registers=machine.vector_registers,
        dot_product=machine.dot_product,
        threads=target.threads,
    )
