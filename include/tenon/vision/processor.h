// From images to a vision model's input: resize, crop, rescale, normalise.
#pragma once

#include <span>
#include <string>
#include <utility>

#include "tenon/core/tensor.h"
#include "tenon/vision/image.h"
#include "tenon/vision/processor_config.h"

namespace tenon::vision {

/// Where an array has its channels. Infer: first if the first size is 1, 3 or 4, otherwise last.
enum class ChannelLayout { Infer, First, Last };

/// Turns images into pixel_values. Constant after construction: several threads may share one.
class ImageProcessor {
 public:
  explicit ImageProcessor(ImageProcessorConfig config = {}) : config_(std::move(config)) {}
  /// Errors: as ImageProcessorConfig::load().
  static ImageProcessor load(const std::string& path) { return ImageProcessor(ImageProcessorConfig::load(path)); }

  const ImageProcessorConfig& config() const { return config_; }

  /// pixel_values: each image converted, resized as PIL does in 8 bits, cropped about its centre (zeros where it is too small),
  /// multiplied by rescale_factor, and (x - mean) / std, as the settings ask.
  /// Shapes: images (H,W,C) of any sizes -> (B,C,height,width) f32; C is 3 after do_convert_rgb, else the images'.
  /// Units: threads 0 means get_num_threads(); they share out the images, or the rows of a single one.
  /// Errors: Error(Shape) without images, if the results differ in size, or if C does not fit image_mean; Error(Limit) as resize().
  /// Source: transformers 5.24, ViTImageProcessorPil and CLIPImageProcessorPil, to the last bit.
  Tensor operator()(std::span<const Image> images, int threads = 0) const;
  Tensor operator()(const Image& image, int threads = 0) const { return (*this)({&image, 1}, threads); }

  /// The same from arrays of any dtype but 8-bit floats. With do_resize the values become 8-bit numbers first, as they do in
  /// Transformers: fractions must lie in 0..1 (they are scaled by 255, cut, and scaled back afterwards), whole numbers in 0..255.
  /// Shapes: each (H,W), (H,W,C) or (C,H,W) -> (B,C,height,width) f32.
  /// Errors: Error(Shape) besides if the channels cannot be found; Error(Limit) if values cannot become 8-bit numbers.
  Tensor operator()(std::span<const Tensor> arrays, ChannelLayout layout, int threads = 0) const;
  /// One array, or a batch (B,H,W,C) or (B,C,H,W).
  Tensor operator()(const Tensor& array, ChannelLayout layout = ChannelLayout::Infer, int threads = 0) const;

  /// Writes folder/preprocessor_config.json, which Transformers reads. Errors: Error(File).
  void save(const std::string& folder) const;

 private:
  ImageProcessorConfig config_;
};

}  // namespace tenon::vision
