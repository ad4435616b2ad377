// Feature extraction: a vector for each token of a text.
#pragma once

#include "tenon/tasks/runner.h"
#include "tenon/tasks/texts.h"

namespace tenon {

struct FeatureExtractionOptions {
  bool truncation = false;  // cut texts that are too long instead of an error
  int64_t max_length = 0;   // of truncated texts, in tokens; 0: what tokenizer and model take
};

///     tenon::FeatureExtraction extract("folder");
///     tenon::Tensor h = extract("a text");  // (tokens, width)
///
/// Several threads may call one object. For one vector per text see sentence_embedding.h.
class FeatureExtraction {
 public:
  static constexpr const char* kTask = "feature-extraction";

  /// Errors: as models::load() and text::Tokenizer::from_folder().
  explicit FeatureExtraction(const std::string& folder, const PipelineOptions& options = {})
      : runner_(folder, options, tasks::base_model(false)), tokenizer_(text::Tokenizer::from_folder(folder)) {}

  /// The last hidden state at the text's tokens, specials included.
  /// Shapes: -> (T,C) f32.
  /// Errors: Error(Limit) if the text is longer than the model takes and truncation is off.
  /// Source: FeatureExtractionPipeline of Transformers.
  Tensor operator()(const std::string& text, const FeatureExtractionOptions& options = {}) const {
    return tasks::only((*this)(std::vector<std::string>{text}, options));
  }
  std::vector<Tensor> operator()(const std::vector<std::string>& texts, const FeatureExtractionOptions& options = {}) const {
    text::EncodeOptions encode;
    if (options.truncation) encode = tasks::truncating(tokenizer_, runner_.config(), options.max_length);
    std::vector<Tensor> results(texts.size());
    const std::vector<text::TextInput> inputs = tasks::text_inputs(texts);
    tasks::in_text_batches(
        runner_, tokenizer_, inputs, encode, tasks::kMaxPositions, [&](std::span<const size_t> places, const models::Inputs& batch) {
          const Tensor h = runner_.forward(batch).last_hidden_state;
          const int64_t B = h.size(0), T = h.size(1);
          const Tensor flat = h.view({B * T, h.size(2)});
          for (int64_t b = 0; b < B; ++b) {
            const auto mask = batch.attention_mask.values<int32_t>().subspan(static_cast<size_t>(b * T), static_cast<size_t>(T));
            const int64_t begin = std::find(mask.begin(), mask.end(), 1) - mask.begin();
            results[places[b]] = flat.rows(b * T + begin, b * T + begin + std::count(mask.begin(), mask.end(), 1)).clone();
          }
        });
    return results;
  }
  std::vector<Tensor> operator()(std::initializer_list<std::string> texts, const FeatureExtractionOptions& options = {}) const {
    return (*this)(std::vector<std::string>(texts), options);
  }

  const models::Model& model() const { return runner_.model(); }
  const text::Tokenizer& tokenizer() const { return tokenizer_; }

 private:
  tasks::Runner runner_;
  text::Tokenizer tokenizer_;
};

}  // namespace tenon
