"""Tests of `autoglm_tvm.rpc.farm`."""
