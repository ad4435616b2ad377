// Sixteen float lanes of AVX-512 (f, bw, dq, vl): the vocabulary that the bodies in cpu/generic are written in. Included inside the
// unnamed namespace of a file compiled for this set; nothing here has external linkage.

using vf = __m512;
using vm = __mmask16;
constexpr int kLanes = 16;
constexpr int kTileRows = 6, kTileVecs = 4;  // 24 accumulators, 4 columns and a broadcast fit in 32 registers

/// All lanes, or the first n of them: 0 < n < kLanes, but any n gives a valid set.
struct Full {};
struct Part {
  vm mask;
  explicit Part(int64_t n) : mask(static_cast<vm>(n >= 16 ? 0xffff : n > 0 ? (1u << n) - 1 : 0)) {}
};

inline vf zero() { return _mm512_setzero_ps(); }
inline vf set1(float x) { return _mm512_set1_ps(x); }
inline vf bits1(uint32_t x) { return _mm512_castsi512_ps(_mm512_set1_epi32(static_cast<int>(x))); }

// Lanes outside a Part load as 0 and are not stored; their memory is not touched.
inline vf load(const float* p, Full) { return _mm512_loadu_ps(p); }
inline vf load(const float* p, Part part) { return _mm512_maskz_loadu_ps(part.mask, p); }
inline vf widen_bf16(__m256i h) { return _mm512_castsi512_ps(_mm512_slli_epi32(_mm512_cvtepu16_epi32(h), 16)); }
inline vf load(const bfloat16* p, Full) { return widen_bf16(_mm256_loadu_si256(reinterpret_cast<const __m256i*>(p))); }
inline vf load(const bfloat16* p, Part part) { return widen_bf16(_mm256_maskz_loadu_epi16(part.mask, p)); }
inline vf load(const float16* p, Full) { return _mm512_cvtph_ps(_mm256_loadu_si256(reinterpret_cast<const __m256i*>(p))); }
inline vf load(const float16* p, Part part) { return _mm512_cvtph_ps(_mm256_maskz_loadu_epi16(part.mask, p)); }
inline vf load(const int8_t* p, Full) {
  return _mm512_cvtepi32_ps(_mm512_cvtepi8_epi32(_mm_loadu_si128(reinterpret_cast<const __m128i*>(p))));
}
inline vf load(const int8_t* p, Part part) { return _mm512_cvtepi32_ps(_mm512_cvtepi8_epi32(_mm_maskz_loadu_epi8(part.mask, p))); }

// Numbers of 8 bits load as a 256th of their value, which is what their bits mean in a half float.
inline vf widen_fp8(__m128i b) {
  return _mm512_cvtph_ps(_mm256_and_si256(_mm256_slli_epi16(_mm256_cvtepi8_epi16(b), 7), _mm256_set1_epi16(static_cast<int16_t>(0xbf80))));
}
inline vf load(const float8* p, Full) { return widen_fp8(_mm_loadu_si128(reinterpret_cast<const __m128i*>(p))); }
inline vf load(const float8* p, Part part) { return widen_fp8(_mm_maskz_loadu_epi8(part.mask, p)); }

#ifdef TENON_VEC_BF16
// The instruction flushes subnormals to zero, which no activation notices; casts are not compiled this way.
inline __m256i narrow_bf16(vf v) { return reinterpret_cast<__m256i>(_mm512_cvtneps_pbh(v)); }
#else
inline __m256i narrow_bf16(vf v) {
  const __m512i u = _mm512_castps_si512(v), high = _mm512_srli_epi32(u, 16);
  const __m512i even = _mm512_and_si512(high, _mm512_set1_epi32(1));
  const __m512i rounded = _mm512_srli_epi32(_mm512_add_epi32(u, _mm512_add_epi32(even, _mm512_set1_epi32(0x7fff))), 16);
  const vm nan = _mm512_cmp_ps_mask(v, v, _CMP_UNORD_Q);
  return _mm512_cvtepi32_epi16(_mm512_mask_or_epi32(rounded, nan, high, _mm512_set1_epi32(0x40)));
}
#endif
inline __m256i narrow_f16(vf v) { return _mm512_cvtps_ph(v, _MM_FROUND_TO_NEAREST_INT | _MM_FROUND_NO_EXC); }

inline void store(float* p, vf v, Full) { _mm512_storeu_ps(p, v); }
inline void store(float* p, vf v, Part part) { _mm512_mask_storeu_ps(p, part.mask, v); }
inline void store(bfloat16* p, vf v, Full) { _mm256_storeu_si256(reinterpret_cast<__m256i*>(p), narrow_bf16(v)); }
inline void store(bfloat16* p, vf v, Part part) { _mm256_mask_storeu_epi16(p, part.mask, narrow_bf16(v)); }
inline void store(float16* p, vf v, Full) { _mm256_storeu_si256(reinterpret_cast<__m256i*>(p), narrow_f16(v)); }
inline void store(float16* p, vf v, Part part) { _mm256_mask_storeu_epi16(p, part.mask, narrow_f16(v)); }
/// Rounds to nearest even; v is in [-127, 127].
inline __m128i narrow_i8(vf v) { return _mm512_cvtepi32_epi8(_mm512_cvtps_epi32(v)); }
inline void store(int8_t* p, vf v, Full) { _mm_storeu_si128(reinterpret_cast<__m128i*>(p), narrow_i8(v)); }
inline void store(int8_t* p, vf v, Part part) { _mm_mask_storeu_epi8(p, part.mask, narrow_i8(v)); }
/// The nearest e4m3 as in float_to_f8e4m3(); v is in [-448, 448].
inline __m128i narrow_fp8(vf v) {
  const __m512i bits = _mm512_castps_si512(v);
  const __m512i power = _mm512_max_epi32(_mm512_and_si512(bits, _mm512_set1_epi32(0x7f800000)), _mm512_set1_epi32(0x3c800000));
  const __m512i magic = _mm512_add_epi32(power, _mm512_set1_epi32(20 << 23));
  const __m512i sum = _mm512_castps_si512(_mm512_add_ps(_mm512_castsi512_ps(_mm512_and_si512(bits, _mm512_set1_epi32(0x7fffffff))), _mm512_castsi512_ps(magic)));
  const __m512i code = _mm512_add_epi32(_mm512_sub_epi32(sum, magic), _mm512_sub_epi32(_mm512_srli_epi32(power, 20), _mm512_set1_epi32(121 << 3)));
  return _mm512_cvtepi32_epi8(_mm512_or_si512(code, _mm512_and_si512(_mm512_srli_epi32(bits, 24), _mm512_set1_epi32(0x80))));
}
inline void store(float8* p, vf v, Full) { _mm_storeu_si128(reinterpret_cast<__m128i*>(p), narrow_fp8(v)); }
inline void store(float8* p, vf v, Part part) { _mm_mask_storeu_epi8(p, part.mask, narrow_fp8(v)); }

/// v in the lanes of the part, `rest` in the others.
inline vf keep(vf v, Full, vf) { return v; }
inline vf keep(vf v, Part part, vf rest) { return _mm512_mask_blend_ps(part.mask, rest, v); }

inline vf fma(vf a, vf b, vf c) { return _mm512_fmadd_ps(a, b, c); }    // a b + c
inline vf fnma(vf a, vf b, vf c) { return _mm512_fnmadd_ps(a, b, c); }  // c - a b
// A NaN in b is the result, one in a is not.
inline vf max(vf a, vf b) { return _mm512_max_ps(a, b); }
inline vf min(vf a, vf b) { return _mm512_min_ps(a, b); }
inline vf abs(vf v) { return _mm512_abs_ps(v); }
inline vf sqrt(vf v) { return _mm512_sqrt_ps(v); }
inline vf bit_and(vf a, vf b) { return _mm512_and_ps(a, b); }
inline vf bit_or(vf a, vf b) { return _mm512_or_ps(a, b); }
inline vm less(vf a, vf b) { return _mm512_cmp_ps_mask(a, b, _CMP_LT_OQ); }
inline vf select(vm m, vf a, vf b) { return _mm512_mask_blend_ps(m, b, a); }  // m ? a : b

inline float reduce_add(vf v) { return _mm512_reduce_add_ps(v); }
inline float reduce_max(vf v) { return _mm512_reduce_max_ps(v); }

/// The sum of squares of lanes, in double.
struct SquareSum {
  __m512d low = _mm512_setzero_pd(), high = _mm512_setzero_pd();
  void add(vf v) {
    const __m512d a = _mm512_cvtps_pd(_mm512_castps512_ps256(v)), b = _mm512_cvtps_pd(_mm512_extractf32x8_ps(v, 1));
    low = _mm512_fmadd_pd(a, a, low);
    high = _mm512_fmadd_pd(b, b, high);
  }
  double total() const { return _mm512_reduce_add_pd(_mm512_add_pd(low, high)); }
};

inline vf round_even(vf v) { return _mm512_roundscale_ps(v, _MM_FROUND_TO_NEAREST_INT | _MM_FROUND_NO_EXC); }
/// p 2^n for integral n; over- and underflow as they should.
inline vf scale2(vf p, vf n) { return _mm512_scalef_ps(p, n); }
/// x - floor(x), and in `whole` what scale2_floor takes; for x <= 0 or -inf.
inline vf fraction(vf x, vf& whole) {
  whole = x;  // the scaling takes the floor itself
  return _mm512_reduce_ps(x, _MM_FROUND_TO_NEG_INF | _MM_FROUND_NO_EXC);
}
/// p 2^whole for p in [1, 2].
inline vf scale2_floor(vf p, vf whole) { return _mm512_scalef_ps(p, whole); }

/// Rows to columns, 32-bit elements.
inline void transpose(vf (&r)[16]) {
  vf t[16];
  for (int i = 0; i < 16; i += 4) {
    const vf a = _mm512_unpacklo_ps(r[i], r[i + 1]), b = _mm512_unpackhi_ps(r[i], r[i + 1]);
    const vf c = _mm512_unpacklo_ps(r[i + 2], r[i + 3]), d = _mm512_unpackhi_ps(r[i + 2], r[i + 3]);
    t[i] = _mm512_castpd_ps(_mm512_unpacklo_pd(_mm512_castps_pd(a), _mm512_castps_pd(c)));
    t[i + 1] = _mm512_castpd_ps(_mm512_unpackhi_pd(_mm512_castps_pd(a), _mm512_castps_pd(c)));
    t[i + 2] = _mm512_castpd_ps(_mm512_unpacklo_pd(_mm512_castps_pd(b), _mm512_castps_pd(d)));
    t[i + 3] = _mm512_castpd_ps(_mm512_unpackhi_pd(_mm512_castps_pd(b), _mm512_castps_pd(d)));
  }
  for (int i = 0; i < 4; ++i) {  // t[i], t[i + 4], ...: column 4 q + i of four rows in quarter q
    const vf a = _mm512_shuffle_f32x4(t[i], t[i + 4], 0x44), b = _mm512_shuffle_f32x4(t[i], t[i + 4], 0xee);
    const vf c = _mm512_shuffle_f32x4(t[i + 8], t[i + 12], 0x44), d = _mm512_shuffle_f32x4(t[i + 8], t[i + 12], 0xee);
    r[i] = _mm512_shuffle_f32x4(a, c, 0x88);
    r[i + 4] = _mm512_shuffle_f32x4(a, c, 0xdd);
    r[i + 8] = _mm512_shuffle_f32x4(b, d, 0x88);
    r[i + 12] = _mm512_shuffle_f32x4(b, d, 0xdd);
  }
}
