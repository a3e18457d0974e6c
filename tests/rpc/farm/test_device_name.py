"""What records say of a device: its CPU, from /proc/cpuinfo."""

from __future__ import annotations

from autoglm_tvm.rpc.devices.registry import registry_path
from autoglm_tvm.rpc.emulation.device_process import DeviceProcess
from autoglm_tvm.rpc.farm.device_name import cpu_of, device_name, this_machine

X86 = "processor\t: 0\nmodel name\t: AMD EPYC 9555\nprocessor\t: 1\nmodel name\t: AMD EPYC 9555\n"
ARM = """processor\t: {}
BogoMIPS\t: 38.40
CPU implementer\t: 0x41
CPU architecture: 8
CPU variant\t: 0x1
CPU part\t: {}

"""


def test_the_cpu_is_named_once() -> None:
    assert cpu_of({"/proc/cpuinfo": X86}) == "AMD EPYC 9555"
    phone = "".join(ARM.format(n, "0xd05" if n < 4 else "0xd0b") for n in range(8))
    assert cpu_of({"/proc/cpuinfo": phone}) == "cortex-a55 + cortex-a76"
    assert cpu_of({"/proc/cpuinfo": ARM.format(0, "0xfff")}) == "core 0x41/0xfff"
    assert cpu_of({"/proc/cpuinfo": "processor\t: 0\n"}) == ""
    assert cpu_of({}) == ""


def test_a_device_that_was_not_added_is_asked(own_device: DeviceProcess) -> None:
    assert not registry_path().exists()
    assert device_name(own_device.tracker, own_device.key) == this_machine()
