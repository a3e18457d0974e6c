"""Tests of the steps of the read stage."""
