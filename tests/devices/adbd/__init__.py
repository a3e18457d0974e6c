"""An adbd for tests: the phone's side of adb's protocol, over TCP, around an emulated arm64 phone.

The real adb client connects to it. Its shell is this machine's, in a folder that stands for the
phone's file system; arm64 programs run under qemu; its loopback address is one of its own, because
phone and computer would otherwise share all ports. What product code sees is a phone.
"""
