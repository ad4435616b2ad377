// Row arithmetic that processors, beams and sampling share.
#pragma once

#include <algorithm>
#include <cmath>
#include <limits>
#include <span>
#include <vector>

namespace tenon::generation {

inline constexpr float kMinusInfinity = -std::numeric_limits<float>::infinity();

inline float largest(std::span<const float> x) { return *std::max_element(x.begin(), x.end()); }

/// ln(sum exp(x - top)); rows without any finite score give NaN or -inf.
inline float log_sum(std::span<const float> x, float top) {
  double sum = 0;
  for (const float v : x)
    if (v > kMinusInfinity) sum += std::exp(v - top);
  return static_cast<float>(std::log(sum));
}

inline void log_softmax(std::span<float> x) {
  const float top = largest(x), log_of_sum = log_sum(x, top);
  for (float& v : x) v = v - top - log_of_sum;
}

inline std::vector<float> softmax(std::span<const float> x) {
  std::vector<float> p(x.size());
  const float top = largest(x);
  double sum = 0;
  for (size_t i = 0; i < x.size(); ++i) sum += p[i] = x[i] > kMinusInfinity ? std::exp(x[i] - top) : 0.0f;
  const float total = static_cast<float>(sum);
  for (float& v : p) v /= total;
  return p;
}

/// The k-th largest value, k in [1, size].
inline float kth_largest(std::span<const float> x, size_t k) {
  std::vector<float> copy(x.begin(), x.end());
  std::nth_element(copy.begin(), copy.begin() + static_cast<std::ptrdiff_t>(k - 1), copy.end(), std::greater<>());
  return copy[k - 1];
}

}  // namespace tenon::generation
