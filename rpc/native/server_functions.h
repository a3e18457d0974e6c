// The global functions through which a client reaches the device's files, modules and kernels.
#pragma once

#include <string>
#include <vector>

namespace autoglm {

struct SessionSettings {
  std::string folder;      // the session's own
  std::string sysfs_root;  // stands before /sys and /proc where a client reads the device's state
  std::vector<int> cpus;   // where the session's threads run; empty: wherever the system lets them
};

// Registers all of them: tvm.rpc.server.{workpath,load_module,upload} so that every file name from
// the wire is a plain name inside the session's folder, autoglm.device.about, and those below.
void RegisterServerFunctions(const SessionSettings& settings);

// autoglm.recorder.{start,stop,count,name,output,clear}
void RegisterKernelRecorder();

// autoglm.timer.{start,stop,report,clear}
void RegisterKernelTimer();

// autoglm.device.{read,peak_memory,reset_peak_memory}
void RegisterDeviceFiles(const std::string& sysfs_root);

// autoglm.measure.{kernel,network}
void RegisterMeasurement();

// autoglm.measure.random
void RegisterRandomFill();

}  // namespace autoglm
