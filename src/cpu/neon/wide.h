// Two 64-bit lanes of Arm's Advanced SIMD for random numbers. Included inside the unnamed namespace of a file compiled for this set,
// after vec.h.

using vw = uint64x2_t;
constexpr int64_t kWideLanes = 2;

inline vw wide1(uint64_t x) { return vdupq_n_u64(x); }
/// first, first + 1, ...
inline vw wide_from(uint64_t first) { return vsetq_lane_u64(first + 1, vdupq_n_u64(first), 1); }
/// The products of the lower halves.
inline vw wide_mul(vw a, vw b) { return vmull_u32(vmovn_u64(a), vmovn_u64(b)); }
inline vw wide_high(vw a) { return vshrq_n_u64(a, 32); }
inline vw wide_xor(vw a, vw b, vw c) { return veorq_u64(veorq_u64(a, b), c); }

/// The lower halves of lane i of a, b, c and d at to + 8 i, as pairs of 16 bits.
inline void store_words(uint16_t* to, vw a, vw b, vw c, vw d) {
  const vw ab = vsliq_n_u64(a, b, 32), cd = vsliq_n_u64(c, d, 32);
  vst1q_u16(to, vreinterpretq_u16_u64(vzip1q_u64(ab, cd)));
  vst1q_u16(to + 8, vreinterpretq_u16_u64(vzip2q_u64(ab, cd)));
}

/// The lanes whose number lies below a bound.
inline vm below(const uint16_t* numbers, uint32_t bound) { return vcltq_u32(vmovl_u16(vld1_u16(numbers)), vdupq_n_u32(bound)); }
