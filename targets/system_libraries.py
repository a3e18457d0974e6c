"""Names of libraries that a library of ours must not have: a loader would mix them up."""

from __future__ import annotations

# The NDK's public libraries (Android NDK guide, "Native APIs"), C and C++ runtimes, and TVM's own.
SYSTEM_LIBRARIES = frozenset(
    f"lib{name}.so"
    for name in (
        *("EGL", "GLESv1_CM", "GLESv2", "GLESv3", "OpenMAXAL", "OpenSLES", "aaudio", "amidi"),
        *("android", "binder_ndk", "camera2ndk", "dl", "icu", "jnigraphics", "log", "mediandk"),
        *("nativehelper", "nativewindow", "neuralnetworks", "sync", "vulkan", "z"),
        *("c", "c++_shared", "m", "pthread", "stdc++"),
        *("tvm", "tvm_compiler", "tvm_ffi", "tvm_runtime", "tvm_runtime_extra"),
    )
)
