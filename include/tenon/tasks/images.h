// Images as a model's inputs.
#pragma once

#include <span>
#include <string>
#include <vector>

#include "tenon/vision/image.h"
#include "tenon/vision/processor.h"

namespace tenon::tasks {

/// Decodes JPEG and PNG files. Errors: as vision::load_image().
inline std::vector<vision::Image> load_images(std::span<const std::string> paths) {
  std::vector<vision::Image> images;
  images.reserve(paths.size());
  for (const std::string& path : paths) images.push_back(vision::load_image(path));
  return images;
}

}  // namespace tenon::tasks
