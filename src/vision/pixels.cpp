// Layout, number types and colours of pixel arrays.
#include "vision/pixels.h"

#include <algorithm>
#include <cmath>
#include <limits>
#include <type_traits>

#include "vision/decoders.h"

namespace tenon::vision::detail {
namespace {

constexpr std::string_view kWhere = "image processor";

bool may_be_channels(int64_t n) { return n == 1 || n == 3 || n == 4; }

/// Calls f with each element, rows first within a channel.
template <class Value, class Function>
void for_each(const PixelArray& a, Function&& f) {
  const Value* values = a.values.data<Value>();
  for (int c = 0; c < a.channels; ++c)
    for (int y = 0; y < a.height; ++y)
      for (int x = 0; x < a.width; ++x) f(values[c * a.channel_step + y * a.row_step + x * a.pixel_step], c, y, x);
}

/// numpy.allclose to the nearest whole number towards zero.
bool is_whole(double v) {
  const double whole = std::trunc(v);
  return std::fabs(v - whole) <= 1e-8 + 1e-5 * std::fabs(whole);
}

template <class Value>
Bytes fractions_to_bytes(const PixelArray& a) {
  bool whole = true;
  double least = std::numeric_limits<double>::infinity(), most = -least;
  bool finite = true;
  for_each<Value>(a, [&](double v, int, int, int) {
    whole = whole && is_whole(v);
    finite = finite && std::isfinite(v);
    least = std::min(least, v);
    most = std::max(most, v);
  });
  const double top = whole ? 255 : 1;
  check(finite && least >= 0 && most <= top, ErrorCode::Limit, kWhere, "expected ", whole ? "whole numbers in 0..255" : "fractions in 0..1",
        " (or no do_resize), got values from ", least, " to ", most, finite ? "" : " and values that are not finite");
  Bytes bytes{Image(a.height, a.width, a.channels), !whole};
  for_each<Value>(a, [&](double v, int c, int y, int x) {
    const double scaled = whole ? v : static_cast<double>(static_cast<float>(v * 255));
    bytes.image.row(y)[static_cast<size_t>(x) * a.channels + c] = static_cast<uint8_t>(scaled);
  });
  return bytes;
}

template <class Value>
Value over_white(Value value, Value alpha) {
  if constexpr (std::is_same_v<Value, uint8_t>) {
    const double a = alpha / 255.0;
    return static_cast<uint8_t>(std::nearbyint(a * value + (1 - a) * 255));
  } else {
    return alpha * value + (1 - alpha);
  }
}

template <class Value>
void blend_onto_white(PixelArray& a) {
  if constexpr (!std::is_same_v<Value, uint8_t>)
    for_each<Value>(
        a, [](Value v, int, int, int) { check(v >= 0 && v <= 1, ErrorCode::Limit, kWhere, "expected RGBA fractions in 0..1, got ", v); });
  const Value* in = a.values.data<Value>();
  Tensor rgb = Tensor::empty({3, a.height, a.width}, a.values.dtype());
  Value* out = rgb.data<Value>();
  for (int c = 0; c < 3; ++c)
    for (int y = 0; y < a.height; ++y)
      for (int x = 0; x < a.width; ++x) {
        const Value* pixel = in + y * a.row_step + x * a.pixel_step;
        *out++ = over_white(pixel[c * a.channel_step], pixel[3 * a.channel_step]);
      }
  const int64_t plane = int64_t{a.height} * a.width;
  a = {std::move(rgb), 3, a.height, a.width, plane, a.width, 1};
}

bool fits_bytes(const Tensor& whole_numbers) {
  const Tensor wide = whole_numbers.to(DType::F64);
  const auto values = wide.values<double>();
  return std::all_of(values.begin(), values.end(), [](double v) { return v >= 0 && v <= 255; });
}

}  // namespace

PixelArray pixel_array(const Tensor& array, ChannelLayout layout) {
  const Shape& shape = array.shape();
  check(shape.rank() == 2 || shape.rank() == 3, ErrorCode::Shape, kWhere, "expected an image of shape (H,W), (H,W,C) or (C,H,W), got ",
        shape);
  int64_t channels = 1, height = shape[0], width = shape[1];
  bool first = true;
  if (shape.rank() == 3) {
    if (layout == ChannelLayout::Infer) {
      check(may_be_channels(shape[0]) || may_be_channels(shape[2]), ErrorCode::Shape, kWhere,
            "cannot tell the channels: expected 1, 3 or 4 of them first or last, got ", shape);
      first = may_be_channels(shape[0]);
    } else {
      first = layout == ChannelLayout::First;
    }
    channels = shape[first ? 0 : 2];
    height = shape[first ? 1 : 0];
    width = shape[first ? 2 : 1];
  }
  check(may_be_channels(channels) && height > 0 && width > 0, ErrorCode::Shape, kWhere, "expected 1, 3 or 4 channels and some pixels, got ",
        channels, " channels in ", shape);
  check_pixels(kWhere, width, height, kMaxPixels);
  PixelArray a{array, static_cast<int>(channels), static_cast<int>(height), static_cast<int>(width), 1, width * channels, channels};
  if (first) a.channel_step = height * width, a.row_step = width, a.pixel_step = 1;
  return a;
}

void simplify_type(PixelArray& a, DType wide) {
  const DType t = a.values.dtype();
  if (t == DType::U8 || t == DType::F32 || t == DType::F64) return;
  if (is_float(t))
    a.values = a.values.to(DType::F32);
  else
    a.values = a.values.to(fits_bytes(a.values) ? DType::U8 : wide);
}

void make_rgb(PixelArray& a) {
  if (a.channels == 1) {
    a.channels = 3;
    a.channel_step = 0;  // the one channel three times
  } else if (a.channels == 4) {
    if (a.values.dtype() == DType::U8)
      blend_onto_white<uint8_t>(a);
    else if (a.values.dtype() == DType::F32)
      blend_onto_white<float>(a);
    else
      blend_onto_white<double>(a);
  }
}

Bytes to_bytes(const PixelArray& a) {
  if (a.values.dtype() == DType::F32) return fractions_to_bytes<float>(a);
  if (a.values.dtype() == DType::F64) return fractions_to_bytes<double>(a);
  Bytes bytes{Image(a.height, a.width, a.channels), false};
  for_each<uint8_t>(a, [&](uint8_t v, int c, int y, int x) { bytes.image.row(y)[static_cast<size_t>(x) * a.channels + c] = v; });
  return bytes;
}

}  // namespace tenon::vision::detail
