"""Phones on a cable or in the network, through the Android Debug Bridge (adb)."""
