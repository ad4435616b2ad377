// Encoder-decoders: Marian, M2M100 (NLLB) and T5 (mT5, FLAN) are one model whose configuration says what it is made of.
#pragma once

#include <algorithm>
#include <memory>
#include <numeric>
#include <optional>
#include <span>
#include <string>
#include <utility>
#include <vector>

#include "tenon/models/decoding_step.h"
#include "tenon/models/heads.h"
#include "tenon/models/past.h"
#include "tenon/models/seq2seq_stack.h"
#include "tenon/models/step_graph.h"

namespace tenon::models {

/// The class of one checkpoint: without a head, with a language model's, or the encoder alone.
class Seq2Seq final : public Model {
 public:
  enum class Head : uint8_t { None, LanguageModel, EncoderOnly };

  Seq2Seq(const char* class_name, const Seq2SeqFamily& family, const Json& json, Head head)
      : Model(json), class_name_(class_name), names_(family.names), config_(family.kind, json), head_(head), encoder_(config_, false) {
    if (head != Head::EncoderOnly) decoder_.emplace(config_, true);
    if (decoder_ && !json.has("is_encoder_decoder")) config().set("is_encoder_decoder", true);  // generation asks
    if (head != Head::LanguageModel) return;
    top_ = nn::Linear(config_.d_model, config_.decoder_vocab_size, false);
    top_.tied_weight = nn::join(names_.prefix, config_.shared_embeddings ? "shared.weight" : "decoder.embed_tokens.weight");
  }
  std::string class_name() const override { return class_name_; }
  std::string base_prefix() const override { return names_.prefix; }
  const Seq2SeqConfig& seq2seq_config() const { return config_; }
  /// Positions that old versions stored; a table of T5's that no layer reads; the decoder, where there is none.
  bool superfluous(const std::string& name) const override {
    const auto holds = [&](const char* part) { return name.find(part) != std::string::npos; };
    return holds("embed_positions.weight") || holds("EncDecAttention.relative_attention_bias") ||
           (head_ == Head::EncoderOnly && (holds("decoder.") || holds("lm_head.")));
  }

  /// Inputs: input_ids, inputs_embeds or encoder_outputs; decoder_input_ids, decoder_inputs_embeds or labels, which then begin with
  /// decoder_start_token_id. Outputs: logits (B,T,V) or last_hidden_state (B,T,C); decoder_hidden_states, decoder_attentions,
  /// cross_attentions; encoder_last_hidden_state, encoder_hidden_states, encoder_attentions; the encoder alone: last_hidden_state,
  /// hidden_states, attentions. With use_cache past_key_values, which hold the sources too: a call with them only computes the new
  /// decoder_input_ids.
  /// Errors: Error(Type) for a past of another model, and for a mask or embeddings of the decoder with a past.
  Outputs compute(Context& ctx, const Inputs& in) const override;

  Outputs compute_encoding(Context& ctx, const Inputs& in) const override {
    nn::PackedRows source;
    nn::Trace trace = trace_for(in);
    const Tensor encoded = encode(ctx, in, source, trace);
    Outputs out;
    out.last_hidden_state = nn::restore(ctx, encoded, source);
    out.hidden_states = std::move(trace.states);
    out.attentions = std::move(trace.probs);
    return out;
  }

  std::unique_ptr<DecodingSession> begin(Context& ctx, const Inputs& in) const override;

  void visit(nn::Visitor& v) override {
    const std::string p = head_ == Head::LanguageModel ? names_.prefix : "";
    const std::string of_encoder = nn::join(p, "encoder.embed_tokens.weight"), of_decoder = nn::join(p, "decoder.embed_tokens.weight");
    const Shape shape{config_.vocab_size, config_.d_model};
    if (config_.shared_embeddings) {
      std::vector<std::string> aliases = {of_encoder, of_decoder};
      if (head_ == Head::LanguageModel && config_.tie_word_embeddings) aliases.push_back("lm_head.weight");
      v.parameter(nn::join(p, "shared.weight"), embedding_, shape, {.in_place = true, .aliases = std::move(aliases)});
    } else {
      v.parameter(of_encoder, embedding_, shape, {.in_place = true});
      if (decoder_) v.parameter(of_decoder, decoder_embedding_, {config_.decoder_vocab_size, config_.d_model}, {.in_place = true});
    }
    encoder_.visit(nn::join(p, "encoder"), names_, v);
    if (decoder_) decoder_->visit(nn::join(p, "decoder"), names_, v);
    if (head_ != Head::LanguageModel) return;
    v.linear("lm_head", top_);
    if (config_.logits_bias)
      v.parameter("final_logits_bias", logits_bias_, {1, config_.decoder_vocab_size}, {.init = nn::Init::Zeros, .optional = true});
  }

 private:
  friend class Seq2SeqSession;

  void decode_cached(Context& ctx, const Inputs& in, std::shared_ptr<PastKeyValues> past, Outputs& out) const;

  static nn::Trace trace_for(const Inputs& in) {
    return {.hidden_states = in.output_hidden_states, .attentions = in.output_attentions, .states = {}, .probs = {}};
  }
  const Tensor& table(bool decoder) const { return decoder && !config_.shared_embeddings ? decoder_embedding_ : embedding_; }

  /// The sources' rows after the encoder. Shapes: -> (S,C). The trace gets states and probabilities as it says.
  Tensor encode(Context& ctx, const Inputs& in, nn::PackedRows& source, nn::Trace& trace) const {
    if (in.encoder_outputs.defined()) {
      const Tensor& given = in.encoder_outputs;
      check(head_ != Head::EncoderOnly && !in.input_ids.defined() && !in.inputs_embeds.defined(), ErrorCode::Type, class_name_,
            "expected one of input_ids, inputs_embeds and encoder_outputs");
      check(given.rank() == 3 && given.size(2) == config_.d_model, ErrorCode::Shape, class_name_,
            "encoder_outputs: expected (batch, length, ", config_.d_model, "), got ", given.describe());
      source = nn::pack_spans(in.attention_mask, given.size(0), given.size(1));
      return ops::cast(ctx, nn::select(ctx, given, source), activations());
    }
    const auto [B, S] = batch_of(in, config_.d_model, class_name_);
    source = nn::pack_spans(in.attention_mask, B, S);
    nn::DecoderRows rows = rows_of(source);
    nn::AttentionTrace attentions = attention_trace(source);
    if (trace.attentions) rows.trace = &attentions;
    Tensor encoded = encoder_.forward(ctx, embed_batch(ctx, in, source, false), rows, nullptr, trace, &source);
    trace.probs = std::move(attentions.probs);
    return encoded;
  }

  /// The decoder without a cache. `answer` holds its inputs under an encoder's names; cross gets the probabilities over the sources, if
  /// trace wants any. Shapes: encoded (S,C) -> (N,C).
  Tensor decode(Context& ctx, const Inputs& answer, const Tensor& labels, const Tensor& encoded, const nn::PackedRows& source,
                nn::PackedRows& packed, nn::Trace& trace, std::vector<Tensor>& cross) const {
    const auto [B, T] = batch_of(answer, config_.d_model, class_name_);
    check(B == source.B, ErrorCode::Shape, class_name_, "decoder inputs: expected ", source.B, " rows as the encoder has, got ", B);
    packed = nn::pack_spans(answer.attention_mask, B, T, with_labelled_padding(answer, labels, B, T));
    Seq2SeqSources sources{
        .rows = {.q_start = packed.start, .k_start = source.start, .key_bias = source.key_bias, .order = {}, .back = {}},
        .layers = decoder_->project(ctx, encoded)};
    nn::DecoderRows rows = rows_of(packed);
    nn::AttentionTrace own, over_sources;
    if (trace.attentions) {
      own = attention_trace(packed), over_sources = cross_trace(packed, source);
      rows.trace = &own, sources.rows.trace = &over_sources;
    }
    Tensor h = decoder_->forward(ctx, embed_batch(ctx, answer, packed, true), rows, &sources, trace, &packed);
    trace.probs = std::move(own.probs), cross = std::move(over_sources.probs);
    return h;
  }

  static nn::DecoderRows rows_of(const nn::PackedRows& packed) {
    return {.q_start = packed.start, .k_start = packed.start, .key_bias = packed.key_bias, .angles = {}, .cache = nullptr};
  }

  /// The decoder's inputs under an encoder's names; without them the labels shifted right.
  Inputs answer_of(const Inputs& in) const {
    Inputs answer;
    answer.input_ids = in.decoder_input_ids;
    answer.inputs_embeds = in.decoder_inputs_embeds;
    answer.attention_mask = in.decoder_attention_mask;
    if (answer.input_ids.defined() || answer.inputs_embeds.defined()) return answer;
    check(in.labels.defined() && head_ == Head::LanguageModel, ErrorCode::Type, class_name_,
          "expected decoder_input_ids, decoder_inputs_embeds or (with a head) labels, got none");
    check(in.labels.rank() == 2, ErrorCode::Shape, "labels", "expected (batch, length), got ", in.labels.shape());
    check(config_.decoder_start_token_id >= 0, ErrorCode::Format, class_name_,
          "config.json has no decoder_start_token_id to put before labels");
    const std::vector<int64_t> labels = read_ids(in.labels, "labels");
    std::vector<int64_t> ids(labels.size());
    for (size_t i = 0; i < ids.size(); ++i) {
      const bool first = i % static_cast<size_t>(in.labels.size(1)) == 0;
      ids[i] = first ? config_.decoder_start_token_id : labels[i - 1] == -100 ? config_.pad_token_id : labels[i - 1];
    }
    answer.input_ids = Tensor::from(ids, in.labels.shape());
    return answer;
  }

  /// Sequences where a label stands at a padded position: these are computed whole.
  static std::vector<uint8_t> with_labelled_padding(const Inputs& answer, const Tensor& labels, int64_t B, int64_t T) {
    if (!labels.defined() || !answer.attention_mask.defined() || labels.numel() != B * T) return {};
    const std::vector<uint8_t> keep = nn::read_mask(answer.attention_mask, B, T);
    const std::vector<int64_t> ids = read_ids(labels, "labels");
    std::vector<uint8_t> whole(static_cast<size_t>(B));
    for (size_t i = 0; i < ids.size(); ++i)
      if (!keep[i] && ids[i] != -100) whole[i / static_cast<size_t>(T)] = 1;
    return whole;
  }

  /// Embedded rows with their positions, from ids or embeddings. Shapes: -> (N,C) in the type of activations.
  Tensor embed_batch(Context& ctx, const Inputs& in, const nn::PackedRows& packed, bool decoder) const {
    if (in.input_ids.defined()) {
      const std::vector<int64_t> all = read_ids(in.input_ids, decoder ? "decoder_input_ids" : "input_ids");
      std::vector<int64_t> ids;
      for (const int64_t i : packed.source) ids.push_back(all[static_cast<size_t>(i)]);
      return place(ctx, look_up(ctx, ids, decoder), positions_of(all, packed));
    }
    Tensor x = nn::select(ctx, in.inputs_embeds.to(DType::F32), packed);
    if (decoder && config_.scales_decoder_embeds && config_.embed_scale != 1) x = ops::scale(ctx, x, config_.embed_scale);
    return place(ctx, x, positions_of({}, packed));
  }

  /// Shapes: -> (n,C) float32.
  Tensor look_up(Context& ctx, std::span<const int64_t> ids, bool decoder) const {
    const int64_t padding = config_.positions == Seq2SeqConfig::Positions::Distance ? -1 : config_.pad_token_id;
    const Tensor x = ops::embedding(ctx, table(decoder), ids, DType::F32, decoder ? "decoder_input_ids" : "input_ids", padding);
    return config_.embed_scale == 1 ? x : ops::scale(ctx, x, config_.embed_scale);
  }

  /// The position of each packed row; ids are those of the whole batch, or empty.
  std::vector<int64_t> positions_of(const std::vector<int64_t>& ids, const nn::PackedRows& packed) const {
    std::vector<int64_t> positions;
    positions.reserve(packed.source.size());
    for (const int64_t i : packed.source) positions.push_back(i % packed.T);
    if (config_.positions != Seq2SeqConfig::Positions::AfterPadding) return positions;
    std::vector<int64_t> count(ids.size());  // of what is no padding, up to each position
    for (size_t i = 0; i < ids.size(); ++i)
      count[i] = (i % static_cast<size_t>(packed.T) ? count[i - 1] : 0) + (ids[i] != config_.pad_token_id);
    for (size_t r = 0; r < positions.size(); ++r) {
      const auto i = static_cast<size_t>(packed.source[r]);
      if (ids.empty()) positions[r] += config_.pad_token_id + 1;
      else positions[r] = ids[i] == config_.pad_token_id ? -1 : config_.pad_token_id + count[i];
    }
    return positions;
  }

  /// Adds what a position gives. Shapes: x (N,C) float32 -> (N,C) in the type of activations.
  Tensor place(Context& ctx, Tensor x, const std::vector<int64_t>& positions) const {
    check_positions(positions);
    if (has_sinusoids()) x = ops::add(ctx, x, nn::sinusoids(ctx, positions, config_.d_model, sinusoid_steps()));
    return ops::cast(ctx, x, activations());
  }
  void check_positions(const std::vector<int64_t>& positions) const {
    if (config_.max_position_embeddings == 0) return;
    for (const int64_t p : positions)
      check(p < config_.max_position_embeddings, ErrorCode::Limit, class_name_, "a sequence reaches position ", p,
            ", but max_position_embeddings is ", config_.max_position_embeddings);
  }
  bool has_sinusoids() const { return config_.positions != Seq2SeqConfig::Positions::Distance; }
  double sinusoid_steps() const {
    const int64_t half = config_.d_model / 2;
    return static_cast<double>(config_.positions == Seq2SeqConfig::Positions::Sinusoid ? half : half - 1);
  }

  /// Float32 logits of rows. Shapes: (n,C) -> (n,V).
  Tensor logits(Context& ctx, const Tensor& h) const {
    Tensor x = ops::cast(ctx, h, DType::F32);
    if (config_.output_scale != 1) x = ops::scale(ctx, x, config_.output_scale);
    const Tensor y = top_.forward(ctx, x);
    return logits_bias_.defined() ? ops::add(ctx, y, ops::reshape(ctx, logits_bias_, {config_.decoder_vocab_size})) : y;
  }

  const char* class_name_;
  const Seq2SeqNames& names_;
  Seq2SeqConfig config_;
  Head head_;
  Tensor embedding_, decoder_embedding_;  // (V,C); the decoder's own only where they are not shared
  Seq2SeqStack encoder_;
  std::optional<Seq2SeqStack> decoder_;
  nn::Linear top_;
  Tensor logits_bias_;  // (1,V) or undefined
};

/// Answers of one encoder-decoder: the encoder has run, every decoder layer holds the keys and values of all sources, and each sequence
/// knows its source.
class Seq2SeqSession final : public DecodingSession {
 public:
  Seq2SeqSession(Context& ctx, const Seq2Seq& model, const Inputs& in, size_t max_bytes = SIZE_MAX)
      : model_(model), cache_(layout(model, in.cache_codes), max_bytes) {
    nn::Trace none;
    const Tensor encoded = model.encode(ctx, in, source_, none);
    take_sources(ctx, encoded);
  }
  /// Over sources that the encoder has run through. Shapes: encoded (S,C).
  Seq2SeqSession(Context& ctx, const Seq2Seq& model, const Tensor& encoded, nn::PackedRows source)
      : model_(model), cache_(layout(model, CacheCodes::None)), source_(std::move(source)) {
    take_sources(ctx, encoded);
  }

  int64_t vocab_size() const override { return model_.config_.decoder_vocab_size; }
  int64_t max_length() const override {
    return model_.config_.max_position_embeddings > 0 ? model_.config_.max_position_embeddings : kUnlimited;
  }
  int64_t size() const override { return cache_.size(); }
  int64_t length(int64_t i) const override { return cache_.length(i); }

  Tensor feed(Context& ctx, std::span<const std::vector<int64_t>> tokens, bool all_positions) override {
    const DecodingStep given(*this, tokens, all_positions, model_.class_name());
    if (given.ids.empty()) return ctx.empty({0, vocab_size()}, DType::F32);
    if (graph_.on() && given.one_each()) {
      ops::detail::check_index(given.ids, model_.table(true).size(0), "embedding", "decoder_input_ids");
      const Tensor logits = graph_.run(ctx, model_, cache_, given.ids, as_graph(ctx, given));
      if (logits.defined()) return logits;
    } else {
      graph_.interrupt();
    }
    nn::Trace none;
    Tensor h = run(ctx, given, none, nullptr, nullptr, nullptr);
    if (given.wanted.size() < given.ids.size()) h = ops::gather_rows(ctx, h, given.wanted);
    return model_.logits(ctx, h);
  }
  void reuse_logits() override {
    if (!model_.device().is_cpu() && Graph::allowed()) graph_.turn_on(1);
  }
  void reorder(std::span<const int64_t> parents) override {
    cache_.reorder(parents);
    std::vector<int64_t> next;
    for (const int64_t p : parents) next.push_back(source_of_[static_cast<size_t>(p)]);
    source_of_ = std::move(next);
  }
  void truncate(int64_t i, int64_t length) override { cache_.truncate(i, length); }
  std::unique_ptr<DecodingSession> clone() const override { return std::make_unique<Seq2SeqSession>(*this); }

 private:
  friend class Seq2Seq;
  struct Arrays : StepArrays {
    std::vector<float> sinusoids;  // (N,C), or empty
    Seq2SeqSources sources;
    template <class F>
    void visit_arrays(F&& f) const {
      StepArrays::visit_arrays(f);
      f(sinusoids), f(sources.rows.q_start), f(sources.rows.order), f(sources.rows.back);
    }
  };
  using Graph = StepGraph<Arrays>;

  void take_sources(Context& ctx, const Tensor& encoded) {
    sources_.layers = model_.decoder_->project(ctx, encoded);
    sources_.rows.k_start = source_.start;
    sources_.rows.key_bias = source_.key_bias;
    for (int64_t i = 0; i < source_.B; ++i) source_of_.push_back(cache_.add());
  }

  /// The decoder over new tokens, which then belong to their sequences. own and cross, if not null, get probabilities.
  Tensor run(Context& ctx, const DecodingStep& given, nn::Trace& trace, nn::AttentionTrace* own, nn::AttentionTrace* cross,
             const nn::PackedRows* packed) {
    const Tensor x = model_.place(ctx, model_.look_up(ctx, given.ids, true), positions_of(given));
    look_at_sources(given.counts);
    nn::CacheStep step(cache_, given.counts);
    nn::DecoderRows rows{.q_start = step.q_start, .k_start = step.k_start, .key_bias = {}, .angles = {}, .cache = &step, .trace = own};
    if (look_at_distances(ctx, given.counts)) Seq2SeqStack::set_distances(rows, distances_);
    sources_.rows.trace = cross;
    Tensor h = model_.decoder_->forward(ctx, x, rows, &sources_, trace, packed);
    step.commit();
    return h;
  }

  /// A step in which each sequence gets a token. Sources stay what they are; which rows look at them may change with reorder().
  Graph::Step as_graph(Context& ctx, const DecodingStep& given) {
    look_at_sources(given.counts);
    const bool distances = look_at_distances(ctx, given.counts);
    const nn::CrossRows& rows = sources_.rows;
    int64_t most = 0;  // rows of one source
    for (size_t s = 0; s + 1 < rows.q_start.size(); ++s) most = std::max(most, rows.q_start[s + 1] - rows.q_start[s]);
    std::vector<int64_t> positions = positions_of(given);
    model_.check_positions(positions);
    Graph::Step step;
    step.shape = {most, !rows.order.empty(), distances ? distances_.size(1) : 0};
    step.lay_out = [this, &ctx, positions = std::move(positions)](Arrays& a, const nn::CacheStep&) {
      const nn::CrossRows& from = sources_.rows;
      nn::CrossRows& to = a.sources.rows;
      to.q_start.assign(from.q_start.begin(), from.q_start.end());
      to.order.assign(from.order.begin(), from.order.end()), to.back.assign(from.back.begin(), from.back.end());
      if (!model_.has_sinusoids()) return;
      a.sinusoids.resize(positions.size() * static_cast<size_t>(model_.config_.d_model));
      HostContext host(ctx);
      nn::write_sinusoids(*host, positions, model_.config_.d_model, model_.sinusoid_steps(), a.sinusoids.data());
    };
    step.compute = [this, &ctx, distances](Arrays& a, const cuda::Mirror& mirror) {
      a.sources.layers = sources_.layers;
      a.sources.rows.k_start = sources_.rows.k_start, a.sources.rows.key_bias = sources_.rows.key_bias;
      if (distances) Seq2SeqStack::set_distances(a.rows, distances_);
      Tensor x = model_.look_up(ctx, a.ids, true);
      if (!a.sinusoids.empty()) x = ops::add(ctx, x, mirror.find(a.sinusoids.data(), DType::F32).view(x.shape()));
      nn::Trace none;
      return model_.logits(ctx, model_.decoder_->forward(ctx, ops::cast(ctx, x, model_.activations()), a.rows, &a.sources, none, nullptr));
    };
    return step;
  }

  static nn::CacheLayout layout(const Seq2Seq& model, CacheCodes codes) {
    const nn::GqaConfig& a = model.config_.decoder.attention;
    return {.layers = model.config_.decoder.layers,
            .k_width = a.heads * a.head_dim,
            .v_width = a.heads * a.head_dim,
            .dtype = model.activations(),
            .codes = codes,
            .heads = a.heads,
            .device = model.device()};
  }

  std::vector<int64_t> positions_of(const DecodingStep& given) const {
    const Seq2SeqConfig& c = model_.config_;
    const bool after_padding = c.positions == Seq2SeqConfig::Positions::AfterPadding;
    std::vector<int64_t> positions;
    for (int64_t i = 0; i < size(); ++i) {
      int64_t next = length(i);
      for (int64_t t = 0; t < given.counts[static_cast<size_t>(i)]; ++t) {
        const bool padding = after_padding && given.ids[positions.size()] == c.pad_token_id;
        if (!after_padding) positions.push_back(next++);
        else positions.push_back(padding ? -1 : c.pad_token_id + ++next);
      }
    }
    return positions;
  }

  /// Sees that distances_ has the biases of a step's distances, with room for some more steps. False where there are none, or where gradients
  /// are recorded, which belong to one pass.
  bool look_at_distances(Context& ctx, std::span<const int64_t> counts) {
    constexpr int64_t kLeast = 64;
    if (!model_.decoder_->has_distances() || ctx.recorder()) return false;
    int64_t longest = 1, reach = kLeast;
    for (size_t i = 0; i < counts.size(); ++i) longest = std::max(longest, length(static_cast<int64_t>(i)) + counts[i]);
    while (reach < longest) reach *= 2;
    if (!distances_.defined() || distances_.size(1) / 2 + 1 < reach) distances_ = model_.decoder_->distances(ctx, reach);
    return true;
  }

  /// Sorts the rows of a step by source, unless they are.
  void look_at_sources(std::span<const int64_t> counts) {
    nn::CrossRows& rows = sources_.rows;
    std::vector<int64_t> of_row;
    for (size_t i = 0; i < counts.size(); ++i) of_row.insert(of_row.end(), static_cast<size_t>(counts[i]), source_of_[i]);
    rows.q_start.assign(rows.k_start.size(), 0);
    for (const int64_t s : of_row) ++rows.q_start[static_cast<size_t>(s) + 1];
    std::partial_sum(rows.q_start.begin(), rows.q_start.end(), rows.q_start.begin());
    rows.order.clear(), rows.back.clear();
    if (std::is_sorted(of_row.begin(), of_row.end())) return;
    rows.order.resize(of_row.size());
    std::iota(rows.order.begin(), rows.order.end(), int64_t{0});
    std::stable_sort(rows.order.begin(), rows.order.end(),
                     [&](int64_t a, int64_t b) { return of_row[static_cast<size_t>(a)] < of_row[static_cast<size_t>(b)]; });
    rows.back.resize(rows.order.size());
    for (size_t r = 0; r < rows.order.size(); ++r) rows.back[static_cast<size_t>(rows.order[r])] = static_cast<int64_t>(r);
  }

  const Seq2Seq& model_;
  nn::KvCache cache_;
  nn::PackedRows source_;
  Seq2SeqSources sources_;
  std::vector<int64_t> source_of_;
  Tensor distances_;  // of T5's decoder
  Graph graph_;
};

/// The decoder over what went before, or over the sources alone. Inputs: decoder_input_ids (B,T).
inline void Seq2Seq::decode_cached(Context& ctx, const Inputs& in, std::shared_ptr<PastKeyValues> past, Outputs& out) const {
  auto* session = dynamic_cast<Seq2SeqSession*>(&past->session());
  check(session && &session->model_ == this, ErrorCode::Type, class_name_, "past_key_values: expected those of this model");
  check(in.decoder_input_ids.defined() && !in.decoder_inputs_embeds.defined() && !in.labels.defined(), ErrorCode::Type, class_name_,
        "expected decoder_input_ids alone beside past_key_values");
  const Tensor& ids = in.decoder_input_ids;
  check(ids.rank() == 2 && ids.size(0) == session->size(), ErrorCode::Shape, class_name_, "decoder_input_ids: expected (", session->size(),
        ", length), got ", ids.shape());
  const std::vector<uint8_t> keep = mask_of_new(in.decoder_attention_mask, ids.size(0), ids.size(1), *past, class_name_);
  check(std::find(keep.begin(), keep.end(), 0) == keep.end(), ErrorCode::Type, class_name_,
        "decoder_attention_mask: expected no padding beside past_key_values");
  const std::vector<int64_t> all = read_ids(ids, "decoder_input_ids");
  std::vector<std::vector<int64_t>> tokens;
  for (auto row = all.begin(); row != all.end(); row += ids.size(1)) tokens.emplace_back(row, row + ids.size(1));
  const DecodingStep given(*session, tokens, true, class_name_);
  const nn::PackedRows packed = nn::pack_rows({}, ids.size(0), ids.size(1));
  nn::Trace trace = trace_for(in);
  nn::AttentionTrace own = attention_trace(packed, past.get()), cross = cross_trace(packed, session->source_);
  const Tensor h = session->run(ctx, given, trace, trace.attentions ? &own : nullptr, trace.attentions ? &cross : nullptr, &packed);
  past->extend(packed.source, packed.T);
  head_ == Head::None ? out.last_hidden_state = nn::restore(ctx, h, packed) : out.logits = nn::restore(ctx, logits(ctx, h), packed);
  out.decoder_hidden_states = std::move(trace.states);
  out.decoder_attentions = std::move(own.probs);
  out.cross_attentions = std::move(cross.probs);
  out.past_key_values = std::move(past);
}

inline Outputs Seq2Seq::compute(Context& ctx, const Inputs& in) const {
  Outputs out;
  out.encoder_last_hidden_state = in.encoder_outputs;
  if (in.past_key_values) {
    decode_cached(ctx, in, in.past_key_values, out);
    return out;
  }
  if (head_ == Head::EncoderOnly) return compute_encoding(ctx, in);
  nn::PackedRows source;
  nn::Trace of_encoder = trace_for(in), of_decoder = trace_for(in);
  const Tensor encoded = encode(ctx, in, source, of_encoder);
  if (!out.encoder_last_hidden_state.defined()) out.encoder_last_hidden_state = nn::restore(ctx, encoded, source);
  out.encoder_hidden_states = std::move(of_encoder.states);
  out.encoder_attentions = std::move(of_encoder.probs);
  if (in.use_cache) {
    decode_cached(ctx, in, std::make_shared<PastKeyValues>(std::make_unique<Seq2SeqSession>(ctx, *this, encoded, source)), out);
    return out;
  }
  nn::PackedRows packed;
  const Tensor h = decode(ctx, answer_of(in), in.labels, encoded, source, packed, of_decoder, out.cross_attentions);
  if (head_ == Head::None) {
    out.last_hidden_state = nn::restore(ctx, h, packed);
  } else {
    out.logits = nn::restore(ctx, logits(ctx, h), packed);
    if (in.labels.defined()) out.loss = token_loss(ctx, out.logits, in.labels);
  }
  out.decoder_hidden_states = std::move(of_decoder.states);
  out.decoder_attentions = std::move(of_decoder.probs);
  return out;
}

inline std::unique_ptr<DecodingSession> Seq2Seq::begin(Context& ctx, const Inputs& in) const {
  check(head_ == Head::LanguageModel, ErrorCode::Type, class_name_, "does not generate text; the class with a head does");
  return std::make_unique<Seq2SeqSession>(ctx, *this, in);
}

}  // namespace tenon::models
