// Runs an ONNX model with onnxruntime: run_onnxruntime MODEL TENSORS OUTPUTS MAPS
//
// One thread, all graph optimisations. TENSORS lists the inputs in the model's order (tensors.h).
// The outputs of the last run, one after the other, go to the file OUTPUTS, and the memory map to
// the file MAPS.
//
// The wheel holds the library with its C API, but no header. The API is a table of functions that
// only ever grows at its end, so each is named here by its position, and its type stands where it
// is called.
#include <map>
#include <utility>

#include "tensors.h"

namespace {

enum Position {
  kGetErrorMessage = 2,
  kCreateEnv = 3,
  kCreateSession = 7,
  kRun = 9,
  kCreateSessionOptions = 10,
  kSetIntraOpNumThreads = 24,
  kSetInterOpNumThreads = 25,
  kSessionGetInputCount = 30,
  kSessionGetOutputCount = 31,
  kSessionGetInputName = 36,
  kSessionGetOutputName = 37,
  kCreateTensorWithDataAsOrtValue = 49,
  kGetTensorMutableData = 51,
  kGetTensorElementType = 60,
  kGetTensorShapeElementCount = 64,
  kGetTensorTypeAndShape = 65,
  kCreateCpuMemoryInfo = 69,
  kGetAllocatorWithDefaultOptions = 78,
  kReleaseValue = 96,
};
constexpr uint32_t kApiVersion = 1;  // the oldest has all of these
constexpr int kLogWarnings = 2, kArenaAllocator = 1, kDefaultMemory = 0;

struct ApiBase {
  const void* const* (*get_api)(uint32_t version);
  const char* (*get_version)();
};
extern "C" const ApiBase* OrtGetApiBase();

const void* const* api = nullptr;

// Calls one function of the table that returns a status, and throws what it complains about.
template <typename... Args>
void Call(Position position, Args... args) {
  using Function = void* (*)(Args...);
  void* status = reinterpret_cast<Function>(const_cast<void*>(api[position]))(args...);
  if (status == nullptr) return;
  using GetMessage = const char* (*)(const void*);
  auto message = reinterpret_cast<GetMessage>(const_cast<void*>(api[kGetErrorMessage]));
  throw std::runtime_error(message(status));
}

// ONNX's number of an element type (TensorProto.DataType) for a DLDataType's code and bits.
int ElementType(int code, int bits) {
  static const std::map<std::pair<int, int>, int> types = {
      {{2, 32}, 1}, {{1, 8}, 2},   {{0, 8}, 3},   {{1, 16}, 4},  {{0, 16}, 5},  {{0, 32}, 6},
      {{0, 64}, 7}, {{6, 8}, 9},   {{2, 16}, 10}, {{2, 64}, 11}, {{1, 32}, 12}, {{1, 64}, 13},
      {{4, 16}, 16}};
  return types.at({code, bits});
}

size_t ElementBytes(int type) {
  static const std::map<int, size_t> sizes = {{1, 4}, {2, 1},  {3, 1},  {4, 2},  {5, 2},
                                              {6, 4}, {7, 8},  {9, 1},  {10, 2}, {11, 8},
                                              {12, 4}, {13, 8}, {16, 2}};
  return sizes.at(type);
}

std::vector<const char*> Names(void* session, Position count_of, Position name_of) {
  void* allocator = nullptr;
  Call(kGetAllocatorWithDefaultOptions, &allocator);
  size_t count = 0;
  Call(count_of, session, &count);
  std::vector<const char*> names(count);
  for (size_t i = 0; i < count; ++i) {
    char* name = nullptr;
    Call(name_of, session, i, allocator, &name);
    names[i] = name;
  }
  return names;
}

void* CreateSession(const std::string& model) {
  void *environment = nullptr, *options = nullptr, *session = nullptr;
  Call(kCreateEnv, kLogWarnings, "count", &environment);
  Call(kCreateSessionOptions, &options);
  Call(kSetIntraOpNumThreads, options, 1);
  Call(kSetInterOpNumThreads, options, 1);
  Call(kCreateSession, environment, model.c_str(), options, &session);
  return session;
}

void WriteOutput(std::ofstream* file, void* value) {
  void *info = nullptr, *data = nullptr;
  int type = 0;
  size_t count = 0;
  Call(kGetTensorTypeAndShape, value, &info);
  Call(kGetTensorElementType, info, &type);
  Call(kGetTensorShapeElementCount, info, &count);
  Call(kGetTensorMutableData, value, &data);
  autoglm::AppendOutput(file, data, count * ElementBytes(type));
}

void RunModel(const std::string& model, const std::string& list, const std::string& outputs,
              const std::string& maps) {
  api = OrtGetApiBase()->get_api(kApiVersion);
  void* session = CreateSession(model);
  std::vector<const char*> input_names =
      Names(session, kSessionGetInputCount, kSessionGetInputName);
  std::vector<const char*> output_names =
      Names(session, kSessionGetOutputCount, kSessionGetOutputName);

  void* memory = nullptr;
  Call(kCreateCpuMemoryInfo, kArenaAllocator, kDefaultMemory, &memory);
  std::vector<autoglm::Tensor> tensors = autoglm::ReadTensors(list);
  if (tensors.size() != input_names.size()) throw std::runtime_error("wrong number of inputs");
  std::vector<void*> inputs;
  for (autoglm::Tensor& tensor : tensors) {
    void* value = nullptr;
    Call(kCreateTensorWithDataAsOrtValue, memory, tensor.data, tensor.nbytes,
         static_cast<const int64_t*>(tensor.shape.data()), tensor.shape.size(),
         ElementType(tensor.code, tensor.bits), &value);
    inputs.push_back(value);
  }
  using Release = void (*)(void*);
  auto release = reinterpret_cast<Release>(const_cast<void*>(api[kReleaseValue]));
  std::vector<void*> results(output_names.size());
  auto run = [&] {
    for (void*& value : results) {
      if (value != nullptr) release(value);
      value = nullptr;
    }
    Call(kRun, session, static_cast<void*>(nullptr), input_names.data(), inputs.data(),
         inputs.size(), output_names.data(), output_names.size(), results.data());
  };
  run();
  autoglm::Mark();
  run();
  autoglm::Mark();
  autoglm::CopyMaps(maps);

  std::ofstream file(outputs, std::ios::binary);
  for (void* value : results) WriteOutput(&file, value);
}

}  // namespace

int main(int argc, char** argv) {
  if (argc != 5) {
    std::fprintf(stderr, "usage: run_onnxruntime MODEL TENSORS OUTPUTS MAPS\n");
    return 2;
  }
  int code = 0;
  try {
    RunModel(argv[1], argv[2], argv[3], argv[4]);
  } catch (const std::exception& error) {
    std::fprintf(stderr, "run_onnxruntime: %s\n", error.what());
    code = 1;
  }
  std::fflush(nullptr);
  _exit(code);  // the session and its environment are not taken down: only the run counts
}
