// Four float lanes of Arm's Advanced SIMD (64-bit): the vocabulary that the bodies in cpu/generic are written in. Included inside the
// unnamed namespace of a file compiled for this set; nothing here has external linkage.

using vf = float32x4_t;
using vm = uint32x4_t;  // all bits of a lane set or clear
constexpr int kLanes = 4;
constexpr int kTileRows = 6, kTileVecs = 4;  // 24 accumulators, 4 columns and a broadcast fit in 32 registers

/// All lanes, or the first n of them: 0 < n < kLanes, but any n gives a valid set.
struct Full {};
struct Part {
  int64_t n;
  explicit Part(int64_t count) : n(count > 4 ? 4 : count < 0 ? 0 : count) {}
};

inline vf zero() { return vdupq_n_f32(0); }
inline vf set1(float x) { return vdupq_n_f32(x); }
inline vf bits1(uint32_t x) { return vreinterpretq_f32_u32(vdupq_n_u32(x)); }

// Lanes outside a Part load as 0 and are not stored; their memory is not touched. There is no masked access: tails go through a few
// bytes on the stack.
template <class Element, int n, class E>
inline void copy_part(Element (&to)[n], const E* from, Part part) {
  static_assert(sizeof(Element) == sizeof(E));
  __builtin_memcpy(to, from, static_cast<size_t>(part.n) * sizeof(E));
}
inline vf widen_bf16(uint16x4_t h) { return vreinterpretq_f32_u32(vshll_n_u16(h, 16)); }
inline vf widen_f16(uint16x4_t h) { return vcvt_f32_f16(vreinterpret_f16_u16(h)); }
inline uint16x4_t load_bits16(const void* p) { return vreinterpret_u16_u8(vld1_u8(static_cast<const uint8_t*>(p))); }
template <class E>
inline uint16x4_t load_bits16(const E* p, Part part) {
  uint16_t bits[4] = {};
  copy_part(bits, p, part);
  return vld1_u16(bits);
}
inline vf load(const float* p, Full) { return vld1q_f32(p); }
inline vf load(const float* p, Part part) {
  float lanes[4] = {};
  copy_part(lanes, p, part);
  return vld1q_f32(lanes);
}
inline vf load(const bfloat16* p, Full) { return widen_bf16(load_bits16(p)); }
inline vf load(const bfloat16* p, Part part) { return widen_bf16(load_bits16(p, part)); }
inline vf load(const float16* p, Full) { return widen_f16(load_bits16(p)); }
inline vf load(const float16* p, Part part) { return widen_f16(load_bits16(p, part)); }
inline vf load(const int8_t* p, Part part) {
  int8_t bytes[8] = {};
  __builtin_memcpy(bytes, p, static_cast<size_t>(part.n));
  return vcvtq_f32_s32(vmovl_s16(vget_low_s16(vmovl_s8(vld1_s8(bytes)))));
}
inline vf load(const int8_t* p, Full) { return load(p, Part(4)); }
// Numbers of 8 bits load as a 256th of their value, which is what their bits mean in a half float.
inline vf load(const float8* p, Part part) {
  int8_t bytes[8] = {};
  __builtin_memcpy(bytes, p, static_cast<size_t>(part.n));
  const uint16x4_t half = vreinterpret_u16_s16(vget_low_s16(vmovl_s8(vld1_s8(bytes))));
  return widen_f16(vand_u16(vshl_n_u16(half, 7), vdup_n_u16(0xbf80)));
}
inline vf load(const float8* p, Full) { return load(p, Part(4)); }

inline uint16x4_t narrow_bf16(vf v) {
  const uint32x4_t u = vreinterpretq_u32_f32(v), high = vshrq_n_u32(u, 16);
  const uint32x4_t rounded = vshrq_n_u32(vaddq_u32(u, vaddq_u32(vandq_u32(high, vdupq_n_u32(1)), vdupq_n_u32(0x7fff))), 16);
  return vmovn_u32(vbslq_u32(vceqq_f32(v, v), rounded, vorrq_u32(high, vdupq_n_u32(0x40))));
}
inline uint16x4_t narrow_f16(vf v) { return vreinterpret_u16_f16(vcvt_f16_f32(v)); }

inline void store_bits16(void* p, uint16x4_t v) { vst1_u8(static_cast<uint8_t*>(p), vreinterpret_u8_u16(v)); }
inline void store_bits16(void* p, uint16x4_t v, Part part) {
  uint16_t bits[4];
  vst1_u16(bits, v);
  __builtin_memcpy(p, bits, static_cast<size_t>(part.n) * 2);
}
inline void store(float* p, vf v, Full) { vst1q_f32(p, v); }
inline void store(float* p, vf v, Part part) {
  float lanes[4];
  vst1q_f32(lanes, v);
  __builtin_memcpy(p, lanes, static_cast<size_t>(part.n) * 4);
}
inline void store(bfloat16* p, vf v, Full) { store_bits16(p, narrow_bf16(v)); }
inline void store(bfloat16* p, vf v, Part part) { store_bits16(p, narrow_bf16(v), part); }
inline void store(float16* p, vf v, Full) { store_bits16(p, narrow_f16(v)); }
inline void store(float16* p, vf v, Part part) { store_bits16(p, narrow_f16(v), part); }
/// Rounds to nearest even; v is in [-127, 127].
inline void store(int8_t* p, vf v, Part part) {
  const int16x4_t words = vmovn_s32(vcvtnq_s32_f32(v));
  int8_t bytes[8];
  vst1_s8(bytes, vmovn_s16(vcombine_s16(words, words)));
  __builtin_memcpy(p, bytes, static_cast<size_t>(part.n));
}
inline void store(int8_t* p, vf v, Full) { store(p, v, Part(4)); }
/// The nearest e4m3 as in float_to_f8e4m3(); v is in [-448, 448].
inline void store(float8* p, vf v, Part part) {
  const uint32x4_t bits = vreinterpretq_u32_f32(v);
  const uint32x4_t power = vmaxq_u32(vandq_u32(bits, vdupq_n_u32(0x7f800000)), vdupq_n_u32(0x3c800000));
  const uint32x4_t magic = vaddq_u32(power, vdupq_n_u32(20u << 23));
  const uint32x4_t sum = vreinterpretq_u32_f32(vaddq_f32(vabsq_f32(v), vreinterpretq_f32_u32(magic)));
  const uint32x4_t code = vaddq_u32(vsubq_u32(sum, magic), vsubq_u32(vshrq_n_u32(power, 20), vdupq_n_u32(121u << 3)));
  const uint16x4_t words = vmovn_u32(vorrq_u32(code, vandq_u32(vshrq_n_u32(bits, 24), vdupq_n_u32(0x80))));
  uint8_t bytes[8];
  vst1_u8(bytes, vmovn_u16(vcombine_u16(words, words)));
  __builtin_memcpy(static_cast<void*>(p), bytes, static_cast<size_t>(part.n));
}
inline void store(float8* p, vf v, Full) { store(p, v, Part(4)); }

/// v in the lanes of the part, `rest` in the others.
inline vf keep(vf v, Full, vf) { return v; }
inline vf keep(vf v, Part part, vf rest) {
  const uint32x4_t index = {0, 1, 2, 3};
  return vbslq_f32(vcltq_u32(index, vdupq_n_u32(static_cast<uint32_t>(part.n))), v, rest);
}

inline vf fma(vf a, vf b, vf c) { return vfmaq_f32(c, a, b); }   // a b + c
inline vf fnma(vf a, vf b, vf c) { return vfmsq_f32(c, a, b); }  // c - a b
// Spelled as comparisons because vmaxq keeps a NaN of either operand: here one in b is the result and one in a is not, as on x86.
inline vf max(vf a, vf b) { return vbslq_f32(vcgtq_f32(a, b), a, b); }
inline vf min(vf a, vf b) { return vbslq_f32(vcltq_f32(a, b), a, b); }
inline vf abs(vf v) { return vabsq_f32(v); }
inline vf sqrt(vf v) { return vsqrtq_f32(v); }
inline vf bit_and(vf a, vf b) { return vreinterpretq_f32_u32(vandq_u32(vreinterpretq_u32_f32(a), vreinterpretq_u32_f32(b))); }
inline vf bit_or(vf a, vf b) { return vreinterpretq_f32_u32(vorrq_u32(vreinterpretq_u32_f32(a), vreinterpretq_u32_f32(b))); }
inline vm less(vf a, vf b) { return vcltq_f32(a, b); }
inline vf select(vm m, vf a, vf b) { return vbslq_f32(m, a, b); }  // m ? a : b

inline float reduce_add(vf v) { return vaddvq_f32(v); }
inline float reduce_max(vf v) { return vmaxvq_f32(v); }

/// The sum of squares of lanes, in double.
struct SquareSum {
  float64x2_t low = vdupq_n_f64(0), high = vdupq_n_f64(0);
  void add(vf v) {
    const float64x2_t a = vcvt_f64_f32(vget_low_f32(v)), b = vcvt_high_f64_f32(v);
    low = vfmaq_f64(low, a, a);
    high = vfmaq_f64(high, b, b);
  }
  double total() const { return vaddvq_f64(vaddq_f64(low, high)); }
};

inline vf round_even(vf v) { return vrndnq_f32(v); }
inline vf power2(int32x4_t n) { return vreinterpretq_f32_s32(vshlq_n_s32(vaddq_s32(n, vdupq_n_s32(127)), 23)); }
/// p 2^n for integral n in [-252, 252]: in two steps, so that the result may be subnormal or infinite.
inline vf scale2(vf p, vf n) {
  const int32x4_t i = vcvtq_s32_f32(n), half = vshrq_n_s32(i, 1);
  return p * power2(half) * power2(vsubq_s32(i, half));
}
/// x - floor(x), and in `whole` what scale2_floor takes; for x <= 0 or -inf.
inline vf fraction(vf x, vf& whole) {
  x = max(set1(-150.0f), x);
  whole = vrndmq_f32(x);
  return x - whole;
}
/// p 2^whole for p in [1, 2]; 0 where that would be subnormal.
inline vf scale2_floor(vf p, vf whole) { return select(less(whole, set1(-126.0f)), zero(), p * power2(vcvtq_s32_f32(whole))); }

/// Rows to columns, 32-bit elements.
inline void transpose(vf (&r)[4]) {
  const float32x4x2_t a = vtrnq_f32(r[0], r[1]), b = vtrnq_f32(r[2], r[3]);
  r[0] = vcombine_f32(vget_low_f32(a.val[0]), vget_low_f32(b.val[0]));
  r[1] = vcombine_f32(vget_low_f32(a.val[1]), vget_low_f32(b.val[1]));
  r[2] = vcombine_f32(vget_high_f32(a.val[0]), vget_high_f32(b.val[0]));
  r[3] = vcombine_f32(vget_high_f32(a.val[1]), vget_high_f32(b.val[1]));
}
