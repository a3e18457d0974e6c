#include "server_functions.h"

#include <dlfcn.h>
#include <tvm/ffi/error.h>
#include <tvm/ffi/extra/module.h>
#include <tvm/ffi/function.h>

#include <fstream>
#include <memory>
#include <set>

namespace autoglm {

namespace ffi = tvm::ffi;

namespace {

std::string PathInside(const std::string& folder, const std::string& name) {
  if (name.empty() || name == "." || name == ".." || name.size() > 255 ||
      name.find('/') != std::string::npos || name.find('\0') != std::string::npos) {
    TVM_FFI_THROW(ValueError) << "refused file name '" << name
                              << "': expected a plain name without folders";
  }
  return folder + "/" + name;
}

#if defined(__aarch64__)
constexpr const char* kArch = "aarch64";
#elif defined(__x86_64__)
constexpr const char* kArch = "x86_64";
#else
constexpr const char* kArch = "other";
#endif

bool Loads(const char* library) {
  void* handle = dlopen(library, RTLD_LAZY | RTLD_LOCAL);
  if (handle != nullptr) dlclose(handle);
  return handle != nullptr;
}

// The architecture, then every ABI whose libraries can be loaded, this device's own first.
std::string About() {
  std::string about = kArch;
#if defined(__ANDROID__)
  return about + " android";
#elif defined(__GLIBC__)
  about += " gnu";
#else
  about += " other";
#endif
  // Android's libraries name these two. With glibc they are not there, or are linker scripts,
  // unless somebody has put stand-ins into the loader's way.
  if (Loads("libc.so") && Loads("libm.so")) about += " android";
  return about;
}

}  // namespace

void RegisterServerFunctions(const std::string& folder) {
  auto loaded = std::make_shared<std::set<std::string>>();
  auto set = [](const char* name, ffi::Function f) { ffi::Function::SetGlobal(name, f, true); };

  set("tvm.rpc.server.workpath", ffi::Function::FromTyped([folder](const std::string& name) {
        // MetaSchedule's clean-up removes "", by which it means the session's folder.
        return name.empty() ? folder : PathInside(folder, name);
      }));
  set("tvm.rpc.server.upload",
      ffi::Function::FromTyped([folder, loaded](const std::string& name, const ffi::Bytes& data) {
        // Writing over a library that is mapped would crash the session at its next call.
        if (loaded->count(name) != 0) {
          TVM_FFI_THROW(ValueError) << "'" << name << "' is loaded: upload under another name";
        }
        std::ofstream file(PathInside(folder, name), std::ios::binary | std::ios::trunc);
        file.write(data.data(), static_cast<std::streamsize>(data.size()));
        file.close();
        if (!file) TVM_FFI_THROW(RuntimeError) << "cannot write '" << name << "': disk full?";
      }));
  set("tvm.rpc.server.load_module",
      ffi::Function::FromTyped([folder, loaded](const std::string& name) {
        ffi::Module module = ffi::Module::LoadFromFile(PathInside(folder, name));
        loaded->insert(name);
        return module;
      }));
  set("autoglm.device.about", ffi::Function::FromTyped(About));
  RegisterKernelRecorder();
}

}  // namespace autoglm
