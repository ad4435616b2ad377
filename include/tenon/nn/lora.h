// Low-rank adapters of a linear layer (LoRA): a small product beside a frozen weight.
#pragma once

#include "tenon/ops/columns.h"
#include "tenon/ops/dropout.h"
#include "tenon/ops/elementwise.h"
#include "tenon/ops/linear.h"

namespace tenon::nn {

namespace detail {

/// y[:, at ...] += part, in place. Shapes: y (...,N), part (...,n) of y's type.
inline void add_columns(Context& ctx, Tensor& y, int64_t at, const Tensor& part) {
  const int64_t N = y.size(-1), n = part.size(-1);
  ops::detail::check_here(ctx, "add_columns", y, part);
  ops::detail::move_parts(ctx, y, {at, N, 0}, part, {0, n, 0}, n ? part.numel() / n : 0, 1, n, true);
}

}  // namespace detail

/// What an adapter adds to W x: scaling * B A dropout(x).
struct Lora {
  Tensor a, b;        // (r, in), (out, r) float32
  float scaling = 1;  // alpha / r, or alpha / sqrt(r) (rank-stabilised)
  float dropout = 0;  // only while training

  /// Shapes: x (..., in) f32|bf16 -> (..., out) as x.
  /// Errors: Error(Shape), Error(Type).
  /// Source: Hu et al. 2021, "LoRA: Low-Rank Adaptation of Large Language Models"; peft/tuners/lora/layer.py.
  Tensor forward(Context& ctx, const Tensor& x) const {
    if (!ctx.recorder() && packed_for(x.dtype())) return ops::linear(ctx, ops::linear(ctx, x, packed_a_, {}), packed_b_, {});
    const Tensor h = ops::linear(ctx, ops::dropout(ctx, x, dropout), a, {});
    if (scaling == 1) return ops::linear(ctx, h, b, {});
    return ops::linear(ctx, ops::cast(ctx, ops::scale(ctx, ops::cast(ctx, h, DType::F32), scaling), x.dtype()), b, {});
  }
  /// Packs both factors for inference beside a weight of this format; int8 weights have factors of what runs between them.
  void pack(Context& ctx, WeightFormat format) {
    const bool wide = format == WeightFormat::F32 || (format == WeightFormat::Int8 && !ctx.kernels().fast_bf16);
    format = wide ? WeightFormat::F32 : WeightFormat::BF16;
    packed_a_ = quant::pack(ctx, a, format);
    packed_b_ = quant::pack(ctx, ops::detail::scaled(ctx, b, scaling), format);
    packed_version_ = version();
  }
  void unpack() { packed_a_ = packed_b_ = {}; }

 private:
  uint64_t version() const { return uint64_t{a.storage()->version} + b.storage()->version; }
  /// Not if a step of training has changed the factors since.
  bool packed_for(DType type) const {
    return packed_a_.defined() && (packed_a_.format == WeightFormat::BF16) == (type == DType::BF16) && packed_version_ == version();
  }

  quant::PackedWeight packed_a_, packed_b_;  // b times scaling
  uint64_t packed_version_ = 0;
};

}  // namespace tenon::nn
