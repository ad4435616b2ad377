// Advanced SIMD: the linear over Int4 and Fp8 weights.
#include <arm_neon.h>

#include "cpu/fillers.h"
#include "tenon/core/parallel.h"

namespace tenon::cpu::neon {
namespace {

constexpr int kRowBlock = 8, kRegisters = 3;  // as in linear.cpp
constexpr int kChunkBytes = 192 << 10;

// Each builds on the ones before.
// clang-format off
#include "cpu/neon/vec.h"
#include "cpu/generic/math.inl.h"
#include "cpu/generic/panel.inl.h"
#include "cpu/generic/panel_float.inl.h"
#include "cpu/generic/panel_grouped.inl.h"
// clang-format on

struct Ops {
  using Register = int32x4_t;
  static Register zero() { return vdupq_n_s32(0); }
  static Register load(const char* p) { return vld1q_s32(reinterpret_cast<const int32_t*>(p)); }
  static void store(char* p, Register r) { vst1q_s32(reinterpret_cast<int32_t*>(p), r); }
  static Register low(Register r) { return vandq_s32(r, vdupq_n_s32(0x0f0f0f0f)); }
  static Register high(Register r) { return low(vreinterpretq_s32_u32(vshrq_n_u32(vreinterpretq_u32_s32(r), 4))); }
  static vf to_float(Register r) { return vcvtq_f32_s32(r); }

  static vf nibble(Register r, int shift) {
    const uint32x4_t bits = vshlq_u32(vreinterpretq_u32_s32(r), vdupq_n_s32(-shift));
    return vcvtq_f32_u32(vandq_u32(bits, vdupq_n_u32(15)));
  }
  static void fp8_pair(const char* p, vf& even, vf& odd) {
    const uint16x4_t pairs = vld1_u16(reinterpret_cast<const uint16_t*>(p)), keep = vdup_n_u16(0xbf80);
    const auto half = [&](uint16x4_t high) {
      return vcvt_f32_f16(vreinterpret_f16_u16(vand_u16(vreinterpret_u16_s16(vshr_n_s16(vreinterpret_s16_u16(high), 1)), keep)));
    };
    even = half(vshl_n_u16(pairs, 8));
    odd = half(pairs);
  }
};

/// Codes are at most 15, so that they are signed bytes too: words of single products, added in pairs twice.
struct PairSums : Ops {
  static constexpr int64_t kRows = 4;

  static Register dot4(Register w, int32_t unit) {
    const int8x16_t weights = vreinterpretq_s8_s32(w);
    const int8x8_t row = vreinterpret_s8_s32(vdup_n_s32(unit));
    return vpaddq_s32(vpaddlq_s16(vmull_s8(vget_low_s8(weights), row)), vpaddlq_s16(vmull_s8(vget_high_s8(weights), row)));
  }
  template <int MR, int NR>
  static void dot(Register (&sums)[MR][NR], const char* x, int64_t stride, const char* w, int64_t units) {
    for (int64_t u = 0; u < units; ++u, x += 4, w += NR * 16)
      for (int r = 0; r < MR; ++r)
        for (int j = 0; j < NR; ++j) sums[r][j] = vaddq_s32(sums[r][j], dot4(load(w + j * 16), unit_at(x + r * stride)));
  }
  template <int MR, int NR>
  static void dot_codes(Register (&sums)[MR][NR], const char* x, int64_t stride, const char* w, int64_t pairs) {
    for (int64_t u = 0; u < pairs; ++u, x += 8, w += NR * 16)
      for (int j = 0; j < NR; ++j) {
        const Register codes = load(w + j * 16), first = low(codes), second = high(codes);
        for (int r = 0; r < MR; ++r) {
          sums[r][j] = vaddq_s32(sums[r][j], dot4(first, unit_at(x + r * stride)));
          sums[r][j] = vaddq_s32(sums[r][j], dot4(second, unit_at(x + r * stride + 4)));
        }
      }
  }
};

#include "cpu/generic/quantized_int8.inl.h"

}  // namespace

void fill_quantized(Kernels& k) {
  using E = QuantizedEntries;
  for (const int bf16 : {0, 1}) {
    E::table[0][bf16][0] = E::ways<Dequantised<Float32, Int4Codes<Ops>>>();
    E::table[0][bf16][1] = E::ways<Int8Rows<PairSums>>();
    E::table[1][bf16][0] = E::ways<Dequantised<Float32, Fp8Codes<Ops>>>();
  }
  E::fill(k);
}

}  // namespace tenon::cpu::neon
