// The encoder and the decoder of an encoder-decoder: layers of self-attention, attention to the source, and a feed-forward part.
#pragma once

#include <optional>
#include <span>
#include <string>
#include <vector>

#include "tenon/models/seq2seq_config.h"
#include "tenon/nn/cross_attention.h"
#include "tenon/nn/encoder.h"
#include "tenon/nn/positions.h"
#include "tenon/ops/checkpoint.h"

namespace tenon::models {

/// The sources of a pass as a decoder sees them: which rows look where, and each layer's keys and values.
struct Seq2SeqSources {
  nn::CrossRows rows;
  std::vector<nn::CrossSource> layers;
};

class Seq2SeqLayer {
 public:
  Seq2SeqLayer(const Seq2SeqConfig& c, bool decoder, int64_t index)
      : norm1_(c.d_model, c.norm_eps, c.layer_norm),
        norm2_(c.d_model, c.norm_eps, c.layer_norm),
        norm3_(c.d_model, c.norm_eps, c.layer_norm),
        self_(decoder ? c.decoder.attention : c.encoder.attention),
        mlp_(c.d_model, decoder ? c.decoder.intermediate_size : c.encoder.intermediate_size, c.act, c.gated, c.bias),
        index_(index),
        norm_first_(c.norm_first) {
    const nn::GqaConfig& a = c.decoder.attention;
    if (decoder) cross_.emplace(c.d_model, a.heads, a.head_dim, c.bias, a.scale, a.dropout, a.output_dropout);
    mlp_.with_dropout(c.activation_dropout, c.dropout);
  }

  int64_t index() const { return index_; }
  nn::CrossSource project(Context& ctx, const Tensor& encoded) const { return cross_->project(ctx, encoded); }

  /// Shapes: x (N,C) -> (N,C). sources: of a decoder's layer.
  Tensor forward(Context& ctx, const Tensor& x, const nn::DecoderRows& rows, const Seq2SeqSources* sources) const {
    const auto source = [&]() -> const nn::CrossSource& { return sources->layers[static_cast<size_t>(index_)]; };
    if (norm_first_) {
      Tensor h = self_.forward(ctx, norm1_.forward(ctx, x), rows, index_, x);
      if (cross_) h = cross_->forward(ctx, norm2_.forward(ctx, h), source(), sources->rows, h);
      return mlp_.forward(ctx, norm3_.forward(ctx, h), h);
    }
    Tensor h = norm1_.forward(ctx, self_.forward(ctx, x, rows, index_, x));
    if (cross_) h = norm2_.forward(ctx, cross_->forward(ctx, h, source(), sources->rows, h));
    return norm3_.forward(ctx, mlp_.forward(ctx, h, h));
  }

  void visit(const std::string& prefix, const Seq2SeqNames& n, bool gated, nn::Visitor& v) {
    self_.visit(nn::join(prefix, n.self), n.attention, v);
    norm1_.visit(nn::join(prefix, n.self_norm), v);
    if (cross_) {
      cross_->visit(nn::join(prefix, n.cross), n.attention, v);
      norm2_.visit(nn::join(prefix, n.cross_norm), v);
    }
    mlp_.visit(nn::join(prefix, cross_ ? n.decoder_mlp : n.encoder_mlp), gated ? n.gated : n.plain, v);
    norm3_.visit(nn::join(prefix, cross_ ? n.decoder_mlp_norm : n.encoder_mlp_norm), v);
  }

 private:
  nn::AnyNorm norm1_, norm2_, norm3_;  // beside the attention, the attention to the source, the feed-forward part
  nn::GroupedQueryAttention self_;
  std::optional<nn::CrossAttention> cross_;
  nn::Mlp mlp_;
  int64_t index_;
  bool norm_first_;
};

class Seq2SeqStack {
 public:
  Seq2SeqStack(const Seq2SeqConfig& c, bool decoder)
      : norm_(c.d_model, c.norm_eps, c.layer_norm),
        dropout_(c.dropout),
        layer_dropout_(decoder ? c.decoder.layer_dropout : c.encoder.layer_dropout),
        final_norm_(c.final_norm),
        gated_(c.gated),
        drops_result_(c.drops_result) {
    const Seq2SeqStackConfig& s = decoder ? c.decoder : c.encoder;
    for (int64_t i = 0; i < s.layers; ++i) layers_.emplace_back(c, decoder, i);
    if (c.positions == Seq2SeqConfig::Positions::Distance && s.layers > 0)
      distances_.emplace(s.attention.heads, c.num_buckets, c.max_distance, !decoder);
  }

  /// Each layer's keys and values of the sources. Shapes: encoded (S,C).
  std::vector<nn::CrossSource> project(Context& ctx, const Tensor& encoded) const {
    std::vector<nn::CrossSource> all;
    for (const Seq2SeqLayer& layer : layers_) all.push_back(layer.project(ctx, encoded));
    return all;
  }

  bool has_distances() const { return distances_.has_value(); }
  /// The biases of distances below `reach`, for all keys that are no more. Shapes: -> (H, 2 * reach - 1) float32.
  Tensor distances(Context& ctx, int64_t reach) const { return distances_->table(ctx, reach); }
  static void set_distances(nn::DecoderRows& rows, const Tensor& table) {
    rows.distance_bias = table;
    rows.distance_zero = table.size(1) / 2;
  }

  /// Shapes: x (N,C) -> (N,C). The trace gets layers + 1 states, the last after the final norm; `packed` brings them back to their places.
  Tensor forward(Context& ctx, Tensor x, nn::DecoderRows& rows, const Seq2SeqSources* sources, nn::Trace& trace,
                 const nn::PackedRows* packed) const {
    if (distances_ && !rows.distance_bias.defined()) {
      int64_t reach = 1;
      for (size_t b = 0; b + 1 < rows.k_start.size(); ++b) reach = std::max(reach, rows.k_start[b + 1] - rows.k_start[b]);
      set_distances(rows, distances(ctx, reach));
    }
    x = ops::dropout(ctx, x, dropout_);
    for (const Seq2SeqLayer& layer : layers_) {
      if (trace.hidden_states) trace.states.push_back(nn::restore(ctx, x, *packed));
      const bool left_out = layer_dropout_ > 0 && ctx.training().dropout && ctx.random().uniform() < layer_dropout_;
      if (!left_out) x = run(ctx, layer, x, rows, sources);
    }
    if (final_norm_) x = norm_.forward(ctx, x);
    if (drops_result_) x = ops::dropout(ctx, x, dropout_);
    if (trace.hidden_states) trace.states.push_back(nn::restore(ctx, x, *packed));
    return x;
  }

  void visit(const std::string& prefix, const Seq2SeqNames& n, nn::Visitor& v) {
    const std::string layers = nn::join(prefix, n.layers);
    if (distances_) distances_->visit(nn::join(nn::join(nn::join(layers, "0"), n.self), "relative_attention_bias"), v);
    for (size_t i = 0; i < layers_.size(); ++i) layers_[i].visit(nn::join(layers, std::to_string(i)), n, gated_, v);
    if (final_norm_) norm_.visit(nn::join(prefix, n.final_norm), v);
  }

 private:
  /// A layer, kept as a checkpoint where that is asked for.
  static Tensor run(Context& ctx, const Seq2SeqLayer& layer, const Tensor& x, const nn::DecoderRows& rows, const Seq2SeqSources* sources) {
    if (rows.cache || rows.trace || (sources && sources->rows.trace) || !ops::checkpointing(ctx)) return layer.forward(ctx, x, rows, sources);
    const auto at = static_cast<size_t>(layer.index());
    const nn::CrossSource source = sources ? sources->layers[at] : nn::CrossSource{};
    nn::DecoderRows mine = rows;
    mine.distance_bias = {};  // computed too: an input
    return ops::checkpoint(ctx, "encoder-decoder layer", {x, rows.distance_bias, source.k, source.v},
                           [&layer, at, mine, cross = sources ? sources->rows : nn::CrossRows{}, decoder = sources != nullptr](
                               Context& c, std::span<const Tensor> in) -> std::vector<Tensor> {
                             nn::DecoderRows own = mine;
                             own.distance_bias = in[1];
                             Seq2SeqSources seen{.rows = cross, .layers = std::vector<nn::CrossSource>(at + 1)};
                             seen.layers[at] = {in[2], in[3]};
                             return {layer.forward(c, in[0], own, decoder ? &seen : nullptr)};
                           })
        .front();
  }

  std::vector<Seq2SeqLayer> layers_;
  std::optional<nn::RelativeBias> distances_;  // one table for all layers, stored with the first
  nn::AnyNorm norm_;
  float dropout_, layer_dropout_;
  bool final_norm_, gated_, drops_result_;
};

}  // namespace tenon::models
