// Decoders: GPT-2, Llama, Mistral, Qwen, Mixtral, OLMoE and DeepSeek are one model whose configuration says what it is made of.
#pragma once

#include <cstdlib>
#include <limits>
#include <memory>
#include <optional>
#include <string>
#include <vector>

#include "tenon/models/decoder_config.h"
#include "tenon/models/decoder_routing.h"
#include "tenon/models/decoding_step.h"
#include "tenon/models/heads.h"
#include "tenon/models/past.h"
#include "tenon/models/step_graph.h"
#include "tenon/nn/packed_rows.h"
#include "tenon/ops/checkpoint.h"
#include "tenon/ops/router_loss.h"

namespace tenon::models {

class DecoderWalk;

class DecoderLayer {
 public:
  DecoderLayer(const DecoderConfig& c, int64_t index)
      : norm1_(c.hidden_size, c.norm_eps, c.layer_norm), norm2_(c.hidden_size, c.norm_eps, c.layer_norm), index_(index) {
    if (c.latent) {
      latent_.emplace(c.mla);
    } else {
      nn::GqaConfig g = c.gqa;
      g.window = c.windows[static_cast<size_t>(index)];
      if (c.scale_by_layer) g.scale /= static_cast<float>(index + 1);
      grouped_.emplace(g);
    }
    if (c.sparse[static_cast<size_t>(index)]) {
      moe_.emplace(c.moe);
    } else {
      mlp_.emplace(c.hidden_size, c.intermediate_size, c.act, c.gated_mlp, c.mlp_bias);
      if (c.in_out) mlp_->up.stored_in_out(), mlp_->down.stored_in_out();
      mlp_->with_dropout(0, c.mlp_dropout);
    }
  }

  bool sparse() const { return moe_.has_value(); }
  void set_routing(const ops::RouterOptions& options, const RoutingSettings& s) {
    if (moe_) moe_->router.options = options, moe_->router.jitter = s.jitter, moe_->router.noise = s.noise;
  }
  /// Shapes: x (N,C) -> (N,C). routing, if not null, gets what the router of a mixture decided.
  Tensor forward(Context& ctx, const Tensor& x, const nn::DecoderRows& rows, ops::Routing* routing) const {
    const Tensor normed = norm1_.forward(ctx, x);
    const Tensor h = latent_ ? latent_->forward(ctx, normed, rows, index_, x) : grouped_->forward(ctx, normed, rows, index_, x);
    const Tensor inner = norm2_.forward(ctx, h);
    return moe_ ? moe_->forward(ctx, inner, h, routing) : mlp_->forward(ctx, inner, h);
  }
  void visit(const std::string& prefix, const DecoderNames& n, nn::Visitor& v) {
    norm1_.visit(nn::join(prefix, n.norm1), v);
    const std::string attention = nn::join(prefix, n.attention), mlp = nn::join(prefix, n.mlp);
    latent_ ? latent_->visit(attention, v) : grouped_->visit(attention, n.gqa, v);
    norm2_.visit(nn::join(prefix, n.norm2), v);
    moe_ ? moe_->visit(mlp, n.moe, v) : mlp_->visit(mlp, n.dense, v);
  }
  nn::CacheLayout cache_layout() const {
    if (latent_) return {.k_width = latent_->cache_width(), .v_width = 0};
    return {.k_width = grouped_->cache_width(), .v_width = grouped_->cache_width(), .heads = grouped_->kv_heads()};
  }

 private:
  friend class DecoderWalk;
  nn::AnyNorm norm1_, norm2_;
  std::optional<nn::GroupedQueryAttention> grouped_;
  std::optional<nn::LatentAttention> latent_;
  std::optional<nn::Mlp> mlp_;
  std::optional<nn::MoeLayer> moe_;
  int64_t index_;
};

/// The class of one checkpoint: without a head, with a language model's, or with a classifier's.
class Decoder final : public Model {
 public:
  enum class Head : uint8_t { None, CausalLm, Classifier };

  Decoder(const char* class_name, const DecoderFamily& family, const Json& json, Head head)
      : Model(json), class_name_(class_name), names_(family.names), config_(family.kind, json), head_(head), rope_(make_rope(config_)),
        norm_(config_.hidden_size, config_.norm_eps, config_.layer_norm) {
    config().set("tie_word_embeddings", config_.tie_word_embeddings);
    routing_.jitter = config_.moe.jitter;
    if (config_.seq_aux) {
      routing_.sequence_balance = config_.aux_loss_alpha;
    } else {
      routing_.losses.balance = ops::BalanceKind::Deepseek;
      routing_.balance = config_.aux_loss_alpha;
    }
    for (int64_t i = 0; i < config_.num_layers; ++i) layers_.emplace_back(config_, i);
    if (head == Head::CausalLm) {
      top_ = nn::Linear(config_.hidden_size, config_.vocab_size, false);
      top_.tied_weight = nn::join(nn::join(names_.prefix, names_.embedding), "weight");
    } else if (head == Head::Classifier) {
      top_ = nn::Linear(nn::Linear(config_.hidden_size, read_num_labels(json), false).keep_precise());
    }
  }
  std::string class_name() const override { return class_name_; }
  std::string base_prefix() const override { return names_.prefix; }
  const DecoderConfig& decoder_config() const { return config_; }
  /// DeepSeek-V3 stores the block that predicts a second token as one more layer.
  bool superfluous(const std::string& name) const override {
    const size_t at = name.find("layers.");
    return config().value("num_nextn_predict_layers", 0) > 0 && at != std::string::npos && std::atoll(name.c_str() + at + 7) >= config_.num_layers;
  }

  void set_routing(const RoutingSettings& s) override {
    check(config_.has_experts(), ErrorCode::Type, class_name_, "it has no experts to route to");
    const ops::RouterOptions options = router_options(config_.moe, s);
    for (DecoderLayer& layer : layers_) layer.set_routing(options, s);
    routing_ = s;
    touch();
  }
  const RoutingSettings& routing() const override {
    check(config_.has_experts(), ErrorCode::Type, class_name_, "it has no experts to route to");
    return routing_;
  }

  /// Outputs: last_hidden_state (B,T,C), logits (B,T,V) or logits (B,L); hidden_states, attentions; router_logits and aux_loss of
  /// mixtures, and what RoutingSettings ask for; past_key_values with use_cache. With a past, attention_mask is (B, past + T), and
  /// positions go on behind it.
  /// Errors: Error(Type) for a past of another model.
  Outputs compute(Context& ctx, const Inputs& in) const override;

  std::unique_ptr<DecodingSession> begin(Context& ctx, const Inputs& in) const override;

  void visit(nn::Visitor& v) override {
    const std::string prefix = head_ == Head::None ? "" : names_.prefix;
    v.parameter(nn::join(nn::join(prefix, names_.embedding), "weight"), embedding_, {config_.vocab_size, config_.hidden_size}, {.in_place = true});
    if (config_.learned_positions)
      v.parameter(nn::join(nn::join(prefix, names_.positions), "weight"), positions_, {config_.max_position_embeddings, config_.hidden_size},
                  {.in_place = true});
    for (size_t i = 0; i < layers_.size(); ++i) layers_[i].visit(nn::join(nn::join(prefix, names_.layers), std::to_string(i)), names_, v);
    norm_.visit(nn::join(prefix, names_.final_norm), v);
    if (head_ == Head::CausalLm) v.linear("lm_head", top_);
    if (head_ == Head::Classifier) v.linear("score", top_);
  }

 private:
  friend class DecoderSession;
  friend class DecoderWalk;

  /// What to keep on the way through the layers.
  struct Pass {
    bool hidden_states = false, routings = false;
    std::vector<Tensor> states;
    std::vector<ops::Routing> routing;
  };

  static nn::Rope make_rope(const DecoderConfig& c) { return c.learned_positions ? nn::Rope() : nn::Rope(c.rope); }
  bool wants_routing(const Inputs& in) const {
    return config_.has_experts() && (in.output_router_logits || config().value("output_router_logits", false));
  }

  /// x (N,C) through all layers and the last norm. `packed` brings hidden states back to their places.
  Tensor run(Context& ctx, Tensor x, const std::vector<int64_t>& positions, nn::DecoderRows& rows, Pass& pass, const nn::PackedRows* packed) const {
    for (const int64_t p : positions)
      check(p >= 0 && (!config_.learned_positions || p < config_.max_position_embeddings), ErrorCode::Limit, class_name_, "position ", p,
            " lies outside max_position_embeddings ", config_.max_position_embeddings);
    if (config_.learned_positions) {
      x = ops::add(ctx, x, ops::embedding(ctx, positions_, positions, DType::F32, "position"));
    } else if (!rows.angles.cos.defined()) {
      rows.angles = rope_.angles(ctx, positions);
    }
    x = ops::cast(ctx, ops::dropout(ctx, x, config_.embedding_dropout), activations());
    for (const DecoderLayer& layer : layers_) {
      if (pass.hidden_states) pass.states.push_back(nn::restore(ctx, x, *packed));
      ops::Routing routing;
      const bool keep = pass.routings && layer.sparse();
      x = through(ctx, layer, x, rows, keep ? &routing : nullptr);
      if (keep) pass.routing.push_back(std::move(routing));
    }
    x = norm_.forward(ctx, x);
    if (pass.hidden_states) pass.states.push_back(nn::restore(ctx, x, *packed));
    return x;
  }
  /// A layer, kept as a checkpoint where that is asked for.
  static Tensor through(Context& ctx, const DecoderLayer& layer, const Tensor& x, const nn::DecoderRows& rows, ops::Routing* routing) {
    if (rows.cache || rows.trace || !ops::checkpointing(ctx)) return layer.forward(ctx, x, rows, routing);
    // Which experts were chosen is no tensor: the layer leaves it here.
    const auto chosen = std::make_shared<ops::Routing>();
    const std::vector<Tensor> out = ops::checkpoint(
        ctx, "decoder layer", {x},
        [&layer, rows, chosen, routed = routing != nullptr](Context& c, std::span<const Tensor> in) -> std::vector<Tensor> {
          Tensor y = layer.forward(c, in[0], rows, routed ? chosen.get() : nullptr);
          return routed ? std::vector<Tensor>{y, std::exchange(chosen->logits, {})} : std::vector<Tensor>{y};
        });
    if (routing) {
      *routing = *chosen;
      routing->logits = out[1];
    }
    return out[0];
  }
  /// Float32 logits of rows. Shapes: (n,C) -> (n,V).
  Tensor logits(Context& ctx, const Tensor& h) const { return top_.forward(ctx, ops::cast(ctx, h, DType::F32)); }

  Tensor embed(Context& ctx, const Inputs& in, const nn::PackedRows& packed) const {
    if (in.inputs_embeds.defined()) return nn::select(ctx, in.inputs_embeds.dtype() == DType::F32 ? in.inputs_embeds : in.inputs_embeds.to(DType::F32), packed);
    const std::vector<int64_t> all = read_ids(in.input_ids, "input_ids");
    std::vector<int64_t> ids;
    ids.reserve(packed.source.size());
    for (const int64_t i : packed.source) ids.push_back(all[static_cast<size_t>(i)]);
    return ops::embedding(ctx, embedding_, ids, DType::F32, "input_ids", config_.learned_positions ? -1 : config().value("pad_token_id", -1));
  }

  /// The rows to compute: those of the mask; of a sequence where a label follows a padded position, all, with the padding hidden.
  nn::PackedRows pack(const Inputs& in, const PastKeyValues* past) const {
    const auto [B, T] = batch_of(in, config_.hidden_size, class_name_);
    const std::vector<uint8_t> keep = past ? mask_of_new(in.attention_mask, B, T, *past, class_name_) : nn::read_mask(in.attention_mask, B, T);
    std::vector<uint8_t> whole(static_cast<size_t>(B));
    if (in.labels.defined() && head_ == Head::CausalLm && in.labels.numel() == B * T) {
      const std::vector<int64_t> labels = read_ids(in.labels, "labels");
      for (int64_t i = 0; i + 1 < B * T; ++i)
        if (i % T + 1 < T && !keep[static_cast<size_t>(i)] && labels[static_cast<size_t>(i) + 1] != -100) whole[static_cast<size_t>(i / T)] = 1;
    }
    nn::PackedRows rows{.B = B, .T = T, .source = {}, .start = {0}, .key_bias = {}};
    const bool biased = std::find(whole.begin(), whole.end(), 1) != whole.end();
    for (int64_t b = 0; b < B; ++b) {
      for (int64_t i = b * T; i < (b + 1) * T; ++i) {
        const bool real = keep[static_cast<size_t>(i)];
        if (!real && !whole[static_cast<size_t>(b)]) continue;
        rows.source.push_back(i);
        if (biased) rows.key_bias.push_back(real ? 0 : -std::numeric_limits<float>::infinity());
      }
      rows.start.push_back(rows.size());
    }
    return rows;
  }

  /// first: the position of the first column.
  std::vector<int64_t> position_ids(const Inputs& in, const nn::PackedRows& packed, int64_t first) const {
    std::vector<int64_t> given, ids;
    if (in.position_ids.defined()) {
      given = read_ids(in.position_ids, "position_ids");
      check(static_cast<int64_t>(given.size()) == packed.B * packed.T || static_cast<int64_t>(given.size()) == packed.T, ErrorCode::Shape,
            "position_ids", "expected ", Shape{packed.B, packed.T}, ", got ", in.position_ids.shape());
    }
    ids.reserve(packed.source.size());
    for (const int64_t i : packed.source)
      ids.push_back(given.empty() ? first + i % packed.T : given[static_cast<size_t>(static_cast<int64_t>(given.size()) == packed.T ? i % packed.T : i)]);
    for (const int64_t p : ids)
      check(p >= 0 && p < config_.max_position_embeddings, ErrorCode::Limit, class_name_, "a sequence of ", first + packed.T, " tokens reaches position ",
            p, ", but max_position_embeddings is ", config_.max_position_embeddings);
    return ids;
  }

  /// Row of each sequence that a classifier reads: its last token that is not pad_token_id.
  std::vector<int64_t> last_rows(const Inputs& in, const nn::PackedRows& packed) const {
    std::vector<int64_t> rows;
    const int64_t pad = config().value("pad_token_id", -1);
    std::vector<int64_t> ids;
    if (pad >= 0 && in.input_ids.defined()) ids = read_ids(in.input_ids, "input_ids");
    check(pad >= 0 || packed.B <= 1, ErrorCode::Limit, class_name_, "pad_token_id is not set, so that a batch of ", packed.B,
          " texts has no known last tokens");
    for (int64_t b = 0; b < packed.B; ++b) {
      int64_t last = packed.start[static_cast<size_t>(b) + 1] - 1;
      check(last >= packed.start[static_cast<size_t>(b)], ErrorCode::Shape, class_name_, "expected at least one token per sequence, got none");
      while (!ids.empty() && last > packed.start[static_cast<size_t>(b)] && ids[static_cast<size_t>(packed.source[static_cast<size_t>(last)])] == pad)
        --last;
      rows.push_back(last);
    }
    return rows;
  }

  std::shared_ptr<PastKeyValues> past_of(const Inputs& in, int64_t B) const;
  int64_t prefix_width() const {
    check(!config_.latent, ErrorCode::Type, class_name_, "prefix_key_values: not with latent attention");
    return config_.gqa.kv_heads * config_.gqa.head_dim;
  }

  void add_routing(Context& ctx, const Inputs& in, const nn::PackedRows& packed, const Pass& pass, Outputs& out) const {
    std::vector<uint8_t> real;
    if (!packed.key_bias.empty())
      for (const float bias : packed.key_bias) real.push_back(bias == 0);
    if (wants_router_losses(ctx, routing_, in) && !pass.routing.empty())
      add_router_losses(ctx, routing_, config_.moe.router.score, in, packed, pass.routing, real, out);
    if (!wants_routing(in)) return;
    for (const ops::Routing& r : pass.routing)
      out.router_logits.push_back(ops::reshape(ctx, nn::restore(ctx, r.logits, packed), {packed.B * packed.T, r.E}));
    if (!config_.balanced || pass.routing.empty() || head_ != Head::CausalLm) return;
    out.aux_loss = ops::load_balancing_loss(ctx, pass.routing, real);
    if (out.loss.defined() && in.labels.defined()) out.loss = ops::add(ctx, out.loss, ops::scale(ctx, out.aux_loss, config_.aux_loss_coef));
  }

  const char* class_name_;
  const DecoderNames& names_;
  DecoderConfig config_;
  Head head_;
  nn::Rope rope_;
  RoutingSettings routing_;
  Tensor embedding_, positions_;  // (V,C), (P,C)
  std::vector<DecoderLayer> layers_;
  nn::AnyNorm norm_;
  nn::Linear top_;  // the language model's or the classifier's
};

/// Sequences of one decoder over a paged cache.
class DecoderSession final : public DecodingSession {
 public:
  DecoderSession(const Decoder& model, int64_t sequences, size_t max_bytes = SIZE_MAX, CacheCodes codes = CacheCodes::None)
      : model_(model), cache_(layout(model, codes), max_bytes) {
    for (int64_t i = 0; i < sequences; ++i) cache_.add();
  }

  int64_t vocab_size() const override { return model_.config_.vocab_size; }
  int64_t max_length() const override { return std::max<int64_t>(0, model_.config_.max_position_embeddings - before_); }
  int64_t size() const override { return cache_.size(); }
  int64_t length(int64_t i) const override { return cache_.length(i) - before_; }
  const nn::KvCache& cache() const { return cache_; }
  nn::KvCache& cache() { return cache_; }

  Tensor feed(Context& ctx, std::span<const std::vector<int64_t>> tokens, bool all_positions) override {
    const DecodingStep given(*this, tokens, all_positions, model_.class_name());
    ops::detail::check_index(given.ids, vocab_size(), "embedding", "token id");
    if (given.ids.empty()) return ctx.empty({0, vocab_size()}, DType::F32);
    if (graph_.on() && !keeps_hidden_ && given.one_each()) {
      const Tensor logits = graph_.run(ctx, model_, cache_, given.ids, as_graph(ctx));
      if (logits.defined()) return logits;
    } else {
      graph_.interrupt();
    }
    nn::CacheStep step(cache_, given.counts);
    nn::DecoderRows rows{.q_start = step.q_start, .k_start = step.k_start, .key_bias = {}, .angles = {}, .cache = &step};
    Tensor h = through(ctx, given.ids, rows);
    if (keeps_hidden_) hidden_ = h;
    if (given.wanted.size() < given.ids.size()) h = ops::gather_rows(ctx, h, given.wanted);
    Tensor logits = model_.logits(ctx, h);
    step.commit();
    return logits;
  }
  void reuse_logits() override { reuse_logits(1); }
  /// The same, for a batch that sequences join and leave: keeps the graphs of the `most` sizes that were met last.
  void reuse_logits(size_t most) {
    if (!model_.device().is_cpu() && Graph::allowed()) graph_.turn_on(most);
  }
  void reorder(std::span<const int64_t> parents) override { cache_.reorder(parents); }
  void truncate(int64_t i, int64_t length) override { cache_.truncate(i, length + before_); }
  std::unique_ptr<DecodingSession> clone() const override { return std::make_unique<DecoderSession>(*this); }

  const DecoderConfig& decoder_config() const { return model_.config_; }
  /// From now on hidden() has what the last norm gave for the tokens of the last step, (N,C).
  void keep_hidden() { keeps_hidden_ = true; }
  const Tensor& hidden() const { return hidden_; }
  /// The decoder's embedding (n,C) float32 and head. Errors: Error(Limit) for an id outside the vocabulary.
  Tensor embed(Context& ctx, std::span<const int64_t> ids) const { return ops::embedding(ctx, model_.embedding_, ids, DType::F32, "token id"); }
  Tensor logits(Context& ctx, const Tensor& h) const { return model_.logits(ctx, h); }
  /// Puts what is no token of the text before every sequence, which holds nothing yet; it is not counted in lengths.
  /// Shapes: keys_values as Inputs::prefix_key_values, embeds as Inputs::prompt_embeds, or undefined. Errors: Error(Shape), Error(Limit).
  void begin_with(Context& ctx, const Tensor& keys_values, const Tensor& embeds);

 private:
  friend class Decoder;
  struct Arrays : StepArrays {
    std::vector<float> cos, sin;
    template <class F>
    void visit_arrays(F&& f) const {
      StepArrays::visit_arrays(f);
      f(cos), f(sin);
    }
  };
  using Graph = StepGraph<Arrays>;

  static nn::CacheLayout layout(const Decoder& model, CacheCodes codes) {
    nn::CacheLayout l = model.layers_.empty() ? nn::CacheLayout{.k_width = 1, .v_width = 1} : model.layers_.front().cache_layout();
    l.layers = model.config_.num_layers;
    l.dtype = model.activations();
    l.codes = codes;
    l.device = model.device();
    return l;
  }

  /// Tokens through all layers and the last norm. Shapes: -> (N,C).
  Tensor through(Context& ctx, std::span<const int64_t> ids, nn::DecoderRows& rows) const {
    Decoder::Pass pass;
    Tensor x = ops::embedding(ctx, model_.embedding_, ids, DType::F32, "token id");
    return model_.run(ctx, std::move(x), rows.cache->positions(), rows, pass, nullptr);
  }

  Graph::Step as_graph(Context& ctx) const {
    const nn::Rope* rope = model_.config_.learned_positions ? nullptr : &model_.rope_;
    Graph::Step step;
    step.lay_out = [&ctx, rope](Arrays& a, const nn::CacheStep& cache) {
      if (!rope) return;
      a.cos.resize(a.ids.size() * static_cast<size_t>(rope->half())), a.sin.resize(a.cos.size());
      HostContext host(ctx);
      rope->write(*host, cache.positions(), a.cos.data(), a.sin.data());
    };
    step.compute = [this, &ctx, rope](Arrays& a, const cuda::Mirror& mirror) {
      if (rope) {
        const Shape shape{static_cast<int64_t>(a.ids.size()), rope->half()};
        a.rows.angles = {mirror.find(a.cos.data(), DType::F32).view(shape), mirror.find(a.sin.data(), DType::F32).view(shape)};
      }
      return model_.logits(ctx, through(ctx, a.ids, a.rows));
    };
    return step;
  }

  const Decoder& model_;
  nn::KvCache cache_;
  Graph graph_;
  Tensor hidden_;
  bool keeps_hidden_ = false;
  int64_t before_ = 0;  // rows of each sequence that are no tokens
};

inline void DecoderSession::begin_with(Context& ctx, const Tensor& keys_values, const Tensor& embeds) {
  const auto n = static_cast<size_t>(size());
  const int64_t most = model_.config_.max_position_embeddings;
  if (keys_values.defined()) {
    const nn::Prefix prefix(keys_values, std::vector<int64_t>(n + 1), model_.config_.num_layers, model_.prefix_width());
    check(prefix.size() < most, ErrorCode::Limit, model_.class_name_, "a prefix of ", prefix.size(), " leaves no room in ", most, " positions");
    nn::CacheStep step(cache_, std::vector<int64_t>(n, prefix.size()));
    const DType type = model_.activations();
    for (int64_t i = 0; i < model_.config_.num_layers; ++i)
      step.write(ctx, i, ops::cast(ctx, prefix.alone(ctx, i, false), type), ops::cast(ctx, prefix.alone(ctx, i, true), type));
    step.commit();
    before_ += prefix.size();
  }
  if (embeds.defined()) {
    check(embeds.rank() == 2 && embeds.size(1) == model_.config_.hidden_size && embeds.dtype() == DType::F32, ErrorCode::Shape, model_.class_name_,
          "prompt_embeds: expected float32 (n, ", model_.config_.hidden_size, "), got ", embeds.describe());
    check(embeds.size(0) + before_ < most, ErrorCode::Limit, model_.class_name_, "a prompt of ", embeds.size(0), " leaves no room in ", most,
          " positions");
    std::vector<int64_t> index;
    for (size_t b = 0; b < n; ++b)
      for (int64_t i = 0; i < embeds.size(0); ++i) index.push_back(i);
    nn::CacheStep step(cache_, std::vector<int64_t>(n, embeds.size(0)));
    nn::DecoderRows rows{.q_start = step.q_start, .k_start = step.k_start, .key_bias = {}, .angles = {}, .cache = &step};
    Decoder::Pass pass;
    model_.run(ctx, ops::gather_rows(ctx, embeds, index), step.positions(), rows, pass, nullptr);
    step.commit();
    before_ += embeds.size(0);
  }
}

inline std::shared_ptr<PastKeyValues> Decoder::past_of(const Inputs& in, int64_t B) const {
  std::shared_ptr<PastKeyValues> past = in.past_key_values;
  if (!past && in.use_cache) past = std::make_shared<PastKeyValues>(std::make_unique<DecoderSession>(*this, B));
  if (!past) return nullptr;
  const auto* session = dynamic_cast<const DecoderSession*>(&past->session());
  check(session && &session->model_ == this, ErrorCode::Type, class_name_, "past_key_values: expected those of this model");
  check(session->size() == B, ErrorCode::Shape, class_name_, "past_key_values: expected ", B, " sequences, got ", session->size());
  return past;
}

inline Outputs Decoder::compute(Context& ctx, const Inputs& in) const {
  check(!in.router_targets.defined() || config_.has_experts(), ErrorCode::Type, class_name_, "router_targets: it has no experts to route to");
  const std::shared_ptr<PastKeyValues> past = past_of(in, batch_of(in, config_.hidden_size, class_name_).first);
  const int64_t columns = past ? past->columns() : 0;
  const nn::PackedRows packed = pack(in, past.get());
  check(!past || packed.key_bias.empty(), ErrorCode::Type, class_name_, "labels behind padding: not with past_key_values");
  nn::DecoderRows rows{.q_start = packed.start, .k_start = packed.start, .key_bias = packed.key_bias, .angles = {}};
  if (in.prefix_key_values.defined()) {
    check(!past && !in.output_attentions, ErrorCode::Type, class_name_, "prefix_key_values: not with past_key_values or output_attentions");
    rows.prefix = std::make_shared<nn::Prefix>(in.prefix_key_values, packed.start, config_.num_layers, prefix_width());
    rows.k_start = rows.prefix->k_start, rows.key_bias = rows.prefix->key_bias(packed.key_bias);
  }
  const std::vector<int64_t> positions = position_ids(in, packed, rows.prefix ? rows.prefix->size() : columns);
  std::optional<nn::CacheStep> step;
  if (past) {
    auto& cache = static_cast<DecoderSession&>(past->session()).cache_;
    step.emplace(cache, packed.counts());
    rows.q_start = step->q_start, rows.k_start = step->k_start, rows.cache = &*step;
  }
  nn::AttentionTrace trace;
  if (in.output_attentions) {
    trace = attention_trace(packed, past.get());
    rows.trace = &trace;
  }
  const bool routings = wants_routing(in) || (config_.has_experts() && wants_router_losses(ctx, routing_, in));
  Pass pass{.hidden_states = in.output_hidden_states, .routings = routings, .states = {}, .routing = {}};
  const Tensor h = run(ctx, embed(ctx, in, packed), positions, rows, pass, &packed);
  Outputs out;
  out.hidden_states = std::move(pass.states);
  out.attentions = std::move(trace.probs);
  if (head_ == Head::None) out.last_hidden_state = nn::restore(ctx, h, packed);
  if (head_ == Head::CausalLm) {
    out.logits = nn::restore(ctx, logits(ctx, h), packed);
    if (in.labels.defined()) out.loss = next_token_loss(ctx, out.logits, in.labels);
  }
  if (head_ == Head::Classifier) {
    out.logits = top_.forward(ctx, ops::cast(ctx, ops::gather_rows(ctx, h, last_rows(in, packed)), DType::F32));
    if (in.labels.defined()) out.loss = classification_loss(ctx, out.logits, in.labels, config());
  }
  if (pass.routings) add_routing(ctx, in, packed, pass, out);
  if (past) {
    step->commit();
    past->extend(packed.source, packed.T);
    out.past_key_values = past;
  }
  return out;
}

inline std::unique_ptr<DecodingSession> Decoder::begin(Context& ctx, const Inputs& in) const {
  check(head_ == Head::CausalLm, ErrorCode::Type, class_name_, "does not generate text; its ForCausalLM class does");
  check(in.input_ids.defined() && in.input_ids.rank() == 2, ErrorCode::Shape, class_name_, "input_ids: expected (batch, length), got ",
        in.input_ids.describe());
  auto session = std::make_unique<DecoderSession>(*this, in.input_ids.size(0), SIZE_MAX, in.cache_codes);
  session->begin_with(ctx, in.prefix_key_values, in.prompt_embeds);
  return session;
}

}  // namespace tenon::models
