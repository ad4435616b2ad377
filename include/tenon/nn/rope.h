// The angles of rotary position embeddings, with the ways of stretching them to longer contexts.
#pragma once

#include <cmath>
#include <numbers>
#include <span>
#include <string>
#include <vector>

#include "tenon/core/context.h"
#include "tenon/core/error.h"

namespace tenon::nn {

enum class RopeType : uint8_t { Default, Linear, Dynamic, Yarn, Longrope, Llama3 };

/// Source: modeling_rope_utils.py of Transformers; Peng et al. 2023, "YaRN"; Ding et al. 2024, "LongRoPE".
struct RopeConfig {
  RopeType type = RopeType::Default;
  int64_t width = 0;  // elements of a head that are turned
  double theta = 10000, factor = 1;
  int64_t max_positions = 0, original_positions = 0;
  double beta_fast = 32, beta_slow = 1, mscale = 0, mscale_all_dim = 0;
  bool truncate = true;
  double low_freq_factor = 1, high_freq_factor = 4;
  double attention_factor = 0;  // 0: from the other fields
  std::vector<double> short_factor, long_factor;
};

/// 0.1 m ln(s) + 1.
inline double yarn_mscale(double scale, double mscale) { return scale <= 1 ? 1 : 0.1 * mscale * std::log(scale) + 1; }

class Rope {
 public:
  Rope() = default;
  /// Errors: Error(Format) if the numbers of the configuration do not make sense.
  explicit Rope(RopeConfig config) : config_(std::move(config)) {
    const RopeConfig& c = config_;
    check(c.width > 0 && c.width % 2 == 0 && c.theta > 0 && std::isfinite(c.theta), ErrorCode::Format, "rope",
          "expected an even width and a positive rope_theta, got ", c.width, " and ", c.theta);
    check(c.factor > 0 && std::isfinite(c.factor), ErrorCode::Format, "rope", "factor: expected a positive number, got ", c.factor);
    if (c.type == RopeType::Yarn || c.type == RopeType::Llama3 || c.type == RopeType::Longrope || c.type == RopeType::Dynamic)
      check(c.original_positions > 0, ErrorCode::Format, "rope", "original_max_position_embeddings: expected a positive number, got ",
            c.original_positions);
    if (c.type == RopeType::Llama3)
      check(c.high_freq_factor > c.low_freq_factor, ErrorCode::Format, "rope", "high_freq_factor: expected more than low_freq_factor, got ",
            c.high_freq_factor, " and ", c.low_freq_factor);
    if (c.type == RopeType::Longrope)
      for (const auto* f : {&c.short_factor, &c.long_factor})
        check(static_cast<int64_t>(f->size()) == c.width / 2, ErrorCode::Format, "rope", "short_factor and long_factor: expected ",
              c.width / 2, " numbers, got ", f->size());
    inverse_ = frequencies(0);
    scale_ = static_cast<float>(attention_scale());
  }

  int64_t width() const { return config_.width; }

  struct Angles {
    Tensor cos, sin;  // (N, width/2) float32
  };
  /// Angles of these positions. Dynamic and LongRoPE scaling go by the largest of them.
  Angles angles(Context& ctx, std::span<const int64_t> positions) const {
    const auto N = static_cast<int64_t>(positions.size());
    HostContext host(ctx);
    Angles a{host->empty({N, half()}, DType::F32), host->empty({N, half()}, DType::F32)};
    write(*host, positions, a.cos.data<float>(), a.sin.data<float>());
    return {a.cos.to(ctx.device()), a.sin.to(ctx.device())};
  }
  /// How many pairs are turned.
  int64_t half() const { return config_.width / 2; }
  /// The same into memory of the host. Shapes: cos, sin (N, half()).
  void write(Context& host, std::span<const int64_t> positions, float* cos, float* sin) const {
    std::vector<float> longer;
    const std::vector<float>* inverse = &inverse_;
    if (config_.type == RopeType::Dynamic || config_.type == RopeType::Longrope) {
      int64_t length = 0;
      for (const int64_t p : positions) length = std::max(length, p + 1);
      if (length > config_.original_positions) longer = frequencies(length), inverse = &longer;
    }
    const int64_t each = half();
    host.over_rows(static_cast<int64_t>(positions.size()), each * 32, [&](int64_t begin, int64_t end) {
      for (int64_t n = begin; n < end; ++n)
        for (int64_t i = 0; i < each; ++i) {
          const float angle = static_cast<float>(positions[static_cast<size_t>(n)]) * (*inverse)[static_cast<size_t>(i)];
          cos[n * each + i] = std::cos(angle) * scale_;
          sin[n * each + i] = std::sin(angle) * scale_;
        }
    });
  }

 private:
  /// length: the sequence's, for the types that depend on it; 0 for a short one.
  std::vector<float> frequencies(int64_t length) const {
    const RopeConfig& c = config_;
    const int64_t half = c.width / 2;
    const double width = static_cast<double>(c.width);
    double theta = c.theta;
    if (c.type == RopeType::Dynamic && length > c.original_positions)
      theta *= std::pow(c.factor * static_cast<double>(length) / static_cast<double>(c.original_positions) - (c.factor - 1), width / (width - 2));
    std::vector<float> f(static_cast<size_t>(half));
    for (int64_t i = 0; i < half; ++i) {
      const double plain = std::pow(theta, -2.0 * static_cast<double>(i) / width);
      f[static_cast<size_t>(i)] = static_cast<float>(scaled(plain, i, length));
    }
    return f;
  }

  double scaled(double plain, int64_t i, int64_t length) const {
    const RopeConfig& c = config_;
    switch (c.type) {
      case RopeType::Default:
      case RopeType::Dynamic:
        return plain;
      case RopeType::Linear:
        return plain / c.factor;
      case RopeType::Longrope:
        return plain / (length > c.original_positions ? c.long_factor : c.short_factor)[static_cast<size_t>(i)];
      case RopeType::Llama3: {
        const double wavelength = 2 * std::numbers::pi / plain, original = static_cast<double>(c.original_positions);
        if (wavelength > original / c.low_freq_factor) return plain / c.factor;
        if (wavelength < original / c.high_freq_factor) return plain;
        const double smooth = (original / wavelength - c.low_freq_factor) / (c.high_freq_factor - c.low_freq_factor);
        return (1 - smooth) * plain / c.factor + smooth * plain;
      }
      case RopeType::Yarn: {
        double low = correction(c.beta_fast), high = correction(c.beta_slow);
        if (c.truncate) low = std::floor(low), high = std::ceil(high);
        low = std::max(low, 0.0), high = std::min(high, static_cast<double>(c.width) - 1);
        if (low == high) high += 0.001;
        const double ramp = std::min(1.0, std::max(0.0, (static_cast<double>(i) - low) / (high - low)));
        return plain / c.factor * ramp + plain * (1 - ramp);
      }
    }
    return plain;
  }

  /// The pair whose angle makes this many turns over the original context.
  double correction(double turns) const {
    return static_cast<double>(config_.width) * std::log(static_cast<double>(config_.original_positions) / (turns * 2 * std::numbers::pi)) /
           (2 * std::log(config_.theta));
  }

  double attention_scale() const {
    const RopeConfig& c = config_;
    if (c.attention_factor > 0) return c.attention_factor;
    if (c.type == RopeType::Yarn)
      return c.mscale != 0 && c.mscale_all_dim != 0 ? yarn_mscale(c.factor, c.mscale) / yarn_mscale(c.factor, c.mscale_all_dim)
                                                    : yarn_mscale(c.factor, 1);
    if (c.type == RopeType::Longrope && c.factor > 1)
      return std::sqrt(1 + std::log(c.factor) / std::log(static_cast<double>(c.original_positions)));
    return 1;
  }

  RopeConfig config_;
  std::vector<float> inverse_;
  float scale_ = 1;
};

}  // namespace tenon::nn
