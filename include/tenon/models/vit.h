// ViT: the vision transformer, as features and as a classifier.
#pragma once

#include <memory>
#include <string>

#include "tenon/models/heads.h"
#include "tenon/nn/encoder.h"
#include "tenon/nn/patch_embedding.h"
#include "tenon/ops/activation.h"

namespace tenon::models {

inline constexpr nn::EncoderNames kVitLayer = {
    {"attention.attention.query", "attention.attention.key", "attention.attention.value", "attention.output.dense"},
    "layernorm_before", "intermediate.dense", "output.dense", "layernorm_after"};
inline constexpr nn::PatchNames kVitPatches = {"cls_token", "patch_embeddings.projection", "position_embeddings", true};

/// Sizes under the keys of ViT's config.json.
struct VitConfig {
  nn::EncoderConfig encoder;
  int64_t image_size, patch_size, num_channels, pooler_output_size;
  Activation pooler_act;
  float dropout;

  explicit VitConfig(const Json& c) {
    encoder.hidden_size = read_size(c, {"hidden_size"}, 768);
    encoder.num_layers = read_int(c, {"num_hidden_layers"}, 12);
    encoder.num_heads = read_size(c, {"num_attention_heads"}, 12);
    encoder.intermediate_size = read_size(c, {"intermediate_size"}, 3072);
    encoder.act = ops::parse_activation(c.value("hidden_act", "gelu"));
    encoder.layer_norm_eps = static_cast<float>(c.value("layer_norm_eps", 1e-12));
    encoder.qkv_bias = c.value("qkv_bias", true);
    encoder.norm_first = true;
    dropout = encoder.dropout = encoder.attention_output_dropout = read_dropout(c, {"hidden_dropout_prob"}, 0);
    encoder.attention_dropout = read_dropout(c, {"attention_probs_dropout_prob"}, 0);
    encoder.validate("vit");
    image_size = read_size(c, {"image_size"}, 224, kMaxImageSide);
    patch_size = read_size(c, {"patch_size"}, 16, kMaxImageSide);
    num_channels = read_size(c, {"num_channels"}, 3, kMaxImageSide);
    pooler_output_size = read_size(c, {"pooler_output_size"}, encoder.hidden_size);
    pooler_act = ops::parse_activation(c.value("pooler_act", "tanh"));
  }
};

/// ViTModel (with or without its pooler) and ViTForImageClassification.
/// Source: modeling_vit.py of Transformers; Dosovitskiy et al. 2020, "An image is worth 16x16 words".
class Vit final : public Model {
 public:
  enum class Head { Pooler, None, Classifier };

  Vit(const char* class_name, const Json& config, Head head)
      : Model(config),
        class_name_(class_name),
        head_(head),
        config_(config),
        patches_(config_.num_channels, config_.image_size, config_.patch_size, width(), true),
        encoder_(config_.encoder),
        norm_(width(), config_.encoder.layer_norm_eps),
        top_(nn::Linear(width(), head == Head::Classifier ? read_num_labels(config) : config_.pooler_output_size).keep_precise()) {}

  std::string class_name() const override { return class_name_; }
  std::string base_prefix() const override { return "vit"; }

  /// Outputs: last_hidden_state (B,P+1,C) and pooler_output (B,C), or logits (B,L).
  Outputs compute(Context& ctx, const Inputs& in) const override {
    Outputs out;
    nn::PackedRows rows;
    nn::Trace trace{.hidden_states = in.output_hidden_states, .attentions = in.output_attentions, .states = {}, .probs = {}};
    const Tensor x = patches_.forward(ctx, in.pixel_values, in.interpolate_pos_encoding, activations(), rows);
    const Tensor embedded = ops::cast(ctx, ops::dropout(ctx, x, config_.dropout), activations());
    const Tensor h = head_ == Head::Classifier ? encoder_.forward_first(ctx, embedded, rows, trace) : encoder_.forward(ctx, embedded, rows, trace);
    out.hidden_states = std::move(trace.states);
    out.attentions = std::move(trace.probs);
    if (head_ == Head::Classifier) {
      out.logits = top_.forward(ctx, ops::cast(ctx, norm_.forward(ctx, h), DType::F32));
      if (in.labels.defined()) out.loss = classification_loss(ctx, out.logits, in.labels, config());
      return out;
    }
    const Tensor y = norm_.forward(ctx, h);
    out.last_hidden_state = nn::restore(ctx, y, rows);
    if (head_ == Head::Pooler) {
      const Tensor first = ops::cast(ctx, ops::gather_rows(ctx, y, std::span(rows.start).first(rows.B)), DType::F32);
      out.pooler_output = top_.forward(ctx, first, config_.pooler_act);
    }
    return out;
  }

  void visit(nn::Visitor& v) override {
    const std::string prefix = head_ == Head::Classifier ? "vit" : "";
    patches_.visit(nn::join(prefix, "embeddings"), kVitPatches, v);
    encoder_.visit(nn::join(prefix, "encoder.layer"), kVitLayer, v);
    norm_.visit(nn::join(prefix, "layernorm"), v);
    if (head_ != Head::None) v.linear(head_ == Head::Classifier ? "classifier" : "pooler.dense", top_);
  }

 private:
  int64_t width() const { return config_.encoder.hidden_size; }

  const char* class_name_;
  Head head_;
  VitConfig config_;
  nn::PatchEmbedding patches_;
  nn::Encoder encoder_;
  nn::LayerNorm norm_;
  nn::Linear top_;  // the pooler or the classifier
};

}  // namespace tenon::models
