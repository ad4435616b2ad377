// Kernels of the device's table against ref: arguments are tensors on the device, results are compared here.
#pragma once

#include "device_test.h"
#include "ops/agree.h"

namespace tenon::device_test {

/// A vector's copy on the device; to compare what a kernel made of it.
template <class E>
class OnDevice {
 public:
  OnDevice(const std::vector<E>& v) : tensor_(up(v)) {}  // NOLINT: converts on purpose
  E* p() { return static_cast<E*>(tensor_.address()); }
  std::vector<E> get() const { return down<E>(tensor_); }

 private:
  Tensor tensor_;
};
using Floats = OnDevice<float>;
using Indices = OnDevice<int64_t>;

inline const Kernels& kernels() { return cuda::kernels(0); }

/// Rounding to bf16 may fall on the other side: one step, 2^-8 of the largest value.
template <class E>
double step(const std::vector<E>& v, double bound) {
  return sizeof(E) == 4 ? bound : agree::largest(v) / 128;
}

/// Around the widths of vectors (4, 8), warps (32) and blocks (256, 1024 with packs of 4).
inline const std::vector<int64_t>& widths() {
  static const std::vector<int64_t> s = {1, 2, 3, 4, 5, 7, 8, 9, 16, 31, 32, 33, 64, 100, 127, 128, 129, 256, 257, 768, 1001, 1024, 2056, 4100};
  return s;
}

}  // namespace tenon::device_test
