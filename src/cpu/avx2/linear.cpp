// AVX2: the linear over float32, bf16 and int8 weights.
#include <immintrin.h>

#include "cpu/fillers.h"
#include "tenon/core/parallel.h"

namespace tenon::cpu::avx2 {
namespace {

constexpr int kRowBlock = 6, kRegisters = 2;  // 12 sums, 2 weights, a broadcast and a product fit into 16 registers
constexpr int kChunkBytes = 96 << 10;         // many of these processors have 256 KB of second cache

// Each builds on the ones before.
// clang-format off
#include "cpu/avx2/vec.h"
#include "cpu/generic/math.inl.h"
#include "cpu/generic/panel.inl.h"
#include "cpu/generic/panel_float.inl.h"
// clang-format on

/// Two values of k to a unit, as 16-bit integers: vpmaddubsw, which takes bytes, would saturate.
struct Int8 {
  static constexpr WeightFormat kFormat = WeightFormat::Int8;
  static constexpr int kPerUnit = 2, kWeightBytes = 2;
  static constexpr bool kScaled = true, kFine = true;
  static constexpr float kSmallest = 1e-36f;  // of max |row|: below it 127 / max would overflow, and the row counts as zero
  using Sum = __m256i;
  using Weights = __m256i;

  static __m256i zero_sum() { return _mm256_setzero_si256(); }
  static __m256i load_weights(const char* p) { return _mm256_cvtepi8_epi16(_mm_loadu_si128(reinterpret_cast<const __m128i*>(p))); }
  static __m256i broadcast(const char* unit) { return _mm256_set1_epi32(unit_at(unit)); }
  static __m256i multiply_add(__m256i sum, __m256i w, __m256i x) { return _mm256_add_epi32(sum, _mm256_madd_epi16(w, x)); }
  static __m256i add(__m256i a, __m256i b) { return _mm256_add_epi32(a, b); }
  static __m256i load_sum(const char* p) { return _mm256_load_si256(reinterpret_cast<const __m256i*>(p)); }
  static void store_sum(char* p, __m256i sum) { _mm256_store_si256(reinterpret_cast<__m256i*>(p), sum); }
  static vf value(__m256i sum, vf scale, vf bias, const RowsView& x, int64_t row) {
    return fma(_mm256_cvtepi32_ps(sum), scale * set1(x.scale[row]), bias);
  }

  static float scale_of(const void* x, DType type, int64_t i, int64_t n) {
    const float most = largest(x, type, i, n);
    return most < kSmallest ? 1 : most / 127;
  }
  /// Sixteen values from k on as 16-bit integers in order.
  template <class Scaled>
  static __m256i words(const void* x, DType type, int64_t i, int64_t k, int64_t K, Scaled&& scaled) {
    const __m256i a = _mm256_cvtps_epi32(scaled(load_as(x, type, i + k, K - k)));
    const __m256i b = _mm256_cvtps_epi32(scaled(load_as(x, type, i + k + kLanes, K - k - kLanes)));
    return _mm256_permute4x64_epi64(_mm256_packs_epi32(a, b), 0xd8);
  }
  static vf weight_units(const void* w, DType type, int64_t i, int64_t k, int64_t K, float scale) {
    const __m256i q = words(w, type, i, k, K, [&](vf v) { return v / set1(scale); });
    const __m128i bytes = _mm_packs_epi16(_mm256_castsi256_si128(q), _mm256_extracti128_si256(q, 1));
    return _mm256_castsi256_ps(_mm256_cvtepu16_epi32(bytes));
  }
  static vf no_weight() { return zero(); }
  static void store_units(char* to, vf v) {
    const __m256i u = _mm256_castps_si256(v);
    _mm_storeu_si128(reinterpret_cast<__m128i*>(to), _mm_packus_epi32(_mm256_castsi256_si128(u), _mm256_extracti128_si256(u, 1)));
  }
  static float weight(const char* unit, int64_t k, const float* scale, int64_t n) {
    return static_cast<float>(static_cast<int8_t>(unit[k])) * scale[n];
  }

  static bool reads(DType) { return false; }
  static void prepare_row(const RowsView& rows, int64_t m, const void* x, DType type, int64_t K) {
    const float most = largest(x, type, m * K, K);
    rows.scale[m] = most < kSmallest ? 1 : most / 127;
    const vf inverse = set1(most < kSmallest ? 0 : 127 / most);
    int16_t* to = reinterpret_cast<int16_t*>(rows.data + m * rows.stride);
    for (int64_t k = 0; k < rows.stride / 2; k += 2 * kLanes)
      _mm256_store_si256(reinterpret_cast<__m256i*>(to + k), words(x, type, m * K, k, K, [&](vf v) { return v * inverse; }));
  }

 private:
  /// The largest magnitude; as integers, so that infinities and NaNs win and reach the scale.
  static float largest(const void* x, DType type, int64_t i, int64_t n) {
    __m256i most = _mm256_setzero_si256();
    for (int64_t k = 0; k < n; k += kLanes) most = _mm256_max_epi32(most, _mm256_castps_si256(abs(load_as(x, type, i + k, n - k))));
    alignas(32) int32_t lanes[kLanes];
    _mm256_store_si256(reinterpret_cast<__m256i*>(lanes), most);
    int32_t bits = 0;
    for (const int32_t lane : lanes) bits = bits < lane ? lane : bits;
    float value;
    __builtin_memcpy(&value, &bits, 4);
    return value;
  }
};

}  // namespace

void fill_linear(Kernels& k) {
  Entries<Float32>::fill(k);
  Entries<WidenedBfloat16>::fill(k);
  Entries<Int8>::fill(k);
}

}  // namespace tenon::cpu::avx2
