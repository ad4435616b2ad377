// The ref kernels that move rows and parts of rows, and the gradients and sums over rows that few ops need.
#include <algorithm>
#include <cmath>
#include <cstring>
#include <type_traits>

#include "cpu/ref.h"
#include "cpu/scalar.h"

namespace tenon {
namespace {

using scalar::load;
using scalar::store;
using scalar::with_float;

void move_parts(const PartsCall& c) {
  const auto item = static_cast<int64_t>(size_of(c.type));
  for (int64_t n = 0; n < c.N; ++n)
    for (int64_t p = 0; p < c.parts; ++p) {
      char* to = static_cast<char*>(c.y) + (n * c.y_row + p * c.y_part) * item;
      const char* from = static_cast<const char*>(c.x) + (n * c.x_row + p * c.x_part) * item;
      if (!c.add) {
        std::memcpy(to, from, static_cast<size_t>(c.width * item));
        continue;
      }
      with_float(c.type, [&](auto* tag) {
        using E = std::remove_pointer_t<decltype(tag)>;
        auto* y = reinterpret_cast<E*>(to);
        const auto* x = reinterpret_cast<const E*>(from);
        for (int64_t i = 0; i < c.width; ++i) store(y + i, load(y + i) + load(x + i));
      });
    }
}

/// In tiles that fit into the first cache.
void transpose(float* y, const float* x, int64_t M, int64_t N, int64_t ld) {
  constexpr int64_t kTile = 32;
  for (int64_t i = 0; i < M; i += kTile)
    for (int64_t j = 0; j < N; j += kTile)
      for (int64_t n = j; n < std::min(N, j + kTile); ++n)
        for (int64_t m = i; m < std::min(M, i + kTile); ++m) y[n * ld + m] = x[m * N + n];
}

void store_rows(void* const* page, const int64_t* slot, int64_t offset, const void* x, int64_t N, int64_t bytes) {
  for (int64_t i = 0; i < N; ++i)
    std::memcpy(static_cast<char*>(page[i]) + offset + slot[i] * bytes, static_cast<const char*>(x) + i * bytes, static_cast<size_t>(bytes));
}

void load_rows(void* y, const void* const* page, const int64_t* slot, int64_t offset, int64_t N, int64_t bytes) {
  for (int64_t i = 0; i < N; ++i)
    std::memcpy(static_cast<char*>(y) + i * bytes, static_cast<const char*>(page[i]) + offset + slot[i] * bytes, static_cast<size_t>(bytes));
}

void dequantize_rows(float* y, const void* q, const float* scale, int64_t N, int64_t C, CacheCodes codes) {
  for (int64_t i = 0; i < N * C; ++i) {
    const float code = codes == CacheCodes::Int8 ? static_cast<float>(static_cast<const int8_t*>(q)[i])
                                                 : f8e4m3_to_float(static_cast<const float8*>(q)[i].bits);
    y[i] = code * scale[i / C];
  }
}

void log_softmax(float* y, const float* x, int64_t N, int64_t C) {
  for (int64_t n = 0; n < N && C > 0; ++n, x += C, y += C) {
    const float largest = *std::max_element(x, x + C);
    double sum = 0;
    for (int64_t i = 0; i < C; ++i) sum += std::exp(x[i] - largest);
    const float log_sum = static_cast<float>(std::log(sum));  // apart from the maximum: beside a large one its digits would be lost
    for (int64_t i = 0; i < C; ++i) y[i] = x[i] - largest - log_sum;
  }
}

void log_softmax_backward(float* dx, const float* dy, const float* y, int64_t N, int64_t C) {
  for (int64_t n = 0; n < N; ++n, dx += C, dy += C, y += C) {
    double sum = 0;
    for (int64_t i = 0; i < C; ++i) sum += dy[i];
    for (int64_t i = 0; i < C; ++i) dx[i] = dy[i] - std::exp(y[i]) * static_cast<float>(sum);
  }
}

void l2_normalize_backward(float* dx, const float* dy, const float* y, const float* norm, int64_t N, int64_t C, float eps) {
  for (int64_t n = 0; n < N; ++n, dx += C, dy += C, y += C) {
    double along = 0;
    if (norm[n] > eps)
      for (int64_t i = 0; i < C; ++i) along += static_cast<double>(dy[i]) * y[i];
    const float divisor = std::max(norm[n], eps);
    for (int64_t i = 0; i < C; ++i) dx[i] = (dy[i] - y[i] * static_cast<float>(along)) / divisor;
  }
}

void dot_rows(float* out, const float* a, const int64_t* a_index, const float* b, const int64_t* b_index, int64_t N, int64_t C) {
  for (int64_t n = 0; n < N; ++n) {
    const int64_t i = a_index ? a_index[n] : n, j = b_index ? b_index[n] : n;
    const float *a_n = a + i * C, *b_n = b + j * C;
    float sums[16] = {};  // side by side, so that they need not wait for each other
    int64_t c = i < 0 || j < 0 ? C : 0;
    for (; c + 16 <= C; c += 16)
      for (int64_t l = 0; l < 16; ++l) sums[l] += a_n[c + l] * b_n[c + l];
    for (; c < C; ++c) sums[c % 16] += a_n[c] * b_n[c];
    double sum = 0;
    for (const float s : sums) sum += s;
    out[n] = static_cast<float>(sum);
  }
}

void clamp(void* y, const void* x, int64_t n, float low, float high, DType type) {
  with_float(type, [&](auto* tag) {
    using E = std::remove_pointer_t<decltype(tag)>;
    for (int64_t i = 0; i < n; ++i)
      store(static_cast<E*>(y) + i, std::min(std::max(load(static_cast<const E*>(x) + i), low), high));
  });
}

void clamp_backward(float* dx, const float* dy, const float* x, int64_t n, float low, float high) {
  for (int64_t i = 0; i < n; ++i) dx[i] = x[i] >= low && x[i] <= high ? dy[i] : 0;
}

}  // namespace

void fill_ref_parts(Kernels& k) {
  k.move_parts = move_parts;
  k.transpose = transpose;
  k.store_rows = store_rows;
  k.load_rows = load_rows;
  k.dequantize_rows = dequantize_rows;
  k.log_softmax = log_softmax;
  k.log_softmax_backward = log_softmax_backward;
  k.l2_normalize_backward = l2_normalize_backward;
  k.dot_rows = dot_rows;
  k.clamp = clamp;
  k.clamp_backward = clamp_backward;
}

}  // namespace tenon
