// Resizing an image: which passes are needed, in which order, over which rows; and the nearest-neighbour case.
#include "tenon/vision/resize.h"

#include <algorithm>
#include <cstring>
#include <new>

#include "tenon/core/parallel.h"
#include "vision/resample.h"

namespace tenon::vision {
namespace {

using detail::Taps;

constexpr int64_t kRowsPerThread = 32;

std::vector<uint8_t> allocate(int64_t rows, size_t row_bytes) {
  check(row_bytes <= 4 * static_cast<uint64_t>(kMaxPixels) / static_cast<uint64_t>(rows), ErrorCode::Limit, "resize",
        "cannot resize: ", rows, " rows of ", row_bytes, " bytes in between are too many");
  try {
    return std::vector<uint8_t>(static_cast<size_t>(rows) * row_bytes);
  } catch (const std::bad_alloc&) {
    fail(ErrorCode::Memory, "resize", "cannot allocate ", rows, " rows of ", row_bytes, " bytes");
  }
}

/// Positions accumulate, as PIL's do: a rounding error of the sum can decide between two neighbours.
std::vector<int> nearest_positions(int in, int out) {
  const double step = static_cast<double>(static_cast<float>(in)) / out;
  std::vector<int> positions(static_cast<size_t>(out));
  double at = step * 0.5;
  for (int& p : positions) {
    p = static_cast<int>(at);
    at += step;
  }
  return positions;
}

/// Positions that rounding pushed past the end stay black.
Image resize_nearest(const Image& image, int height, int width) {
  Image out(height, width, image.channels);
  const std::vector<int> columns = nearest_positions(image.width, width), rows = nearest_positions(image.height, height);
  const size_t bytes = static_cast<size_t>(image.channels);
  for (int y = 0; y < height; ++y) {
    if (rows[y] >= image.height) continue;
    const uint8_t* in = image.row(rows[y]);
    uint8_t* to = out.row(y);
    for (int x = 0; x < width; ++x, to += bytes)
      if (columns[x] < image.width) std::memcpy(to, in + columns[x] * bytes, bytes);
  }
  return out;
}

/// Rows of `width` pixels from the same number of rows of in_width. The kernel reads and writes kSlack beyond a row: where that
/// would leave the memory or touch another thread's rows, a copy of the row stands in.
std::vector<uint8_t> across(std::span<const uint8_t> in, int rows, int in_width, int width, int channels, Filter filter, int threads) {
  const Taps taps = detail::make_taps(in_width, width, filter);
  const size_t in_bytes = static_cast<size_t>(in_width) * channels, out_bytes = static_cast<size_t>(width) * channels;
  std::vector<uint8_t> out = allocate(rows, out_bytes);
  parallel_for(threads, rows, kRowsPerThread, [&](int64_t begin, int64_t end) {
    std::vector<uint8_t> x_copy(in_bytes + detail::kSlack), y_copy(out_bytes + detail::kSlack);
    for (int64_t i = begin; i < end; ++i) {
      const uint8_t* x = in.data() + static_cast<size_t>(i) * in_bytes;
      uint8_t* y = out.data() + static_cast<size_t>(i) * out_bytes;
      if (in.size() - static_cast<size_t>(i + 1) * in_bytes < detail::kSlack) {
        std::memcpy(x_copy.data(), x, in_bytes);
        x = x_copy.data();
      }
      const bool ends_here = end - i <= static_cast<int64_t>(detail::kSlack / out_bytes + 1);
      detail::row_kernel().across(ends_here ? y_copy.data() : y, x, taps, channels);
      if (ends_here) std::memcpy(y, y_copy.data(), out_bytes);
    }
  });
  return out;
}

/// As many rows as `taps` has runs, from rows of the same width; input row 0 is the taps' position `first`.
std::vector<uint8_t> down(std::span<const uint8_t> in, int first, size_t row_bytes, const Taps& taps, int threads) {
  const auto rows = static_cast<int64_t>(taps.runs.size());
  std::vector<uint8_t> out = allocate(rows, row_bytes);
  parallel_for(threads, rows, kRowsPerThread, [&](int64_t begin, int64_t end) {
    for (int64_t i = begin; i < end; ++i) {
      const Taps::Run& run = taps.runs[static_cast<size_t>(i)];
      const uint8_t* x = in.data() + static_cast<size_t>(run.first - first) * row_bytes;
      detail::row_kernel().down(out.data() + static_cast<size_t>(i) * row_bytes, x, row_bytes, taps, run, row_bytes);
    }
  });
  return out;
}

std::vector<uint8_t> resample(const Image& image, int height, int width, Filter filter, int threads) {
  const size_t in_bytes = image.row_bytes();
  const std::span<const uint8_t> pixels(image.pixels);
  if (height == image.height) return across(pixels, height, image.width, width, image.channels, filter, threads);
  const Taps vertical = detail::make_taps(image.height, height, filter);
  const int first = vertical.runs.front().first;
  const int end = vertical.runs.back().first + vertical.runs.back().count;
  const auto used = pixels.subspan(static_cast<size_t>(first) * in_bytes, static_cast<size_t>(end - first) * in_bytes);
  if (width == image.width) return down(used, first, in_bytes, vertical, threads);
  // The 8-bit rounding in between makes the order visible. Pillow 13 goes down first where that drops far more rows than columns.
  if (image.height > height && image.height - height > 2 * (int64_t{image.width} - width))
    return across(down(used, first, in_bytes, vertical, threads), height, image.width, width, image.channels, filter, threads);
  const std::vector<uint8_t> between = across(used, end - first, image.width, width, image.channels, filter, threads);
  return down(between, first, static_cast<size_t>(width) * image.channels, vertical, threads);
}

}  // namespace

Image resize(const Image& image, int height, int width, Filter filter, int threads) {
  check(image.height >= 1 && image.width >= 1 && image.channels >= 1 && image.channels <= 4 &&
            image.pixels.size() == static_cast<size_t>(image.height) * image.row_bytes(),
        ErrorCode::Shape, "resize", "expected pixels for an image of ", image.width, "x", image.height, "x", image.channels, ", got ",
        image.pixels.size(), " bytes");
  check(height >= 1 && width >= 1 && width <= kMaxPixels / height, ErrorCode::Limit, "resize", "expected a size from 1x1 to ", kMaxPixels,
        " pixels, got ", width, "x", height);
  if (height == image.height && width == image.width) return image;
  if (filter == Filter::Nearest) return resize_nearest(image, height, width);
  Image out;
  out.height = height;
  out.width = width;
  out.channels = image.channels;
  out.pixels = resample(image, height, width, filter, threads);
  return out;
}

}  // namespace tenon::vision
