// Launches of attention by wgmma, and their trial.
#include <bit>
#include <cmath>
#include <type_traits>
#include <vector>

#include "attention_launch.h"
#include "bodies/attention_wgmma.h"
#include "hopper.h"
#include "launch.h"

namespace tenon::cuda {
namespace {

template <class E, int kD, int kDv, int kKeys, bool kExtras, bool kPages>
void launch_attention(const AttentionCall& c, int64_t longest) {
  using Body = AttentionWgmmaBody<E, kD, kDv, kKeys, kExtras, kPages>;
  const int64_t tiles = (longest * (c.H / c.Hkv) + Body::kRows - 1) / Body::kRows;
  const int shift = c.pages ? std::countr_zero(static_cast<uint64_t>(c.page_rows)) : 0;
  launch(c.B * c.Hkv * tiles, 1, Body::kThreads, Body::kShared, Body{c, tiles, shift});
}

/// Extras take registers: with them there are fewer keys to a tile.
template <class E, int kD, int kDv>
void launch_attention(const AttentionCall& c, int64_t longest, bool extras) {
  if (extras) launch_attention<E, kD, kDv, 64, true, false>(c, longest);
  else if (c.pages) launch_attention<E, kD, kDv, 128, false, true>(c, longest);
  else launch_attention<E, kD, kDv, 128, false, false>(c, longest);
}

/// What the kernels copy 16 bytes at a time.
bool wide_rows(const AttentionCall& c) {
  constexpr int64_t kMostLine = int64_t{1} << 30;
  for (const int64_t width : {c.D, c.Dv, c.ld_q, c.ld_k, c.ld_v})
    if (width % 8 != 0 || width >= kMostLine) return false;
  if (!aligned({c.q}, 16)) return false;
  return c.pages ? c.k_offset % 16 == 0 && c.v_offset % 16 == 0 : aligned({c.k, c.v}, 16);
}

}  // namespace

bool attention_by_wgmma(const AttentionCall& c, int64_t longest) {
  const bool extras = c.key_bias || c.distance_bias || c.softcap > 0 || c.dropout.below > 0;
  if (c.codes != CacheCodes::None || !(c.scale > 0) || !wide_rows(c) || (extras && c.pages)) return false;
  if (c.D > 192 || c.Dv > 128) return false;
  if (longest * (c.H / c.Hkv) <= kMmaQueries) return false;  // few queries: the keys are split over blocks there
  return scalar::with_float(c.type, [&](auto* tag) {
    using E = std::remove_pointer_t<decltype(tag)>;
    if constexpr (sizeof(E) == 2) {
      if (c.D <= 64 && c.Dv <= 64) launch_attention<E, 64, 64>(c, longest, extras);
      else if (c.D <= 128) launch_attention<E, 128, 128>(c, longest, extras);
      else launch_attention<E, 192, 128>(c, longest, extras);
      return true;
    }
    return false;
  });
}

namespace {

/// One sequence of 70 queries and 450 keys, two heads over one key head: two blocks of rows, four tiles of keys, masks in the last two.
template <class E>
bool try_width(DType type, int64_t D, int64_t Dv) {
  constexpr int64_t kT = 70, kS = 450, kH = 2;
  const size_t of_q = kT * kH * static_cast<size_t>(D), of_k = kS * static_cast<size_t>(D), of_v = kS * static_cast<size_t>(Dv);
  const size_t of_out = kT * kH * static_cast<size_t>(Dv), of_lse = kT * kH;
  std::vector<E> values(of_q + of_k + of_v + 2 * of_out);
  uint32_t state = 12345;
  for (E& v : values) {
    state = state * 1664525u + 1013904223u;
    v = E::from(static_cast<float>(state >> 8) * 0x1p-23f - 1.0f);
  }
  const int64_t starts[4] = {0, kT, 0, kS};
  const Scratch elements(values.size() * sizeof(E)), numbers(2 * of_lse * sizeof(float)), places(sizeof(starts));
  write_there(elements.as<void>(), values.data(), values.size() * sizeof(E));
  write_there(places.as<void>(), starts, sizeof(starts));
  E* p = elements.as<E>();
  AttentionCall c;
  c.type = type, c.B = 1, c.H = kH, c.Hkv = 1, c.D = D, c.Dv = Dv, c.Nq = kT, c.causal = true, c.scale = 4 / std::sqrt(static_cast<float>(D));
  c.ld_q = kH * D, c.ld_k = D, c.ld_v = Dv, c.ld_out = kH * Dv;
  c.q = p, c.k = p + of_q, c.v = p + of_q + of_k, c.q_start = places.as<int64_t>(), c.k_start = places.as<int64_t>() + 2;
  E* const out = p + of_q + of_k + of_v;
  c.out = out, c.lse = numbers.as<float>();
  if (!attention_by_wgmma(c, kT)) return false;
  c.out = out + of_out, c.lse = numbers.as<float>() + of_lse;
  if (!attention_by_mma(c, kT)) return false;
  std::vector<E> results(2 * of_out);
  std::vector<float> lse(2 * of_lse);
  read_back(results.data(), out, results.size() * sizeof(E));
  read_back(lse.data(), numbers.as<float>(), lse.size() * sizeof(float));
  for (size_t i = 0; i < of_out; ++i)
    if (!(std::abs(static_cast<float>(results[i]) - static_cast<float>(results[of_out + i])) <= 0.02f)) return false;  // of values up to 1
  for (size_t i = 0; i < of_lse; ++i)
    if (!(std::abs(lse[i] - lse[of_lse + i]) <= 0.001f)) return false;
  return true;
}

}  // namespace

bool try_attention_wgmma() {
  return try_width<bfloat16>(DType::BF16, 64, 64) && try_width<bfloat16>(DType::BF16, 128, 128) && try_width<float16>(DType::F16, 128, 128) &&
         try_width<bfloat16>(DType::BF16, 192, 128);
}

}  // namespace tenon::cuda
