// Sentence embedding: one vector per text, near each other where meanings are; and search among them.
#pragma once

#include <optional>

#include "tenon/ops/matmul.h"
#include "tenon/ops/normalize.h"
#include "tenon/tasks/pooling.h"
#include "tenon/tasks/results.h"
#include "tenon/tasks/runner.h"
#include "tenon/tasks/texts.h"
#include "tenon/text/unicode.h"
#include "tenon/text/utf8.h"

namespace tenon {

/// Overrides of what the checkpoint's files say.
struct SentenceEmbeddingOptions {
  std::optional<Pooling> pooling = {};
  std::optional<bool> normalize = {};
  int64_t max_length = 0;  // longer texts are cut, in tokens; 0: as the files say
};

/// A row of a corpus and how near it is to a query.
struct Hit {
  int64_t index = 0;
  float score = 0;
};

///     tenon::SentenceEmbedding embed("folder");
///     tenon::Tensor corpus = embed(texts);                       // (texts, width)
///     auto hits = tenon::nearest(corpus, embed("a query"), 5);   // hits[0].index, hits[0].score
///
/// Several threads may call one object.
class SentenceEmbedding {
 public:
  static constexpr const char* kTask = "sentence-embedding";

  /// Pooling and normalisation are those of the sentence-transformers files in the folder (modules.json, 1_Pooling/config.json,
  /// sentence_bert_config.json), or the plain mean if there are none.
  /// Errors: as models::load(), text::Tokenizer::from_folder() and tasks::read_embedding_config().
  explicit SentenceEmbedding(const std::string& folder, const PipelineOptions& options = {}, const SentenceEmbeddingOptions& overrides = {})
      : config_(merged(folder, overrides)),
        runner_(folder, options, tasks::base_model(uses_pooler())),
        tokenizer_(text::Tokenizer::from_folder(folder)) {}

  /// Shapes: -> (C) f32.
  Tensor operator()(const std::string& text) const {
    const Tensor rows = (*this)(std::vector<std::string>{text});
    return rows.view({rows.size(1)});
  }
  /// Shapes: -> (texts, C) f32; C is the model's width times the number of poolings.
  /// Source: sentence_transformers.models.Transformer, Pooling and Normalize.
  Tensor operator()(const std::vector<std::string>& texts) const {
    const text::EncodeOptions encode = tasks::truncating(tokenizer_, runner_.config(), config_.max_length);
    std::vector<std::string> lowered;
    if (config_.lower_case)
      for (const std::string& text : texts) lowered.push_back(text::to_lower(text::is_valid_utf8(text) ? text : text::repair_utf8(text)));
    const std::vector<text::TextInput> inputs = tasks::text_inputs(config_.lower_case ? lowered : texts);
    Tensor all;
    tasks::in_text_batches(runner_, tokenizer_, inputs, encode, tasks::kMaxPositions,
                           [&](std::span<const size_t> places, const models::Inputs& batch) {
                             runner_.with_context([&](Context& ctx) {
                               HostContext host(ctx);
                               const Tensor pooled = pool_batch(*host, tasks::on_host(model().forward(ctx, batch)), batch.attention_mask);
                               const int64_t width = pooled.size(1);
                               if (!all.defined()) all = Tensor::empty({static_cast<int64_t>(texts.size()), width}, DType::F32);
                               for (size_t i = 0; i < places.size(); ++i)
                                 std::copy_n(pooled.data<float>() + static_cast<int64_t>(i) * width, width,
                                             all.data<float>() + static_cast<int64_t>(places[i]) * width);
                             });
                           });
    return all.defined() ? all : Tensor::empty({0, width()}, DType::F32);
  }
  Tensor operator()(std::initializer_list<std::string> texts) const { return (*this)(std::vector<std::string>(texts)); }

  /// The cosine of each row of a with each row of b. Shapes: a (M,C), b (N,C) -> (M,N) f32.
  Tensor similarity(const Tensor& a, const Tensor& b) const {
    return runner_.with_context(
        [&](Context& ctx) { return ops::matmul(ctx, ops::l2_normalize(ctx, a, 1e-12f), ops::l2_normalize(ctx, b, 1e-12f), true).clone(); });
  }

  /// C of the results.
  int64_t width() const {
    return models::read_size(runner_.config(), {"hidden_size", "dim"}, 768) * static_cast<int64_t>(config_.pooling.size());
  }
  const EmbeddingConfig& config() const { return config_; }
  const models::Model& model() const { return runner_.model(); }
  const text::Tokenizer& tokenizer() const { return tokenizer_; }

 private:
  static EmbeddingConfig merged(const std::string& folder, const SentenceEmbeddingOptions& overrides) {
    EmbeddingConfig config = tasks::read_embedding_config(folder);
    if (overrides.pooling) config.pooling = {*overrides.pooling};
    if (overrides.normalize) config.normalize = *overrides.normalize;
    if (overrides.max_length > 0) config.max_length = overrides.max_length;
    return config;
  }
  bool uses_pooler() const { return std::find(config_.pooling.begin(), config_.pooling.end(), Pooling::Pooler) != config_.pooling.end(); }

  Tensor pool_batch(Context& ctx, const models::Outputs& out, const Tensor& mask) const {
    const Tensor& h = out.last_hidden_state;
    const int64_t B = h.size(0), T = h.size(1), C = h.size(2), parts = static_cast<int64_t>(config_.pooling.size());
    check(!uses_pooler() || out.pooler_output.defined(), ErrorCode::Type, kTask, model().class_name(), " has no pooler");
    Tensor pooled = ctx.empty({B, parts * C}, DType::F32);
    float* y = pooled.data<float>();
    ctx.over_rows(B, T * C, [&](int64_t begin, int64_t end) {
      for (int64_t i = begin * parts; i < end * parts; ++i) {
        const int64_t b = i / parts;
        const Pooling pooling = config_.pooling[static_cast<size_t>(i % parts)];
        if (pooling == Pooling::Pooler)
          std::copy_n(out.pooler_output.data<float>() + b * C, C, y + i * C);
        else
          tasks::pool(y + i * C, h.data<float>() + b * T * C, mask.data<int32_t>() + b * T, T, C, pooling);
      }
    });
    return config_.normalize ? ops::l2_normalize(ctx, pooled, 1e-12f) : pooled;
  }

  EmbeddingConfig config_;
  tasks::Runner runner_;
  text::Tokenizer tokenizer_;
};

/// The k rows of `corpus` with the largest dot product with `query`, best first: by cosine where both have unit length.
/// Shapes: corpus (N,C), query (C) or (1,C), f32.
/// Errors: Error(Shape); Error(Type).
inline std::vector<Hit> nearest(const Tensor& corpus, const Tensor& query, int64_t k) {
  check(corpus.rank() == 2 && query.numel() == corpus.size(1), ErrorCode::Shape, "nearest",
        "expected a corpus (N, C) and a query (C), got ", corpus.shape(), " and ", query.shape());
  const int64_t N = corpus.size(0), C = corpus.size(1);
  const float *x = corpus.data<float>(), *q = query.data<float>();
  std::vector<float> scores(static_cast<size_t>(N));
  for (int64_t i = 0; i < N; ++i) {
    float sum = 0;
    for (int64_t c = 0; c < C; ++c) sum += x[i * C + c] * q[c];
    scores[i] = sum;
  }
  std::vector<Hit> hits;
  for (const int64_t i : tasks::best(scores, k)) hits.push_back({i, scores[i]});
  return hits;
}

}  // namespace tenon
