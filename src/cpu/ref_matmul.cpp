// The ref matmuls. A packed weight is the plain (N,K) matrix in its format.
#include <algorithm>
#include <cmath>
#include <cstring>
#include <type_traits>
#include <vector>

#include "cpu/ref.h"
#include "cpu/scalar.h"
#include "tenon/core/parallel.h"

namespace tenon {
namespace {

using scalar::load;
using scalar::store;
using scalar::with_float;

size_t linear_packed_bytes(WeightFormat format, int64_t N, int64_t K) {
  const size_t size = format == WeightFormat::F32 ? 4 : format == WeightFormat::BF16 ? 2 : 1;
  return size * static_cast<size_t>(N) * static_cast<size_t>(K);
}

void linear_pack(void* packed, float* scale, const void* w, DType w_type, WeightFormat format, int64_t N, int64_t K, int threads) {
  parallel_for(threads, N, 16, [&](int64_t begin, int64_t end) {
    with_float(w_type, [&](auto* tag) {
      using E = std::remove_pointer_t<decltype(tag)>;
      const E* from = static_cast<const E*>(w) + begin * K;
      const int64_t count = (end - begin) * K;
      if (format == WeightFormat::Int8) {
        ref_kernels().quantize_rows(static_cast<int8_t*>(packed) + begin * K, scale + begin, from, end - begin, K, w_type);
      } else if (format == WeightFormat::BF16) {
        ref_kernels().cast(static_cast<bfloat16*>(packed) + begin * K, DType::BF16, from, w_type, count);
      } else {
        ref_kernels().cast(static_cast<float*>(packed) + begin * K, DType::F32, from, w_type, count);
      }
    });
  });
}

void linear_unpack(float* w, const void* packed, const float* scale, WeightFormat format, int64_t N, int64_t K) {
  for (int64_t i = 0; i < N * K; ++i) {
    if (format == WeightFormat::Int8)
      w[i] = static_cast<const int8_t*>(packed)[i] * scale[i / K];
    else if (format == WeightFormat::BF16)
      w[i] = static_cast<const bfloat16*>(packed)[i];
    else
      w[i] = static_cast<const float*>(packed)[i];
  }
}

/// Int4, Fp8: the codes as they came, then the scales (N,G), then the zeros (N,G).
struct RefGroups {
  int64_t N, K, group, G = (K + group - 1) / group;
  bool int4;
  int64_t code_bytes() const { return int4 ? (K + 1) / 2 : K; }
  size_t scales_at() const { return static_cast<size_t>((N * code_bytes() + 63) / 64 * 64); }
  size_t zeros_at() const { return scales_at() + static_cast<size_t>(N * G) * sizeof(float); }
  size_t bytes() const { return zeros_at() + (int4 ? static_cast<size_t>(N * G) : 0); }
};

RefGroups groups_of(WeightFormat format, int64_t N, int64_t K, int64_t group) {
  return {.N = N, .K = K, .group = group, .int4 = format == WeightFormat::Int4};
}

size_t quantized_packed_bytes(WeightFormat format, int64_t N, int64_t K, int64_t group) { return groups_of(format, N, K, group).bytes(); }

void quantized_pack(void* packed, const QuantizedRows& w, int) {
  const RefGroups s = groups_of(w.format, w.N, w.K, w.group);
  auto* to = static_cast<char*>(packed);
  std::memcpy(to, w.q, static_cast<size_t>(s.N * s.code_bytes()));
  std::memcpy(to + s.scales_at(), w.scale, static_cast<size_t>(s.N * s.G) * sizeof(float));
  if (s.int4) std::memcpy(to + s.zeros_at(), w.zero, static_cast<size_t>(s.N * s.G));
}

/// The code of an element less its zero point, to be multiplied by the scale of its group.
float code_at(const RefGroups& s, const void* packed, int64_t n, int64_t k) {
  const auto* p = static_cast<const uint8_t*>(packed);
  if (!s.int4) return f8e4m3_to_float(p[n * s.K + k]);
  const int byte = p[n * s.code_bytes() + k / 2];
  return static_cast<float>((k % 2 ? byte >> 4 : byte & 15) - p[s.zeros_at() + static_cast<size_t>(n * s.G + k / s.group)]);
}
float scale_at(const RefGroups& s, const void* packed, int64_t n, int64_t g) {
  return reinterpret_cast<const float*>(static_cast<const char*>(packed) + s.scales_at())[n * s.G + g];
}

void quantized_unpack(float* w, const void* packed, WeightFormat format, int64_t N, int64_t K, int64_t group) {
  const RefGroups s = groups_of(format, N, K, group);
  for (int64_t n = 0; n < N; ++n)
    for (int64_t k = 0; k < K; ++k) w[n * K + k] = code_at(s, packed, n, k) * scale_at(s, packed, n, k / group);
}

/// Int8: the quantised rows of x, then their scales, aligned.
size_t quantised_bytes(int64_t M, int64_t K) { return (static_cast<size_t>(M) * static_cast<size_t>(K) + 63) / 64 * 64; }

size_t linear_scratch(const LinearCall& c) {
  return c.format == WeightFormat::Int8 ? quantised_bytes(c.M, c.K) + static_cast<size_t>(c.M) * sizeof(float) : 0;
}

template <class Weight, class E>
float dot(const E* x, const Weight* w, int64_t K) {
  double sum = 0;
  for (int64_t k = 0; k < K; ++k) sum += static_cast<double>(load(x + k)) * load(w + k);
  return static_cast<float>(sum);
}

float dot_int8(const int8_t* x, const int8_t* w, int64_t K) {
  int32_t sum = 0;
  for (int64_t k = 0; k < K; ++k) sum += static_cast<int32_t>(x[k]) * w[k];
  return static_cast<float>(sum);
}

/// A row with a grouped weight; with int8_rows the row is rounded first, group by group.
template <class E>
float dot_groups(const RefGroups& s, const void* packed, const E* x, int64_t n, bool int8_rows) {
  double sum = 0;
  for (int64_t g = 0; g < s.G; ++g) {
    const int64_t begin = g * s.group, end = std::min(begin + s.group, s.K);
    float most = 0;
    for (int64_t k = begin; int8_rows && k < end; ++k) most = std::max(most, std::fabs(load(x + k)));
    const float step = most / 127;
    double part = 0;
    for (int64_t k = begin; k < end; ++k) {
      const float v = load(x + k);
      part += static_cast<double>(int8_rows ? (most > 0 ? std::nearbyint(v * (127 / most)) : 0) : v) * code_at(s, packed, n, k);
    }
    sum += part * scale_at(s, packed, n, g) * (int8_rows ? step : 1.0f);
  }
  return static_cast<float>(sum);
}

/// A row as e4m3 codes and their scales have it.
template <class E>
std::vector<double> as_fp8(const E* x, int64_t K, DType type) {
  constexpr int64_t kBlock = 128;
  std::vector<float8> q(static_cast<size_t>(K));
  std::vector<float> scale(static_cast<size_t>((K + kBlock - 1) / kBlock));
  ref_kernels().quantize_blocks_fp8(q.data(), scale.data(), x, 1, K, 1, kBlock, false, type);
  std::vector<double> v(q.size());
  for (size_t k = 0; k < v.size(); ++k) v[k] = static_cast<double>(f8e4m3_to_float(q[k].bits)) * scale[k / kBlock];
  return v;
}
float dot_fp8(const RefGroups& s, const void* packed, const std::vector<double>& x, int64_t n) {
  double sum = 0;
  for (int64_t k = 0; k < s.K; ++k) sum += x[static_cast<size_t>(k)] * code_at(s, packed, n, k) * scale_at(s, packed, n, k / s.group);
  return static_cast<float>(sum);
}

/// One row of y, given product(n) = x_m . w_n.
template <class E, class Product>
void linear_row(const LinearCall& c, int64_t m, Product&& product) {
  E* y = static_cast<E*>(c.y) + m * c.N;
  const E* residual = c.residual ? static_cast<const E*>(c.residual) + m * c.N : nullptr;
  for (int64_t n = 0; n < c.N; ++n) {
    float v = product(n) + (c.bias ? c.bias[n] : 0.0f);
    if (c.act != Activation::None) ref_kernels().activation(&v, &v, 1, c.act, DType::F32);
    store(y + n, residual ? v + load(residual + n) : v);
  }
}

template <class E>
void linear_rows(const LinearCall& c, int64_t begin, int64_t end) {
  for (int64_t m = begin; m < end; ++m) {
    const E* x = static_cast<const E*>(c.x) + m * c.K;
    if (c.format == WeightFormat::F32) {
      linear_row<E>(c, m, [&](int64_t n) { return dot(x, static_cast<const float*>(c.w) + n * c.K, c.K); });
    } else if (c.format == WeightFormat::BF16) {
      linear_row<E>(c, m, [&](int64_t n) { return dot(x, static_cast<const bfloat16*>(c.w) + n * c.K, c.K); });
    } else if (c.format == WeightFormat::Fp8 && c.fp8_rows) {
      const RefGroups groups = groups_of(c.format, c.N, c.K, c.group);
      const std::vector<double> rounded = as_fp8(x, c.K, c.type);
      linear_row<E>(c, m, [&](int64_t n) { return dot_fp8(groups, c.w, rounded, n); });
    } else if (c.format == WeightFormat::Int4 || c.format == WeightFormat::Fp8) {
      const RefGroups groups = groups_of(c.format, c.N, c.K, c.group);
      linear_row<E>(c, m, [&](int64_t n) { return dot_groups(groups, c.w, x, n, c.int8_rows && groups.int4); });
    } else {
      int8_t* q = static_cast<int8_t*>(c.scratch) + m * c.K;
      float* scale = reinterpret_cast<float*>(static_cast<char*>(c.scratch) + quantised_bytes(c.M, c.K)) + m;
      ref_kernels().quantize_rows(q, scale, x, 1, c.K, c.type);
      linear_row<E>(c, m, [&](int64_t n) { return dot_int8(q, static_cast<const int8_t*>(c.w) + n * c.K, c.K) * (*scale * c.w_scale[n]); });
    }
  }
}

void linear(const LinearCall& c) {
  for (int64_t i = 0; i < c.num_blocks; ++i) linear(block_call(c, c.blocks[i]));
  if (c.blocks) return;
  parallel_for(c.threads, c.M, 1, [&](int64_t begin, int64_t end) {
    with_float(c.type, [&](auto* tag) { linear_rows<std::remove_pointer_t<decltype(tag)>>(c, begin, end); });
  });
}

void matmul(const MatmulCall& c) {
  parallel_for(c.threads, c.M, 1, [&](int64_t begin, int64_t end) {
    with_float(c.type, [&](auto* tag) {
      with_float(c.c_type, [&](auto* c_tag) {
        const auto* a = static_cast<decltype(tag)>(const_cast<void*>(c.a));
        const auto* b = static_cast<decltype(tag)>(const_cast<void*>(c.b));
        auto* out = static_cast<decltype(c_tag)>(c.c);
        const int64_t a_row = c.trans_a ? 1 : c.K, a_step = c.trans_a ? c.M : 1;
        const int64_t b_column = c.trans_b ? c.K : 1, b_step = c.trans_b ? 1 : c.N;
        for (int64_t m = begin; m < end; ++m)
          for (int64_t n = 0; n < c.N; ++n) {
            double sum = c.accumulate ? load(out + m * c.N + n) : 0.0f;
            for (int64_t k = 0; k < c.K; ++k)
              sum += static_cast<double>(load(a + m * a_row + k * a_step)) * load(b + n * b_column + k * b_step);
            store(out + m * c.N + n, static_cast<float>(sum));
          }
      });
    });
  });
}

}  // namespace

void fill_ref_matmul(Kernels& k) {
  k.linear_packed_bytes = linear_packed_bytes;
  k.linear_pack = linear_pack;
  k.linear_unpack = linear_unpack;
  k.quantized_packed_bytes = quantized_packed_bytes;
  k.quantized_pack = quantized_pack;
  k.quantized_unpack = quantized_unpack;
  k.linear_scratch = linear_scratch;
  k.linear = linear;
  k.matmul = matmul;
}

}  // namespace tenon
