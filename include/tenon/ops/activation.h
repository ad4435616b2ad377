// Activation functions.
#pragma once

#include <string_view>
#include <utility>

#include "tenon/ops/checks.h"

namespace tenon::ops {

/// Reads the name that a config.json gives to an activation.
/// Errors: Error(Format) for an unknown one.
/// Source: transformers/activations.py, ACT2FN.
inline Activation parse_activation(std::string_view name) {
  constexpr std::pair<std::string_view, Activation> kNames[] = {
      {"gelu", Activation::Gelu},          {"gelu_new", Activation::GeluTanh},
      {"gelu_fast", Activation::GeluTanh}, {"gelu_pytorch_tanh", Activation::GeluTanh},
      {"relu", Activation::Relu},          {"quick_gelu", Activation::QuickGelu},
      {"silu", Activation::Silu},          {"swish", Activation::Silu},
      {"tanh", Activation::Tanh},          {"sigmoid", Activation::Sigmoid},
      {"linear", Activation::None},
  };
  for (const auto& [known, act] : kNames)
    if (name == known) return act;
  fail(ErrorCode::Format, "activation",
       "expected a known name (gelu, gelu_new, gelu_fast, gelu_pytorch_tanh, quick_gelu, relu, silu, swish, ",
       "tanh, sigmoid, linear), got '", name, "'");
}

/// y = act(x), element by element.
/// Shapes: x (...) f32|bf16 -> y (...).
/// Errors: Error(Type).
/// Source: torch.nn.functional.gelu, relu, tanh, silu, sigmoid; QuickGELU of CLIP.
inline Tensor activation(Context& ctx, const Tensor& x, Activation act) {
  detail::check_f32_or_bf16(x, "activation", "x");
  if (act == Activation::None) return x;
  detail::check_here(ctx, "activation", x);
  Tensor y = ctx.empty(x.shape(), x.dtype());
  const char* from = static_cast<const char*>(x.address());
  char* to = static_cast<char*>(y.address());
  const size_t size = size_of(x.dtype());
  ctx.over_rows(x.numel(), 8, [&](int64_t begin, int64_t end) {
    ctx.kernels().activation(to + begin * size, from + begin * size, end - begin, act, x.dtype());
  });
  if (recording(ctx, "activation", x))
    ctx.recorder()->record("activation", {y}, {x}, [x, act](Context& c, std::span<const Tensor> dy) -> std::vector<Tensor> {
      detail::check_here(c, "activation", x, dy[0]);
      Tensor dx = c.empty(x.shape(), DType::F32);
      float* out = dx.ptr<float>();
      const float *dy0 = dy[0].ptr<float>(), *x0 = x.ptr<float>();
      c.over_rows(x.numel(), 8, [&](int64_t begin, int64_t end) {
        c.kernels().activation_backward(out + begin, dy0 + begin, x0 + begin, end - begin, act);
      });
      return {dx};
    });
  return y;
}

}  // namespace tenon::ops
