#include "server_functions.h"

#include <dlfcn.h>
#include <fcntl.h>
#include <tvm/ffi/error.h>
#include <tvm/ffi/extra/module.h>
#include <tvm/ffi/function.h>
#include <unistd.h>

#include <cerrno>
#include <cstring>
#include <memory>
#include <set>

#include "affinity.h"
#include "ffi_boundary.h"

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

// Writes it whole, or leaves nothing.
void WriteFile(const std::string& path, const ffi::Bytes& data) {
  int fd = open(path.c_str(), O_WRONLY | O_CREAT | O_TRUNC | O_CLOEXEC | O_NOFOLLOW, 0600);
  const char* from = data.data();
  for (size_t left = data.size(); fd >= 0 && left > 0;) {
    ssize_t n = write(fd, from, left);
    if (n < 0 && errno == EINTR) continue;
    if (n < 0) break;
    from += n;
    left -= static_cast<size_t>(n);
  }
  bool whole = fd >= 0 && from == data.data() + data.size();
  int error = errno;
  if (fd >= 0) close(fd);
  if (whole) return;
  unlink(path.c_str());
  TVM_FFI_THROW(RuntimeError) << "cannot write " << data.size() << " bytes to '" << path
                              << "': " << std::strerror(error);
}

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

void RegisterServerFunctions(const SessionSettings& settings) {
  const std::string folder = settings.folder;
  auto loaded = std::make_shared<std::set<std::string>>();

  SetGlobal("tvm.rpc.server.workpath",
            [folder](const std::string& name) { return PathInside(folder, name); });
  SetGlobal("tvm.rpc.server.remove", [folder](const std::string& name) {
    // MetaSchedule's clean-up removes "", by which it means the session's folder: it goes with the
    // session.
    if (!name.empty()) unlink(PathInside(folder, name).c_str());
  });
  SetGlobal(
      "tvm.rpc.server.upload", [folder, loaded](const std::string& name, const ffi::Bytes& data) {
        // Writing over a library that is mapped would crash the session at its next call.
        if (loaded->count(name) != 0) {
          TVM_FFI_THROW(ValueError) << "'" << name << "' is loaded: upload under another name";
        }
        WriteFile(PathInside(folder, name), data);
      });
  SetGlobal("tvm.rpc.server.load_module", [folder, loaded](const std::string& name) {
    std::string path = PathInside(folder, name);
    // TVM resolves symbols when they are called, and one that is missing then ends the process.
    if (dlopen(path.c_str(), RTLD_NOW | RTLD_LOCAL) == nullptr) {
      TVM_FFI_THROW(RuntimeError) << "cannot load '" << name << "': " << dlerror();
    }
    auto module = CallGlobal("ffi.ModuleLoadFromFile", path).cast<ffi::Module>();
    loaded->insert(name);
    return module;
  });
  SetGlobal("autoglm.device.about", About);
  RegisterKernelRecorder();
  RegisterKernelTimer();
  RegisterDeviceFiles(settings.sysfs_root);
  RegisterMeasurement();
  RegisterRandomFill();
  RegisterAffinity(settings.cpus, settings.sysfs_root);
}

}  // namespace autoglm
