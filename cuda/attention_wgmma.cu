// Launches of attention by wgmma, and their trial.
#include <bit>
#include <type_traits>

#include "attention_launch.h"
#include "attention_trial.h"
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

}  // namespace

bool wide_rows(const AttentionCall& c) {
  constexpr int64_t kMostLine = int64_t{1} << 30;
  for (const int64_t width : {c.D, c.Dv, c.ld_q, c.ld_k, c.ld_v})
    if (width % 8 != 0 || width >= kMostLine) return false;
  if (!aligned({c.q}, 16)) return false;
  return c.pages ? c.k_offset % 16 == 0 && c.v_offset % 16 == 0 : aligned({c.k, c.v}, 16);
}

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

template <class E>
bool try_width(DType type, int64_t D, int64_t Dv) {
  const AttentionTrial<E> trial(type, D, Dv);
  AttentionCall c = trial.call;
  if (!attention_by_wgmma(c, c.Nq)) return false;
  c.out = trial.other_out, c.lse = trial.other_lse;
  if (!attention_by_mma(c, c.Nq)) return false;
  return trial.near(static_cast<const E*>(trial.call.out), trial.other_out, trial.of_out, 0.02f) &&
         trial.near(trial.call.lse, trial.other_lse, trial.of_lse, 0.001f);
}

}  // namespace

bool try_attention_wgmma() {
  return try_width<bfloat16>(DType::BF16, 64, 64) && try_width<bfloat16>(DType::BF16, 128, 128) && try_width<float16>(DType::F16, 128, 128) &&
         try_width<bfloat16>(DType::BF16, 192, 128);
}

}  // namespace tenon::cuda
