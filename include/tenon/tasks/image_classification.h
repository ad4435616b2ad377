// Image classification: what an image shows.
#pragma once

#include "tenon/tasks/images.h"
#include "tenon/tasks/results.h"
#include "tenon/tasks/runner.h"

namespace tenon {

struct ImageClassificationOptions {
  int64_t top_k = 5;                           // the best k classes; 0: all
  std::optional<ScoreFunction> function = {};  // default: as config.json implies
};

///     tenon::ImageClassification classify("folder");
///     for (const auto& c : classify("photo.jpg")) ...  // c.label, c.score
///
/// Several threads may call one object.
class ImageClassification {
 public:
  static constexpr const char* kTask = "image-classification";

  /// Errors: as models::load() and vision::ImageProcessor::load().
  explicit ImageClassification(const std::string& folder, const PipelineOptions& options = {})
      : runner_(folder, options, {.class_name = "AutoModelForImageClassification"}), processor_(vision::ImageProcessor::load(folder)) {}

  /// The classes of an image file (JPEG, PNG) or of pixels, best first.
  /// Errors: as tasks::load_image() and vision::ImageProcessor.
  /// Source: ImageClassificationPipeline of Transformers.
  std::vector<LabelScore> operator()(const std::string& path, const ImageClassificationOptions& options = {}) const {
    return (*this)(tasks::load_image(path), options);
  }
  std::vector<LabelScore> operator()(const vision::Image& image, const ImageClassificationOptions& options = {}) const {
    return tasks::only((*this)(std::span(&image, 1), options));
  }
  std::vector<std::vector<LabelScore>> operator()(std::span<const vision::Image> images,
                                                  const ImageClassificationOptions& options = {}) const {
    std::vector<std::vector<LabelScore>> results;
    results.reserve(images.size());
    runner_.in_batches(images, [&](std::span<const vision::Image> part) { add(results, part, options); });
    return results;
  }
  /// Files are decoded batch by batch.
  std::vector<std::vector<LabelScore>> operator()(const std::vector<std::string>& paths,
                                                  const ImageClassificationOptions& options = {}) const {
    std::vector<std::vector<LabelScore>> results;
    results.reserve(paths.size());
    runner_.in_batches(std::span(paths), [&](std::span<const std::string> part) { add(results, tasks::load_images(part), options); });
    return results;
  }
  std::vector<std::vector<LabelScore>> operator()(std::initializer_list<std::string> paths,
                                                  const ImageClassificationOptions& options = {}) const {
    return (*this)(std::vector<std::string>(paths), options);
  }

  const models::Model& model() const { return runner_.model(); }
  const vision::ImageProcessor& processor() const { return processor_; }

 private:
  void add(std::vector<std::vector<LabelScore>>& results, std::span<const vision::Image> images,
           const ImageClassificationOptions& options) const {
    models::Inputs inputs;
    inputs.pixel_values = processor_(images);
    const Tensor logits = runner_.forward(inputs).logits;
    for (int64_t i = 0; i < logits.size(0); ++i)
      results.push_back(tasks::label_scores(tasks::row(logits, i), runner_.config(), options.top_k, options.function));
  }

  tasks::Runner runner_;
  vision::ImageProcessor processor_;
};

}  // namespace tenon
