// Eight float lanes of AVX2 with FMA and F16C: the vocabulary that the bodies in cpu/generic are written in. Included inside the unnamed
// namespace of a file compiled for this set; nothing here has external linkage.

using vf = __m256;
using vm = __m256;  // all bits of a lane set or clear
constexpr int kLanes = 8;
constexpr int kTileRows = 6, kTileVecs = 2;  // 12 accumulators, 2 columns and a broadcast fit in 16 registers

/// All lanes, or the first n of them: 0 < n < kLanes, but any n gives a valid set.
struct Full {};
struct Part {
  __m256i mask;
  int64_t n;
  explicit Part(int64_t count) : n(count > 8 ? 8 : count < 0 ? 0 : count) {
    mask = _mm256_cmpgt_epi32(_mm256_set1_epi32(static_cast<int>(n)), _mm256_setr_epi32(0, 1, 2, 3, 4, 5, 6, 7));
  }
};

inline vf zero() { return _mm256_setzero_ps(); }
inline vf set1(float x) { return _mm256_set1_ps(x); }
inline vf bits1(uint32_t x) { return _mm256_castsi256_ps(_mm256_set1_epi32(static_cast<int>(x))); }

// Lanes outside a Part load as 0 and are not stored; their memory is not touched. There is no masked access to 16 bits: those tails go
// through a few bytes on the stack.
template <class E>
inline __m128i load_bits16(const E* p, const Part& part) {
  alignas(16) uint16_t bits[8] = {};
  __builtin_memcpy(bits, p, static_cast<size_t>(part.n) * 2);
  return _mm_load_si128(reinterpret_cast<const __m128i*>(bits));
}
template <class E>
inline void store_bits16(E* p, __m128i v, const Part& part) {
  alignas(16) uint16_t bits[8];
  _mm_store_si128(reinterpret_cast<__m128i*>(bits), v);
  __builtin_memcpy(static_cast<void*>(p), bits, static_cast<size_t>(part.n) * 2);
}
inline vf widen_bf16(__m128i h) { return _mm256_castsi256_ps(_mm256_slli_epi32(_mm256_cvtepu16_epi32(h), 16)); }
inline vf load(const float* p, Full) { return _mm256_loadu_ps(p); }
inline vf load(const float* p, Part part) { return _mm256_maskload_ps(p, part.mask); }
inline vf load(const bfloat16* p, Full) { return widen_bf16(_mm_loadu_si128(reinterpret_cast<const __m128i*>(p))); }
inline vf load(const bfloat16* p, Part part) { return widen_bf16(load_bits16(p, part)); }
inline vf load(const float16* p, Full) { return _mm256_cvtph_ps(_mm_loadu_si128(reinterpret_cast<const __m128i*>(p))); }
inline vf load(const float16* p, Part part) { return _mm256_cvtph_ps(load_bits16(p, part)); }
inline vf load(const int8_t* p, Part part) {
  int64_t bytes = 0;
  __builtin_memcpy(&bytes, p, static_cast<size_t>(part.n));
  return _mm256_cvtepi32_ps(_mm256_cvtepi8_epi32(_mm_cvtsi64_si128(bytes)));
}
inline vf load(const int8_t* p, Full) {
  return _mm256_cvtepi32_ps(_mm256_cvtepi8_epi32(_mm_loadl_epi64(reinterpret_cast<const __m128i*>(p))));
}
// Numbers of 8 bits load as a 256th of their value, which is what their bits mean in a half float.
inline vf widen_fp8(__m128i b) {
  return _mm256_cvtph_ps(_mm_and_si128(_mm_slli_epi16(_mm_cvtepi8_epi16(b), 7), _mm_set1_epi16(static_cast<int16_t>(0xbf80))));
}
inline vf load(const float8* p, Part part) {
  int64_t bytes = 0;
  __builtin_memcpy(&bytes, p, static_cast<size_t>(part.n));
  return widen_fp8(_mm_cvtsi64_si128(bytes));
}
inline vf load(const float8* p, Full) { return widen_fp8(_mm_loadl_epi64(reinterpret_cast<const __m128i*>(p))); }

inline __m128i narrow_bf16(vf v) {
  const __m256i u = _mm256_castps_si256(v), high = _mm256_srli_epi32(u, 16);
  const __m256i even = _mm256_and_si256(high, _mm256_set1_epi32(1));
  const __m256i rounded = _mm256_srli_epi32(_mm256_add_epi32(u, _mm256_add_epi32(even, _mm256_set1_epi32(0x7fff))), 16);
  const __m256i nan = _mm256_castps_si256(_mm256_cmp_ps(v, v, _CMP_UNORD_Q));
  const __m256i r = _mm256_blendv_epi8(rounded, _mm256_or_si256(high, _mm256_set1_epi32(0x40)), nan);
  return _mm_packus_epi32(_mm256_castsi256_si128(r), _mm256_extracti128_si256(r, 1));
}
inline __m128i narrow_f16(vf v) { return _mm256_cvtps_ph(v, _MM_FROUND_TO_NEAREST_INT | _MM_FROUND_NO_EXC); }

inline void store(float* p, vf v, Full) { _mm256_storeu_ps(p, v); }
inline void store(float* p, vf v, Part part) { _mm256_maskstore_ps(p, part.mask, v); }
inline void store(bfloat16* p, vf v, Full) { _mm_storeu_si128(reinterpret_cast<__m128i*>(p), narrow_bf16(v)); }
inline void store(bfloat16* p, vf v, Part part) { store_bits16(p, narrow_bf16(v), part); }
inline void store(float16* p, vf v, Full) { _mm_storeu_si128(reinterpret_cast<__m128i*>(p), narrow_f16(v)); }
inline void store(float16* p, vf v, Part part) { store_bits16(p, narrow_f16(v), part); }
/// Rounds to nearest even; v is in [-127, 127].
inline int64_t narrow_i8(vf v) {
  const __m256i i = _mm256_cvtps_epi32(v);
  const __m128i words = _mm_packs_epi32(_mm256_castsi256_si128(i), _mm256_extracti128_si256(i, 1));
  return _mm_cvtsi128_si64(_mm_packs_epi16(words, words));
}
inline void store(int8_t* p, vf v, Full) {
  const int64_t bytes = narrow_i8(v);
  __builtin_memcpy(p, &bytes, 8);
}
inline void store(int8_t* p, vf v, Part part) {
  const int64_t bytes = narrow_i8(v);
  __builtin_memcpy(p, &bytes, static_cast<size_t>(part.n));
}
/// The nearest e4m3 as in float_to_f8e4m3(); v is in [-448, 448].
inline int64_t narrow_fp8(vf v) {
  const __m256i bits = _mm256_castps_si256(v);
  const __m256i power = _mm256_max_epi32(_mm256_and_si256(bits, _mm256_set1_epi32(0x7f800000)), _mm256_set1_epi32(0x3c800000));
  const __m256i magic = _mm256_add_epi32(power, _mm256_set1_epi32(20 << 23));
  const __m256i sum = _mm256_castps_si256(_mm256_add_ps(_mm256_castsi256_ps(_mm256_and_si256(bits, _mm256_set1_epi32(0x7fffffff))), _mm256_castsi256_ps(magic)));
  const __m256i code = _mm256_add_epi32(_mm256_sub_epi32(sum, magic), _mm256_sub_epi32(_mm256_srli_epi32(power, 20), _mm256_set1_epi32(121 << 3)));
  const __m256i all = _mm256_or_si256(code, _mm256_and_si256(_mm256_srli_epi32(bits, 24), _mm256_set1_epi32(0x80)));
  const __m128i words = _mm_packus_epi32(_mm256_castsi256_si128(all), _mm256_extracti128_si256(all, 1));
  return _mm_cvtsi128_si64(_mm_packus_epi16(words, words));
}
inline void store(float8* p, vf v, Full) {
  const int64_t bytes = narrow_fp8(v);
  __builtin_memcpy(static_cast<void*>(p), &bytes, 8);
}
inline void store(float8* p, vf v, Part part) {
  const int64_t bytes = narrow_fp8(v);
  __builtin_memcpy(static_cast<void*>(p), &bytes, static_cast<size_t>(part.n));
}

/// v in the lanes of the part, `rest` in the others.
inline vf keep(vf v, Full, vf) { return v; }
inline vf keep(vf v, Part part, vf rest) { return _mm256_blendv_ps(rest, v, _mm256_castsi256_ps(part.mask)); }

inline vf fma(vf a, vf b, vf c) { return _mm256_fmadd_ps(a, b, c); }    // a b + c
inline vf fnma(vf a, vf b, vf c) { return _mm256_fnmadd_ps(a, b, c); }  // c - a b
// A NaN in b is the result, one in a is not.
inline vf max(vf a, vf b) { return _mm256_max_ps(a, b); }
inline vf min(vf a, vf b) { return _mm256_min_ps(a, b); }
inline vf bit_and(vf a, vf b) { return _mm256_and_ps(a, b); }
inline vf bit_or(vf a, vf b) { return _mm256_or_ps(a, b); }
inline vf abs(vf v) { return bit_and(v, bits1(0x7fffffffu)); }
inline vf sqrt(vf v) { return _mm256_sqrt_ps(v); }
inline vm less(vf a, vf b) { return _mm256_cmp_ps(a, b, _CMP_LT_OQ); }
inline vf select(vm m, vf a, vf b) { return _mm256_blendv_ps(b, a, m); }  // m ? a : b

inline float reduce_add(vf v) {
  __m128 x = _mm_add_ps(_mm256_castps256_ps128(v), _mm256_extractf128_ps(v, 1));
  x = _mm_add_ps(x, _mm_movehl_ps(x, x));
  return _mm_cvtss_f32(_mm_add_ss(x, _mm_movehdup_ps(x)));
}
inline float reduce_max(vf v) {
  __m128 x = _mm_max_ps(_mm256_castps256_ps128(v), _mm256_extractf128_ps(v, 1));
  x = _mm_max_ps(x, _mm_movehl_ps(x, x));
  return _mm_cvtss_f32(_mm_max_ss(x, _mm_movehdup_ps(x)));
}

/// The sum of squares of lanes, in double.
struct SquareSum {
  __m256d low = _mm256_setzero_pd(), high = _mm256_setzero_pd();
  void add(vf v) {
    const __m256d a = _mm256_cvtps_pd(_mm256_castps256_ps128(v)), b = _mm256_cvtps_pd(_mm256_extractf128_ps(v, 1));
    low = _mm256_fmadd_pd(a, a, low);
    high = _mm256_fmadd_pd(b, b, high);
  }
  double total() const {
    const __m256d s = _mm256_add_pd(low, high);
    const __m128d half = _mm_add_pd(_mm256_castpd256_pd128(s), _mm256_extractf128_pd(s, 1));
    return _mm_cvtsd_f64(_mm_add_sd(half, _mm_unpackhi_pd(half, half)));
  }
};

inline vf round_even(vf v) { return _mm256_round_ps(v, _MM_FROUND_TO_NEAREST_INT | _MM_FROUND_NO_EXC); }
inline vf power2(__m256i n) { return _mm256_castsi256_ps(_mm256_slli_epi32(_mm256_add_epi32(n, _mm256_set1_epi32(127)), 23)); }
/// p 2^n for integral n in [-252, 252]: in two steps, so that the result may be subnormal or infinite.
inline vf scale2(vf p, vf n) {
  const __m256i i = _mm256_cvtps_epi32(n), half = _mm256_srai_epi32(i, 1);
  return p * power2(half) * power2(_mm256_sub_epi32(i, half));
}
/// x - floor(x), and in `whole` what scale2_floor takes; for x <= 0 or -inf.
inline vf fraction(vf x, vf& whole) {
  x = max(set1(-150.0f), x);
  whole = _mm256_floor_ps(x);
  return x - whole;
}
/// p 2^whole for p in [1, 2]; 0 where that would be subnormal.
inline vf scale2_floor(vf p, vf whole) { return _mm256_andnot_ps(less(whole, set1(-126.0f)), p * power2(_mm256_cvtps_epi32(whole))); }

/// Rows to columns, 32-bit elements.
inline void transpose(vf (&r)[8]) {
  vf t[8];
  for (int i = 0; i < 8; i += 4) {
    const vf a = _mm256_unpacklo_ps(r[i], r[i + 1]), b = _mm256_unpackhi_ps(r[i], r[i + 1]);
    const vf c = _mm256_unpacklo_ps(r[i + 2], r[i + 3]), d = _mm256_unpackhi_ps(r[i + 2], r[i + 3]);
    t[i] = _mm256_shuffle_ps(a, c, 0x44);
    t[i + 1] = _mm256_shuffle_ps(a, c, 0xee);
    t[i + 2] = _mm256_shuffle_ps(b, d, 0x44);
    t[i + 3] = _mm256_shuffle_ps(b, d, 0xee);
  }
  for (int i = 0; i < 4; ++i) {
    r[i] = _mm256_permute2f128_ps(t[i], t[i + 4], 0x20);
    r[i + 4] = _mm256_permute2f128_ps(t[i], t[i + 4], 0x31);
  }
}
