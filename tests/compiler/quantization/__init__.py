"""Tests of recipes, calibration and precisions."""
