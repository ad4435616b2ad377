// Images as a model's inputs.
#pragma once

#include <span>
#include <string>
#include <vector>

#include "tenon/vision/image.h"
#include "tenon/vision/processor.h"

namespace tenon::tasks {

/// Decodes a JPEG or PNG file and turns it upright as its EXIF orientation says, as Transformers' load_image does.
/// Errors: as vision::load_image().
inline vision::Image load_image(const std::string& path) { return vision::load_image(path, {.apply_orientation = true}); }

inline std::vector<vision::Image> load_images(std::span<const std::string> paths) {
  std::vector<vision::Image> images;
  images.reserve(paths.size());
  for (const std::string& path : paths) images.push_back(load_image(path));
  return images;
}

}  // namespace tenon::tasks
