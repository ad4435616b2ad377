// Row loops for x86-64: SSE2, which every such machine has. Sums are exact, so the bytes equal the portable ones.
#include "vision/resample.h"

#if defined(__SSE2__)
#include <emmintrin.h>

#include <cstring>

namespace tenon::vision::detail {
namespace {

/// Two weights, broadcast: multiply-add with pairs of pixels gives the two products' sum in each 32-bit lane.
__m128i pair_of(const int16_t* weights) {
  int32_t pair;
  std::memcpy(&pair, weights, sizeof(pair));
  return _mm_set1_epi32(pair);
}

/// Rounded 32-bit results from the sums with low and high parts of the weights; wrap-around is exact modulo 2^32.
__m128i joined(__m128i low, __m128i high) {
  const __m128i half = _mm_set1_epi32(1 << (kWeightBits - 1));
  return _mm_srai_epi32(_mm_add_epi32(_mm_add_epi32(_mm_slli_epi32(high, 15), low), half), kWeightBits);
}

/// Pixels of three bytes are read eight bytes at a time and written four, hence kSlack.
void across(uint8_t* y, const uint8_t* x, const Taps& taps, int channels) {
  if (channels != 3) return kPortableRows.across(y, x, taps, channels);
  const __m128i zero = _mm_setzero_si128();
  for (const Taps::Run& run : taps.runs) {
    const uint8_t* in = x + static_cast<size_t>(run.first) * 3;
    const int16_t *low = taps.low.data() + run.offset, *high = taps.high.data() + run.offset;
    __m128i sum_low = zero, sum_high = zero;
    for (int i = 0; i < run.count; i += 2, in += 6) {
      const __m128i both = _mm_loadl_epi64(reinterpret_cast<const __m128i*>(in));  // r0 g0 b0 r1 g1 b1 . .
      const __m128i pairs = _mm_unpacklo_epi8(both, _mm_srli_si128(both, 3));      // r0 r1 g0 g1 b0 b1 . .
      const __m128i wide = _mm_unpacklo_epi8(pairs, zero);
      sum_low = _mm_add_epi32(sum_low, _mm_madd_epi16(wide, pair_of(low + i)));
      sum_high = _mm_add_epi32(sum_high, _mm_madd_epi16(wide, pair_of(high + i)));
    }
    const __m128i words = _mm_packs_epi32(joined(sum_low, sum_high), zero);
    const int32_t pixel = _mm_cvtsi128_si32(_mm_packus_epi16(words, zero));
    std::memcpy(y, &pixel, sizeof(pixel));
    y += 3;
  }
}

void down(uint8_t* y, const uint8_t* x, size_t stride, const Taps& taps, const Taps::Run& run, size_t bytes) {
  const __m128i zero = _mm_setzero_si128();
  size_t at = 0;
  for (; at + 16 <= bytes; at += 16) {
    __m128i low[4] = {zero, zero, zero, zero}, high[4] = {zero, zero, zero, zero};
    for (int i = 0; i < run.count; i += 2) {
      const uint8_t* in = x + static_cast<size_t>(i) * stride + at;
      const __m128i first = _mm_loadu_si128(reinterpret_cast<const __m128i*>(in));
      const __m128i second = i + 1 < run.count ? _mm_loadu_si128(reinterpret_cast<const __m128i*>(in + stride)) : zero;
      const __m128i left = _mm_unpacklo_epi8(first, second), right = _mm_unpackhi_epi8(first, second);
      const __m128i pairs[4] = {_mm_unpacklo_epi8(left, zero), _mm_unpackhi_epi8(left, zero), _mm_unpacklo_epi8(right, zero),
                                _mm_unpackhi_epi8(right, zero)};
      const __m128i w_low = pair_of(taps.low.data() + run.offset + i), w_high = pair_of(taps.high.data() + run.offset + i);
      for (int j = 0; j < 4; ++j) {
        low[j] = _mm_add_epi32(low[j], _mm_madd_epi16(pairs[j], w_low));
        high[j] = _mm_add_epi32(high[j], _mm_madd_epi16(pairs[j], w_high));
      }
    }
    const __m128i words_left = _mm_packs_epi32(joined(low[0], high[0]), joined(low[1], high[1]));
    const __m128i words_right = _mm_packs_epi32(joined(low[2], high[2]), joined(low[3], high[3]));
    _mm_storeu_si128(reinterpret_cast<__m128i*>(y + at), _mm_packus_epi16(words_left, words_right));
  }
  if (at < bytes) kPortableRows.down(y + at, x + at, stride, taps, run, bytes - at);
}

}  // namespace

const RowKernel& row_kernel() {
  static const RowKernel kernel = {across, down};
  return kernel;
}

}  // namespace tenon::vision::detail

#else

namespace tenon::vision::detail {

const RowKernel& row_kernel() { return kPortableRows; }

}  // namespace tenon::vision::detail

#endif
