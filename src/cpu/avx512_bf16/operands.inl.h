// Attention over bf16: how its operands are made, two neighbours in a unit. Included after attention.inl.h.

template <class MultiplyPairs>
struct Bf16Operands {
  using Element = bfloat16;
  using Multiply = MultiplyPairs;
  static constexpr int64_t kPer = 2;
  static constexpr bool kFewTerms = true;

  static vf load_units(const bfloat16* row, int64_t u, int64_t D) {
    const int64_t left = D - 2 * u;
    const __mmask32 mask = left >= 32 ? 0xffffffffu : left > 0 ? (1u << left) - 1 : 0;
    return _mm512_castsi512_ps(_mm512_maskz_loadu_epi16(mask, row + 2 * u));
  }
  static __m256i load_bits(const bfloat16* p, Full) { return _mm256_loadu_si256(reinterpret_cast<const __m256i*>(p)); }
  static __m256i load_bits(const bfloat16* p, Part part) { return _mm256_maskz_loadu_epi16(part.mask, p); }
  template <class P>
  static vf load_value_units(const bfloat16* row, const bfloat16* next, int64_t d, P part) {
    const __m512i low = _mm512_cvtepu16_epi32(load_bits(row + d, part));
    if (!next) return _mm512_castsi512_ps(low);
    return _mm512_castsi512_ps(_mm512_or_si512(low, _mm512_slli_epi32(_mm512_cvtepu16_epi32(load_bits(next + d, part)), 16)));
  }
  /// Over the scores of the same row: 16 weights take half the bytes, so nothing unread is overwritten.
  static void store_weights(float* row, int64_t i, vf p) { store(reinterpret_cast<bfloat16*>(row) + i, p, Full{}); }
};
