// pipeline(): any task by its name, the way Transformers has it.
#pragma once

#include <memory>
#include <optional>
#include <string>
#include <variant>
#include <vector>

#include "tenon/tasks/feature_extraction.h"
#include "tenon/tasks/fill_mask.h"
#include "tenon/tasks/image_classification.h"
#include "tenon/tasks/image_feature_extraction.h"
#include "tenon/tasks/sentence_embedding.h"
#include "tenon/tasks/text_classification.h"
#include "tenon/tasks/text_generation.h"
#include "tenon/tasks/zero_shot_image_classification.h"

namespace tenon {

/// The answer to one input; what the task does not give stays empty.
struct Result {
  std::vector<LabelScore> labels;               // classification: best first
  std::vector<std::vector<TokenScore>> tokens;  // fill-mask: for each mask, best first
  Tensor features;                              // feature extraction and embedding, float32
  std::vector<std::string> texts;               // text generation: the answers, one for each of num_return_sequences

  /// The best label and its score. Errors: Error(Type) if the task gives no labels.
  const std::string& label() const { return best().label; }
  float score() const { return best().score; }
  /// The first text. Errors: Error(Type) if the task writes none.
  const std::string& text() const {
    check(!texts.empty(), ErrorCode::Type, "result", "expected a text, but this task writes none");
    return texts.front();
  }
  /// What Transformers' pipeline gives: a list of {"label", "score"}, of {"score", "token", "token_str", "sequence"} (a list of
  /// lists for several masks), of {"generated_text"}, or nested lists of numbers.
  Json to_json() const;

 private:
  const LabelScore& best() const {
    check(!labels.empty(), ErrorCode::Type, "result", "expected labels, but this task gives none");
    return labels.front();
  }
};

/// Options of a call; each task reads those that concern it. See the tasks' own headers.
struct CallOptions {
  std::optional<int64_t> top_k = {};               // 0: all; default: 1 for texts, 5 for images and masks
  std::optional<ScoreFunction> function = {};      // classification
  bool truncation = false;                         // texts
  int64_t max_length = 0;                          // texts
  std::vector<std::string> targets = {};           // fill-mask
  std::vector<std::string> candidate_labels = {};  // zero-shot-image-classification
  std::optional<std::string> hypothesis_template = {};
  bool pool = false;             // image-feature-extraction
  Json generation = {};          // text-generation: an object of generate()'s options, {"max_new_tokens": 50}
  uint64_t seed = 0;             // text-generation: for {"do_sample": true}
  bool return_full_text = true;  // text-generation with a decoder: the prompt before its continuation
};

/// A task of any kind. Inputs are texts, or the paths of images. Several threads may call one object.
class Pipeline {
 public:
  using Task = std::variant<TextClassification, FeatureExtraction, SentenceEmbedding, FillMask, ImageClassification, ImageFeatureExtraction,
                            ZeroShotImageClassification, TextGeneration>;

  explicit Pipeline(Task task) : task_(std::make_shared<const Task>(std::move(task))) {}

  Result operator()(const std::string& input, const CallOptions& options = {}) const {
    return tasks::only((*this)(std::vector<std::string>{input}, options));
  }
  std::vector<Result> operator()(const std::vector<std::string>& inputs, const CallOptions& options = {}) const;
  std::vector<Result> operator()(std::initializer_list<std::string> inputs, const CallOptions& options = {}) const {
    return (*this)(std::vector<std::string>(inputs), options);
  }

  /// The task's name.
  std::string task() const;
  const models::Model& model() const;
  /// The typed task. Errors: Error(Type) if it is another one.
  template <class Kind>
  const Kind& as() const {
    const Kind* kind = std::get_if<Kind>(task_.get());
    check(kind != nullptr, ErrorCode::Type, "pipeline", "expected the task ", Kind::kTask, ", got ", task());
    return *kind;
  }

 private:
  std::shared_ptr<const Task> task_;
};

/// Opens a checkpoint for a task.
///
///     auto classify = tenon::pipeline("text-classification", "folder");
///     auto result = classify("Shares rose 5 % after the report");   // result.label(), result.score()
///
/// Tasks: text-classification (sentiment-analysis), feature-extraction, sentence-embedding, fill-mask, image-classification,
/// image-feature-extraction, zero-shot-image-classification, text-generation (translation, summarization, text2text-generation): at
/// most 256 tokens unless the options or the checkpoint say otherwise; "" is what the checkpoint was made for (see task_of()).
/// Errors: Error(Limit) naming the known tasks for another name; as the task's constructor.
Pipeline pipeline(const std::string& task, const std::string& folder, const PipelineOptions& options = {});

/// The task that a checkpoint was made for: by the class that config.json names, or by the files of a sentence encoder.
/// Errors: as io::read_config().
std::string task_of(const std::string& folder);

}  // namespace tenon
