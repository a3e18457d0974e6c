"""The bundle: its format, its checks, and running it on this machine."""

from autoglm_tvm.artifacts.local_run import LocalBundle, open_bundle

__all__ = ["LocalBundle", "open_bundle"]
