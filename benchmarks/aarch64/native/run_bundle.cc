// Runs a bundle's library: run_bundle LIBRARY TENSORS OUTPUTS MAPS [CALLS]
//
// TENSORS lists the arguments of `main` (tensors.h). The outputs of the last run, one after the
// other, go to the file OUTPUTS, and the memory map to the file MAPS. With CALLS, each kernel call
// of the counted run stands between two more marks, and that file gets a line for each: the
// kernel's name and the shapes of its tensors.
#include <tvm/ffi/container/array.h>
#include <tvm/ffi/container/tensor.h>
#include <tvm/ffi/extra/module.h>
#include <tvm/ffi/function.h>

#include <cstring>

#include "tensors.h"

namespace ffi = tvm::ffi;

namespace autoglm {
namespace {

constexpr int kPooledAllocator = 2;  // AllocatorType::kPooled

// Memory that outlives the tensor, so that nothing has to be freed.
struct Borrowed {
  void* data;
  void AllocData(DLTensor* tensor) { tensor->data = data; }
  void FreeData(DLTensor*) {}
};

ffi::Tensor ToTensor(const Tensor& tensor) {
  DLDataType dtype = {static_cast<uint8_t>(tensor.code), static_cast<uint8_t>(tensor.bits), 1};
  return ffi::Tensor::FromNDAlloc(Borrowed{tensor.data},
                                  ffi::Shape(tensor.shape.begin(), tensor.shape.end()), dtype,
                                  DLDevice{kDLCPU, 0});
}

// A hook for the virtual machine. Arguments: function, symbol, whether this is before the call,
// return value, the call's own.
ffi::Function KernelMarker(std::vector<std::string>* calls) {
  constexpr int kSymbol = 1, kBefore = 2, kFirstArg = 4;
  return ffi::Function::FromPacked([calls](ffi::PackedArgs args, ffi::Any* result) {
    *result = 0;  // go on as usual
    std::string line = args[kSymbol].cast<std::string>();
    if (line.rfind("vm.builtin.", 0) == 0) return;
    if (args[kBefore].cast<bool>()) {
      for (int i = kFirstArg; i < args.size(); ++i) {
        auto tensor = args[i].as<ffi::Tensor>();
        if (!tensor.has_value()) continue;
        std::string shape;
        for (int64_t dim : tensor->shape()) {
          shape += (shape.empty() ? "" : ",") + std::to_string(dim);
        }
        line += " " + std::string("(") + shape + ")";
      }
      calls->push_back(line);
    }
    Mark();
  });
}

void Run(const std::string& library, const std::string& list, const std::string& outputs,
         const std::string& maps, const char* calls_path) {
  ffi::Module module = ffi::Module::LoadFromFile(library);
  ffi::Module vm =
      module->GetFunction("vm_load_executable").value()().cast<ffi::Module>();
  vm->GetFunction("vm_initialization").value()(static_cast<int>(kDLCPU), 0, kPooledAllocator);
  ffi::Function entry = vm->GetFunction("main").value();

  std::vector<ffi::AnyView> arguments;
  std::vector<ffi::Tensor> tensors;
  for (const Tensor& tensor : ReadTensors(list)) tensors.push_back(ToTensor(tensor));
  for (const ffi::Tensor& tensor : tensors) arguments.emplace_back(tensor);
  ffi::Any result;
  std::vector<std::string> calls;
  auto run = [&] {
    result = nullptr;  // as a caller would: the pool gets the outputs' memory back
    entry.CallPacked(arguments.data(), static_cast<int>(arguments.size()), &result);
  };
  run();
  if (calls_path != nullptr) vm->GetFunction("set_instrument").value()(KernelMarker(&calls));
  Mark();
  run();
  Mark();
  CopyMaps(maps);
  if (calls_path != nullptr) {
    std::ofstream file(calls_path);
    for (const std::string& call : calls) file << call << "\n";
  }

  std::ofstream file(outputs, std::ios::binary);
  auto write = [&file](const ffi::Tensor& tensor) {
    AppendOutput(&file, tensor.data_ptr(), ffi::GetDataSize(*tensor.GetDLTensorPtr()));
  };
  if (auto tensor = result.as<ffi::Tensor>()) {
    write(*tensor);
  } else {
    for (const ffi::Tensor& each : result.cast<ffi::Array<ffi::Tensor>>()) write(each);
  }
}

}  // namespace
}  // namespace autoglm

int main(int argc, char** argv) {
  if (argc != 5 && argc != 6) {
    std::fprintf(stderr, "usage: run_bundle LIBRARY TENSORS OUTPUTS MAPS [CALLS]\n");
    return 2;
  }
  try {
    autoglm::Run(argv[1], argv[2], argv[3], argv[4], argc == 6 ? argv[5] : nullptr);
  } catch (const std::exception& error) {
    std::fprintf(stderr, "run_bundle: %s\n", error.what());
    return 1;
  }
  return 0;
}
