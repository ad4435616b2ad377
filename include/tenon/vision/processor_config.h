// What an image processor does, as preprocessor_config.json says it: sizes, filter, scale, mean and deviation.
#pragma once

#include <string>
#include <string_view>
#include <vector>

#include "tenon/core/json.h"
#include "tenon/vision/resize.h"

namespace tenon::vision {

/// A size in pixels. Either height and width are set, or shortest_edge with or without longest_edge; 0 means not set.
struct SizeSpec {
  int height = 0;
  int width = 0;
  int shortest_edge = 0;
  int longest_edge = 0;
  bool operator==(const SizeSpec&) const = default;
};

/// The fields of preprocessor_config.json. The initial values are ViTImageProcessor's.
struct ImageProcessorConfig {
  std::string image_processor_type = "ViTImageProcessor";
  bool do_convert_rgb = false;  // grey to three channels, transparency onto white
  bool do_resize = true;
  SizeSpec size = {224, 224, 0, 0};
  bool default_to_square = true;  // what a bare number as size means: a square, or the shortest edge
  Filter resample = Filter::Bilinear;
  bool do_center_crop = false;
  SizeSpec crop_size;  // height and width
  bool do_rescale = true;
  double rescale_factor = 1.0 / 255;
  bool do_normalize = true;
  std::vector<double> image_mean = {0.5, 0.5, 0.5};  // one per channel, or one for all
  std::vector<double> image_std = {0.5, 0.5, 0.5};

  /// The defaults of a processor type. "...FeatureExtractor" and the suffixes "Fast" and "Pil" name the same processors.
  /// Errors: Error(Format) for an unknown type, naming the known ones.
  static ImageProcessorConfig of_type(std::string_view type);

  /// Reads the content of a preprocessor_config.json (of Transformers 4 or 5). Keys that it lacks, or that are null, keep the
  /// type's default; keys that are not known are ignored. `fallback_type` serves files that name no type.
  /// Errors: as of_type() and update(); Error(Format) if there is no type at all.
  static ImageProcessorConfig from_json(const Json& json, std::string_view fallback_type = {});

  /// Finds and reads the settings in a folder: the image_processor part of processor_config.json, else
  /// preprocessor_config.json; a file's path is taken too. Without a type there, config.json's model_type decides.
  /// Errors: Error(File) if there is neither; otherwise as from_json().
  static ImageProcessorConfig load(const std::string& path);

  /// Takes over the keys that `json` has, as keyword arguments do.
  /// Errors: Error(Type) for a value of the wrong kind; Error(Format) for a size with other keys or for settings that
  ///   contradict each other; Error(Limit) for a number out of range.
  void update(const Json& json);

  /// What Transformers writes, keys in alphabetical order.
  Json to_json() const;
};

/// Height and width.
struct Extent {
  int height = 0;
  int width = 0;
  bool operator==(const Extent&) const = default;
};

/// The size that do_resize gives an image of `from`; `from` itself without do_resize.
/// Errors: Error(Limit) if it exceeds kMaxPixels (a very long and thin image).
/// Source: transformers.image_transforms.get_resize_output_image_size and get_size_with_aspect_ratio.
Extent resized_extent(const ImageProcessorConfig& config, Extent from);

}  // namespace tenon::vision
