// BERT, DistilBERT, RoBERTa and XLM-RoBERTa: one encoder; a family is a row of names and a few switches.
#pragma once

#include <memory>
#include <string>
#include <vector>

#include "tenon/models/heads.h"
#include "tenon/nn/encoder.h"
#include "tenon/ops/activation.h"

namespace tenon::models {

/// What differs between the families. Source: modeling_{bert,distilbert,roberta}.py of Transformers.
struct BertFamily {
  const char* prefix;                 // of the base model in a checkpoint with a head
  const char* layers;                 // the stack below the base model
  nn::EncoderNames names;
  bool has_token_types, has_pooler;
  bool positions_after_padding;       // RoBERTa: positions count from padding_idx + 1 and skip padding
  enum class Classifier { Pooled, Relu, Tanh } classifier;
  const char *mlm_dense, *mlm_norm, *mlm_decoder, *mlm_bias;
};

inline constexpr BertFamily kBert = {
    "bert", "encoder.layer",
    {{"attention.self.query", "attention.self.key", "attention.self.value", "attention.output.dense"},
     "attention.output.LayerNorm", "intermediate.dense", "output.dense", "output.LayerNorm"},
    true, true, false, BertFamily::Classifier::Pooled,
    "cls.predictions.transform.dense", "cls.predictions.transform.LayerNorm", "cls.predictions.decoder", "cls.predictions.bias"};
inline constexpr BertFamily kDistilBert = {
    "distilbert", "transformer.layer",
    {{"attention.q_lin", "attention.k_lin", "attention.v_lin", "attention.out_lin"}, "sa_layer_norm", "ffn.lin1", "ffn.lin2", "output_layer_norm"},
    false, false, false, BertFamily::Classifier::Relu,
    "vocab_transform", "vocab_layer_norm", "vocab_projector", "vocab_projector.bias"};
inline constexpr BertFamily kRoberta = {
    "roberta", kBert.layers, kBert.names, true, true, true, BertFamily::Classifier::Tanh,
    "lm_head.dense", "lm_head.layer_norm", "lm_head.decoder", "lm_head.bias"};

/// Sizes under the keys of BERT's config.json; DistilBERT writes dim, n_layers, n_heads, hidden_dim, activation.
struct BertConfig {
  nn::EncoderConfig encoder;
  int64_t vocab_size, max_position_embeddings, type_vocab_size, pad_token_id;
  Activation hidden_act;
  float dropout, classifier_dropout;

  explicit BertConfig(const Json& c) {
    encoder.hidden_size = read_size(c, {"hidden_size", "dim"}, 768);
    encoder.num_layers = read_int(c, {"num_hidden_layers", "n_layers"}, c.value("model_type", "") == "distilbert" ? 6 : 12);
    encoder.num_heads = read_size(c, {"num_attention_heads", "n_heads"}, 12);
    encoder.intermediate_size = read_size(c, {"intermediate_size", "hidden_dim"}, 3072);
    hidden_act = ops::parse_activation(c.value("hidden_act", c.value("activation", "gelu").c_str()));
    encoder.act = hidden_act;
    encoder.layer_norm_eps = static_cast<float>(c.value("layer_norm_eps", 1e-12));
    const bool distilbert = c.value("model_type", "") == "distilbert";
    dropout = read_dropout(c, {"hidden_dropout_prob", "dropout"}, 0.1);
    classifier_dropout = distilbert ? read_dropout(c, {"seq_classif_dropout"}, 0.2) : read_dropout(c, {"classifier_dropout"}, dropout);
    encoder.attention_dropout = read_dropout(c, {"attention_probs_dropout_prob", "attention_dropout"}, 0.1);
    encoder.attention_output_dropout = distilbert ? 0 : dropout;
    encoder.dropout = dropout;
    encoder.validate("bert");
    vocab_size = read_size(c, {"vocab_size"}, 30522);
    max_position_embeddings = read_size(c, {"max_position_embeddings"}, 512);
    type_vocab_size = read_size(c, {"type_vocab_size"}, 2);
    pad_token_id = c.value("pad_token_id", c.value("model_type", "").find("roberta") != std::string::npos ? 1 : 0);
    const std::string kind = c.value("position_embedding_type", "absolute");
    check(kind == "absolute", ErrorCode::Format, "config.json", "\"position_embedding_type\": expected \"absolute\", got \"", kind, "\"");
  }
};

/// The model without a head.
class BertBase {
 public:
  BertBase(const BertFamily& family, const Json& config, bool pooler)
      : family_(&family), config_(config), norm_(config_.encoder.hidden_size, config_.encoder.layer_norm_eps), encoder_(config_.encoder) {
    if (pooler) pooler_ = std::make_unique<nn::Linear>(nn::Linear(width(), width()).keep_precise());
  }

  int64_t width() const { return config_.encoder.hidden_size; }
  const BertConfig& config() const { return config_; }
  bool has_pooler() const { return pooler_ != nullptr; }
  Tensor word_embeddings;  // (V,C)

  /// The packed rows of the last layer; `needed` as in nn::pack_rows. Shapes: -> (N,C) in the type `act`.
  Tensor forward(Context& ctx, const Inputs& in, DType act, std::span<const int64_t> needed, nn::PackedRows& rows, nn::Trace& trace) const {
    const auto [B, T] = batch_of(in, width(), family_->prefix);
    rows = nn::pack_rows(in.attention_mask, B, T, needed);
    return encoder_.forward(ctx, embedded(ctx, in, act, rows), rows, trace);
  }
  /// The first row of each sequence alone. Shapes: -> (B,C) float32.
  Tensor forward_first(Context& ctx, const Inputs& in, DType act, nn::PackedRows& rows, nn::Trace& trace) const {
    const auto [B, T] = batch_of(in, width(), family_->prefix);
    rows = nn::pack_rows(in.attention_mask, B, T);
    return ops::cast(ctx, encoder_.forward_first(ctx, embedded(ctx, in, act, rows), rows, trace), DType::F32);
  }
  /// The first row of each sequence. Shapes: x (N,C) -> (B,C) float32.
  Tensor first(Context& ctx, const Tensor& x, const nn::PackedRows& rows) const {
    check(rows.T > 0 || rows.B == 0, ErrorCode::Shape, family_->prefix, "expected at least one token per sequence, got none");
    return ops::cast(ctx, ops::gather_rows(ctx, x, std::span(rows.start).first(rows.B)), DType::F32);
  }
  /// tanh(W x_first + b). Shapes: -> (B,C) float32.
  Tensor pool(Context& ctx, const Tensor& first) const { return pooler_->forward(ctx, first, Activation::Tanh); }

  void visit(const std::string& prefix, nn::Visitor& v) {
    const std::string e = nn::join(prefix, "embeddings.");
    v.parameter(e + "word_embeddings.weight", word_embeddings, {config_.vocab_size, width()}, {.in_place = true});
    v.parameter(e + "position_embeddings.weight", positions_, {config_.max_position_embeddings, width()}, {.in_place = true});
    if (family_->has_token_types)
      v.parameter(e + "token_type_embeddings.weight", token_types_, {config_.type_vocab_size, width()}, {.in_place = true});
    norm_.visit(e + "LayerNorm", v);
    encoder_.visit(nn::join(prefix, family_->layers), family_->names, v);
    if (pooler_) v.linear(nn::join(prefix, "pooler.dense"), *pooler_);
  }

 private:
  std::vector<int64_t> position_ids(const Inputs& in, const nn::PackedRows& rows) const {
    std::vector<int64_t> ids(static_cast<size_t>(rows.B * rows.T));
    if (in.position_ids.defined()) {
      const std::vector<int64_t> given = read_ids(in.position_ids, "position_ids");
      check(given.size() == ids.size() || static_cast<int64_t>(given.size()) == rows.T, ErrorCode::Shape, "position_ids", "expected ",
            Shape{rows.B, rows.T}, ", got ", in.position_ids.shape());
      for (size_t i = 0; i < ids.size(); ++i) ids[i] = given[given.size() == ids.size() ? i : i % rows.T];
    } else {
      std::vector<int64_t> tokens;
      if (family_->positions_after_padding && in.input_ids.defined()) tokens = read_ids(in.input_ids, "input_ids");
      for (int64_t b = 0; b < rows.B; ++b) {
        int64_t seen = 0;
        for (int64_t t = 0; t < rows.T; ++t) {
          const int64_t i = b * rows.T + t, pad = config_.pad_token_id;
          if (!family_->positions_after_padding) ids[i] = t;
          else if (tokens.empty()) ids[i] = pad + 1 + t;
          else ids[i] = tokens[i] == pad ? pad : pad + ++seen;
        }
      }
    }
    std::vector<int64_t> packed;
    packed.reserve(rows.source.size());
    for (const int64_t i : rows.source) packed.push_back(ids[i]);
    for (const int64_t p : packed)
      check(p >= 0 && p < config_.max_position_embeddings, ErrorCode::Limit, family_->prefix, "a sequence of ", rows.T,
            " tokens reaches position ", p, ", but max_position_embeddings is ", config_.max_position_embeddings,
            " (tokenize with truncation=True)");
    return packed;
  }

  static std::vector<int64_t> pick(const std::vector<int64_t>& all, const nn::PackedRows& rows) {
    std::vector<int64_t> packed;
    packed.reserve(rows.source.size());
    for (const int64_t i : rows.source) packed.push_back(all[i]);
    return packed;
  }

  Tensor embedded(Context& ctx, const Inputs& in, DType act, const nn::PackedRows& rows) const {
    return ops::cast(ctx, ops::dropout(ctx, norm_.forward(ctx, embed(ctx, in, rows)), config_.dropout), act);
  }

  Tensor embed(Context& ctx, const Inputs& in, const nn::PackedRows& rows) const {
    Tensor x = in.inputs_embeds.defined()
                   ? nn::select(ctx, in.inputs_embeds.to(DType::F32), rows)
                   : ops::embedding(ctx, word_embeddings, pick(read_ids(in.input_ids, "input_ids"), rows), DType::F32, "input_ids");
    x = ops::add(ctx, x, ops::embedding(ctx, positions_, position_ids(in, rows), DType::F32, "position_ids"));
    if (!family_->has_token_types) return x;
    std::vector<int64_t> types(rows.source.size(), 0);
    if (in.token_type_ids.defined()) {
      check(in.token_type_ids.numel() == rows.B * rows.T, ErrorCode::Shape, "token_type_ids", "expected ", Shape{rows.B, rows.T}, ", got ",
            in.token_type_ids.shape());
      types = pick(read_ids(in.token_type_ids, "token_type_ids"), rows);
    }
    return ops::add(ctx, x, ops::embedding(ctx, token_types_, types, DType::F32, "token_type_ids"));
  }

  const BertFamily* family_;
  BertConfig config_;
  Tensor positions_, token_types_;  // (P,C), (types,C)
  nn::LayerNorm norm_;
  nn::Encoder encoder_;
  std::unique_ptr<nn::Linear> pooler_;
};

/// The base class of all BERT models: holds the base model and fills what every head returns.
class BertFamilyModel : public Model {
 public:
  BertFamilyModel(const char* class_name, const BertFamily& family, const Json& config, bool pooler)
      : Model(config), class_name_(class_name), family_(family), base_(family, config, pooler) {}
  std::string class_name() const override { return class_name_; }
  std::string base_prefix() const override { return family_.prefix; }

 protected:
  Tensor run(Context& ctx, const Inputs& in, nn::PackedRows& rows, Outputs& out, std::span<const int64_t> needed = {}) const {
    nn::Trace trace{.hidden_states = in.output_hidden_states, .attentions = in.output_attentions, .states = {}, .probs = {}};
    const Tensor x = base_.forward(ctx, in, activations(), needed, rows, trace);
    out.hidden_states = std::move(trace.states);
    out.attentions = std::move(trace.probs);
    return x;
  }
  const char* class_name_;
  const BertFamily& family_;
  BertBase base_;
};

/// BertModel, DistilBertModel, RobertaModel, XLMRobertaModel: last_hidden_state (B,T,C) and, with a pooler, pooler_output (B,C).
class BertModel final : public BertFamilyModel {
 public:
  BertModel(const char* class_name, const BertFamily& family, const Json& config)
      : BertFamilyModel(class_name, family, config, family.has_pooler && config.value("add_pooling_layer", true)) {}

  Outputs compute(Context& ctx, const Inputs& in) const override {
    Outputs out;
    nn::PackedRows rows;
    const Tensor x = run(ctx, in, rows, out);
    out.last_hidden_state = nn::restore(ctx, x, rows);
    if (base_.has_pooler()) out.pooler_output = base_.pool(ctx, base_.first(ctx, x, rows));
    return out;
  }
  void visit(nn::Visitor& v) override { base_.visit("", v); }
};

/// logits (B,L) from the first position; loss by problem_type.
class BertForSequenceClassification final : public BertFamilyModel {
 public:
  BertForSequenceClassification(const char* class_name, const BertFamily& family, const Json& config)
      : BertFamilyModel(class_name, family, config, family.classifier == BertFamily::Classifier::Pooled),
        dense_(nn::Linear(base_.width(), base_.width()).keep_precise()),
        classifier_(nn::Linear(base_.width(), read_num_labels(config)).keep_precise()) {}

  Outputs compute(Context& ctx, const Inputs& in) const override {
    using Classifier = BertFamily::Classifier;
    Outputs out;
    nn::PackedRows rows;
    nn::Trace trace{.hidden_states = in.output_hidden_states, .attentions = in.output_attentions, .states = {}, .probs = {}};
    const Tensor first = base_.forward_first(ctx, in, activations(), rows, trace);
    out.hidden_states = std::move(trace.states);
    out.attentions = std::move(trace.probs);
    const float p = base_.config().classifier_dropout;
    Tensor features;
    if (family_.classifier == Classifier::Pooled) features = base_.pool(ctx, first);
    if (family_.classifier == Classifier::Relu) features = dense_.forward(ctx, first, Activation::Relu);
    if (family_.classifier == Classifier::Tanh) features = dense_.forward(ctx, ops::dropout(ctx, first, p), Activation::Tanh);
    out.logits = classifier_.forward(ctx, ops::dropout(ctx, features, p));
    if (in.labels.defined()) out.loss = classification_loss(ctx, out.logits, in.labels, config());
    return out;
  }
  void visit(nn::Visitor& v) override {
    base_.visit(family_.prefix, v);
    const bool roberta = family_.classifier == BertFamily::Classifier::Tanh;
    if (family_.classifier != BertFamily::Classifier::Pooled) v.linear(roberta ? "classifier.dense" : "pre_classifier", dense_);
    v.linear(roberta ? "classifier.out_proj" : "classifier", classifier_);
  }

 private:
  nn::Linear dense_, classifier_;
};

/// logits (B,T,V) with the word embeddings as output weights; loss over labels that are not -100.
class BertForMaskedLM final : public BertFamilyModel {
 public:
  BertForMaskedLM(const char* class_name, const BertFamily& family, const Json& config)
      : BertFamilyModel(class_name, family, config, false),
        dense_(base_.width(), base_.width()),
        norm_(base_.width(), base_.config().encoder.layer_norm_eps),
        decoder_(base_.width(), base_.config().vocab_size, false) {
    decoder_.tied_weight = nn::join(family.prefix, "embeddings.word_embeddings.weight");
  }

  Outputs compute(Context& ctx, const Inputs& in) const override {
    Outputs out;
    nn::PackedRows rows;
    const Tensor x = run(ctx, in, rows, out, labelled_padding(in));
    const Activation act = family_.classifier == BertFamily::Classifier::Tanh ? Activation::Gelu : base_.config().hidden_act;
    const Tensor h = norm_.forward(ctx, dense_.forward(ctx, x, act));
    out.logits = nn::restore(ctx, decoder_.forward(ctx, h), rows);
    if (in.labels.defined()) out.loss = token_loss(ctx, out.logits, in.labels);
    return out;
  }
  void visit(nn::Visitor& v) override {
    base_.visit(family_.prefix, v);
    v.linear(family_.mlm_dense, dense_);
    norm_.visit(family_.mlm_norm, v);
    v.linear(family_.mlm_decoder, decoder_);
    v.parameter(family_.mlm_bias, decoder_.bias, {base_.config().vocab_size}, {.init = nn::Init::Zeros});
  }

 private:
  /// For each sequence a position that is padding and yet has a label, else its first: Transformers counts such labels, so a
  /// sequence that has one is computed whole.
  std::vector<int64_t> labelled_padding(const Inputs& in) const {
    if (!in.labels.defined() || !in.attention_mask.defined()) return {};
    const auto [B, T] = batch_of(in, base_.width(), family_.prefix);
    const std::vector<int64_t> labels = read_ids(in.labels, "labels");
    std::vector<int64_t> needed(static_cast<size_t>(B), 0);
    if (static_cast<int64_t>(labels.size()) != B * T) return {};  // token_loss says what is wrong with them
    const std::vector<uint8_t> keep = nn::read_mask(in.attention_mask, B, T);
    for (int64_t i = B * T; i-- > 0;)
      if (!keep[i] && labels[i] != -100) needed[i / T] = i % T;
    return needed;
  }

  nn::Linear dense_;
  nn::LayerNorm norm_;
  nn::Linear decoder_;
};

}  // namespace tenon::models
