// The attention probabilities that a pass keeps for output_attentions, at their places in the padded batch.
#pragma once

#include <vector>

#include "tenon/ops/attention.h"

namespace tenon::nn {

struct AttentionTrace {
  int64_t B = 0, T = 0, S = 0;
  std::vector<int64_t> query, key;  // of each packed query its position in (B*T), of each packed key its position in S
  std::vector<Tensor> probs = {};   // of each layer (B,H,T,S) float32, zeros at padding

  /// Adds a layer. `order`, if not empty, says which query each row of q is.
  /// Errors: as ops::attention_probs.
  void keep(Context& ctx, const Tensor& q, const Tensor& k, const ops::AttentionOptions& options, std::span<const int64_t> order = {}) {
    std::vector<int64_t> ordered;
    for (const int64_t r : order) ordered.push_back(query[static_cast<size_t>(r)]);
    probs.push_back(ops::attention_probs(ctx, q, k, options, {order.empty() ? query : ordered, key, B, T, S}));
  }
};

}  // namespace tenon::nn
