// Multi-token prediction: the block that DeepSeek-V3 stores behind its layers, which guesses the token after the next one.
#pragma once

#include <memory>
#include <span>
#include <string>
#include <vector>

#include "tenon/models/decoder.h"

namespace tenon::models {

/// h' = layer(eh_proj [enorm(Emb(t_{i+1})) ; hnorm(h_i)]), whose logits, through the decoder's own head, are those of t_{i+2}; h_i is what
/// the decoder's last norm gave for t_i. Embedding and head are the decoder's: the copies that checkpoints hold beside the block are not
/// read. Source: DeepSeek-V3 technical report, section 2.2; MtpLayer of Transformers 5.24.
class MtpModel final : public Model {
 public:
  MtpModel(const char* class_name, const DecoderFamily& family, const Json& json)
      : Model(json),
        class_name_(class_name),
        names_(family.names),
        config_(one_layer(DecoderConfig(family.kind, json))),
        index_(json.value("num_hidden_layers", 61)),
        rope_(config_.rope),
        enorm_(config_.hidden_size, config_.norm_eps, false),
        hnorm_(config_.hidden_size, config_.norm_eps, false),
        norm_(config_.hidden_size, config_.norm_eps, false),
        project_(2 * config_.hidden_size, config_.hidden_size, false),
        layer_(config_, 0) {
    check(json.value("num_nextn_predict_layers", 1) > 0, ErrorCode::Format, class_name_,
          "num_nextn_predict_layers is 0: there is no block to load");
  }
  std::string class_name() const override { return class_name_; }
  std::string base_prefix() const override { return names_.prefix; }
  const DecoderConfig& decoder_config() const { return config_; }
  /// All else in a checkpoint is the decoder's.
  bool superfluous(const std::string&) const override { return true; }
  /// Errors: Error(Type): it is a part of a decoder, see MtpSession.
  Outputs compute(Context&, const Inputs&) const override { fail(ErrorCode::Type, class_name_, "it only drafts for its decoder"); }

  /// Shapes: embedded, hidden (N,C) -> (N,C).
  Tensor predict(Context& ctx, const Tensor& embedded, const Tensor& hidden, nn::CacheStep& step) const {
    const auto typed = [&](const Tensor& x) { return ops::cast(ctx, x, activations()); };
    const Tensor both = ops::join_columns(ctx, enorm_.forward(ctx, typed(embedded)), hnorm_.forward(ctx, typed(hidden)), 1, false);
    nn::DecoderRows rows{
        .q_start = step.q_start, .k_start = step.k_start, .key_bias = {}, .angles = rope_.angles(ctx, step.positions()), .cache = &step};
    return norm_.forward(ctx, layer_.forward(ctx, project_.forward(ctx, both), rows, nullptr));
  }
  nn::CacheLayout cache_layout() const {
    nn::CacheLayout layout = layer_.cache_layout();
    layout.layers = 1;
    layout.dtype = activations();
    layout.device = device();
    return layout;
  }

  void visit(nn::Visitor& v) override {
    const std::string at = nn::join(nn::join(names_.prefix, names_.layers), std::to_string(index_));
    enorm_.visit(nn::join(at, "enorm"), v);
    hnorm_.visit(nn::join(at, "hnorm"), v);
    v.linear(nn::join(at, "eh_proj"), project_);
    layer_.visit(at, names_, v);
    norm_.visit(nn::join(at, "shared_head.norm"), v);
  }

 private:
  static DecoderConfig one_layer(DecoderConfig c) {
    c.sparse.assign(1, c.has_experts()), c.windows.assign(1, 0), c.num_layers = 1;
    return c;
  }

  const char* class_name_;
  const DecoderNames& names_;
  DecoderConfig config_;
  int64_t index_;
  nn::Rope rope_;
  nn::AnyNorm enorm_, hnorm_, norm_;
  nn::Linear project_;
  DecoderLayer layer_;
};

/// Drafts for one sequence of a decoder's session, which keeps hidden states for it.
class MtpSession {
 public:
  /// Errors: Error(Type) unless both are of one checkpoint's sizes.
  MtpSession(const MtpModel& model, DecoderSession& main) : model_(model), main_(main), cache_(model.cache_layout()) {
    check(model.decoder_config().hidden_size == main.decoder_config().hidden_size && model.decoder_config().vocab_size == main.vocab_size(),
          ErrorCode::Type, model.class_name(), "expected the block of the model's own checkpoint");
    cache_.add();
    main_.keep_hidden();
  }

  /// The guess for what follows tokens, of which the session holds all but the last: its last step fed those from position `before` on.
  /// Every step must be followed by a call. Errors: Error(Limit) if one was not.
  int64_t draft(Context& ctx, std::span<const int64_t> tokens, int64_t before) {
    const int64_t first = cache_.length(0), n = static_cast<int64_t>(tokens.size()) - 1 - first;
    check(first == before && n > 0, ErrorCode::Limit, model_.class_name(), "expected hidden states from position ", first,
          " on, got them from ", before);
    nn::CacheStep step(cache_, {n});
    const Tensor embedded = main_.embed(ctx, tokens.subspan(static_cast<size_t>(first) + 1, static_cast<size_t>(n)));
    const Tensor hidden = main_.hidden().rows(first - before, first - before + n);
    const Tensor h = model_.predict(ctx, embedded, hidden, step);
    const Tensor logits = main_.logits(ctx, h.rows(n - 1, n));
    step.commit();
    const Tensor here = logits.to(Device{});
    const auto scores = here.values<float>();
    return std::max_element(scores.begin(), scores.end()) - scores.begin();
  }

 private:
  const MtpModel& model_;
  DecoderSession& main_;
  nn::KvCache cache_;
};

}  // namespace tenon::models
