// A stack of transformer encoder layers: BERT's (norm after) and ViT's and CLIP's (norm before) are one layer.
#pragma once

#include <string>
#include <vector>

#include "tenon/nn/norm.h"
#include "tenon/nn/self_attention.h"
#include "tenon/ops/checkpoint.h"
#include "tenon/ops/elementwise.h"

namespace tenon::nn {

struct EncoderConfig {
  int64_t hidden_size = 0, num_layers = 0, num_heads = 0, intermediate_size = 0;
  Activation act = Activation::Gelu;
  float layer_norm_eps = 1e-12f;
  bool norm_first = false;  // ViT, CLIP: x + f(norm(x)); BERT: norm(x + f(x))
  bool causal = false;      // CLIP's text tower
  bool qkv_bias = true;
  float attention_dropout = 0;                  // of the probabilities
  float attention_output_dropout = 0, dropout = 0;  // of what the attention and the feed-forward part add

  /// Errors: Error(Format) for sizes that are not positive or heads that do not divide the width.
  void validate(const char* where) const {
    check(hidden_size > 0 && num_layers >= 0 && num_heads > 0 && intermediate_size > 0, ErrorCode::Format, where,
          "sizes in config.json: expected positive hidden_size, num_attention_heads and intermediate_size, got ", hidden_size, ", ",
          num_heads, ", ", intermediate_size);
    check(hidden_size % num_heads == 0, ErrorCode::Format, where, "hidden_size ", hidden_size, " is not a multiple of ", num_heads, " heads");
    check(num_layers <= 100000, ErrorCode::Format, where, "num_hidden_layers is ", num_layers);
  }
};

/// How a family names the parts of a layer.
struct EncoderNames {
  AttentionNames attention;
  const char *norm1, *fc1, *fc2, *norm2;
};

class EncoderLayer {
 public:
  explicit EncoderLayer(const EncoderConfig& c)
      : attention(c.hidden_size, c.num_heads, c.qkv_bias, c.attention_dropout, c.attention_output_dropout),
        norm1(c.hidden_size, c.layer_norm_eps),
        norm2(c.hidden_size, c.layer_norm_eps),
        fc1(c.hidden_size, c.intermediate_size),
        fc2(c.intermediate_size, c.hidden_size),
        act_(c.act),
        dropout_(c.dropout),
        norm_first_(c.norm_first),
        causal_(c.causal) {}

  /// Shapes: x (N,C) -> (N,C), or of the rows `only` alone (B,C). probs and only as in SelfAttention.
  Tensor forward(Context& ctx, const Tensor& x, const PackedRows& rows, Tensor* probs, std::span<const int64_t> only = {}) const {
    const Tensor residual = only.empty() ? x : ops::gather_rows(ctx, x, only);
    if (norm_first_) {
      const Tensor h = attention.forward(ctx, norm1.forward(ctx, x), rows, causal_, residual, probs, only);
      return fc2.forward_dropped(ctx, fc1.forward(ctx, norm2.forward(ctx, h), act_), dropout_, h);
    }
    const Tensor h = norm1.forward(ctx, attention.forward(ctx, x, rows, causal_, residual, probs, only));
    return norm2.forward(ctx, fc2.forward_dropped(ctx, fc1.forward(ctx, h, act_), dropout_, h));
  }

  void visit(const std::string& prefix, const EncoderNames& n, Visitor& v) {
    attention.visit(prefix, n.attention, v);
    norm1.visit(join(prefix, n.norm1), v);
    v.linear(join(prefix, n.fc1), fc1);
    v.linear(join(prefix, n.fc2), fc2);
    norm2.visit(join(prefix, n.norm2), v);
  }

  SelfAttention attention;
  LayerNorm norm1, norm2;  // in reading order: beside the attention, beside the feed-forward part
  Linear fc1, fc2;

 private:
  Activation act_;
  float dropout_;
  bool norm_first_, causal_;
};

/// What to keep on the way through the layers, back in padded form.
struct Trace {
  bool hidden_states = false, attentions = false;
  std::vector<Tensor> states, probs;
};

class Encoder {
 public:
  Encoder() = default;
  explicit Encoder(const EncoderConfig& c) { layers.assign(static_cast<size_t>(c.num_layers), EncoderLayer(c)); }

  /// Shapes: x (N,C) -> (N,C). The trace gets num_layers + 1 states (the first is x) and num_layers probabilities.
  Tensor forward(Context& ctx, Tensor x, const PackedRows& rows, Trace& trace) const {
    return forward(ctx, std::move(x), rows, trace, layers.size());
  }

  /// The first row of each sequence alone, for heads that read no other: the last layer then computes only these, its keys and values
  /// apart. Shapes: x (N,C) -> (B,C).
  /// Errors: Error(Shape) if a sequence has no row.
  Tensor forward_first(Context& ctx, Tensor x, const PackedRows& rows, Trace& trace) const {
    for (int64_t b = 0; b < rows.B; ++b)
      check(rows.start[b] < rows.start[b + 1], ErrorCode::Shape, "encoder", "expected at least one token per sequence, got none");
    const std::span<const int64_t> first = std::span(rows.start).first(rows.B);
    const bool whole = trace.hidden_states || trace.attentions || layers.empty() || rows.B == 0;
    x = forward(ctx, std::move(x), rows, trace, layers.size() - (whole ? 0 : 1));
    return whole ? ops::gather_rows(ctx, x, first) : run(ctx, layers.back(), x, rows, nullptr, first);
  }

  void visit(const std::string& prefix, const EncoderNames& names, Visitor& v) {
    for (size_t i = 0; i < layers.size(); ++i) layers[i].visit(join(prefix, std::to_string(i)), names, v);
  }

  std::vector<EncoderLayer> layers;

 private:
  Tensor forward(Context& ctx, Tensor x, const PackedRows& rows, Trace& trace, size_t count) const {
    for (const EncoderLayer& layer : std::span(layers).first(count)) {
      if (trace.hidden_states) trace.states.push_back(restore(ctx, x, rows));
      Tensor probs;
      x = run(ctx, layer, x, rows, trace.attentions ? &probs : nullptr, {});
      if (trace.attentions) trace.probs.push_back(probs);
    }
    if (trace.hidden_states) trace.states.push_back(restore(ctx, x, rows));
    return x;
  }

  /// A layer, kept as a checkpoint where that is asked for.
  static Tensor run(Context& ctx, const EncoderLayer& layer, const Tensor& x, const PackedRows& rows, Tensor* probs,
                    std::span<const int64_t> only) {
    if (probs || !ops::checkpointing(ctx)) return layer.forward(ctx, x, rows, probs, only);
    return ops::checkpoint(ctx, "encoder layer", {x},
                           [&layer, rows, only = std::vector<int64_t>(only.begin(), only.end())](
                               Context& c, std::span<const Tensor> in) -> std::vector<Tensor> {
                             return {layer.forward(c, in[0], rows, nullptr, only)};
                           })
        .front();
  }
};

}  // namespace tenon::nn
