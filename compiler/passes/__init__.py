"""Passes of our own on Relax modules, one a file, and what they learn about a module."""
