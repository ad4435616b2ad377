// Image feature extraction: vectors for an image and its patches.
#pragma once

#include "tenon/tasks/images.h"
#include "tenon/tasks/runner.h"

namespace tenon {

struct ImageFeatureExtractionOptions {
  bool pool = false;  // the pooled vector instead of those of class token and patches
};

///     tenon::ImageFeatureExtraction extract("folder");
///     tenon::Tensor h = extract("photo.jpg");  // (1 + patches, width); the first row stands for the whole image
///
/// Several threads may call one object.
class ImageFeatureExtraction {
 public:
  static constexpr const char* kTask = "image-feature-extraction";

  /// A CLIP checkpoint's image tower is taken. Errors: as models::load() and vision::ImageProcessor::load().
  explicit ImageFeatureExtraction(const std::string& folder, const PipelineOptions& options = {})
      : runner_(folder, options, load_options(folder)), processor_(vision::ImageProcessor::load(folder)) {}

  /// The last hidden state of an image file (JPEG, PNG) or of pixels.
  /// Shapes: -> (P+1,C) f32, or (C) with `pool`.
  /// Errors: Error(Type) if the model has no pooler; as tasks::load_image() and vision::ImageProcessor.
  /// Source: ImageFeatureExtractionPipeline of Transformers.
  Tensor operator()(const std::string& path, const ImageFeatureExtractionOptions& options = {}) const {
    return (*this)(tasks::load_image(path), options);
  }
  Tensor operator()(const vision::Image& image, const ImageFeatureExtractionOptions& options = {}) const {
    return tasks::only((*this)(std::span(&image, 1), options));
  }
  std::vector<Tensor> operator()(std::span<const vision::Image> images, const ImageFeatureExtractionOptions& options = {}) const {
    std::vector<Tensor> results;
    results.reserve(images.size());
    runner_.in_batches(images, [&](std::span<const vision::Image> part) { add(results, part, options); });
    return results;
  }
  /// Files are decoded batch by batch.
  std::vector<Tensor> operator()(const std::vector<std::string>& paths, const ImageFeatureExtractionOptions& options = {}) const {
    std::vector<Tensor> results;
    results.reserve(paths.size());
    runner_.in_batches(std::span(paths), [&](std::span<const std::string> part) { add(results, tasks::load_images(part), options); });
    return results;
  }
  std::vector<Tensor> operator()(std::initializer_list<std::string> paths, const ImageFeatureExtractionOptions& options = {}) const {
    return (*this)(std::vector<std::string>(paths), options);
  }

  const models::Model& model() const { return runner_.model(); }
  const vision::ImageProcessor& processor() const { return processor_; }

 private:
  static models::LoadOptions load_options(const std::string& folder) {
    if (io::read_config(folder).value("model_type", "") == "clip") return {.class_name = "CLIPVisionModel"};
    return tasks::base_model(tasks::holds_pooler(folder));
  }

  void add(std::vector<Tensor>& results, std::span<const vision::Image> images, const ImageFeatureExtractionOptions& options) const {
    models::Inputs inputs;
    inputs.pixel_values = processor_(images);
    const models::Outputs out = runner_.forward(inputs);
    check(!options.pool || out.pooler_output.defined(), ErrorCode::Type, kTask, "pool: ", model().class_name(), " has no pooler here");
    const Tensor& all = options.pool ? out.pooler_output : out.last_hidden_state;
    for (int64_t i = 0; i < all.size(0); ++i)
      results.push_back(all.rows(i, i + 1).view(options.pool ? Shape{all.size(1)} : Shape{all.size(1), all.size(2)}).clone());
  }

  tasks::Runner runner_;
  vision::ImageProcessor processor_;
};

}  // namespace tenon
