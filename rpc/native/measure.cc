// Timing on the device: only the runs themselves lie between two looks at the clock, no message.
#include <sys/resource.h>
#include <tvm/ffi/error.h>
#include <tvm/ffi/extra/module.h>
#include <tvm/ffi/function.h>

#include <algorithm>
#include <chrono>
#include <cmath>
#include <functional>
#include <limits>
#include <string>
#include <vector>

#include "ffi_boundary.h"
#include "server_functions.h"

namespace autoglm {

namespace ffi = tvm::ffi;

namespace {

using Clock = std::chrono::steady_clock;
constexpr double kMaxRunsPerSample = 1e6;

struct Plan {
  int64_t warmup_ms, samples, sample_us, limit_ms;
};

double Seconds(Clock::duration time) { return std::chrono::duration<double>(time).count(); }

// How often a thread of this process, of the pool's too, lost its CPU or waited for a page to be
// read. Page faults that the kernel serves at once are not counted: they are part of the work.
long Interruptions() {
  rusage usage = {};
  getrusage(RUSAGE_SELF, &usage);
  return usage.ru_nivcsw + usage.ru_majflt;
}

double Time(const std::function<void()>& run, int64_t runs) {
  Clock::time_point start = Clock::now();
  for (int64_t i = 0; i < runs; ++i) run();
  return Seconds(Clock::now() - start);
}

// Pairs: seconds per run, and 1 if the sample was interrupted, else 0.
ffi::Bytes Measure(const Plan& plan, const std::function<void()>& run) {
  const Clock::time_point start = Clock::now();
  auto passed = [start](int64_t ms) {
    return Clock::now() - start >= std::chrono::milliseconds(ms);
  };
  double fastest = std::numeric_limits<double>::infinity();
  do {
    fastest = std::min(fastest, Time(run, 1));
  } while (!passed(plan.warmup_ms) && !passed(plan.limit_ms));
  double wanted = std::ceil(1e-6 * static_cast<double>(plan.sample_us) / std::max(fastest, 1e-9));
  int64_t runs = static_cast<int64_t>(std::clamp(wanted, 1.0, kMaxRunsPerSample));

  std::vector<double> pairs;
  do {
    long before = Interruptions();
    double seconds = Time(run, runs) / static_cast<double>(runs);
    pairs.push_back(seconds);
    pairs.push_back(Interruptions() == before ? 0.0 : 1.0);
  } while (static_cast<int64_t>(pairs.size()) < 2 * plan.samples && !passed(plan.limit_ms));
  return ffi::Bytes(reinterpret_cast<const char*>(pairs.data()), pairs.size() * sizeof(double));
}

ffi::Function FunctionOf(const ffi::Module& module, const std::string& name) {
  auto function =
      CallGlobal("ffi.ModuleGetFunction", module, name, true).cast<ffi::Optional<ffi::Function>>();
  if (!function.has_value()) TVM_FFI_THROW(ValueError) << "the library has no function " << name;
  return *function;
}

// Arguments: module, name, arguments per call, warmup_ms, samples, sample_us, limit_ms, and the
// arguments of one call after those of another, used in turn.
ffi::Bytes MeasureKernel(ffi::PackedArgs args) {
  constexpr int kFirst = 7;
  if (args.size() <= kFirst) TVM_FFI_THROW(ValueError) << "no arguments for the kernel";
  ffi::Function kernel = FunctionOf(args[0].cast<ffi::Module>(), args[1].cast<std::string>());
  int per_call = args[2].cast<int>();
  int given = args.size() - kFirst;
  if (per_call < 1 || given % per_call != 0) {
    TVM_FFI_THROW(ValueError) << given << " arguments are not sets of " << per_call;
  }
  Plan plan{args[3].cast<int64_t>(), args[4].cast<int64_t>(), args[5].cast<int64_t>(),
            args[6].cast<int64_t>()};
  int next = 0;
  return Measure(plan, [&]() {
    CallPacked(kernel, args.data() + kFirst + next, per_call);
    next = (next + per_call) % given;
  });
}

// One run is one sample; the client has given the inputs before, by set_input.
ffi::Bytes MeasureNetwork(ffi::Module vm, const std::string& entry, int64_t warmup_ms,
                          int64_t samples, int64_t limit_ms) {
  ffi::Function invoke = FunctionOf(vm, "invoke_stateful");
  return Measure({warmup_ms, samples, 0, limit_ms}, [&]() { Call(invoke, entry); });
}

}  // namespace

void RegisterMeasurement() {
  SetGlobalPacked("autoglm.measure.kernel",
                  [](ffi::PackedArgs args, ffi::Any* result) { *result = MeasureKernel(args); });
  SetGlobal("autoglm.measure.network", MeasureNetwork);
}

}  // namespace autoglm
