// The ref kernels of float8 factors: quantisation by blocks, and products that are brought to scale block by block.
#include <algorithm>
#include <array>
#include <cmath>
#include <type_traits>
#include <vector>

#include "cpu/ref.h"
#include "cpu/scalar.h"
#include "tenon/core/parallel.h"

namespace tenon {
namespace {

using scalar::load;
using scalar::with_float;

int64_t blocks_of(int64_t n, int64_t block) { return (n + block - 1) / block; }

void quantize_blocks_fp8(float8* q, float* scale, const void* x, int64_t N, int64_t C, int64_t rows, int64_t columns, bool transposed, DType type) {
  const int64_t P = transposed ? C : N, Q = transposed ? N : C;  // of q
  with_float(type, [&](auto* tag) {
    const auto* from = static_cast<const std::remove_pointer_t<decltype(tag)>*>(x);
    const auto element = [&](int64_t p, int64_t i) { return load(transposed ? from + i * C + p : from + p * C + i); };
    for (int64_t p0 = 0; p0 < P; p0 += rows)
      for (int64_t q0 = 0; q0 < Q; q0 += columns) {
        const int64_t p1 = std::min(p0 + rows, P), q1 = std::min(q0 + columns, Q);
        float largest = 0;
        for (int64_t p = p0; p < p1; ++p)
          for (int64_t i = q0; i < q1; ++i) largest = std::max(largest, std::fabs(element(p, i)));
        const float s = largest / 448 > 0 ? largest / 448 : 1;
        scale[p0 / rows * blocks_of(Q, columns) + q0 / columns] = s;
        for (int64_t p = p0; p < p1; ++p)
          for (int64_t i = q0; i < q1; ++i) q[p * Q + i] = {float_to_f8e4m3(element(p, i) / s)};
      }
  });
}

const std::array<float, 256>& values() {
  static const std::array<float, 256> table = [] {
    std::array<float, 256> t{};
    for (size_t i = 0; i < t.size(); ++i) t[i] = f8e4m3_to_float(static_cast<uint8_t>(i));
    return t;
  }();
  return table;
}

/// In sums of their own, which need not wait for each other.
float dot(const float* a, const float* b, int64_t n) {
  constexpr int64_t kSums = 8;
  float sum[kSums] = {};
  int64_t k = 0;
  for (; k + kSums <= n; k += kSums)
    for (int64_t i = 0; i < kSums; ++i) sum[i] += a[k + i] * b[k + i];
  for (; k < n; ++k) sum[0] += a[k] * b[k];
  return ((sum[0] + sum[1]) + (sum[2] + sum[3])) + ((sum[4] + sum[5]) + (sum[6] + sum[7]));
}

void fp8_matmul(const Fp8MatmulCall& c) {
  const int64_t G = blocks_of(c.K, c.block);
  const std::array<float, 256>& value = values();
  // Threads share the columns out: each widens its rows of b once.
  parallel_for(c.threads, c.N, 1, [&](int64_t begin, int64_t end) {
    constexpr int64_t kTile = 64;
    std::vector<float> a(static_cast<size_t>(c.K)), b(static_cast<size_t>(kTile * c.K));
    for (int64_t n0 = begin; n0 < end; n0 += kTile) {
      const int64_t n1 = std::min(end, n0 + kTile);
      for (int64_t i = 0; i < (n1 - n0) * c.K; ++i) b[static_cast<size_t>(i)] = value[c.b[n0 * c.K + i].bits];
      for (int64_t m = 0; m < c.M; ++m) {
        for (int64_t k = 0; k < c.K; ++k) a[static_cast<size_t>(k)] = value[c.a[m * c.K + k].bits];
        for (int64_t n = n0; n < n1; ++n) {
          float sum = 0;
          for (int64_t g = 0; g < G; ++g) {
            const int64_t k = g * c.block, count = std::min(c.block, c.K - k);
            sum += dot(a.data() + k, b.data() + (n - n0) * c.K + k, count) * (c.a_scale[m / c.a_rows * G + g] * c.b_scale[n / c.b_rows * G + g]);
          }
          with_float(c.c_type, [&](auto* tag) {
            auto* to = static_cast<decltype(tag)>(c.c) + m * c.N + n;
            scalar::store(to, c.accumulate ? load(to) + sum : sum);
          });
        }
      }
    }
  });
}

}  // namespace

void fill_ref_fp8(Kernels& k) {
  k.quantize_blocks_fp8 = quantize_blocks_fp8;
  k.fp8_matmul = fp8_matmul;
}

}  // namespace tenon
