// What the agree tests share: every usable kernel table against ref, on numbers from a fixed seed.
#pragma once

#include <doctest/doctest.h>

#include <bit>
#include <cmath>
#include <cstdint>
#include <cstring>
#include <limits>
#include <random>
#include <stdexcept>
#include <string>
#include <vector>

#include "tenon/core/kernels.h"

namespace tenon {

[[gnu::weak]] void fill_avx512(Kernels&);  // null in a build without it

}

namespace tenon::agree {

inline const Kernels& ref() {
  for (const KernelChoice& c : kernel_choices())
    if (c.name == "ref") return *c.kernels;
  throw std::runtime_error("no ref table");
}

/// body(table) for each table that this machine can run, but ref; also for AVX-512 as a processor without its bf16 has it.
template <class Body>
void for_tables(Body&& body) {
  for (const KernelChoice& c : kernel_choices()) {
    if (!c.usable || c.name == "ref") continue;
    INFO("table ", c.name);
    body(*c.kernels);
    if (c.name != "avx512" || !fill_avx512) continue;
    Kernels base = ref();
    fill_avx512(base);
    INFO("without bf16");
    body(base);
  }
}

/// 1, both sides of every vector width and unrolling, and sizes that models have.
inline const std::vector<int64_t>& sizes() {
  static const std::vector<int64_t> s = {1, 2, 3, 4, 5, 7, 8, 9, 15, 16, 17, 31, 32, 33, 63, 64, 65, 100, 127, 129, 384, 768, 1001};
  return s;
}

inline std::vector<float> normal(size_t n, unsigned seed, float scale = 1, float mean = 0) {
  std::mt19937 engine(seed);
  std::normal_distribution<float> draw(mean, scale);
  std::vector<float> v(n);
  for (float& x : v) x = draw(engine);
  return v;
}

inline std::vector<bfloat16> to_bf16(const std::vector<float>& v) {
  std::vector<bfloat16> r(v.size());
  for (size_t i = 0; i < v.size(); ++i) r[i] = bfloat16::from(v[i]);
  return r;
}

template <class E>
std::vector<float> to_float(const std::vector<E>& v) {
  return std::vector<float>(v.begin(), v.end());
}

template <class E>
constexpr DType type_of() {
  return sizeof(E) == 4 ? DType::F32 : DType::BF16;
}
template <class E>
std::vector<E> as(const std::vector<float>& v) {
  if constexpr (sizeof(E) == 4)
    return v;
  else
    return to_bf16(v);
}

/// Largest |a - b|; infinite where only one is NaN or they are different infinities.
template <class A, class B>
double distance(const std::vector<A>& a, const std::vector<B>& b) {
  REQUIRE(a.size() == b.size());
  double largest = 0;
  for (size_t i = 0; i < a.size(); ++i) {
    const double x = a[i], y = b[i];
    if (x == y || (std::isnan(x) && std::isnan(y))) continue;
    const double d = std::fabs(x - y);
    largest = std::isnan(d) ? std::numeric_limits<double>::infinity() : std::max(largest, d);
  }
  return largest;
}

template <class A>
double largest(const std::vector<A>& a) {
  double m = 0;
  for (const A& x : a) m = std::max(m, std::fabs(static_cast<double>(x)));
  return m;
}

/// Exactly the bytes that a kernel asked for, aligned to 64, between bytes that it must not touch.
class Scratch {
 public:
  explicit Scratch(size_t bytes) : bytes_(bytes) {
    if (bytes > size_t{1} << 40) throw std::runtime_error("a scratch beyond all reason");
    memory_.assign(bytes + 192, kGuard);
    begin_ = memory_.data() + 64 + (64 - reinterpret_cast<uintptr_t>(memory_.data()) % 64) % 64;
    fill();
  }
  void* data() { return begin_; }
  /// Bit patterns of NaN: a kernel that reads before it writes will show it.
  void fill() { std::memset(begin_, 0xff, bytes_); }
  bool intact() const {
    bool same = true;
    for (const unsigned char* p = memory_.data(); p < memory_.data() + memory_.size(); ++p)
      if (p < begin_ || p >= begin_ + bytes_) same = same && *p == kGuard;
    return same;
  }

 private:
  static constexpr unsigned char kGuard = 0x7e;
  size_t bytes_;
  std::vector<unsigned char> memory_;
  unsigned char* begin_;
};

}  // namespace tenon::agree
