// Filters, their fixed-point weights, and the portable row loops.
#include "vision/resample.h"

#include <algorithm>
#include <cmath>
#include <limits>
#include <new>
#include <numbers>

namespace tenon::vision {

Filter filter_of(int64_t number) {
  check(number >= 0 && number <= 5, ErrorCode::Limit, "resize",
        "expected resample 0 (nearest), 1 (lanczos), 2 (bilinear), 3 (bicubic), 4 (box) or 5 (hamming), got ", number);
  return static_cast<Filter>(number);
}

namespace detail {
namespace {

double sinc(double x) {
  if (x == 0.0) return 1.0;
  x *= std::numbers::pi;
  return std::sin(x) / x;
}

/// The order of the operations decides the last bit of a weight, so it is PIL's; 0.54 and 0.46 are floats there.
double filter_value(Filter filter, double x) {
  if (filter == Filter::Box) return x > -0.5 && x <= 0.5 ? 1.0 : 0.0;
  if (filter == Filter::Lanczos) return -3.0 <= x && x < 3.0 ? sinc(x) * sinc(x / 3) : 0.0;
  x = std::fabs(x);
  switch (filter) {
    case Filter::Bilinear:
      return x < 1.0 ? 1.0 - x : 0.0;
    case Filter::Hamming:
      if (x == 0.0) return 1.0;
      if (x >= 1.0) return 0.0;
      x *= std::numbers::pi;
      return std::sin(x) / x * (0.54f + 0.46f * std::cos(x));
    default: {
      constexpr double a = -0.5;
      if (x < 1.0) return ((a + 2.0) * x - (a + 3.0)) * x * x + 1;
      return x < 2.0 ? (((x - 5) * x + 8) * x - 4) * a : 0.0;
    }
  }
}

double support_of(Filter filter) {
  switch (filter) {
    case Filter::Box:
      return 0.5;
    case Filter::Bicubic:
      return 2.0;
    case Filter::Lanczos:
      return 3.0;
    default:
      return 1.0;
  }
}

int32_t fixed_point(double weight) {
  const double scaled = weight * (1 << kWeightBits);
  return static_cast<int32_t>(weight < 0 ? scaled - 0.5 : scaled + 0.5);
}

void append(Taps& taps, int first, const std::vector<double>& weights) {
  const auto offset = static_cast<int64_t>(taps.weights.size());
  taps.runs.push_back({first, static_cast<int>(weights.size()), offset});
  for (double w : weights) taps.weights.push_back(fixed_point(w));
  if (weights.size() % 2) taps.weights.push_back(0);
  for (size_t i = static_cast<size_t>(offset); i < taps.weights.size(); ++i) {
    taps.low.push_back(static_cast<int16_t>(taps.weights[i] & 0x7fff));
    taps.high.push_back(static_cast<int16_t>(taps.weights[i] >> 15));
  }
}

uint8_t rounded(int32_t sum) { return static_cast<uint8_t>(std::clamp(sum >> kWeightBits, 0, 255)); }

template <int kChannels>
void across_channels(uint8_t* y, const uint8_t* x, const Taps& taps) {
  for (const Taps::Run& run : taps.runs) {
    const uint8_t* in = x + static_cast<size_t>(run.first) * kChannels;
    const int32_t* weights = taps.weights.data() + run.offset;
    int32_t sums[kChannels];
    std::fill_n(sums, kChannels, 1 << (kWeightBits - 1));
    for (int i = 0; i < run.count; ++i, in += kChannels)
      for (int c = 0; c < kChannels; ++c) sums[c] += in[c] * weights[i];
    for (int c = 0; c < kChannels; ++c) *y++ = rounded(sums[c]);
  }
}

void across(uint8_t* y, const uint8_t* x, const Taps& taps, int channels) {
  switch (channels) {
    case 1:
      return across_channels<1>(y, x, taps);
    case 2:
      return across_channels<2>(y, x, taps);
    case 3:
      return across_channels<3>(y, x, taps);
    default:
      return across_channels<4>(y, x, taps);
  }
}

void down(uint8_t* y, const uint8_t* x, size_t stride, const Taps& taps, const Taps::Run& run, size_t bytes) {
  constexpr size_t kBlock = 256;  // sums that stay in the first-level cache
  int32_t sums[kBlock];
  const int32_t* weights = taps.weights.data() + run.offset;
  for (size_t begin = 0; begin < bytes; begin += kBlock) {
    const size_t n = std::min(kBlock, bytes - begin);
    std::fill_n(sums, n, 1 << (kWeightBits - 1));
    for (int i = 0; i < run.count; ++i) {
      const uint8_t* in = x + static_cast<size_t>(i) * stride + begin;
      for (size_t b = 0; b < n; ++b) sums[b] += in[b] * weights[i];
    }
    for (size_t b = 0; b < n; ++b) y[begin + b] = rounded(sums[b]);
  }
}

}  // namespace

Taps make_taps(int in, int out, Filter filter) {
  const double scale = static_cast<double>(static_cast<float>(in)) / out;
  const double widening = std::max(scale, 1.0);
  const double support = support_of(filter) * widening;
  const double inverse = 1.0 / widening;
  // where PIL refuses too: its table of doubles would pass 2^31 bytes
  const double longest = std::ceil(support) * 2 + 1;
  check(longest * out * sizeof(double) < std::numeric_limits<int>::max(), ErrorCode::Limit, "resize", "cannot resize ", in, " pixels to ",
        out);
  Taps taps;
  try {
    taps.runs.reserve(static_cast<size_t>(out));
    std::vector<double> weights;
    for (int i = 0; i < out; ++i) {
      const double center = (i + 0.5) * scale;
      const int first = std::max(0, static_cast<int>(center - support + 0.5));
      const int end = std::min(in, static_cast<int>(center + support + 0.5));
      weights.assign(static_cast<size_t>(std::max(0, end - first)), 0.0);
      double total = 0.0;
      for (size_t j = 0; j < weights.size(); ++j) {
        weights[j] = filter_value(filter, (static_cast<int>(j) + first - center + 0.5) * inverse);
        total += weights[j];
      }
      if (total != 0.0)
        for (double& w : weights) w /= total;
      append(taps, first, weights);
    }
  } catch (const std::bad_alloc&) {
    fail(ErrorCode::Memory, "resize", "cannot allocate the weights for ", in, " -> ", out, " pixels");
  }
  return taps;
}

const RowKernel kPortableRows = {across, down};

}  // namespace detail
}  // namespace tenon::vision
