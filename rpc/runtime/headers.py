"""The headers that TVM's wheel lacks, though sources in it include them.

They are in TVM's repository (tag v0.27.0), and byte for byte the same in the source distribution of
another project, which pip can fetch (`header_download`). Only bytes of a known hash are used.
"""

from __future__ import annotations

import hashlib
from pathlib import Path

from autoglm_tvm.rpc.cache import cached_folder
from autoglm_tvm.rpc.runtime import header_download
from autoglm_tvm.targets.errors import CheckFailedError, UserInputError

# SHA-256 by path in TVM's repository.
HEADERS = {
    "3rdparty/compiler-rt/builtin_fp16.h": (
        "727ef1a3de7f21c1fcd01a60846007fa9e4dd1849fe61f8a3135642e947ec0d9"
    ),
    "include/tvm/support/io.h": "b3443ff5eda335d8ab7a6f74505119951784d47330036ab266436cdf1253cb30",
    "include/tvm/support/serializer.h": (
        "7740af88ff3cc3f3f6aab500124c14a94fe762c2eaa0bc4917649f06a439a084"
    ),
    "src/support/arena.h": "dd57dae549123852493d38b624d606a308a277b14d8ee7435865ad043b6c0ba9",
    "src/support/base64.h": "112b57842ee563f041f10a024735a1157a1529a1fb5b3a3d01c9b4582fa0fbda",
    "src/support/bytes_io.h": "bf4b7baae171e61deb6dd973d6dca76819d6ecf84eda9918b032b1247fcdba1c",
    "src/support/errno_handling.h": (
        "116f0ecfbd0df5d90a474490b771260d1c52c10fb589edd8d08c61c306149d98"
    ),
    "src/support/pipe.h": "baf844d411e56cf1525ce888f4ad2dccb25615126b6b0d1a6899a606739c3acd",
    "src/support/ring_buffer.h": "826d146a2a062d787d5837a4c4fe32b9dfa7ecc7b9037513af1d86be77289582",
    "src/support/socket.h": "d16159c05c95258c40fc50bfe1f83f753a6c1e38e37436a22d9afa5f11a03940",
    "src/support/ssize.h": "441e6bd6f56bc79fd72c71430385481f88fc726b52aaddb8dd6ba6be4afa213b",
    "src/support/utils.h": "e085a52061740c0e2faff5d68667855b9db137bade61722e924d58ece91b33a2",
}
TVM_TAG = "v0.27.0"
_CHECKOUT = f"take them from a checkout of Apache TVM at tag {TVM_TAG}: --tvm-source DIR"


def find_headers(tvm_source: Path | None = None) -> Path:
    """Return a folder with `HEADERS`, from a checkout of TVM or downloaded once.

    Raises
    ------
    UserInputError
        The folder is no source tree of TVM `TVM_TAG`.
    MissingToolError
        pip is missing, or cannot download.
    """
    if tvm_source is None:
        stamp = hashlib.sha256(repr(sorted(HEADERS.items())).encode()).hexdigest()[:16]
        return cached_folder(f"tvm-headers-{stamp}", _download)
    where = f"--tvm-source {tvm_source}"
    for name, expected in HEADERS.items():
        path = tvm_source / name
        if not path.is_file():
            raise UserInputError(
                f"this is no source tree of TVM: it lacks {name}", where=where, hint=_CHECKOUT
            )
        if hashlib.sha256(path.read_bytes()).hexdigest() != expected:
            raise UserInputError(
                f"{name} is not the one of TVM {TVM_TAG}", where=where, hint=_CHECKOUT
            )
    return tvm_source


def _download(folder: Path) -> None:
    for name, content in header_download.download(HEADERS, _CHECKOUT).items():
        if hashlib.sha256(content).hexdigest() != HEADERS[name]:
            raise CheckFailedError(
                f"the downloaded {name} is not the one of TVM {TVM_TAG}", hint=_CHECKOUT
            )
        (folder / name).parent.mkdir(parents=True, exist_ok=True)
        (folder / name).write_bytes(content)
