// Eight 64-bit lanes of AVX-512 for random numbers. Included inside the unnamed namespace of a file compiled for this set, after vec.h.

using vw = __m512i;
constexpr int64_t kWideLanes = 8;

inline vw wide1(uint64_t x) { return _mm512_set1_epi64(static_cast<int64_t>(x)); }
/// first, first + 1, ...
inline vw wide_from(uint64_t first) { return _mm512_add_epi64(wide1(first), _mm512_setr_epi64(0, 1, 2, 3, 4, 5, 6, 7)); }
/// The products of the lower halves.
inline vw wide_mul(vw a, vw b) { return _mm512_mul_epu32(a, b); }
inline vw wide_high(vw a) { return _mm512_srli_epi64(a, 32); }
inline vw wide_xor(vw a, vw b, vw c) { return _mm512_ternarylogic_epi64(a, b, c, 0x96); }

/// The lower halves of lane i of a, b, c and d at to + 8 i, as pairs of 16 bits.
inline void store_words(uint16_t* to, vw a, vw b, vw c, vw d) {
  const __mmask16 odd = 0xaaaa;
  const vw ab = _mm512_mask_blend_epi32(odd, a, _mm512_slli_epi64(b, 32)), cd = _mm512_mask_blend_epi32(odd, c, _mm512_slli_epi64(d, 32));
  _mm512_storeu_si512(to, _mm512_permutex2var_epi64(ab, _mm512_setr_epi64(0, 8, 1, 9, 2, 10, 3, 11), cd));
  _mm512_storeu_si512(to + 32, _mm512_permutex2var_epi64(ab, _mm512_setr_epi64(4, 12, 5, 13, 6, 14, 7, 15), cd));
}

/// The lanes whose number lies below a bound.
inline vm below(const uint16_t* numbers, uint32_t bound) {
  return _mm512_cmplt_epu32_mask(_mm512_cvtepu16_epi32(_mm256_loadu_si256(reinterpret_cast<const __m256i*>(numbers))),
                                 _mm512_set1_epi32(static_cast<int>(bound)));
}
