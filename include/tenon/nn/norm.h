// Layer normalisation with its weight and bias.
#pragma once

#include <string>

#include "tenon/core/context.h"
#include "tenon/nn/module.h"
#include "tenon/ops/layer_norm.h"

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

}  // namespace tenon::nn
