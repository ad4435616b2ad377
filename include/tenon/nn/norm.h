// Layer normalisation with its weight and bias.
#pragma once

#include <string>

#include "tenon/core/context.h"
#include "tenon/nn/module.h"
#include "tenon/ops/layer_norm.h"
#include "tenon/ops/rms_norm.h"

namespace tenon::nn {

class LayerNorm {
 public:
  LayerNorm() = default;
  LayerNorm(int64_t width, float eps) : width_(width), eps_(eps) {}

  /// Shapes: x (..., C) -> the same.
  Tensor forward(Context& ctx, const Tensor& x) const { return ops::layer_norm(ctx, x, weight, bias, eps_); }
  void visit(const std::string& name, Visitor& v) {
    v.parameter(name + ".weight", weight, {width_}, {.init = Init::Ones});
    v.parameter(name + ".bias", bias, {width_}, {.init = Init::Zeros});
  }

  Tensor weight, bias;  // (C) float32

 private:
  int64_t width_ = 0;
  float eps_ = 1e-5f;
};

/// Root-mean-square norm: a weight alone.
class RmsNorm {
 public:
  RmsNorm() = default;
  RmsNorm(int64_t width, float eps) : width_(width), eps_(eps) {}

  int64_t width() const { return width_; }
  /// Shapes: x (..., n*C) -> the same; each part of C is normalised by itself.
  Tensor forward(Context& ctx, const Tensor& x) const { return ops::rms_norm(ctx, x, weight, eps_); }
  void visit(const std::string& name, Visitor& v) { v.parameter(name + ".weight", weight, {width_}, {.init = Init::Ones}); }

  Tensor weight;  // (C) float32

 private:
  int64_t width_ = 0;
  float eps_ = 1e-6f;
};

/// The norm of a decoder: one of the two.
class AnyNorm {
 public:
  AnyNorm() = default;
  AnyNorm(int64_t width, float eps, bool layer_norm) : layer_(width, eps), rms_(width, eps), is_layer_(layer_norm) {}
  Tensor forward(Context& ctx, const Tensor& x) const { return is_layer_ ? layer_.forward(ctx, x) : rms_.forward(ctx, x); }
  void visit(const std::string& name, Visitor& v) { is_layer_ ? layer_.visit(name, v) : rms_.visit(name, v); }

 private:
  LayerNorm layer_;
  RmsNorm rms_;
  bool is_layer_ = false;
};

}  // namespace tenon::nn
