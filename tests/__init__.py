"""Tests of autoglm-tvm; the folders mirror the rooms."""
