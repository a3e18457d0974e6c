"""Measuring bundles."""
