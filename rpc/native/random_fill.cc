// Reproducible contents for tensors, made on the device: nothing has to be sent.
#include <tvm/ffi/container/tensor.h>
#include <tvm/ffi/dtype.h>
#include <tvm/ffi/error.h>
#include <tvm/ffi/function.h>

#include <cmath>
#include <cstdint>
#include <cstring>

#include "ffi_boundary.h"
#include "server_functions.h"

namespace autoglm {

namespace ffi = tvm::ffi;

namespace {

// A number for each place of a tensor, the same on every machine (splitmix64).
uint64_t Mix(uint64_t x) {
  x += 0x9E3779B97F4A7C15u;
  x = (x ^ (x >> 30)) * 0xBF58476D1CE4E5B9u;
  x = (x ^ (x >> 27)) * 0x94D049BB133111EBu;
  return x ^ (x >> 31);
}

// A multiple of 2^-10 in [-1, 1], which every float type of 16 bits and more holds nearly or fully.
float UnitFloat(uint64_t random) {
  return static_cast<float>(static_cast<int>(random % 2049) - 1024) / 1024.0f;
}

// IEEE binary16 of a multiple of 2^-10 in [-1, 1], which is exact.
uint16_t HalfBits(float value) {
  if (value == 0) return 0;
  int exponent = 0;
  float fraction = std::frexp(std::fabs(value), &exponent);  // in [0.5, 1)
  auto mantissa = static_cast<uint32_t>(fraction * 2048) & 0x3FFu;
  auto biased = static_cast<uint32_t>(exponent + 14);
  return static_cast<uint16_t>((value < 0 ? 0x8000u : 0u) | biased << 10 | mantissa);
}

uint16_t BFloatBits(float value) {
  uint32_t bits = 0;
  std::memcpy(&bits, &value, sizeof(bits));
  return static_cast<uint16_t>(bits >> 16);
}

template <typename T, typename Make>
void Fill(void* data, int64_t count, uint64_t seed, Make make) {
  T* to = static_cast<T*>(data);
  for (int64_t i = 0; i < count; ++i) {
    to[i] = static_cast<T>(make(Mix(seed + static_cast<uint64_t>(i))));
  }
}

// Signed bytes -8 to 7 and unsigned ones 0 to 15, so that no sum of products overflows. Wider
// integers 0 or 1: they may be places in another tensor.
bool FillIntegers(void* data, int64_t count, uint64_t seed, int bits, bool is_signed) {
  auto small = [is_signed](uint64_t r) { return static_cast<int>(r % 16) - (is_signed ? 8 : 0); };
  auto one_bit = [](uint64_t r) { return static_cast<int>(r % 2); };
  if (bits == 8) return Fill<int8_t>(data, count, seed, small), true;
  if (bits == 16) return Fill<int16_t>(data, count, seed, small), true;
  if (bits == 32) return Fill<int32_t>(data, count, seed, one_bit), true;
  if (bits == 64) return Fill<int64_t>(data, count, seed, one_bit), true;
  return false;
}

bool FillFloats(void* data, int64_t count, uint64_t seed, int bits) {
  auto half = [](uint64_t r) { return HalfBits(UnitFloat(r)); };
  if (bits == 16) return Fill<uint16_t>(data, count, seed, half), true;
  if (bits == 32) return Fill<float>(data, count, seed, UnitFloat), true;
  if (bits == 64) return Fill<double>(data, count, seed, UnitFloat), true;
  return false;
}

bool FillAny(void* data, int64_t count, uint64_t seed, DLDataType dtype) {
  auto bfloat = [](uint64_t r) { return BFloatBits(UnitFloat(r)); };
  auto one_bit = [](uint64_t r) { return static_cast<int>(r % 2); };
  switch (dtype.code) {
    case kDLFloat:
      return FillFloats(data, count, seed, dtype.bits);
    case kDLInt:
    case kDLUInt:
      return FillIntegers(data, count, seed, dtype.bits, dtype.code == kDLInt);
    case kDLBool:
      return Fill<uint8_t>(data, count, seed, one_bit), true;
    case kDLBfloat:
      return Fill<uint16_t>(data, count, seed, bfloat), true;
    default:
      return false;
  }
}

void FillRandomly(DLTensor* tensor, int64_t seed) {
  if (tensor->device.device_type != kDLCPU || !ffi::IsContiguous(*tensor)) {
    TVM_FFI_THROW(ValueError) << "only dense tensors in host memory can be filled";
  }
  int64_t count = tensor->dtype.lanes;
  for (int i = 0; i < tensor->ndim; ++i) count *= tensor->shape[i];
  void* data = static_cast<char*>(tensor->data) + tensor->byte_offset;
  if (!FillAny(data, count, Mix(static_cast<uint64_t>(seed)), tensor->dtype)) {
    TVM_FFI_THROW(ValueError) << "no random numbers of type "
                              << ffi::DLDataTypeToString(tensor->dtype);
  }
}

}  // namespace

void RegisterRandomFill() { SetGlobal("autoglm.measure.random", FillRandomly); }

}  // namespace autoglm
