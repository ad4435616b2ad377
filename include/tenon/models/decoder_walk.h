// A decoder one layer at a time, for what looks into it or changes it on the way: quantisers, pruners.
#pragma once

#include <string>
#include <vector>

#include "tenon/models/decoder.h"
#include "tenon/nn/decoder_block.h"

namespace tenon::models {

/// Layers are run by whoever walks, so that the weights of one alone need be in memory.
class DecoderWalk {
 public:
  explicit DecoderWalk(Decoder& model) : model_(model) {}

  int64_t layers() const { return model_.config_.num_layers; }
  bool has_head() const { return model_.head_ == Decoder::Head::CausalLm; }

  /// The embedded tokens. Shapes: ids of B sequences, one after another -> (ids, C) f32. Errors: Error(Limit) for unknown ids.
  Tensor embed(Context& ctx, std::span<const int64_t> ids, int64_t B) const {
    Tensor x = ops::embedding(ctx, model_.embedding_, ids, DType::F32, "input_ids");
    if (!model_.config_.learned_positions) return x;
    return ops::add(ctx, x,
                    ops::embedding(ctx, model_.positions_, positions(static_cast<int64_t>(ids.size()) / B, B), DType::F32, "position"));
  }
  /// What the layers are told of B sequences of T tokens without a past. Errors: Error(Limit) if T exceeds the positions.
  nn::DecoderRows rows(Context& ctx, int64_t B, int64_t T) const {
    check(T <= model_.config_.max_position_embeddings, ErrorCode::Limit, model_.class_name_, "a sequence of ", T,
          " tokens, but max_position_embeddings is ", model_.config_.max_position_embeddings);
    nn::DecoderRows rows;
    for (int64_t b = 0; b <= B; ++b) rows.q_start.push_back(b * T);
    rows.k_start = rows.q_start;
    if (!model_.config_.learned_positions) rows.angles = model_.rope_.angles(ctx, positions(T, B));
    return rows;
  }
  /// The parts of layer i, which stay the model's.
  nn::DecoderBlock block(int64_t i) {
    DecoderLayer& l = model_.layers_[static_cast<size_t>(i)];
    const DecoderConfig& c = model_.config_;
    nn::DecoderBlock b{.index = i, .norm1 = &l.norm1_, .norm2 = &l.norm2_, .gqa = c.gqa, .mla = c.mla, .act = c.act, .gated = c.gated_mlp};
    if (l.grouped_) b.grouped = &*l.grouped_;
    if (l.latent_) b.latent = &*l.latent_;
    if (l.mlp_) b.mlp = &*l.mlp_;
    if (l.moe_) b.moe = &*l.moe_, b.act = c.moe.act;
    return b;
  }
  /// The parameters of layer i, under their names in the checkpoint.
  void visit(int64_t i, nn::Visitor& v) {
    const std::string prefix = model_.head_ == Decoder::Head::None ? "" : model_.names_.prefix;
    model_.layers_[static_cast<size_t>(i)].visit(nn::join(nn::join(prefix, model_.names_.layers), std::to_string(i)), model_.names_, v);
  }
  /// The last norm and the head. Shapes: (n,C) -> (n,V) f32. Errors: Error(Type) for a model without a language model's head.
  Tensor logits(Context& ctx, const Tensor& x) const {
    check(has_head(), ErrorCode::Type, model_.class_name_, "predicts no tokens; its ForCausalLM class does");
    return model_.logits(ctx, model_.norm_.forward(ctx, x));
  }

 private:
  static std::vector<int64_t> positions(int64_t T, int64_t B) {
    std::vector<int64_t> p;
    for (int64_t i = 0; i < B * T; ++i) p.push_back(i % T);
    return p;
  }

  Decoder& model_;
};

}  // namespace tenon::models
