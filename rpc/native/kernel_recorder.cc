// Keeps a copy of what every kernel of a Relax VM writes, for `verify --per-layer` on a device.
//
// The VM's own hook does it: `vm["set_instrument"]("autoglm.recorder.start")` calls that factory
// on the device and installs what it returns. A callback into the client cannot be used, because
// RPC carries no function of the client's to the device.
#include <tvm/ffi/container/tensor.h>
#include <tvm/ffi/error.h>
#include <tvm/ffi/function.h>

#include <cstdlib>
#include <cstring>
#include <memory>
#include <new>
#include <string>
#include <utility>
#include <vector>

#include "ffi_boundary.h"
#include "server_functions.h"

namespace autoglm {

namespace ffi = tvm::ffi;

namespace {

using Record = std::pair<std::string, ffi::Tensor>;

// Arguments: function, symbol, whether this is before the run, return value, the call's own.
constexpr int kSymbol = 1, kBefore = 2, kFirstArg = 4;

struct HostMemory {
  void AllocData(DLTensor* tensor) {
    size_t size = ffi::GetDataSize(*tensor) + 1;  // so that an empty tensor has an address, too
    if (posix_memalign(&tensor->data, 64, size) != 0) throw std::bad_alloc();
  }
  void FreeData(DLTensor* tensor) { std::free(tensor->data); }
};

ffi::Tensor CopyOf(const ffi::Tensor& tensor) {
  if (tensor.device().device_type != kDLCPU || !tensor.IsContiguous()) {
    TVM_FFI_THROW(ValueError) << "only dense tensors in host memory can be recorded";
  }
  ffi::Tensor copy =
      ffi::Tensor::FromNDAlloc(HostMemory(), tensor.shape(), tensor.dtype(), tensor.device());
  std::memcpy(copy.data_ptr(), static_cast<const char*>(tensor.data_ptr()) + tensor.byte_offset(),
              ffi::GetDataSize(*tensor.GetDLTensorPtr()));
  return copy;
}

// A kernel writes its result into its last tensor argument; other calls are the VM's own.
void RecordCall(ffi::PackedArgs args, std::vector<Record>* records) {
  if (args[kBefore].cast<bool>()) return;
  std::string symbol = args[kSymbol].cast<std::string>();
  if (symbol.rfind("vm.builtin.", 0) == 0) return;
  for (int i = args.size() - 1; i >= kFirstArg; --i) {
    if (auto tensor = args[i].as<ffi::Tensor>()) {
      records->emplace_back(symbol, CopyOf(*tensor));
      return;
    }
  }
}

}  // namespace

void RegisterKernelRecorder() {
  auto records = std::make_shared<std::vector<Record>>();
  auto at = [records](int64_t index) -> const Record& {
    if (index < 0 || index >= static_cast<int64_t>(records->size())) {
      TVM_FFI_THROW(IndexError) << "no record " << index << " of " << records->size();
    }
    return (*records)[static_cast<size_t>(index)];
  };
  SetGlobal("autoglm.recorder.start", [records]() {
    records->clear();
    return Guarded(ffi::Function::FromPacked([records](ffi::PackedArgs args, ffi::Any* result) {
      RecordCall(args, records.get());
      *result = 0;  // go on as usual
    }));
  });
  // Takes the place of the hook above, as the VM has no way to remove one.
  SetGlobal("autoglm.recorder.stop", []() {
    return Guarded(
        ffi::Function::FromPacked([](ffi::PackedArgs, ffi::Any* result) { *result = 0; }));
  });
  SetGlobal("autoglm.recorder.count",
            [records]() { return static_cast<int64_t>(records->size()); });
  SetGlobal("autoglm.recorder.name", [at](int64_t index) { return ffi::String(at(index).first); });
  SetGlobal("autoglm.recorder.output", [at](int64_t index) { return at(index).second; });
  SetGlobal("autoglm.recorder.clear", [records]() { records->clear(); });
}

}  // namespace autoglm
