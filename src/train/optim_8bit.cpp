// AdamW with moments in 8 bits: each block of 256 is read as float32, stepped, and rounded again.
#include <algorithm>
#include <array>
#include <bit>
#include <cmath>

#include "tenon/ops/checks.h"
#include "train/blocks.h"
#include "train/steps.h"

namespace tenon::train {
namespace {

constexpr int64_t kQuantBlock = 256;
static_assert(kBlock % kQuantBlock == 0);

/// 256 numbers in [-1, 1] (or [0, 1]) in rising order. Of each decade 10^-6..10^0 there are twice as many as of the one below it, evenly
/// spread between a tenth of its end and its end, each the middle of its step; and 0, and 1. Without a sign only 0 becomes 0: a second
/// moment must not vanish before the first one does, or the step would be divided by eps alone.
class Codebook {
 public:
  explicit Codebook(bool is_signed) {
    size_t n = 0;
    double scale = 1e-6;
    for (int decade = 0; decade < 7; ++decade, scale *= 10) {
      const int steps = (is_signed ? 1 : 2) << decade;
      for (int i = 0; i < steps; ++i) {
        const auto value = static_cast<float>(scale * (0.1 + 0.9 * (i + 0.5) / steps));
        values_[n++] = value;
        if (is_signed) values_[n++] = -value;
      }
    }
    values_[n++] = 0;
    values_[n++] = 1;
    std::sort(values_.begin(), values_.end());
    for (size_t i = 0; i < 255; ++i) middles_[i] = (values_[i] + values_[i + 1]) / 2;
    middles_[255] = std::numeric_limits<float>::infinity();
    for (uint32_t key = 0; key < first_.size(); ++key) {
      // The least number with these leading bits: of negative ones the one with the most magnitude.
      const auto least = std::bit_cast<float>(key << kShift | (key >> (31 - kShift) ? (1u << kShift) - 1 : 0));
      if (std::isnan(least)) continue;
      const auto code = std::lower_bound(middles_.begin(), middles_.end() - 1, least) - middles_.begin();
      first_[key] = static_cast<uint8_t>(!is_signed && key > 0 ? std::max<std::ptrdiff_t>(1, code) : code);
    }
  }
  float value(uint8_t code) const { return values_[code]; }
  const std::array<float, 256>& values() const { return values_; }
  /// The code of the nearest number; of a tie, the lower.
  uint8_t code(float x) const {
    size_t code = first_[std::bit_cast<uint32_t>(x) >> kShift];
    return static_cast<uint8_t>(code + (x > middles_[code]));  // a branch could not be foreseen
  }

 private:
  static constexpr int kShift = 16;  // sign, exponent and 7 bits of the fraction remain: at most two codes share them
  std::array<float, 256> values_, middles_;
  std::array<uint8_t, 1 << (32 - kShift)> first_ = {};
};

const Codebook& signed_codes() {
  static const Codebook codes(true);
  return codes;
}
const Codebook& unsigned_codes() {
  static const Codebook codes(false);
  return codes;
}

void read(float* x, const uint8_t* codes, float largest, int64_t n, const Codebook& book) {
  for (int64_t i = 0; i < n; ++i) x[i] = book.value(codes[i]) * largest;
}

/// Rounds x to codes; returns the magnitude that they are relative to.
float write(uint8_t* codes, const float* x, int64_t n, const Codebook& book) {
  float parts[16] = {};  // side by side: no maximum waits for the one before it
  int64_t at = 0;
  for (; at + 16 <= n; at += 16)
    for (int k = 0; k < 16; ++k) parts[k] = std::max(parts[k], std::fabs(x[at + k]));
  for (; at < n; ++at) parts[0] = std::max(parts[0], std::fabs(x[at]));
  const float largest = *std::max_element(parts, parts + 16);
  // Below this the inverse would be infinite; the block counts as zeros.
  const float inverse = largest > 1e-38f ? 1 / largest : 0;
  for (int64_t i = 0; i < n; ++i) codes[i] = book.code(x[i] * inverse);
  return inverse > 0 ? largest : 0;
}

/// A device's kernel does a whole parameter; the host's loop below has the vectors of its instruction set in adamw().
void step_on_device(Context& ctx, const AdamW8bit& o, std::span<const Update> updates, double grad_scale) {
  const ops::detail::OnDevice<float> first(ctx, signed_codes().values()), second(ctx, unsigned_codes().values());
  for (const Update& u : updates) {
    if (u.parameter.numel() == 0) continue;
    AdamW8Call c{.step = adamw_call(o, u, grad_scale)};
    c.step.n = u.parameter.numel();
    std::vector<Tensor> state = u.state->tensors;
    if (state.size() == 2) {
      c.step.m = elements(state[0]), c.step.v = elements(state[1]);
      ctx.kernels().adamw(c.step);
      continue;
    }
    c.m = state[0].ptr<uint8_t>(), c.v = state[1].ptr<uint8_t>();
    c.m_largest = elements(state[2]), c.v_largest = elements(state[3]);
    c.m_numbers = first.data(), c.v_numbers = second.data();
    ctx.kernels().adamw8(c);
  }
}

}  // namespace

void make_step(Context& ctx, const AdamW8bit& o, std::span<const Update> updates, double grad_scale) {
  if (!ctx.device().is_cpu()) return step_on_device(ctx, o, updates, grad_scale);
  std::vector<AdamWCall> calls;
  for (const Update& u : updates) calls.push_back(adamw_call(o, u, grad_scale));
  const Codebook &first = signed_codes(), &second = unsigned_codes();
  over_blocks(ctx, sizes_of(updates), [&](size_t i, int64_t begin, int64_t end) {
    AdamWCall c = calls[i];
    std::vector<Tensor> state = updates[i].state->tensors;
    c.p += begin;
    c.g += begin;
    if (state.size() == 2) {
      c.m = state[0].data<float>() + begin;
      c.v = state[1].data<float>() + begin;
      c.n = end - begin;
      return ctx.kernels().adamw(c);
    }
    float m[kQuantBlock], v[kQuantBlock];
    c.m = m;
    c.v = v;
    uint8_t *codes1 = state[0].data<uint8_t>(), *codes2 = state[1].data<uint8_t>();
    float *largest1 = state[2].data<float>(), *largest2 = state[3].data<float>();
    for (int64_t at = begin; at < end; at += kQuantBlock, c.p += kQuantBlock, c.g += kQuantBlock) {
      const int64_t block = at / kQuantBlock;
      c.n = std::min(kQuantBlock, end - at);
      // A new state holds code 0, which is -1 in the first book: what counts is that the magnitude beside it is 0.
      read(m, codes1 + at, largest1[block], c.n, first);
      read(v, codes2 + at, largest2[block], c.n, second);
      ctx.kernels().adamw(c);
      largest1[block] = write(codes1 + at, m, c.n, first);
      largest2[block] = write(codes2 + at, v, c.n, second);
    }
  });
}

}  // namespace tenon::train
