"""Devices without a device: our server as a child process, for this machine or emulated arm64."""
