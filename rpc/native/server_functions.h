// The global functions through which a client reaches the device's files, modules and kernels.
#pragma once

#include <string>

namespace autoglm {

// Registers tvm.rpc.server.{workpath,load_module,upload} so that every file name from the wire is a
// plain name inside `folder`, autoglm.device.about, and the autoglm.recorder functions
// (kernel_recorder.cc).
void RegisterServerFunctions(const std::string& folder);

void RegisterKernelRecorder();

}  // namespace autoglm
