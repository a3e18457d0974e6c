// TVM's thread pool sets the affinity of its threads, and of the thread that uses it, whenever it
// is made or configured, and forgets what was set before. Upstream defects on the way:
//  - `runtime.config_threadpool(1, n)` after a call with a list of CPUs reads beyond that list;
//  - on x86-64 the pool has a thread for every second CPU only;
//  - the pool's size is fixed for ever by the first call.
// So clients get another `runtime.config_threadpool`: it makes the pool once with a thread for
// every CPU, chooses the CPUs itself, and sets the affinity of all threads after TVM has.
#include "affinity.h"

#include <dirent.h>
#include <sched.h>
#include <tvm/ffi/container/array.h>
#include <tvm/ffi/error.h>
#include <tvm/ffi/function.h>
#include <unistd.h>

#include <algorithm>
#include <cerrno>
#include <cstdlib>
#include <cstring>
#include <fstream>
#include <memory>
#include <stdexcept>

#include "cpu_list.h"
#include "ffi_boundary.h"

namespace autoglm {

namespace ffi = tvm::ffi;

namespace {

// TVM's modes (runtime/threading_backend.h).
constexpr int kLittle = -1, kShareAllCores = -3;

std::vector<int> CpusInForce() {
  cpu_set_t set;
  CPU_ZERO(&set);
  std::vector<int> cpus;
  if (sched_getaffinity(0, sizeof(set), &set) != 0) return cpus;
  for (int cpu = 0; cpu < CPU_SETSIZE; ++cpu) {
    if (CPU_ISSET(cpu, &set)) cpus.push_back(cpu);
  }
  return cpus;
}

std::vector<int> OnlineCpus() {
  std::ifstream file("/sys/devices/system/cpu/online");
  std::string line;
  if (std::getline(file, line)) return ParseCpuList(line);
  return CpusInForce();  // a system that hides /sys
}

std::vector<int> ThreadIds() {
  std::vector<int> ids;
  std::unique_ptr<DIR, int (*)(DIR*)> folder(opendir("/proc/self/task"), closedir);
  if (folder == nullptr) return {0};
  while (const dirent* entry = readdir(folder.get())) {
    if (int id = std::atoi(entry->d_name); id > 0) ids.push_back(id);
  }
  return ids;
}

void SetAffinityOfAllThreads(const std::vector<int>& cpus) {
  cpu_set_t set;
  CPU_ZERO(&set);
  for (int cpu : cpus) CPU_SET(cpu, &set);
  for (int id : ThreadIds()) {
    // A thread that has ended meanwhile needs none.
    if (sched_setaffinity(id, sizeof(set), &set) != 0 && errno != ESRCH) {
      TVM_FFI_THROW(ValueError) << "cannot run on CPUs " << FormatCpuList(cpus) << ": "
                                << std::strerror(errno);
    }
  }
  // A cpuset, Android's for example, silently takes CPUs away.
  std::vector<int> in_force = CpusInForce();
  if (in_force != cpus) {
    TVM_FFI_THROW(ValueError) << "of CPUs " << FormatCpuList(cpus)
                              << " the system lets this process have only "
                              << FormatCpuList(in_force);
  }
}

// Gives each thread a CPU of its own. Left free within a list, the main thread and a worker may stay
// on one CPU for seconds, each giving way to the other while it waits: two threads are then slower
// than one, and every run looks interrupted. The main thread has the smallest id, and TVM's workers
// were made in the order of their numbers.
void BindOneCpuEach(const std::vector<int>& cpus) {
  std::vector<int> ids = ThreadIds();
  std::sort(ids.begin(), ids.end());
  for (size_t i = 0; i < ids.size(); ++i) {
    cpu_set_t set;
    CPU_ZERO(&set);
    CPU_SET(cpus[i % cpus.size()], &set);
    sched_setaffinity(ids[i], sizeof(set), &set);
  }
}

class Affinity {
 public:
  Affinity(ffi::Function configure, std::string sysfs_root)
      : configure_(std::move(configure)), sysfs_root_(std::move(sysfs_root)) {}

  // The number of threads stays what was configured, as far as there are CPUs for them.
  void Pin(const std::vector<int>& cpus) {
    CheckCpusExist(cpus);
    std::vector<int> before = InForce();
    try {
      Use(cpus, Limit(cpus.size()));
    } catch (const std::exception&) {
      Use(before, Limit(before.size()));
      throw;
    }
    pinned_ = cpus;
  }

  // The CPUs that the threads are spread over.
  std::vector<int> InForce() const { return used_.empty() ? CpusInForce() : used_; }

  // As runtime.config_threadpool: mode, number of threads (0: as many as fit).
  void Configure(int mode, int threads) {
    threads_ = threads;
    if (!pinned_.empty()) return Use(pinned_, Limit(pinned_.size()));
    bool little = mode == kLittle;
    std::vector<int> order = ByFrequency(allowed_, little);
    order.resize(threads > 0 ? Limit(order.size()) : SameKind(order, little));
    size_t count = order.size();
    std::sort(order.begin(), order.end());
    Use(order, count);
  }

 private:
  size_t Limit(size_t most) const {
    return threads_ > 0 ? std::min(static_cast<size_t>(threads_), most) : most;
  }

  // Makes the pool use `threads` threads, all of them free to move within `cpus`.
  void Use(const std::vector<int>& cpus, size_t threads) {
    if (!pool_is_made_) ConfigurePool(OnlineCpus(), 0);
    pool_is_made_ = true;
    ConfigurePool({cpus.begin(), cpus.begin() + static_cast<long>(threads)},
                  static_cast<int>(threads));
    SetAffinityOfAllThreads(cpus);
    used_ = cpus;
    BindOneCpuEach(ByFrequency(cpus, false));
  }

  void ConfigurePool(const std::vector<int>& cpus, int threads) {
    ffi::Array<ffi::String> names;
    for (int cpu : cpus) names.push_back(std::to_string(cpu));
    Call(configure_, kShareAllCores, threads, names);
  }

  long MaxFrequency(int cpu) const {
    std::ifstream file(sysfs_root_ + "/sys/devices/system/cpu/cpu" + std::to_string(cpu) +
                       "/cpufreq/cpuinfo_max_freq");
    long khz = 0;
    file >> khz;
    return file ? khz : 0;
  }

  std::vector<int> ByFrequency(std::vector<int> cpus, bool slowest_first) const {
    std::stable_sort(cpus.begin(), cpus.end(), [&](int a, int b) {
      return slowest_first ? MaxFrequency(a) < MaxFrequency(b) : MaxFrequency(a) > MaxFrequency(b);
    });
    return cpus;
  }

  // How many of the first CPUs are of the kind asked for. Little: the slowest ones. Big: all that
  // are not the slowest, as many phones have one core that is faster still.
  size_t SameKind(const std::vector<int>& order, bool little) const {
    long first = MaxFrequency(order.front()), last = MaxFrequency(order.back());
    if (first == last) return order.size();
    return static_cast<size_t>(std::count_if(order.begin(), order.end(), [&](int cpu) {
      return little ? MaxFrequency(cpu) == first : MaxFrequency(cpu) != last;
    }));
  }

  ffi::Function configure_;
  std::string sysfs_root_;
  std::vector<int> allowed_ = CpusInForce();  // before the pool changes it
  std::vector<int> pinned_;
  std::vector<int> used_;  // of the last configuration; empty before the first
  int threads_ = 0;  // that a client has asked for; 0: as many as fit
  bool pool_is_made_ = false;
};

}  // namespace

void CheckCpusExist(const std::vector<int>& cpus) {
  std::vector<int> online = OnlineCpus();
  for (int cpu : cpus) {
    if (!std::binary_search(online.begin(), online.end(), cpu)) {
      throw std::invalid_argument("this device has no CPU " + std::to_string(cpu) +
                                  " online: it has " + FormatCpuList(online));
    }
  }
}

void RegisterAffinity(const std::vector<int>& cpus, const std::string& sysfs_root) {
  auto affinity = std::make_shared<Affinity>(
      ffi::Function::GetGlobalRequired("runtime.config_threadpool"), sysfs_root);
  SetGlobal("runtime.config_threadpool",
            [affinity](int mode, int threads) { affinity->Configure(mode, threads); });
  SetGlobal("autoglm.device.pin", [affinity](const std::string& list) {
    try {
      if (!list.empty()) affinity->Pin(ParseCpuList(list));
    } catch (const std::invalid_argument& error) {
      TVM_FFI_THROW(ValueError) << error.what();
    }
    return ffi::String(FormatCpuList(affinity->InForce()));
  });
  if (!cpus.empty()) affinity->Pin(cpus);
}

}  // namespace autoglm
