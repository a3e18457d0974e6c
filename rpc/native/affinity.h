// On which CPUs a session's threads run.
#pragma once

#include <string>
#include <vector>

namespace autoglm {

// Throws std::invalid_argument, with a message for the user, unless the device has all of `cpus`.
void CheckCpusExist(const std::vector<int>& cpus);

// Registers autoglm.device.pin, and a runtime.config_threadpool that keeps to it. `cpus` is where
// the session's threads run until a client asks for others; empty: wherever the system lets them.
// `sysfs_root` stands before /sys where frequencies are read.
void RegisterAffinity(const std::vector<int>& cpus, const std::string& sysfs_root);

}  // namespace autoglm
