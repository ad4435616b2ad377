// The load-balancing loss of mixtures of experts.
#pragma once

#include "tenon/ops/router.h"

namespace tenon::ops {

/// E * sum over experts of f P, over the tokens of all layers together: f is the mean number of a token's places that go to the expert,
/// without gradient; P the mean of its softmax probability. Perfect balance gives K.
/// Shapes: routings of one N, E and K each; counted: (N) which tokens count, or empty for all -> scalar f32.
/// Errors: Error(Shape) if there is none or they differ.
/// Source: Fedus et al. 2021, "Switch Transformers", equations 4 to 6; load_balancing_loss_func of Transformers.
inline Tensor load_balancing_loss(Context& ctx, std::span<const Routing> layers, std::span<const uint8_t> counted = {}) {
  check(!layers.empty(), ErrorCode::Shape, "load_balancing_loss", "expected at least one layer");
  const int64_t N = layers[0].N, E = layers[0].E;
  const auto counts = [&](int64_t n) { return counted.empty() || counted[static_cast<size_t>(n)]; };
  std::vector<double> load(static_cast<size_t>(E)), probability(static_cast<size_t>(E));
  std::vector<Tensor> probs, logits;
  int64_t rows = 0;
  bool record = false;
  HostContext host(ctx);
  for (const Routing& r : layers) {
    check(r.N == N && r.E == E && r.logits.defined(), ErrorCode::Shape, "load_balancing_loss", "expected layers of ", N, " tokens and ", E,
          " experts, got ", r.N, " and ", r.E);
    detail::check_here(ctx, "load_balancing_loss", r.logits);
    Tensor p = host->empty({N, E}, DType::F32);
    host->kernels().softmax(p.data<float>(), r.logits.to(Device{}).data<float>(), N, E);
    for (int64_t n = 0; n < N; ++n) {
      if (!counts(n)) continue;
      ++rows;
      for (int64_t k = 0; k < r.K; ++k)
        if (const int64_t e = r.expert[static_cast<size_t>(n * r.K + k)]; e >= 0) load[static_cast<size_t>(e)] += 1;
      for (int64_t e = 0; e < E; ++e) probability[static_cast<size_t>(e)] += p.data<float>()[n * E + e];
    }
    record |= ctx.wants(r.logits);
    probs.push_back(p);
    logits.push_back(r.logits);
  }
  const double total = static_cast<double>(std::max<int64_t>(rows, 1));
  double loss = 0;
  for (int64_t e = 0; e < E; ++e) loss += load[static_cast<size_t>(e)] / total * probability[static_cast<size_t>(e)] / total;
  Tensor y = detail::scalar(ctx, loss * static_cast<double>(E));
  if (!record) return y;
  std::vector<float> slope(static_cast<size_t>(E));  // of the loss, by each probability of a counted token
  for (int64_t e = 0; e < E; ++e) slope[static_cast<size_t>(e)] = static_cast<float>(static_cast<double>(E) * load[static_cast<size_t>(e)] / (total * total));
  ctx.recorder()->record("load_balancing_loss", {y}, logits,
                         [probs, slope, N, E, mask = std::vector<uint8_t>(counted.begin(), counted.end())](
                             Context& c, std::span<const Tensor> dy) -> std::vector<Tensor> {
                           const auto d = static_cast<float>(dy[0].item());
                           std::vector<Tensor> grads;
                           HostContext own(c);
                           for (const Tensor& p : probs) {
                             Tensor g = own->zeros({N, E}, DType::F32);
                             for (int64_t n = 0; n < N; ++n)
                               if (mask.empty() || mask[static_cast<size_t>(n)])
                                 for (int64_t e = 0; e < E; ++e) g.data<float>()[n * E + e] = d * slope[static_cast<size_t>(e)];
                             own->kernels().softmax_backward(g.data<float>(), g.data<float>(), p.data<float>(), N, E);
                             grads.push_back(g.to(c.device()));
                           }
                           return grads;
                         });
  return y;
}

}  // namespace tenon::ops
