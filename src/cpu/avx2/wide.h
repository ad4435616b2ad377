// Four 64-bit lanes of AVX2 for random numbers. Included inside the unnamed namespace of a file compiled for this set, after vec.h.

using vw = __m256i;
constexpr int64_t kWideLanes = 4;

inline vw wide1(uint64_t x) { return _mm256_set1_epi64x(static_cast<int64_t>(x)); }
/// first, first + 1, ...
inline vw wide_from(uint64_t first) { return _mm256_add_epi64(wide1(first), _mm256_setr_epi64x(0, 1, 2, 3)); }
/// The products of the lower halves.
inline vw wide_mul(vw a, vw b) { return _mm256_mul_epu32(a, b); }
inline vw wide_high(vw a) { return _mm256_srli_epi64(a, 32); }
inline vw wide_xor(vw a, vw b, vw c) { return _mm256_xor_si256(_mm256_xor_si256(a, b), c); }

/// The lower halves of lane i of a, b, c and d at to + 8 i, as pairs of 16 bits.
inline void store_words(uint16_t* to, vw a, vw b, vw c, vw d) {
  const vw ab = _mm256_blend_epi32(a, _mm256_slli_epi64(b, 32), 0xaa), cd = _mm256_blend_epi32(c, _mm256_slli_epi64(d, 32), 0xaa);
  const vw even = _mm256_unpacklo_epi64(ab, cd), odd = _mm256_unpackhi_epi64(ab, cd);
  _mm256_storeu_si256(reinterpret_cast<__m256i*>(to), _mm256_permute2x128_si256(even, odd, 0x20));
  _mm256_storeu_si256(reinterpret_cast<__m256i*>(to + 16), _mm256_permute2x128_si256(even, odd, 0x31));
}

/// The lanes whose number lies below a bound.
inline vm below(const uint16_t* numbers, uint32_t bound) {
  const __m256i n = _mm256_cvtepu16_epi32(_mm_loadu_si128(reinterpret_cast<const __m128i*>(numbers)));
  return _mm256_castsi256_ps(_mm256_cmpgt_epi32(_mm256_set1_epi32(static_cast<int>(bound)), n));
}
