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

template <class Result>
Result* emulator(const char* function) {
  // The library is open already, by the loader that is tested; this finds the same copy.
  void* library = dlopen(cuda::library_path().c_str(), RTLD_NOW | RTLD_NOLOAD);
  REQUIRE((library != nullptr));
  const auto f = reinterpret_cast<Result* (*)()>(dlsym(library, function));
  REQUIRE((f != nullptr));
  return f();
}
inline cuda::EmulatorSettings& settings() { return *emulator<cuda::EmulatorSettings>("tenon_emulator_settings"); }
inline const cuda::EmulatorCounts& counts() { return *emulator<const cuda::EmulatorCounts>("tenon_emulator_counts"); }

/// Whether the first device multiplies by wgmma; its trials are behind it then. TENON_CUDA_WGMMA=0 is for tests of the other kernels, a trial that
/// fails is an error here: kernels that take its place would hide it.
inline bool by_wgmma() {
  const char* value = std::getenv("TENON_CUDA_WGMMA");
  const bool wanted = !value || std::string(value) != "0";
  if (wanted) CHECK(cuda::tensor_cores(0) == "wgmma");
  return wanted;
}

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
