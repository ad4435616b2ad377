// The image processor: geometry of the batch, then each image into its place.
#include "tenon/vision/processor.h"

#include <algorithm>
#include <array>
#include <utility>

#include "tenon/core/parallel.h"
#include "tenon/io/files.h"
#include "vision/pixels.h"

namespace tenon::vision {
namespace {

using detail::PixelArray;

constexpr std::string_view kWhere = "image processor";

/// The output's size and the source position of its first pixel; negative where zeros surround a small image.
struct Window {
  Extent extent;
  int top = 0, left = 0;
};

int floor_half(int n) { return n >= 0 ? n / 2 : -((1 - n) / 2); }

Window window_of(const ImageProcessorConfig& config, Extent image) {
  const Extent from = resized_extent(config, image);
  if (!config.do_center_crop) return {from, 0, 0};
  const Extent crop = {config.crop_size.height, config.crop_size.width};
  return {crop, floor_half(from.height - crop.height), floor_half(from.width - crop.width)};
}

double channel_value(const std::vector<double>& values, int c) { return values.size() == 1 ? values[0] : values[static_cast<size_t>(c)]; }

/// Rescales and normalises one number. Rescaling multiplies in double and rounds to float; normalising stays in the number's
/// own type: that is NumPy's arithmetic in transformers, and the last bit depends on it.
class Finish {
 public:
  Finish(const ImageProcessorConfig& config, int channel)
      : rescale_(config.do_rescale), normalize_(config.do_normalize), factor_(config.rescale_factor) {
    if (!normalize_) return;
    mean_ = channel_value(config.image_mean, channel);
    std_ = channel_value(config.image_std, channel);
  }
  template <class Value>
  float operator()(Value v) const {
    if (rescale_) return normalized(static_cast<float>(static_cast<double>(v) * factor_));
    return normalized(v);
  }

 private:
  template <class Value>
  float normalized(Value v) const {
    return static_cast<float>(normalize_ ? (v - static_cast<Value>(mean_)) / static_cast<Value>(std_) : v);
  }
  bool rescale_, normalize_;
  double factor_, mean_ = 0, std_ = 1;
};

/// y (C,height,width) from whatever source(c, y, x) gives inside the image and `outside(c)` beyond it.
template <class Source, class Outside>
void write_window(float* out, const Window& window, Extent image, int channels, Source&& source, Outside&& outside) {
  const int width = window.extent.width;
  const int begin = std::clamp(-window.left, 0, width), end = std::clamp(image.width - window.left, begin, width);
  for (int c = 0; c < channels; ++c) {
    const float zero = outside(c);
    for (int y = 0; y < window.extent.height; ++y, out += width) {
      const int from_y = y + window.top;
      if (from_y < 0 || from_y >= image.height) {
        std::fill_n(out, width, zero);
        continue;
      }
      std::fill(out, out + begin, zero);
      for (int x = begin; x < end; ++x) out[x] = source(c, from_y, x + window.left);
      std::fill(out + end, out + width, zero);
    }
  }
}

/// All 256 results per channel are tabulated: exact, and faster than computing them per pixel.
void write_bytes(float* out, const Window& window, const Image& image, bool from_fractions, const ImageProcessorConfig& config) {
  std::array<std::array<float, 256>, 4> table;
  for (int c = 0; c < image.channels; ++c) {
    const Finish finish(config, c);
    for (int v = 0; v < 256; ++v)
      table[c][v] = from_fractions ? finish(static_cast<float>(v * (1.0 / 255))) : finish(static_cast<float>(v));
  }
  const uint8_t* pixels = image.pixels.data();
  const size_t row_bytes = image.row_bytes(), channels = static_cast<size_t>(image.channels);
  write_window(
      out, window, {image.height, image.width}, image.channels,
      [&](int c, int y, int x) { return table[c][pixels[y * row_bytes + x * channels + static_cast<size_t>(c)]]; },
      [&](int c) { return table[c][0]; });
}

template <class Value>
void write_numbers(float* out, const Window& window, const PixelArray& a, const ImageProcessorConfig& config) {
  const Value* values = a.values.data<Value>();
  std::vector<Finish> finish;
  for (int c = 0; c < a.channels; ++c) finish.emplace_back(config, c);
  write_window(
      out, window, {a.height, a.width}, a.channels,
      [&](int c, int y, int x) { return finish[c](values[c * a.channel_step + y * a.row_step + x * a.pixel_step]); },
      [&](int c) { return finish[c](Value{0}); });
}

void write_image(float* out, const Window& window, const Image& image, bool from_fractions, const ImageProcessorConfig& config,
                 int threads) {
  const Extent to = resized_extent(config, {image.height, image.width});
  if (to == Extent{image.height, image.width}) return write_bytes(out, window, image, from_fractions, config);
  write_bytes(out, window, resize(image, to.height, to.width, config.resample, threads), from_fractions, config);
}

void write_array(float* out, const Window& window, PixelArray a, const ImageProcessorConfig& config, int threads) {
  detail::simplify_type(a, config.do_rescale ? DType::F64 : DType::F32);  // NumPy rescales integers in double, normalises them in float
  if (config.do_convert_rgb) detail::make_rgb(a);
  if (config.do_resize || a.values.dtype() == DType::U8) {
    const detail::Bytes bytes = detail::to_bytes(a);
    return write_image(out, window, bytes.image, bytes.from_fractions, config, threads);
  }
  if (a.values.dtype() == DType::F32) return write_numbers<float>(out, window, a, config);
  write_numbers<double>(out, window, a, config);
}

/// Common to both kinds of input: checks that the results can be stacked, and spreads the work.
/// extent(i) and channels(i) describe input i; write(out, window, i, threads) fills (C,height,width).
template <class ExtentOf, class ChannelsOf, class Write>
Tensor stack(const ImageProcessorConfig& config, size_t count, int threads, ExtentOf&& extent, ChannelsOf&& channels, Write&& write) {
  check(count > 0, ErrorCode::Shape, kWhere, "expected at least one image, got none");
  std::vector<Window> windows;
  int c = 0;
  for (size_t i = 0; i < count; ++i) {
    const int image_channels = channels(i), result_channels = config.do_convert_rgb ? 3 : image_channels;
    windows.push_back(window_of(config, extent(i)));
    if (i == 0) c = result_channels;
    const Extent &first = windows[0].extent, &here = windows[i].extent;
    check(here == first && result_channels == c, ErrorCode::Shape, kWhere, "the results cannot be stacked: expected ", c, "x", first.height,
          "x", first.width, ", got ", result_channels, "x", here.height, "x", here.width, " from image ", i);
  }
  check(c == 1 || c == 3, ErrorCode::Shape, kWhere, "expected 1 or 3 channels (or do_convert_rgb), got ", c);
  for (const std::vector<double>* values : {&config.image_mean, &config.image_std})
    check(!config.do_normalize || values->size() == 1 || values->size() == static_cast<size_t>(c), ErrorCode::Shape, kWhere,
          "image_mean and image_std are for ", values->size(), " channels (consider do_convert_rgb), got images with ", c);
  const Extent size = windows[0].extent;
  Tensor pixel_values = Tensor::empty({static_cast<int64_t>(count), c, size.height, size.width}, DType::F32);
  float* out = pixel_values.data<float>();
  const int64_t per_image = int64_t{c} * size.height * size.width;
  if (threads <= 0) threads = get_num_threads();
  parallel_for(threads, static_cast<int64_t>(count), 1, [&](int64_t begin, int64_t end) {
    for (int64_t i = begin; i < end; ++i) write(out + i * per_image, windows[static_cast<size_t>(i)], static_cast<size_t>(i), threads);
  });
  return pixel_values;
}

}  // namespace

Tensor ImageProcessor::operator()(std::span<const Image> images, int threads) const {
  return stack(
      config_, images.size(), threads,
      [&](size_t i) {
        return Extent{images[i].height, images[i].width};
      },
      [&](size_t i) {
        const Image& image = images[i];
        check(image.height > 0 && image.width > 0 && image.pixels.size() == static_cast<size_t>(image.height) * image.row_bytes(),
              ErrorCode::Shape, kWhere, "image ", i, " has ", image.pixels.size(), " bytes, which do not fit ", image.width, "x",
              image.height);
        return image.channels;
      },
      [&](float* out, const Window& window, size_t i, int t) {
        if (config_.do_convert_rgb && images[i].channels != 3)
          write_image(out, window, convert_to_rgb(images[i]), false, config_, t);
        else
          write_image(out, window, images[i], false, config_, t);
      });
}

Tensor ImageProcessor::operator()(std::span<const Tensor> arrays, ChannelLayout layout, int threads) const {
  std::vector<PixelArray> views;
  for (const Tensor& array : arrays) {
    check(array.defined(), ErrorCode::Shape, kWhere, "an undefined tensor is no image");
    views.push_back(detail::pixel_array(array, layout));
  }
  return stack(
      config_, views.size(), threads,
      [&](size_t i) {
        return Extent{views[i].height, views[i].width};
      },
      [&](size_t i) { return views[i].channels; },
      [&](float* out, const Window& window, size_t i, int t) { write_array(out, window, views[i], config_, t); });
}

Tensor ImageProcessor::operator()(const Tensor& array, ChannelLayout layout, int threads) const {
  if (array.rank() != 4) return (*this)({&array, 1}, layout, threads);
  std::vector<Tensor> arrays;
  for (int64_t i = 0; i < array.size(0); ++i) arrays.push_back(array.rows(i, i + 1).view({array.size(1), array.size(2), array.size(3)}));
  return (*this)(arrays, layout, threads);
}

void ImageProcessor::save(const std::string& folder) const {
  io::make_folders(folder);
  io::write_file_atomic(io::join_path(folder, "preprocessor_config.json"), config_.to_json().dump(2) + "\n");
}

}  // namespace tenon::vision
