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
    int64_t rows = 0, keys = 0;
    for (size_t i = 0; i + 1 < options.q_start.size(); ++i) {
      rows = std::max(rows, options.q_start[i + 1] - options.q_start[i]);
      keys = std::max(keys, options.k_start[i + 1] - options.k_start[i]);
    }
    const Tensor packed = ops::attention_probs(ctx, q, k, options, rows, keys);
    Tensor all = ctx.zeros({B, options.heads, T, S}, DType::F32);
    const float* from = packed.data<float>();
    float* to = all.data<float>();
    for (int64_t i = 0; i + 1 < static_cast<int64_t>(options.q_start.size()); ++i)
      for (int64_t h = 0; h < options.heads; ++h)
        for (int64_t r = options.q_start[i]; r < options.q_start[i + 1]; ++r) {
          const int64_t place = query[static_cast<size_t>(order.empty() ? r : order[static_cast<size_t>(r)])];
          const float* row = from + ((i * options.heads + h) * rows + r - options.q_start[i]) * keys;
          float* at = to + ((place / T * options.heads + h) * T + place % T) * S;
          for (int64_t s = options.k_start[i]; s < options.k_start[i + 1]; ++s)
            at[key[static_cast<size_t>(s)]] = row[s - options.k_start[i]];
        }
    probs.push_back(std::move(all));
  }
};

}  // namespace tenon::nn
