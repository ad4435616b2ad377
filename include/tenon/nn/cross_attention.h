// The attention of a decoder to what an encoder made of the source.
#pragma once

#include <string>
#include <vector>

#include "tenon/nn/decoder_attention.h"
#include "tenon/ops/embedding.h"

namespace tenon::nn {

/// Which sources the rows of a pass look at. Sources lie one after another; the queries of one source are neighbours, however many
/// sequences (beams) they come from, so that its keys are read once for all of them.
struct CrossRows {
  std::vector<int64_t> q_start, k_start;  // (sources + 1)
  std::vector<float> key_bias;            // of each source row, or empty
  std::vector<int64_t> order, back;       // rows by source and where each went; empty if they are in that order already
  AttentionTrace* trace = nullptr;        // gets the probabilities of each layer
};

/// Keys and values of all sources for one layer: computed once, then read by every step.
struct CrossSource {
  Tensor k, v;
};

class CrossAttention {
 public:
  CrossAttention() = default;
  /// dropout: of the probabilities; output_dropout: of what the layer adds.
  CrossAttention(int64_t width, int64_t heads, int64_t head_dim, bool bias, float scale, float dropout = 0, float output_dropout = 0)
      : query(width, heads * head_dim, bias),
        key(width, heads * head_dim, bias),
        value(width, heads * head_dim, bias),
        output(heads * head_dim, width, bias),
        heads_(heads),
        scale_(scale),
        dropout_(dropout),
        output_dropout_(output_dropout) {}

  /// Shapes: encoded (S,C), the sources' rows -> k, v (S, H*D).
  CrossSource project(Context& ctx, const Tensor& encoded) const {
    const std::vector<Tensor> both = forward_all(ctx, encoded, {&key, &value});
    return {both[0], both[1]};
  }

  /// Shapes: x, residual (N,C) -> (N,C).
  Tensor forward(Context& ctx, const Tensor& x, const CrossSource& source, const CrossRows& rows, const Tensor& residual) const {
    const ops::AttentionOptions options{.heads = heads_,
                                        .scale = scale_,
                                        .q_start = rows.q_start,
                                        .k_start = rows.k_start,
                                        .key_bias = rows.key_bias.empty() ? nullptr : rows.key_bias.data(),
                                        .dropout = dropout_};
    Tensor q = query.forward(ctx, x);
    if (!rows.order.empty()) q = ops::gather_rows(ctx, q, rows.order);
    if (rows.trace) rows.trace->keep(ctx, q, source.k, options, rows.order);
    Tensor mixed = ops::attention(ctx, q, source.k, source.v, options);
    if (!rows.back.empty()) mixed = ops::gather_rows(ctx, mixed, rows.back);
    return output.forward_dropped(ctx, mixed, output_dropout_, residual);
  }

  void visit(const std::string& prefix, const GqaNames& n, Visitor& v) {
    v.linear(join(prefix, n.query), query);
    v.linear(join(prefix, n.key), key);
    v.linear(join(prefix, n.value), value);
    v.linear(join(prefix, n.output), output);
  }

  Linear query, key, value, output;

 private:
  int64_t heads_ = 1;
  float scale_ = 0, dropout_ = 0, output_dropout_ = 0;
};

}  // namespace tenon::nn
