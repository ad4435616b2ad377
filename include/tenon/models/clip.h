// CLIP: a text tower, a vision tower, and both with their similarity and contrastive loss.
#pragma once

#include <algorithm>
#include <memory>
#include <string>
#include <vector>

#include "tenon/models/heads.h"
#include "tenon/nn/encoder.h"
#include "tenon/nn/patch_embedding.h"
#include "tenon/ops/activation.h"
#include "tenon/ops/matmul.h"
#include "tenon/ops/normalize.h"

namespace tenon::models {

inline constexpr nn::EncoderNames kClipLayer = {
    {"self_attn.q_proj", "self_attn.k_proj", "self_attn.v_proj", "self_attn.out_proj"}, "layer_norm1", "mlp.fc1", "mlp.fc2", "layer_norm2"};
inline constexpr nn::PatchNames kClipPatches = {"class_embedding", "patch_embedding", "position_embedding.weight", false};

/// The sizes both towers share. `text` chooses Transformers' defaults for the tower.
inline nn::EncoderConfig clip_encoder(const Json& c, bool text) {
  nn::EncoderConfig e;
  e.hidden_size = read_size(c, {"hidden_size"}, text ? 512 : 768);
  e.num_layers = read_int(c, {"num_hidden_layers"}, 12);
  e.num_heads = read_size(c, {"num_attention_heads"}, text ? 8 : 12);
  e.intermediate_size = read_size(c, {"intermediate_size"}, text ? 2048 : 3072);
  e.act = ops::parse_activation(c.value("hidden_act", "quick_gelu"));
  e.layer_norm_eps = static_cast<float>(c.value("layer_norm_eps", 1e-5));
  e.norm_first = true;
  e.causal = text;
  e.attention_dropout = read_dropout(c, {"attention_dropout"}, 0);
  e.validate(text ? "clip text" : "clip vision");
  return e;
}

/// The part of config.json that describes one tower: its own object in CLIPModel's config, the whole in a tower's.
inline const Json& clip_part(const Json& c, const char* key) {
  const Json* part = c.get(key);
  return part ? *part : c;
}

/// What a tower gives: all positions and the pooled row.
struct ClipTowerOutput {
  Tensor last;    // (B,T,C) float32, undefined unless asked for
  Tensor pooled;  // (B,C) float32
};

class ClipTextTower {
 public:
  explicit ClipTextTower(const Json& c)
      : encoder_config_(clip_encoder(c, true)),
        vocab_size_(read_size(c, {"vocab_size"}, 49408)),
        max_positions_(read_size(c, {"max_position_embeddings"}, 77)),
        eos_token_id_(c.value("eos_token_id", 49407)),
        encoder_(encoder_config_),
        norm_(width(), encoder_config_.layer_norm_eps) {}
  int64_t width() const { return encoder_config_.hidden_size; }

  /// The pooled row is the first end-of-text token, or, for eos_token_id 2 as old configs have it, the largest id.
  ClipTowerOutput forward(Context& ctx, const Inputs& in, DType act, bool want_last, nn::Trace& trace) const {
    check(in.input_ids.defined() && in.input_ids.rank() == 2, ErrorCode::Shape, "clip", "input_ids: expected (batch, length)");
    const int64_t B = in.input_ids.size(0), T = in.input_ids.size(1);
    check(T > 0 || B == 0, ErrorCode::Shape, "clip", "expected at least one token per text, got none");
    check(T <= max_positions_, ErrorCode::Limit, "clip", "a text of ", T, " tokens is longer than max_position_embeddings ", max_positions_,
          " (tokenize with truncation=True)");
    const std::vector<int64_t> ids = read_ids(in.input_ids, "input_ids");
    std::vector<int64_t> pooled(static_cast<size_t>(B));
    for (int64_t b = 0; b < B; ++b) {
      const auto first = ids.begin() + b * T, last = first + T;
      const auto at = eos_token_id_ == 2 ? std::max_element(first, last) : std::find(first, last, eos_token_id_);
      pooled[b] = at == last ? 0 : at - first;
    }
    const nn::PackedRows rows = nn::pack_rows(in.attention_mask, B, T, pooled);
    std::vector<int64_t> tokens, positions, pooled_rows;
    const std::vector<int64_t> given = in.position_ids.defined() ? read_ids(in.position_ids, "position_ids") : std::vector<int64_t>{};
    check(given.empty() || static_cast<int64_t>(given.size()) == B * T || static_cast<int64_t>(given.size()) == T, ErrorCode::Shape,
          "position_ids", "expected ", Shape{B, T}, ", got ", in.position_ids.shape());
    for (const int64_t i : rows.source) {
      tokens.push_back(ids[i]);
      positions.push_back(given.empty() ? i % T : given[static_cast<int64_t>(given.size()) == B * T ? i : i % T]);
    }
    for (int64_t b = 0; b < B; ++b) pooled_rows.push_back(rows.row_of(b, pooled[b]));
    const Tensor x = ops::add(ctx, ops::embedding(ctx, tokens_, tokens, DType::F32, "input_ids"),
                              ops::embedding(ctx, positions_, positions, DType::F32, "position_ids"));
    const Tensor h = encoder_.forward(ctx, ops::cast(ctx, x, act), rows, trace);
    const Tensor y = norm_.forward(ctx, want_last ? h : ops::gather_rows(ctx, h, pooled_rows));
    if (!want_last) return {.last = {}, .pooled = ops::cast(ctx, y, DType::F32)};
    return {.last = nn::restore(ctx, y, rows), .pooled = ops::cast(ctx, ops::gather_rows(ctx, y, pooled_rows), DType::F32)};
  }

  void visit(const std::string& prefix, nn::Visitor& v) {
    v.parameter(prefix + ".embeddings.token_embedding.weight", tokens_, {vocab_size_, width()}, {.in_place = true});
    v.parameter(prefix + ".embeddings.position_embedding.weight", positions_, {max_positions_, width()}, {.in_place = true});
    encoder_.visit(prefix + ".encoder.layers", kClipLayer, v);
    norm_.visit(prefix + ".final_layer_norm", v);
  }

 private:
  nn::EncoderConfig encoder_config_;
  int64_t vocab_size_, max_positions_, eos_token_id_;
  Tensor tokens_, positions_;  // (V,C), (positions,C)
  nn::Encoder encoder_;
  nn::LayerNorm norm_;
};

class ClipVisionTower {
 public:
  explicit ClipVisionTower(const Json& c)
      : encoder_config_(clip_encoder(c, false)),
        patches_(read_size(c, {"num_channels"}, 3, kMaxImageSide), read_size(c, {"image_size"}, 224, kMaxImageSide),
                 read_size(c, {"patch_size"}, 32, kMaxImageSide), width(), false),
        before_(width(), encoder_config_.layer_norm_eps),
        encoder_(encoder_config_),
        after_(width(), encoder_config_.layer_norm_eps) {}
  int64_t width() const { return encoder_config_.hidden_size; }

  /// last is before the final norm, pooled after it: as Transformers has it.
  ClipTowerOutput forward(Context& ctx, const Inputs& in, DType act, bool want_last, nn::Trace& trace) const {
    nn::PackedRows rows;
    const Tensor x = before_.forward(ctx, patches_.forward(ctx, in.pixel_values, in.interpolate_pos_encoding, act, rows));
    const Tensor h = encoder_.forward(ctx, ops::cast(ctx, x, act), rows, trace);
    const Tensor first = after_.forward(ctx, ops::gather_rows(ctx, h, std::span(rows.start).first(rows.B)));
    return {.last = want_last ? nn::restore(ctx, h, rows) : Tensor(), .pooled = ops::cast(ctx, first, DType::F32)};
  }

  void visit(const std::string& prefix, nn::Visitor& v) {
    patches_.visit(prefix + ".embeddings", kClipPatches, v);
    before_.visit(prefix + ".pre_layrnorm", v);  // spelt so in every checkpoint
    encoder_.visit(prefix + ".encoder.layers", kClipLayer, v);
    after_.visit(prefix + ".post_layernorm", v);
  }

 private:
  nn::EncoderConfig encoder_config_;
  nn::PatchEmbedding patches_;
  nn::LayerNorm before_;
  nn::Encoder encoder_;
  nn::LayerNorm after_;
};

/// CLIPTextModel, CLIPVisionModel, and the two with their projection.
template <class Tower>
class ClipTower final : public Model {
 public:
  static constexpr bool kText = std::is_same_v<Tower, ClipTextTower>;

  ClipTower(const char* class_name, const Json& config, bool projection)
      : Model(config), class_name_(class_name), projected_(projection), tower_(clip_part(config, kText ? "text_config" : "vision_config")) {
    const Json& part = clip_part(config, kText ? "text_config" : "vision_config");
    projection_ = nn::Linear(tower_.width(), read_size(part, {"projection_dim"}, config.value("projection_dim", 512)), false).keep_precise();
  }
  std::string class_name() const override { return class_name_; }

  Outputs compute(Context& ctx, const Inputs& in) const override {
    nn::Trace trace{.hidden_states = in.output_hidden_states, .attentions = in.output_attentions, .states = {}, .probs = {}};
    const ClipTowerOutput tower = tower_.forward(ctx, in, activations(), true, trace);
    Outputs out;
    out.last_hidden_state = tower.last;
    if (projected_) (kText ? out.text_embeds : out.image_embeds) = projection_.forward(ctx, tower.pooled);
    else out.pooler_output = tower.pooled;
    out.hidden_states = std::move(trace.states);
    out.attentions = std::move(trace.probs);
    return out;
  }
  void visit(nn::Visitor& v) override {
    tower_.visit(kText ? "text_model" : "vision_model", v);
    if (projected_) v.linear(kText ? "text_projection" : "visual_projection", projection_);
  }

 private:
  const char* class_name_;
  bool projected_;
  Tower tower_;
  nn::Linear projection_;
};

/// Both towers. Source: Radford et al. 2021, "Learning transferable visual models from natural language supervision".
class ClipModel final : public Model {
 public:
  explicit ClipModel(const Json& config)
      : Model(config),
        text_(clip_part(config, "text_config")),
        vision_(clip_part(config, "vision_config")),
        text_projection_(nn::Linear(text_.width(), projection_dim(config), false).keep_precise()),
        visual_projection_(nn::Linear(vision_.width(), projection_dim(config), false).keep_precise()) {}
  std::string class_name() const override { return "CLIPModel"; }

  /// logits_per_text = exp(logit_scale) * text_embeds image_embeds^T; loss = the mean of both cross-entropies over the diagonal.
  Outputs compute(Context& ctx, const Inputs& in) const override {
    Outputs out;
    out.text_embeds = ops::l2_normalize(ctx, text_features(ctx, in));
    out.image_embeds = ops::l2_normalize(ctx, image_features(ctx, in));
    out.logits_per_text = ops::scale_by_exp(ctx, ops::matmul(ctx, out.text_embeds, out.image_embeds, true), logit_scale_);
    out.logits_per_image = ops::transpose(ctx, out.logits_per_text);
    if (in.return_loss) {
      check(out.logits_per_text.size(0) == out.logits_per_text.size(1), ErrorCode::Shape, "clip",
            "the contrastive loss: expected as many texts as images, got ", out.logits_per_text.size(0), " and ", out.logits_per_text.size(1));
      std::vector<int64_t> diagonal(static_cast<size_t>(out.logits_per_text.size(0)));
      for (size_t i = 0; i < diagonal.size(); ++i) diagonal[i] = static_cast<int64_t>(i);
      out.loss = ops::scale(ctx, ops::add(ctx, ops::cross_entropy(ctx, out.logits_per_text, diagonal), ops::cross_entropy(ctx, out.logits_per_image, diagonal)), 0.5f);
    }
    return out;
  }

  Tensor compute_features(Context& ctx, const Inputs& in) const override {
    check(in.input_ids.defined() != in.pixel_values.defined(), ErrorCode::Type, "clip", "features: expected either input_ids or pixel_values");
    return in.input_ids.defined() ? text_features(ctx, in) : image_features(ctx, in);
  }

  void visit(nn::Visitor& v) override {
    v.parameter("logit_scale", logit_scale_, {}, {.init = nn::Init::Ones, .scale = config().value("logit_scale_init_value", 2.6592)});
    text_.visit("text_model", v);
    vision_.visit("vision_model", v);
    v.linear("visual_projection", visual_projection_);
    v.linear("text_projection", text_projection_);
  }

 private:
  static int64_t projection_dim(const Json& c) { return read_size(c, {"projection_dim"}, 512); }
  Tensor text_features(Context& ctx, const Inputs& in) const {
    nn::Trace trace;
    return text_projection_.forward(ctx, text_.forward(ctx, in, activations(), false, trace).pooled);
  }
  Tensor image_features(Context& ctx, const Inputs& in) const {
    nn::Trace trace;
    return visual_projection_.forward(ctx, vision_.forward(ctx, in, activations(), false, trace).pooled);
  }

  ClipTextTower text_;
  ClipVisionTower vision_;
  nn::Linear text_projection_, visual_projection_;
  Tensor logit_scale_;  // scalar
};

}  // namespace tenon::models
