// The feed-forward part of a decoder layer: gated (SwiGLU) or plain.
#pragma once

#include <array>
#include <string>

#include "tenon/nn/linear.h"
#include "tenon/ops/gated.h"

namespace tenon::nn {

struct MlpNames {
  const char *gate, *up, *down;  // gate nullptr: not gated
};
inline constexpr MlpNames kGatedMlp = {"gate_proj", "up_proj", "down_proj"};

/// y = down(act(gate(x)) * up(x)) + residual, or down(act(up(x))) + residual.
class Mlp {
 public:
  Mlp() = default;
  Mlp(int64_t width, int64_t inner, Activation act, bool gated, bool bias)
      : gate(width, inner, bias), up(width, inner, bias), down(inner, width, bias), act_(act), gated_(gated) {}

  /// Dropout of the inner activations and of what the layer adds.
  Mlp& with_dropout(float inner, float outer) {
    inner_dropout_ = inner, dropout_ = outer;
    return *this;
  }

  /// Shapes: x, residual (N,C) -> (N,C).
  Tensor forward(Context& ctx, const Tensor& x, const Tensor& residual) const {
    if (!gated_) return down.forward_dropped(ctx, ops::dropout(ctx, up.forward(ctx, x, act_), inner_dropout_), dropout_, residual);
    const bool packed = fused.ready() && !ctx.recorder();
    Tensor h;
    if (packed) {
      h = ops::gated_pair(ctx, fused.forward(ctx, x, {&gate, &up}), act_);
    } else {
      const std::vector<Tensor> both = forward_all(ctx, x, {&gate, &up});
      h = ops::gated(ctx, both[0], both[1], act_);
    }
    return down.forward_dropped(ctx, ops::dropout(ctx, h, inner_dropout_), dropout_, residual);
  }
  void visit(const std::string& prefix, const MlpNames& n, Visitor& v) {
    if (gated_) {
      const std::array<std::string, 2> names{join(prefix, n.gate), join(prefix, n.up)};
      const std::array<Linear*, 2> layers{&gate, &up};
      v.fused(names, layers, fused);
    } else {
      v.linear(join(prefix, n.up), up);
    }
    v.linear(join(prefix, n.down), down);
  }

  Linear gate, up, down;
  FusedLinear fused;  // gate and up side by side once packed

 private:
  Activation act_ = Activation::Silu;
  bool gated_ = true;
  float inner_dropout_ = 0, dropout_ = 0;
};

}  // namespace tenon::nn
