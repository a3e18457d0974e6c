// Functions between the server and TVM's libraries, as C functions: an error crosses as a value,
// never as a C++ exception. So the server may have another C++ library than TVM's, as it does where
// clang with its libc++ has built it beside a runtime from a wheel, which has GCC's libstdc++.
#pragma once

#include <tvm/ffi/function.h>

#include <string>
#include <utility>

namespace autoglm {

// As TVM_FFI_SAFE_CALL's functions: 0, or -1 where an error is left for the caller to fetch.
inline int CallSafely(const tvm::ffi::Function& function, const TVMFFIAny* args, int32_t count,
                      TVMFFIAny* result) {
  const auto* object = static_cast<const tvm::ffi::FunctionObj*>(function.get());
  return object->safe_call(const_cast<tvm::ffi::FunctionObj*>(object), args, count, result);
}

// A function of ours that TVM may call; TVM would let the exceptions of the one inside through.
inline tvm::ffi::Function Guarded(tvm::ffi::Function inside) {
  auto call = [](void* self, const TVMFFIAny* args, int32_t count, TVMFFIAny* result) {
    return CallSafely(*static_cast<tvm::ffi::Function*>(self), args, count, result);
  };
  auto free = [](void* self) { delete static_cast<tvm::ffi::Function*>(self); };
  return tvm::ffi::Function::FromExternC(new tvm::ffi::Function(std::move(inside)), call, free);
}

// Registers `callable` under a name, in place of what has it.
template <typename Callable>
void SetGlobal(const char* name, Callable callable) {
  auto function = tvm::ffi::Function::FromTyped(std::move(callable));
  tvm::ffi::Function::SetGlobal(name, Guarded(std::move(function)), true);
}

// The same for one that reads its arguments itself.
template <typename Callable>
void SetGlobalPacked(const char* name, Callable callable) {
  auto function = tvm::ffi::Function::FromPacked(std::move(callable));
  tvm::ffi::Function::SetGlobal(name, Guarded(std::move(function)), true);
}

// Calls a function of TVM's.
inline tvm::ffi::Any CallPacked(const tvm::ffi::Function& function, const tvm::ffi::AnyView* args,
                                int count) {
  tvm::ffi::Any result;
  TVM_FFI_CHECK_SAFE_CALL(CallSafely(function, reinterpret_cast<const TVMFFIAny*>(args), count,
                                     reinterpret_cast<TVMFFIAny*>(&result)));
  return result;
}

template <typename... Args>
tvm::ffi::Any Call(const tvm::ffi::Function& function, Args&&... args) {
  constexpr int kCount = sizeof...(Args);
  tvm::ffi::AnyView packed[kCount + 1];
  tvm::ffi::PackedArgs::Fill(packed, std::forward<Args>(args)...);
  return CallPacked(function, packed, kCount);
}

// Calls a function by its global name.
template <typename... Args>
tvm::ffi::Any CallGlobal(const std::string& name, Args&&... args) {
  return Call(tvm::ffi::Function::GetGlobalRequired(name), std::forward<Args>(args)...);
}

}  // namespace autoglm
