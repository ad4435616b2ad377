// Text classification: which class a text, or a pair of texts, belongs to.
#pragma once

#include "tenon/tasks/results.h"
#include "tenon/tasks/runner.h"
#include "tenon/tasks/texts.h"

namespace tenon {

struct TextClassificationOptions {
  int64_t top_k = 1;                           // the best k classes; 0: all
  std::optional<ScoreFunction> function = {};  // default: as config.json implies
  bool truncation = false;                     // cut texts that are too long instead of an error
  int64_t max_length = 0;                      // of truncated texts, in tokens; 0: what tokenizer and model take
};

///     tenon::TextClassification classify("folder");
///     auto best = classify("Shares rose 5 % after the report")[0];  // best.label, best.score
///
/// Several threads may call one object.
class TextClassification {
 public:
  static constexpr const char* kTask = "text-classification";

  /// Errors: as models::load() and text::Tokenizer::from_folder().
  explicit TextClassification(const std::string& folder, const PipelineOptions& options = {})
      : runner_(folder, options, {.class_name = "AutoModelForSequenceClassification"}), tokenizer_(text::Tokenizer::from_folder(folder)) {}

  /// The classes of a text, best first.
  /// Errors: Error(Limit) if the text is longer than the model takes and truncation is off.
  /// Source: TextClassificationPipeline of Transformers.
  std::vector<LabelScore> operator()(const std::string& text, const TextClassificationOptions& options = {}) const {
    const text::TextInput input{text, std::nullopt};
    return tasks::only((*this)(std::span(&input, 1), options));
  }
  std::vector<std::vector<LabelScore>> operator()(const std::vector<std::string>& texts,
                                                  const TextClassificationOptions& options = {}) const {
    return (*this)(std::span<const text::TextInput>(tasks::text_inputs(texts)), options);
  }
  std::vector<std::vector<LabelScore>> operator()(std::initializer_list<std::string> texts,
                                                  const TextClassificationOptions& options = {}) const {
    return (*this)(std::vector<std::string>(texts), options);
  }
  /// The same for texts with an optional second text.
  std::vector<std::vector<LabelScore>> operator()(std::span<const text::TextInput> inputs,
                                                  const TextClassificationOptions& options = {}) const {
    text::EncodeOptions encode;
    if (options.truncation) encode = tasks::truncating(tokenizer_, runner_.config(), options.max_length);
    std::vector<std::vector<LabelScore>> results(inputs.size());
    tasks::in_text_batches(
        runner_, tokenizer_, inputs, encode, tasks::kMaxPositions, [&](std::span<const size_t> places, const models::Inputs& batch) {
          const Tensor logits = runner_.forward(batch).logits;
          for (size_t i = 0; i < places.size(); ++i)
            results[places[i]] =
                tasks::label_scores(tasks::row(logits, static_cast<int64_t>(i)), runner_.config(), options.top_k, options.function);
        });
    return results;
  }

  const models::Model& model() const { return runner_.model(); }
  const text::Tokenizer& tokenizer() const { return tokenizer_; }

 private:
  tasks::Runner runner_;
  text::Tokenizer tokenizer_;
};

}  // namespace tenon
