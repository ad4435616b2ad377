// A block of threads on the CPU, for tests: the same bodies over the same index space. Threads run one after another, forwards and
// backwards by turns, so that a body that reads what another thread has yet to write gives different results.
#pragma once

#include <algorithm>
#include <cmath>
#include <cstdint>
#include <cstring>
#include <type_traits>
#include <vector>

#include "emulation/wgmma.h"
#include "tenon/core/dtype.h"
#include "tenon/core/error.h"

namespace tenon::cuda {

struct HostBlock {
  int64_t index = 0, index_y = 0;
  int threads = 1;
  char* shared = nullptr;
  size_t shared_bytes = 0;

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
    backwards_ = !backwards_, touched_ = true;
    for (int i = 0; i < threads; ++i) body(backwards_ ? threads - 1 - i : i);
  }

  template <class Body>
  void own(Body&& body) {
    each(body);
  }
  void sync() {}

  /// As fragments.h draws it: sums in float32 (int8: whole numbers), one element of k after another.
  template <class E, class C, class A, class B>
  void mma(C&& c, A&& a, B&& b) {
    constexpr int kPer = 4 / static_cast<int>(sizeof(E)), K = 8 * kPer;  // elements in a register, and along k
    using Value = std::conditional_t<std::is_same_v<E, int8_t>, int, float>;
    for (int warp = 0; warp < threads; warp += kWarpSize) {
      Value x[16][K], y[K][8];
      for (int t = 0; t < kWarpSize; ++t) {
        E from_a[4][kPer], from_b[2][kPer];
        std::memcpy(from_a, a(warp + t), sizeof(from_a)), std::memcpy(from_b, b(warp + t), sizeof(from_b));
        for (int e = 0; e < kPer; ++e) {
          const int k = t % 4 * kPer + e;
          for (int i = 0; i < 4; ++i) x[t / 4 + i % 2 * 8][k + i / 2 * 4 * kPer] = value_of<Value>(from_a[i][e]);
          for (int i = 0; i < 2; ++i) y[k + i * 4 * kPer][t / 4] = value_of<Value>(from_b[i][e]);
        }
      }
      for (int row = 0; row < 16; ++row) {
        Value sum[8];
        for (int n = 0; n < 8; ++n) sum[n] = c(warp + row % 8 * 4 + n / 2)[row / 8 * 2 + n % 2];
        for (int k = 0; k < K; ++k)
          for (int n = 0; n < 8; ++n) sum[n] += x[row][k] * y[k][n];
        for (int n = 0; n < 8; ++n) c(warp + row % 8 * 4 + n / 2)[row / 8 * 2 + n % 2] = sum[n];
      }
    }
  }
  template <bool kTransposed, class To, class From>
  void load_matrices(To&& to, From&& from) {
    for (int warp = 0; warp < threads; warp += kWarpSize) {
      uint16_t rows[kWarpSize][8];
      for (int t = 0; t < kWarpSize; ++t) {
        const void* at = from(warp + t);
        aligned_to_16(at);
        std::memcpy(rows[t], at, 16);
      }
      for (int t = 0; t < kWarpSize; ++t)
        for (int m = 0; m < 4; ++m) {
          uint16_t pair[2];
          for (int i = 0; i < 2; ++i) pair[i] = kTransposed ? rows[m * 8 + t % 4 * 2 + i][t / 4] : rows[m * 8 + t / 4][t % 4 * 2 + i];
          std::memcpy(&to(warp + t)[m], pair, 4);
        }
    }
  }
  template <int kWidth = 32, class X>
  void warp_sum(X&& x) const {
    over_neighbours<kWidth>(x, [](auto a, auto b) { return a + b; });
  }
  template <int kWidth = 32, class X>
  void warp_max(X&& x) const {
    over_neighbours<kWidth>(x, [](float a, float b) { return fmaxf(a, b); });
  }

  /// Done no sooner than it must be, and what was there is gone at once: a body that does not wait for its copies shows, and one that copies
  /// over what is still read.
  void copy_later(void* to, const void* from, int bytes) {
    aligned_to_16(to), aligned_to_16(from);
    std::memset(to, 0xff, 16);
    copies_.push_back({static_cast<char*>(to), static_cast<const char*>(from), bytes});
  }
  void commit() { groups_.push_back(copies_.size()); }
  template <int kNewest>
  void wait() {
    if (groups_.size() <= kNewest) return;
    const size_t done = groups_.size() - kNewest, count = groups_[done - 1];
    for (size_t i = 0; i < count; ++i) {
      std::memset(copies_[i].to, 0, 16);
      std::memcpy(copies_[i].to, copies_[i].from, static_cast<size_t>(copies_[i].bytes));
      unseen_ = true;
    }
    copies_.erase(copies_.begin(), copies_.begin() + static_cast<std::ptrdiff_t>(count));
    groups_.erase(groups_.begin(), groups_.begin() + static_cast<std::ptrdiff_t>(done));
    for (size_t& g : groups_) g -= count;
  }

  /// Shared memory begins where little is aligned, as it may behind what a kernel has there besides.
  uint32_t shared_address(const void* p) const { return static_cast<uint32_t>(static_cast<const char*>(p) - shared) + kSharedBegin; }
  template <int kNewest>
  void wait_for_wgmma() {
    wait<kNewest>();
    unseen_ = false;
  }
  template <class... Sums>
  void wgmma_fence(Sums&&...) {
    touched_ = false;
  }
  template <class E, int N, bool kAcrossB = false, bool kAcrossA = false, class Sums, class A, class B>
  void wgmma(Sums&& sums, A&& a, B&& b, bool add) {
    static_assert(sizeof(E) <= 2 && N % 8 == 0 && N >= 8 && N <= 256);
    HostWgmma::require(!touched_, "no fence since threads computed");
    HostWgmma::require(!unseen_, "copies that only wait() waited for");
    HostWgmma::require(threads % 128 == 0, "threads that are no warpgroups");
    const char* from = shared - kSharedBegin;
    const size_t end = shared_bytes + kSharedBegin;
    for (int first = 0; first < threads; first += 128) {
      HostWgmma::Product p;
      p.N = N, p.add = add;
      for (int t = first; t < first + 128; ++t) p.c.push_back(&sums(t)[0][0]);
      for (int t = first; t < first + 128; ++t) HostWgmma::require(b(t) == b(first), "descriptors that differ within a warpgroup");
      if constexpr (std::is_same_v<std::decay_t<decltype(a(0))>, uint64_t>) {
        for (int t = first; t < first + 128; ++t) HostWgmma::require(a(t) == a(first), "descriptors that differ within a warpgroup");
        p.a = [d = a(first), from, end] { return HostWgmma::factor<E>(d, 64, kAcrossA, from, end); };
      } else {
        std::vector<const uint32_t*> registers;
        for (int t = first; t < first + 128; ++t) registers.push_back(a(t));
        p.a = [registers] { return HostWgmma::factor<E>([&](int t) { return registers[static_cast<size_t>(t)]; }); };
      }
      p.b = [d = b(first), from, end] { return HostWgmma::factor<E>(d, N, kAcrossB, from, end); };
      wgmma_.template ask<E>(std::move(p));
    }
  }
  void wgmma_commit() { wgmma_.commit(); }
  template <int kNewest, class... Sums>
  void wgmma_wait(Sums&&...) {
    wgmma_.wait(kNewest);
  }
  /// What a body may leave behind: nothing that still runs.
  void end() const { HostWgmma::require(wgmma_.idle(), "products that nobody waited for"); }

  template <class T>
  T sum(const Lanes<T>& x) const {
    return reduce(x, T(0), [](T a, T b) { return a + b; });
  }
  float max(const Lanes<float>& x) const {
    return reduce(x, -INFINITY, [](float a, float b) { return fmaxf(a, b); });
  }
  uint64_t max(const Lanes<uint64_t>& x) const {
    return reduce(x, uint64_t{0}, [](uint64_t a, uint64_t b) { return a > b ? a : b; });
  }
  int any(const Lanes<int>& x) const {
    return reduce(x, 0, [](int a, int b) { return a | b; });
  }

 private:
  static constexpr int kWarpSize = 32;
  template <class Value, class E>
  static Value value_of(E e) {
    if constexpr (std::is_same_v<E, float8>) return f8e4m3_to_float(e.bits);
    else return static_cast<Value>(e);
  }
  /// The device would end here.
  static void aligned_to_16(const void* p) {
    check(reinterpret_cast<uintptr_t>(p) % 16 == 0, ErrorCode::Device, "cuda", "an address that is no multiple of 16");
  }
  struct Copy {
    char* to;
    const char* from;
    int bytes;
  };

  template <int kWidth, class X, class Combine>
  void over_neighbours(X& x, Combine combine) const {
    for (int distance = kWidth / 2; distance > 0; distance /= 2)
      for (int t = 0; t < threads; ++t)
        if (!(t & distance)) x(t) = x(t | distance) = combine(x(t), x(t | distance));
  }

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

  static constexpr uint32_t kSharedBegin = 1040;
  bool backwards_ = true;
  bool touched_ = true, unseen_ = false;  // threads computed since the last fence; copies came that wgmma may not see
  HostWgmma wgmma_;
  std::vector<Copy> copies_;
  std::vector<size_t> groups_;  // how many copies were asked for up to each commit()
};

}  // namespace tenon::cuda
