"""Tests of `autoglm_tvm.rpc.runtime`."""
