"""The cores of a device: clusters, which of them to use, governors and frequencies."""

from __future__ import annotations

import re
from collections import defaultdict
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from typing import Any

from autoglm_tvm.rpc.measure.device_files import Files, number
from autoglm_tvm.targets.errors import UserInputError

_CPU = "/sys/devices/system/cpu"
_OF_ONE = re.compile(rf"{_CPU}/cpu(\d+)/")
# Cores with less than this share of the fastest one's capacity are little ones: a Cortex-A55 has
# 0.2 to 0.35 of the big core beside it, a middle core (A78, A715) 0.6 or more.
_BIG_SHARE = 0.5
WORDS = ("big", "little", "all")


@dataclass(frozen=True)
class Core:
    """One core; what the system does not tell is None. Frequencies in MHz.

    Attributes
    ----------
    capacity
        The scheduler's measure of its speed, 1024 for the fastest core.
    """

    number: int
    capacity: int | None
    max_mhz: float | None
    limit_mhz: float | None
    mhz: float | None
    governor: str


@dataclass(frozen=True)
class Cluster:
    """Cores of one kind.

    Attributes
    ----------
    kind
        ``big`` or ``little``; empty where all are alike.
    limit_mhz
        What the governor may use now: below ``max_mhz`` when the chip is hot.
    mhz
        Mean of the current frequencies.
    """

    cpus: str
    kind: str
    capacity: int | None
    max_mhz: float | None
    limit_mhz: float | None
    mhz: float | None
    governor: str

    def to_json(self) -> dict[str, Any]:
        """Plain values."""
        return asdict(self)


def read_cores(files: Files) -> list[Core]:
    """Return the cores that are online, from the files of the group ``cpu``."""
    online = parse_cpus(files.get(f"{_CPU}/online", "")) or sorted(
        {int(match[1]) for path in files if (match := _OF_ONE.match(path))}
        or {
            int(n)
            for n in re.findall(r"^processor\s*:\s*(\d+)", files.get("/proc/cpuinfo", ""), re.M)
        }
    )
    return [_read_core(files, cpu) for cpu in online]


def _read_core(files: Files, cpu: int) -> Core:
    folder = f"{_CPU}/cpu{cpu}"

    def mhz(name: str) -> float | None:
        khz = number(files, f"{folder}/cpufreq/{name}")
        return khz / 1000 if khz else None

    return Core(
        number=cpu,
        capacity=number(files, f"{folder}/cpu_capacity"),
        max_mhz=mhz("cpuinfo_max_freq"),
        limit_mhz=mhz("scaling_max_freq"),
        mhz=mhz("scaling_cur_freq"),
        governor=files.get(f"{folder}/cpufreq/scaling_governor", "").strip(),
    )


def big_cores(cores: Sequence[Core]) -> list[Core]:
    """Return all cores but the little ones; all where they are alike.

    By capacity where the system tells it; by highest frequency otherwise, where those of the lowest
    count as little.
    """
    capacities = [core.capacity for core in cores if core.capacity]
    if len(capacities) == len(cores) and len(set(capacities)) > 1:
        bound = _BIG_SHARE * max(capacities)
        return [core for core in cores if (core.capacity or 0) >= bound]
    speeds = [core.max_mhz for core in cores if core.max_mhz]
    if len(speeds) == len(cores) and len(set(speeds)) > 1:
        return [core for core in cores if (core.max_mhz or 0) > min(speeds)]
    return list(cores)


def choose_cpus(text: str, cores: Sequence[Core]) -> list[int]:
    """Return the cores that ``big``, ``little``, ``all`` or a list such as ``4-7`` means here.

    Raises
    ------
    UserInputError
        The text is none of these, or names a core that is not there.
    """
    everyone = [core.number for core in cores]
    big = [core.number for core in big_cores(cores)]
    if text == "all":
        return everyone
    if text == "big":
        return big
    if text == "little":
        # Where all are alike there is no other choice.
        return [cpu for cpu in everyone if cpu not in big] or everyone
    chosen = parse_cpus(text)
    if not chosen:
        raise UserInputError(
            f"{text!r} names no cores",
            where="--cpus",
            hint="give big, little, all, or a list such as 4-7 or 0,2-3",
        )
    missing = [cpu for cpu in chosen if cpu not in everyone]
    if missing and everyone:
        raise UserInputError(
            f"there is no core {format_cpus(missing)} to run on; there are {format_cpus(everyone)}",
            where="--cpus",
            hint="name others, or say big, little or all; the system may switch cores off, or keep "
            "them from this process",
        )
    return chosen


def in_preferred_order(files: Files, cpus: Sequence[int]) -> list[int]:
    """Return cores in the order in which threads shall take them: the fastest first.

    Of hardware threads that share a core, the first ones come before all second ones.
    """
    cores = {core.number: core for core in read_cores(files)}

    def place(cpu: int) -> tuple[int, float, float, int]:
        siblings = parse_cpus(files.get(f"{_CPU}/cpu{cpu}/topology/thread_siblings_list", ""))
        core = cores.get(cpu)
        capacity, speed = (core.capacity or 0, core.max_mhz or 0) if core else (0, 0)
        return sum(other < cpu for other in siblings), -capacity, -speed, cpu

    return sorted(cpus, key=place)


def clusters(cores: Sequence[Core]) -> list[Cluster]:
    """Group the cores by capacity and highest frequency, the slowest first."""
    groups: dict[tuple[float, float], list[Core]] = defaultdict(list)
    for core in cores:
        groups[(core.capacity or 0, core.max_mhz or 0)].append(core)
    big = {core.number for core in big_cores(cores)}
    found = []
    for _, members in sorted(groups.items()):
        first = members[0]
        kind = "big" if first.number in big else "little"
        found.append(
            Cluster(
                cpus=format_cpus([core.number for core in members]),
                kind="" if len(big) == len(cores) else kind,
                capacity=first.capacity,
                max_mhz=first.max_mhz,
                limit_mhz=first.limit_mhz,
                mhz=mean_mhz(members),
                governor=", ".join(dict.fromkeys(c.governor for c in members if c.governor)),
            )
        )
    return found


def mean_mhz(cores: Sequence[Core]) -> float | None:
    """Return the mean of the current frequencies; None where none is told."""
    known = [core.mhz for core in cores if core.mhz]
    return sum(known) / len(known) if known else None


def parse_cpus(text: str) -> list[int]:
    """Read the kernel's notation, ``0,2-3``; empty for anything else."""
    cpus: set[int] = set()
    for part in text.strip().split(","):
        match = re.fullmatch(r"\s*(\d{1,4})(?:-(\d{1,4}))?\s*", part)
        if match is None or int(match[2] or match[1]) < int(match[1]):
            return []
        cpus.update(range(int(match[1]), int(match[2] or match[1]) + 1))
    return sorted(cpus)


def format_cpus(cpus: Sequence[int]) -> str:
    """Write cores in the kernel's notation."""
    runs: list[list[int]] = []
    for cpu in sorted(cpus):
        if runs and cpu == runs[-1][-1] + 1:
            runs[-1].append(cpu)
        else:
            runs.append([cpu])
    return ",".join(f"{run[0]}-{run[-1]}" if len(run) > 1 else str(run[0]) for run in runs)
