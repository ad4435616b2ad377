// Multi-head self-attention over packed rows.
#pragma once

#include <array>
#include <numeric>
#include <span>
#include <string>
#include <vector>

#include "tenon/nn/linear.h"
#include "tenon/nn/packed_rows.h"
#include "tenon/ops/attention.h"
#include "tenon/ops/columns.h"

namespace tenon::nn {

/// How a family names the four projections below a layer.
struct AttentionNames {
  const char *query, *key, *value, *output;
};

/// out = dropout(softmax(q k^T / sqrt(D))) v, then the output projection, dropped too (+ residual).
class SelfAttention {
 public:
  SelfAttention() = default;
  SelfAttention(int64_t width, int64_t heads, bool qkv_bias = true, float dropout = 0, float output_dropout = 0)
      : query(width, width, qkv_bias),
        key(width, width, qkv_bias),
        value(width, width, qkv_bias),
        output(width, width),
        heads_(heads),
        dropout_(dropout),
        output_dropout_(output_dropout) {}

  /// Shapes: x (N,C), residual (N,C) or undefined -> (N,C). probs, if not null, gets (B,H,T,T) float32 with zeros at padding.
  /// `only`, if not empty, names one row of each sequence, the only one whose result is wanted: residual (B,C) -> (B,C). Without causal
  /// and probs.
  Tensor forward(Context& ctx, const Tensor& x, const PackedRows& rows, bool causal, const Tensor& residual, Tensor* probs,
                 std::span<const int64_t> only = {}) const {
    check(only.empty() || (!causal && !probs), ErrorCode::Shape, "attention", "chosen rows: expected neither causal nor probabilities");
    std::vector<int64_t> q_start(rows.start);
    if (!only.empty()) std::iota(q_start.begin(), q_start.end(), int64_t{0});
    const ops::AttentionOptions options{.heads = heads_,
                                        .causal = causal,
                                        .q_start = q_start,
                                        .k_start = rows.start,
                                        .key_bias = rows.key_bias.empty() ? nullptr : rows.key_bias.data(),
                                        .dropout = dropout_};
    Tensor mixed;
    if (fused.ready() && !ctx.recorder()) {
      const Tensor qkv = fused.forward(ctx, x, {&query, &key, &value});
      mixed = ops::attention_qkv(ctx, qkv, options, only);
      const int64_t C = x.size(-1);
      if (probs) *probs = spread(ctx, ops::columns(ctx, qkv, 0, C), ops::columns(ctx, qkv, C, C), options, rows);
    } else {
      std::vector<Tensor> qkv;
      if (only.empty()) {
        qkv = forward_all(ctx, x, {&query, &key, &value});
      } else {
        qkv = forward_all(ctx, x, {&key, &value});
        qkv.insert(qkv.begin(), query.forward(ctx, ops::gather_rows(ctx, x, only)));
      }
      const Tensor &q = qkv[0], &k = qkv[1], &v = qkv[2];
      mixed = ops::attention(ctx, q, k, v, options);
      if (probs) *probs = spread(ctx, q, k, options, rows);
    }
    return output.forward_dropped(ctx, mixed, output_dropout_, residual);
  }

  void visit(const std::string& prefix, const AttentionNames& n, Visitor& v) {
    const std::array<std::string, 3> names{join(prefix, n.query), join(prefix, n.key), join(prefix, n.value)};
    const std::array<Linear*, 3> layers{&query, &key, &value};
    v.fused(names, layers, fused);
    v.linear(join(prefix, n.output), output);
  }

  Linear query, key, value, output;
  FusedLinear fused;  // query, key, value side by side once packed

 private:
  /// Probabilities of packed rows, put back at the positions the rows have in the padded batch.
  Tensor spread(Context& ctx, const Tensor& q, const Tensor& k, const ops::AttentionOptions& options, const PackedRows& rows) const {
    std::vector<int64_t> key;
    for (const int64_t i : rows.source) key.push_back(i % rows.T);
    return ops::attention_probs(ctx, q, k, options, {rows.source, key, rows.B, rows.T, rows.T});
  }

  int64_t heads_ = 1;
  float dropout_ = 0, output_dropout_ = 0;
};

}  // namespace tenon::nn
