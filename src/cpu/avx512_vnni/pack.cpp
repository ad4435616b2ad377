// Quantises weights and rows to int8 and lays them out as int8.h draws it.
#include <immintrin.h>

#include "cpu/avx512_vnni/int8.h"
#include "tenon/core/parallel.h"

namespace tenon::avx512_vnni {
namespace {

constexpr float kSmallest = 1e-36f;  // of max |row|: below it 127 / max would overflow, and the row counts as zero

/// Sixteen elements from i on as float32; those outside the mask are 0 and are not read.
__m512 load(const void* x, DType type, int64_t i, __mmask16 mask) {
  if (type == DType::F32) return _mm512_maskz_loadu_ps(mask, static_cast<const float*>(x) + i);
  const __m256i half = _mm256_maskz_loadu_epi16(mask, static_cast<const uint16_t*>(x) + i);
  if (type == DType::F16) return _mm512_cvtph_ps(half);
  return _mm512_castsi512_ps(_mm512_slli_epi32(_mm512_cvtepu16_epi32(half), 16));
}

__mmask16 mask_of(int64_t left) { return left >= kLanes ? 0xffff : static_cast<__mmask16>((1u << left) - 1); }

/// The largest magnitude of n elements from i on. Compared as integers, so that infinities and NaNs win and reach the scale.
float largest(const void* x, DType type, int64_t i, int64_t n) {
  const __m512i magnitude = _mm512_set1_epi32(0x7fffffff);
  __m512i most = _mm512_setzero_si512(), more = most;
  int64_t k = 0;
  for (; k + 2 * kLanes <= n; k += 2 * kLanes) {
    most = _mm512_max_epu32(most, _mm512_and_si512(magnitude, _mm512_castps_si512(load(x, type, i + k, 0xffff))));
    more = _mm512_max_epu32(more, _mm512_and_si512(magnitude, _mm512_castps_si512(load(x, type, i + k + kLanes, 0xffff))));
  }
  for (; k < n; k += kLanes)
    most = _mm512_max_epu32(most, _mm512_and_si512(magnitude, _mm512_castps_si512(load(x, type, i + k, mask_of(n - k)))));
  return _mm_cvtss_f32(_mm_castsi128_ps(_mm_cvtsi32_si128(static_cast<int>(_mm512_reduce_max_epu32(_mm512_max_epu32(most, more))))));
}

void quantize_row(int8_t* q, float* scale, int32_t* offset, const void* x, DType type, int64_t i, int64_t K) {
  const float most = largest(x, type, i, K);
  const bool zero = most < kSmallest;
  *scale = zero ? 1 : most / 127;
  const __m512 inverse = _mm512_set1_ps(zero ? 0 : 127 / most);
  __m512i sum = _mm512_setzero_si512();
  int64_t k = 0;
  for (; k < K; k += kLanes) {
    const __m512i v = _mm512_cvtps_epi32(_mm512_mul_ps(inverse, load(x, type, i + k, mask_of(K - k))));
    sum = _mm512_add_epi32(sum, v);
    _mm_store_si128(reinterpret_cast<__m128i*>(q + k), _mm512_cvtsepi32_epi8(v));
  }
  for (; k < row_stride(K); k += kLanes) _mm_store_si128(reinterpret_cast<__m128i*>(q + k), _mm_setzero_si128());
  *offset = static_cast<int32_t>(static_cast<uint32_t>(_mm512_reduce_add_epi32(sum)) * 128u);  // wraps as the products' sum does
}

/// Writes column n of the weight into its panel. The division, unlike the rows' multiplication, rounds as ref does.
void pack_column(uint8_t* panel, int64_t width, int64_t column, const void* w, DType type, int64_t i, int64_t K, float scale) {
  const __m512 divisor = _mm512_set1_ps(scale);
  for (int64_t k = 0; k < padded_k(K); k += kLanes) {
    const __m512 v = k < K ? load(w, type, i + k, mask_of(K - k)) : _mm512_setzero_ps();
    const __m128i bytes = _mm512_cvtsepi32_epi8(_mm512_cvtps_epi32(_mm512_div_ps(v, divisor)));
    alignas(16) uint32_t fours[4];
    _mm_store_si128(reinterpret_cast<__m128i*>(fours), _mm_xor_si128(bytes, _mm_set1_epi8(-128)));
    for (int f = 0; f < 4; ++f) reinterpret_cast<uint32_t*>(panel)[(k / 4 + f) * width + column] = fours[f];
  }
}

struct PackJob {
  uint8_t* packed;
  float* scale;
  const void* w;
  DType type;
  int64_t N, K;
};

void pack_panels(void* state, int64_t begin, int64_t end) {
  const PackJob& job = *static_cast<const PackJob*>(state);
  for (int64_t p = begin; p < end; ++p) {
    const int64_t first = p * kPanel, left = padded_n(job.N) - first, width = left < kPanel ? left : kPanel;
    uint8_t* panel = job.packed + first * padded_k(job.K);
    for (int64_t column = 0; column < width; ++column) {
      const int64_t n = first + column;
      if (n >= job.N) {
        for (int64_t k = 0; k < padded_k(job.K) / 4; ++k) reinterpret_cast<uint32_t*>(panel)[k * width + column] = 0x80808080u;
        continue;
      }
      const float most = largest(job.w, job.type, n * job.K, job.K);
      job.scale[n] = most < kSmallest ? 1 : most / 127;
      pack_column(panel, width, column, job.w, job.type, n * job.K, job.K, job.scale[n]);
    }
  }
}

}  // namespace

size_t quant_rows_bytes(int64_t M, int64_t K) { return static_cast<size_t>(M * row_stride(K) + M * 8); }

QuantRows quant_rows_at(void* scratch, int64_t M, int64_t K) {
  QuantRows rows;
  rows.q = static_cast<int8_t*>(scratch);
  rows.scale = reinterpret_cast<float*>(rows.q + M * row_stride(K));
  rows.offset = reinterpret_cast<int32_t*>(rows.scale + M);
  return rows;
}

void quantize_rows(const QuantRows& rows, const void* x, DType type, int64_t begin, int64_t end, int64_t K) {
  for (int64_t m = begin; m < end; ++m) quantize_row(rows.q + m * row_stride(K), rows.scale + m, rows.offset + m, x, type, m * K, K);
}

size_t packed_bytes(int64_t N, int64_t K) { return static_cast<size_t>(padded_n(N) * padded_k(K)); }

void pack(void* packed, float* scale, const void* w, DType w_type, int64_t N, int64_t K, int threads) {
  PackJob job{static_cast<uint8_t*>(packed), scale, w, w_type, N, K};
  detail::parallel_for(threads, (N + kPanel - 1) / kPanel, 1, pack_panels, &job);
}

void unpack(float* w, const void* packed, const float* scale, int64_t N, int64_t K) {
  for (int64_t n = 0; n < N; ++n) {
    const int64_t first = n / kPanel * kPanel, left = padded_n(N) - first, width = left < kPanel ? left : kPanel;
    const uint8_t* panel = static_cast<const uint8_t*>(packed) + first * padded_k(K);
    for (int64_t k = 0; k < K; ++k) w[n * K + k] = static_cast<float>(panel[(k / 4 * width + n - first) * 4 + k % 4] - 128) * scale[n];
  }
}

}  // namespace tenon::avx512_vnni
