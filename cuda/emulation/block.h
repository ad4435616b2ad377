// A block of threads on the CPU, for tests: the same bodies over the same index space. Threads run one after another, forwards and
// backwards by turns, so that a body that reads what another thread has yet to write gives different results.
#pragma once

#include <algorithm>
#include <cmath>
#include <cstdint>
#include <cstring>
#include <vector>

namespace tenon::cuda {

struct HostBlock {
  int64_t index = 0, index_y = 0;
  int threads = 1;
  char* shared = nullptr;

  /// One variable for each thread, filled with bits that are NaN: what is read before it is written shows.
  template <class T>
  class Lanes {
   public:
    explicit Lanes(const HostBlock& b) : values_(static_cast<size_t>(b.threads)) {
      std::memset(static_cast<void*>(values_.data()), 0xff, values_.size() * sizeof(T));
    }
    T& operator[](int t) { return values_[static_cast<size_t>(t)]; }
    const T& operator[](int t) const { return values_[static_cast<size_t>(t)]; }

   private:
    std::vector<T> values_;
  };

  template <class Body>
  void each(Body&& body) {
    backwards_ = !backwards_;
    for (int i = 0; i < threads; ++i) body(backwards_ ? threads - 1 - i : i);
  }

  template <class T>
  T sum(const Lanes<T>& x) const {
    return reduce(x, T(0), [](T a, T b) { return a + b; });
  }
  float max(const Lanes<float>& x) const {
    return reduce(x, -INFINITY, [](float a, float b) { return fmaxf(a, b); });
  }
  int any(const Lanes<int>& x) const {
    return reduce(x, 0, [](int a, int b) { return a | b; });
  }

 private:
  /// In the order of the GPU: pairs at distance 16, 8, 4, 2, 1 within a warp, then the warps' results likewise.
  template <class T, class Combine>
  T reduce(const Lanes<T>& x, T neutral, Combine combine) const {
    constexpr int kWarp = 32;
    T warps[kWarp];
    std::fill_n(warps, kWarp, neutral);
    for (int w = 0; w < threads / kWarp; ++w) {
      T lanes[kWarp];
      for (int l = 0; l < kWarp; ++l) lanes[l] = x[w * kWarp + l];
      warps[w] = butterfly(lanes, combine);
    }
    return butterfly(warps, combine);
  }
  template <class T, class Combine>
  static T butterfly(T* lanes, Combine combine) {
    for (int distance = 16; distance > 0; distance /= 2) {
      T next[32];
      for (int l = 0; l < 32; ++l) next[l] = combine(lanes[l], lanes[l ^ distance]);
      std::copy_n(next, 32, lanes);
    }
    return lanes[0];
  }

  bool backwards_ = true;
};

}  // namespace tenon::cuda
