// In place of TVM's include/tvm/support/cuda/nvtx.h, which its wheel lacks: marks for NVIDIA's
// profiler. Without CUDA there is nothing to mark.
#pragma once

#include <string>

namespace tvm {
namespace support {

struct NVTXScopedRange {
  explicit NVTXScopedRange(const std::string&) {}
};

}  // namespace support
}  // namespace tvm
