// What a client may read of the device's state: fixed groups of the kernel's files, and memory.
#include <fcntl.h>
#include <glob.h>
#include <sys/resource.h>
#include <tvm/ffi/error.h>
#include <tvm/ffi/extra/json.h>
#include <tvm/ffi/function.h>
#include <unistd.h>

#include <algorithm>
#include <fstream>
#include <map>
#include <string>
#include <vector>

#include "ffi_boundary.h"
#include "server_functions.h"

namespace autoglm {

namespace ffi = tvm::ffi;

namespace {

constexpr size_t kMaxBytes = 1 << 18;  // of one file

// clang-format off
const std::map<std::string, std::vector<const char*>> kGroups = {
    {"cpu", {"/proc/cpuinfo",
             "/sys/devices/system/cpu/possible",
             "/sys/devices/system/cpu/online",
             "/sys/devices/system/cpu/cpu[0-9]*/cpufreq/scaling_governor",
             "/sys/devices/system/cpu/cpu[0-9]*/cpufreq/scaling_cur_freq",
             "/sys/devices/system/cpu/cpu[0-9]*/cpufreq/scaling_max_freq",
             "/sys/devices/system/cpu/cpu[0-9]*/cpufreq/cpuinfo_max_freq",
             "/sys/devices/system/cpu/cpu[0-9]*/cpu_capacity",
             "/sys/devices/system/cpu/cpu[0-9]*/topology/*siblings_list"}},
    {"thermal", {"/sys/class/thermal/thermal_zone*/type",
                 "/sys/class/thermal/thermal_zone*/temp",
                 "/sys/class/thermal/thermal_zone*/trip_point_*_temp"}},
    {"power", {"/sys/class/power_supply/*/type",
               "/sys/class/power_supply/*/status",
               "/sys/class/power_supply/*/capacity",
               "/sys/class/power_supply/*/current_now",
               "/sys/class/power_supply/*/voltage_now",
               "/sys/class/power_supply/*/temp",
               "/sys/class/power_supply/*/energy_now",
               "/sys/class/powercap/*/name",
               "/sys/class/powercap/*/energy_uj"}},
    {"memory", {"/proc/meminfo",
                "/proc/self/status",
                "/proc/self/smaps_rollup"}},
};
// clang-format on

std::vector<std::string> Matches(const std::string& pattern) {
  glob_t found = {};
  std::vector<std::string> paths;
  if (glob(pattern.c_str(), 0, nullptr, &found) == 0) {
    paths.assign(found.gl_pathv, found.gl_pathv + found.gl_pathc);
  }
  globfree(&found);
  return paths;
}

// Whether the file could be read; many sensors refuse, or are for root only. What is not ASCII
// becomes '?', as JSON must be UTF-8.
bool Read(const std::string& path, std::string* text) {
  int fd = open(path.c_str(), O_RDONLY | O_CLOEXEC | O_NONBLOCK);
  if (fd < 0) return false;
  text->resize(kMaxBytes);
  size_t size = 0;
  ssize_t n = 0;
  while (size < kMaxBytes && (n = read(fd, text->data() + size, kMaxBytes - size)) > 0) {
    size += static_cast<size_t>(n);
  }
  close(fd);
  if (n < 0) return false;
  text->resize(size);
  std::replace_if(
      text->begin(), text->end(), [](char c) { return static_cast<signed char>(c) <= 0; }, '?');
  return true;
}

std::string ReadGroup(const std::string& root, const std::string& group) {
  auto found = kGroups.find(group);
  if (found == kGroups.end()) {
    TVM_FFI_THROW(ValueError) << "no group of files '" << group
                              << "': choose from cpu, memory, power, thermal";
  }
  ffi::json::Object files;
  std::string text;
  for (const char* pattern : found->second) {
    for (const std::string& path : Matches(root + pattern)) {
      if (Read(path, &text)) files.Set(ffi::String(path.substr(root.size())), ffi::String(text));
    }
  }
  return ffi::json::Stringify(files);
}

// The process's largest resident memory in bytes since it started or since the last reset.
int64_t PeakMemory() {
  std::ifstream status("/proc/self/status");
  for (std::string word; status >> word;) {
    int64_t kilobytes = 0;
    if (word == "VmHWM:" && status >> kilobytes) return kilobytes * 1024;
  }
  rusage usage = {};
  getrusage(RUSAGE_SELF, &usage);
  return static_cast<int64_t>(usage.ru_maxrss) * 1024;
}

// Whether the kernel has a reset, and lets this process use it.
bool ResetPeakMemory() {
  std::ofstream file("/proc/self/clear_refs");
  file << "5" << std::flush;
  return file.good();
}

}  // namespace

void RegisterDeviceFiles(const std::string& sysfs_root) {
  SetGlobal("autoglm.device.read", [sysfs_root](const std::string& group) {
    return ffi::String(ReadGroup(sysfs_root, group));
  });
  SetGlobal("autoglm.device.peak_memory", PeakMemory);
  SetGlobal("autoglm.device.reset_peak_memory", ResetPeakMemory);
}

}  // namespace autoglm
