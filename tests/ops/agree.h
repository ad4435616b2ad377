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

namespace tenon::agree {

inline const Kernels& ref() {
  for (const KernelChoice& c : kernel_choices())
    if (c.name == "ref") return *c.kernels;
  throw std::runtime_error("no ref table");
}

/// body(table) for each table that this machine can run, but ref.
template <class Body>
void for_tables(Body&& body) {
  for (const KernelChoice& c : kernel_choices()) {
    if (!c.usable || c.name == "ref") continue;
    INFO("table ", c.name);
    body(*c.kernels);
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

}  // namespace tenon::agree
