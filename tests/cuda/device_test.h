// What the tests of the device path share: the emulated library, opened as the real one would be, and tensors copied there and back.
#pragma once

#include <dlfcn.h>
#include <doctest/doctest.h>

#include <cstdlib>
#include <string>
#include <vector>

#include "emulator.h"
#include "tenon/core/context.h"
#include "tenon/core/cuda.h"
#include "tenon/core/tensor_cores.h"

namespace tenon::device_test {

constexpr Device kDevice{Device::Kind::Cuda, 0};

/// What a function of the emulated library gives; nullptr if a real one is open.
template <class Result>
Result* emulator(const char* function) {
  // The library is open already, by the loader that is tested; this finds the same copy.
  void* library = dlopen(cuda::library_path().c_str(), RTLD_NOW | RTLD_NOLOAD);
  REQUIRE((library != nullptr));
  const auto f = reinterpret_cast<Result* (*)()>(dlsym(library, function));
  return f ? f() : nullptr;
}
inline cuda::EmulatorSettings& settings() {
  auto* s = emulator<cuda::EmulatorSettings>("tenon_emulator_settings");
  REQUIRE((s != nullptr));
  return *s;
}
inline bool emulated() { return emulator<const cuda::EmulatorCounts>("tenon_emulator_counts"); }
/// A real library counts nothing.
inline const cuda::EmulatorCounts& counts() {
  static const cuda::EmulatorCounts none;
  const auto* c = emulator<const cuda::EmulatorCounts>("tenon_emulator_counts");
  return c ? *c : none;
}

/// Whether the first device multiplies by wgmma; its trials are behind it then. TENON_CUDA_WGMMA=0 is for tests of the other kernels, a trial that
/// fails is an error here: kernels that take its place would hide it.
inline bool by_wgmma() {
  const char* value = std::getenv("TENON_CUDA_WGMMA");
  const cuda::Properties device = cuda::properties(0);
  const bool wanted = (!value || std::string(value) != "0") && device.major == 9 && device.minor == 0;
  if (wanted) CHECK(cuda::tensor_cores(0) == "wgmma");
  return wanted;
}

/// Looks whether launches multiply by wgmma from here on, if anybody counts them.
class WgmmaLaunches {
 public:
  void check(bool expected) const {
    if (emulated()) CHECK((counts().wgmma > before_) == expected);
  }

 private:
  int before_ = counts().wgmma;
};

template <class E>
Tensor up(const std::vector<E>& v) {
  return Tensor::from(v, {static_cast<int64_t>(v.size())}).to(kDevice);
}
template <class E>
std::vector<E> down(const Tensor& t) {
  const Tensor host = t.to(Device{});
  const auto values = host.values<E>();
  return {values.begin(), values.end()};
}

}  // namespace tenon::device_test
