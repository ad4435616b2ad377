// Launches of attention's gradients by wgmma, and their trial.
#include <type_traits>
#include <vector>

#include "attention_launch.h"
#include "attention_trial.h"
#include "bodies/attention_backward_wgmma.h"
#include "hopper.h"
#include "launch.h"

namespace tenon::cuda {
namespace {

template <class E, int kD>
void launch_gradients(const AttentionCall& c, const AttentionGrad& g, int64_t longest) {
  using Grad = AttentionWgmmaGrad<E, kD>;
  using Queries = AttentionWgmmaQueryGradBody<E, kD>;
  using Keys = AttentionWgmmaKeyGradBody<E, kD>;
  using Delta = AttentionDeltaBody<E>;
  const int64_t rows = c.Nq * c.H, tiles = (longest + Grad::kRows - 1) / Grad::kRows;
  const Scratch d_out(static_cast<size_t>(rows * c.Dv) * sizeof(E)), delta(static_cast<size_t>(rows) * sizeof(float));
  launch((rows + Delta::kWarps - 1) / Delta::kWarps, 1, Delta::kThreads, 0, Delta{c, g, d_out.as<E>(), delta.as<float>()});
  const Grad grad{c, g, d_out.as<E>(), delta.as<float>(), tiles};
  launch(c.B * c.H * tiles, 1, Queries::kThreads, Queries::kShared, Queries(grad));
  launch(c.B * c.Hkv * tiles, 1, Keys::kThreads, Keys::kShared, Keys(grad));
}

}  // namespace

/// Short sequences fill too little of a block's 128 rows.
bool attention_backward_by_wgmma(const AttentionCall& c, const AttentionGrad& g, int64_t longest) {
  if (c.key_bias || c.distance_bias || c.dropout.below > 0 || c.pages || c.softcap > 0 || !wide_rows(c)) return false;
  if (c.D > 128 || c.Dv > 128 || longest <= 64 || c.H * c.Dv >= int64_t{1} << 30) return false;
  return scalar::with_float(c.type, [&](auto* tag) {
    using E = std::remove_pointer_t<decltype(tag)>;
    if constexpr (sizeof(E) == 2) {
      if (c.D <= 64 && c.Dv <= 64) launch_gradients<E, 64>(c, g, longest);
      else launch_gradients<E, 128>(c, g, longest);
      return true;
    }
    return false;
  });
}

namespace {

template <class E>
bool try_width(DType type, int64_t D) {
  const AttentionTrial<E> trial(type, D, D);
  const AttentionCall& c = trial.call;
  const size_t n = trial.of_q + trial.of_k + trial.of_v;
  const Scratch d_out(trial.of_out * sizeof(float)), grads(2 * n * sizeof(float));
  const std::vector<float> zeros(2 * n);
  write_there(d_out.as<void>(), trial.random(trial.of_out).data(), trial.of_out * sizeof(float));
  write_there(grads.as<void>(), zeros.data(), zeros.size() * sizeof(float));
  const auto into = [&](float* p) {
    AttentionGrad g;
    g.d_out = d_out.as<float>(), g.dq = p, g.dk = p + trial.of_q, g.dv = p + trial.of_q + trial.of_k;
    return g;
  };
  if (!attention_by_mma(c, c.Nq) || !attention_backward_by_wgmma(c, into(grads.as<float>()), c.Nq)) return false;
  if (!attention_backward_by_mma(c, into(grads.as<float>() + n), c.Nq)) return false;
  return trial.near(grads.as<float>(), grads.as<float>() + n, n, 0.05f);  // of gradients up to about 5
}

}  // namespace

bool try_attention_backward_wgmma() {
  return try_width<bfloat16>(DType::BF16, 64) && try_width<bfloat16>(DType::BF16, 128) && try_width<float16>(DType::F16, 128);
}

}  // namespace tenon::cuda
