"""Clusters of known chips, and what big, little, all and a list mean on them."""

from __future__ import annotations

import pytest

from autoglm_tvm.rpc.measure.cores import (
    choose_cpus,
    clusters,
    format_cpus,
    in_preferred_order,
    parse_cpus,
    read_cores,
)
from autoglm_tvm.targets.errors import UserInputError
from tests.rpc.measure.fakes import CPU, cpu_files

# Tensor G3: four A510, four A715, one X3. Snapdragon 845, capacities hidden. A PC.
TENSOR_G3 = cpu_files([250] * 4 + [760] * 4 + [1024], [1700] * 4 + [2370] * 4 + [2910])
TWO_SPEEDS = cpu_files([None] * 8, [1766] * 4 + [2803] * 4)
ALIKE = cpu_files([1024] * 4, [3000] * 4)
BARE = {"/proc/cpuinfo": "processor\t: 0\nBogoMIPS : 1\n\nprocessor\t: 1\n"}


@pytest.mark.parametrize(
    ("files", "word", "cpus"),
    [
        (TENSOR_G3, "big", "4-8"),
        (TENSOR_G3, "little", "0-3"),
        (TENSOR_G3, "all", "0-8"),
        (TENSOR_G3, "8", "8"),
        (TWO_SPEEDS, "big", "4-7"),
        (TWO_SPEEDS, "little", "0-3"),
        (ALIKE, "big", "0-3"),
        (ALIKE, "little", "0-3"),
        (BARE, "big", "0-1"),
        (ALIKE, "0,2-3", "0,2-3"),
    ],
)
def test_choice(files: dict[str, str], word: str, cpus: str) -> None:
    assert format_cpus(choose_cpus(word, read_cores(files))) == cpus


def test_cores_that_are_not_there() -> None:
    with pytest.raises(UserInputError, match="there is no core 4-7 to run on; there are 0-3"):
        choose_cpus("2-7", read_cores(ALIKE))
    with pytest.raises(UserInputError, match="'large' names no cores"):
        choose_cpus("large", read_cores(ALIKE))


@pytest.mark.parametrize(
    ("text", "cpus"),
    [
        ("0", [0]),
        ("0-3", [0, 1, 2, 3]),
        (" 4-5,0\n", [0, 4, 5]),
        ("", []),
        ("3-1", []),
        ("a", []),
        ("1,,2", []),
        ("-1", []),
        ("1-2-3", []),
    ],
)
def test_lists_of_cores(text: str, cpus: list[int]) -> None:
    assert parse_cpus(text) == cpus
    assert parse_cpus(format_cpus(cpus)) == cpus


def test_clusters_tell_what_the_governor_does() -> None:
    files = TENSOR_G3 | {
        f"{CPU}/cpu8/cpufreq/scaling_max_freq": "1500000\n",
        f"{CPU}/cpu4/cpufreq/scaling_cur_freq": "2370000\n",
        f"{CPU}/cpu5/cpufreq/scaling_governor": "performance\n",
    }
    little, middle, prime = clusters(read_cores(files))
    assert (little.cpus, little.kind, little.governor) == ("0-3", "little", "schedutil")
    assert (middle.cpus, middle.kind, middle.mhz) == ("4-7", "big", (2370 + 3 * 1185) / 4)
    assert middle.governor == "schedutil, performance"
    assert (prime.cpus, prime.max_mhz, prime.limit_mhz) == ("8", 2910, 1500)
    assert [item.kind for item in clusters(read_cores(ALIKE))] == [""]
    (bare,) = clusters(read_cores(BARE))
    assert (bare.governor, bare.mhz, bare.max_mhz) == ("", None, None)


def test_threads_take_the_fastest_cores_first_and_second_threads_of_a_core_last() -> None:
    assert in_preferred_order(TENSOR_G3, [0, 4, 5, 8]) == [8, 4, 5, 0]
    pairs = {0: "0-1", 1: "0-1", 2: "2-3", 3: "2-3"}
    files = ALIKE | {
        f"{CPU}/cpu{cpu}/topology/thread_siblings_list": text for cpu, text in pairs.items()
    }
    assert in_preferred_order(files, [0, 1, 2, 3]) == [0, 2, 1, 3]
