// Zero-shot image classification: which of any texts fits an image best.
#pragma once

#include "tenon/tasks/images.h"
#include "tenon/tasks/results.h"
#include "tenon/tasks/runner.h"
#include "tenon/tasks/texts.h"

namespace tenon {

struct ZeroShotOptions {
  std::string hypothesis_template = "This is a photo of {}.";  // each label takes the place of {}
};

///     tenon::ZeroShotImageClassification classify("folder");
///     auto best = classify("photo.jpg", {"a cat", "a dog"})[0];  // best.label, best.score
///
/// Several threads may call one object.
class ZeroShotImageClassification {
 public:
  static constexpr const char* kTask = "zero-shot-image-classification";

  /// Errors: as models::load(), text::Tokenizer::from_folder() and vision::ImageProcessor::load().
  explicit ZeroShotImageClassification(const std::string& folder, const PipelineOptions& options = {})
      : runner_(folder, options, {.class_name = "AutoModelForZeroShotImageClassification"}),
        tokenizer_(text::Tokenizer::from_folder(folder)),
        processor_(vision::ImageProcessor::load(folder)) {}

  /// All labels for an image file (JPEG, PNG) or for pixels, best first: softmax over the similarities of image and sentences.
  /// Errors: Error(Limit) without labels or if the template lacks {}; as tasks::load_image() and vision::ImageProcessor.
  /// Source: ZeroShotImageClassificationPipeline of Transformers.
  std::vector<LabelScore> operator()(const std::string& path, const std::vector<std::string>& candidate_labels,
                                     const ZeroShotOptions& options = {}) const {
    return (*this)(tasks::load_image(path), candidate_labels, options);
  }
  std::vector<LabelScore> operator()(const vision::Image& image, const std::vector<std::string>& candidate_labels,
                                     const ZeroShotOptions& options = {}) const {
    return tasks::only((*this)(std::span(&image, 1), candidate_labels, options));
  }
  std::vector<std::vector<LabelScore>> operator()(std::span<const vision::Image> images, const std::vector<std::string>& candidate_labels,
                                                  const ZeroShotOptions& options = {}) const {
    models::Inputs inputs = sentences(candidate_labels, options);
    std::vector<std::vector<LabelScore>> results;
    results.reserve(images.size());
    runner_.in_batches(images, [&](std::span<const vision::Image> part) {
      inputs.pixel_values = processor_(part);
      const Tensor logits = runner_.forward(inputs).logits_per_image;
      for (int64_t i = 0; i < logits.size(0); ++i) {
        const std::vector<float> scores = tasks::to_scores(tasks::row(logits, i), ScoreFunction::Softmax);
        std::vector<LabelScore>& labels = results.emplace_back();
        for (const int64_t k : tasks::best(scores, 0)) labels.push_back({candidate_labels[k], scores[k], k});
      }
    });
    return results;
  }

  const models::Model& model() const { return runner_.model(); }
  const text::Tokenizer& tokenizer() const { return tokenizer_; }
  const vision::ImageProcessor& processor() const { return processor_; }

 private:
  models::Inputs sentences(const std::vector<std::string>& labels, const ZeroShotOptions& options) const {
    check(!labels.empty(), ErrorCode::Limit, kTask, "expected at least one label, got none");
    const std::string& pattern = options.hypothesis_template;
    const size_t gap = pattern.find("{}");
    check(gap != std::string::npos, ErrorCode::Limit, kTask, "hypothesis_template: expected a text with {}, got \"", pattern, "\"");
    std::vector<std::string> texts;
    for (const std::string& label : labels) texts.push_back(pattern.substr(0, gap) + label + pattern.substr(gap + 2));
    return tasks::collate(tokenizer_, tokenizer_.encode_batch(tasks::text_inputs(texts)));
  }

  tasks::Runner runner_;
  text::Tokenizer tokenizer_;
  vision::ImageProcessor processor_;
};

}  // namespace tenon
