// What quantised weights need of AVX-512 registers of integers. Included after panel_grouped.inl.h.

struct Ops {
  using Register = __m512i;
  static Register zero() { return _mm512_setzero_si512(); }
  static Register load(const char* p) { return _mm512_load_si512(p); }
  static void store(char* p, Register r) { _mm512_store_si512(p, r); }
  static Register broadcast(const char* unit) { return _mm512_set1_epi32(unit_at(unit)); }
  static Register low(Register r) { return _mm512_and_si512(r, _mm512_set1_epi8(15)); }
  static Register high(Register r) { return low(_mm512_srli_epi16(r, 4)); }
  static vf to_float(Register r) { return _mm512_cvtepi32_ps(r); }
  static Register words(Register w, Register x) { return _mm512_maddubs_epi16(w, x); }
  static Register add_words(Register a, Register b) { return _mm512_add_epi16(a, b); }
  static Register add_widened(Register sum, Register words) {
    return _mm512_add_epi32(sum, _mm512_madd_epi16(words, _mm512_set1_epi16(1)));
  }

  static vf nibble(Register r, int shift) {
    return _mm512_cvtepi32_ps(_mm512_and_si512(_mm512_srli_epi32(r, static_cast<unsigned>(shift)), _mm512_set1_epi32(15)));
  }
  static void fp8_pair(const char* p, vf& even, vf& odd) {
    const __m256i pairs = _mm256_load_si256(reinterpret_cast<const __m256i*>(p)), keep = _mm256_set1_epi16(static_cast<int16_t>(0xbf80));
    even = _mm512_cvtph_ps(_mm256_and_si256(_mm256_srai_epi16(_mm256_slli_epi16(pairs, 8), 1), keep));
    odd = _mm512_cvtph_ps(_mm256_and_si256(_mm256_srai_epi16(pairs, 1), keep));
  }
};
