// Times every kernel of a Relax VM where it runs, for `bench --profile`.
//
// Used as the kernel recorder is: `vm["set_instrument"]("autoglm.timer.start")`.
#include <tvm/ffi/extra/json.h>
#include <tvm/ffi/function.h>

#include <chrono>
#include <memory>
#include <string>
#include <vector>

#include "ffi_boundary.h"
#include "server_functions.h"

namespace autoglm {

namespace ffi = tvm::ffi;

namespace {

using Clock = std::chrono::steady_clock;

// Arguments: function, symbol, whether this is before the run, return value, the call's own.
constexpr int kSymbol = 1, kBefore = 2;

struct Timer {
  struct Call {
    std::string symbol;
    int64_t nanoseconds = 0;
  };
  // A function of the VM may call others, so several can be open.
  struct Open {
    size_t call;
    Clock::time_point start;
  };
  std::vector<Call> calls;
  std::vector<Open> open;

  void Clear() {
    calls.clear();
    open.clear();
  }

  void Before(std::string symbol) {
    calls.push_back({std::move(symbol)});
    open.push_back({calls.size() - 1, {}});
    open.back().start = Clock::now();
  }

  void After(Clock::time_point end) {
    if (open.empty()) return;  // cleared while a kernel ran
    auto time = std::chrono::duration_cast<std::chrono::nanoseconds>(end - open.back().start);
    calls[open.back().call].nanoseconds = time.count();
    open.pop_back();
  }

  std::string Report() const {
    ffi::json::Array report;
    for (const Call& call : calls) {
      report.push_back(ffi::json::Array{ffi::String(call.symbol), call.nanoseconds});
    }
    return ffi::json::Stringify(report);
  }
};

void TimeCall(ffi::PackedArgs args, Timer* timer) {
  const Clock::time_point now = Clock::now();
  std::string symbol = args[kSymbol].cast<std::string>();
  if (symbol.rfind("vm.builtin.", 0) == 0) return;  // the VM's own
  if (args[kBefore].cast<bool>()) {
    timer->Before(std::move(symbol));
  } else {
    timer->After(now);
  }
}

}  // namespace

void RegisterKernelTimer() {
  auto timer = std::make_shared<Timer>();
  SetGlobal("autoglm.timer.start", [timer]() {
    timer->Clear();
    return Guarded(ffi::Function::FromPacked([timer](ffi::PackedArgs args, ffi::Any* result) {
      TimeCall(args, timer.get());
      *result = 0;  // go on as usual
    }));
  });
  // Takes the place of the hook above, as the VM has no way to remove one.
  SetGlobal("autoglm.timer.stop", []() {
    return Guarded(
        ffi::Function::FromPacked([](ffi::PackedArgs, ffi::Any* result) { *result = 0; }));
  });
  SetGlobal("autoglm.timer.report", [timer]() { return ffi::String(timer->Report()); });
  SetGlobal("autoglm.timer.clear", [timer]() { timer->Clear(); });
}

}  // namespace autoglm
