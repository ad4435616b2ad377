// The linear layer: on plain weights with gradients, and on packed weights of any format for inference.
#pragma once

#include <cstring>

#include "tenon/ops/activation.h"
#include "tenon/ops/elementwise.h"
#include "tenon/ops/fp8.h"
#include "tenon/quant/packed_weight.h"

namespace tenon::ops {

namespace detail {

inline void check_linear(const Tensor& x, int64_t N, int64_t K, const Tensor& bias, const Tensor& residual) {
  check_f32_or_bf16(x, "linear", "x");
  check(x.rank() >= 1 && x.size(-1) == K, ErrorCode::Shape, "linear", "x: expected (..., ", K, ") for a weight (", N, ", ", K, "), got ",
        x.shape());
  if (bias.defined()) check_vector(bias, N, "linear", "bias");
  if (!residual.defined()) return;
  check(residual.shape() == with_last(x.shape(), N), ErrorCode::Shape, "linear", "residual: expected ", with_last(x.shape(), N), ", got ",
        residual.shape());
  check(residual.dtype() == x.dtype(), ErrorCode::Type, "linear", "residual: expected ", name_of(x.dtype()), ", got ",
        name_of(residual.dtype()));
}

/// x w^T + bias + residual as float32 of a shape: what is added is laid down first and the product added to it. x and w are of one type.
inline Tensor linear_f32(Context& ctx, const Factor& x, const Factor& w, const Tensor& bias, const Tensor& residual, bool in_out,
                         const Shape& shape, int64_t M, int64_t N, int64_t K) {
  check_here(ctx, "linear", x.plain, w.plain, bias, residual);
  Tensor y = ctx.empty(shape, DType::F32);
  float* to = y.ptr<float>();
  const float *b = bias.defined() ? bias.ptr<float>() : nullptr, *r = residual.defined() ? residual.ptr<float>() : nullptr;
  const size_t row = static_cast<size_t>(N) * sizeof(float);
  if (!ctx.device().is_cpu() && M > 0) {
    if (r) cuda::copy(to, ctx.device(), r, ctx.device(), static_cast<size_t>(M) * row);
    if (b) ctx.kernels().gather_rows(to, DType::F32, b, DType::F32, ctx.zeros({M}, DType::I64).ptr<int64_t>(), M, N, r != nullptr);
  } else if (b || r) {
    ctx.over_rows(M, N, [&](int64_t begin, int64_t end) {
      if (!b) std::memcpy(to + begin * N, r + begin * N, row * static_cast<size_t>(end - begin));
      for (int64_t m = begin; b && m < end; ++m) {
        if (r)
          ctx.kernels().add(to + m * N, r + m * N, b, N, DType::F32);
        else
          std::memcpy(to + m * N, b, row);
      }
    });
  }
  multiply(ctx, to, x, w, false, !in_out, M, N, K, b || r);
  return y;
}

}  // namespace detail

/// One of several linear layers over the same rows.
struct LinearPart {
  Tensor weight, bias;
};

namespace detail {

/// The layers' results in float32; with gradients as one step, whose rounded factors and whose dx are shared. residual: only of one layer.
/// x is float32, or no gradient is wanted.
inline std::vector<Tensor> linear_parts(Context& ctx, const Tensor& x, std::span<const LinearPart> parts, const Tensor& residual, bool in_out,
                                        int64_t M, int64_t K) {
  struct Side {
    Tensor w;  // as multiplied; in float8 as it is
    bool want_w, want_b;
    int64_t N;
  };
  const FactorType type = factor_type(ctx, x);
  std::vector<Tensor> y, inputs = {x};
  std::vector<Side> sides;
  bool record = recording(ctx, "linear", x), want_w = false;
  for (const LinearPart& p : parts) want_w |= ctx.wants(p.weight);
  Factor rows = factor_of(ctx, x, type, Fp8Role::Rows, M, K, true, want_w);
  for (const LinearPart& p : parts) {
    const int64_t N = p.weight.size(in_out ? 1 : 0);
    record |= recording(ctx, "linear", p.weight, p.bias);
    const Factor w = factor_of(ctx, p.weight, type, Fp8Role::Weight, p.weight.size(0), p.weight.size(1), !in_out, in_out);
    sides.push_back({w.plain.defined() ? w.plain : p.weight, ctx.wants(p.weight), ctx.wants(p.bias), N});
    y.push_back(linear_f32(ctx, rows, w, p.bias, residual, in_out, with_last(x.shape(), N), M, N, K));
    inputs.push_back(p.weight), inputs.push_back(p.bias);
  }
  rows.straight = {};
  if (residual.defined()) {
    record |= recording(ctx, "linear", residual);
    inputs.push_back(residual);
  }
  if (!record) return y;
  const bool want_x = ctx.wants(x);
  if (!want_x)
    for (Side& s : sides) s.w = {};
  ctx.recorder()->record(
      "linear", y, std::move(inputs),
      [sides = std::move(sides), kept = want_w ? std::move(rows) : Factor(), has_residual = residual.defined(), shape = x.shape(), want_x, type, in_out, M,
       K](Context& c, std::span<const Tensor> dy) -> std::vector<Tensor> {
        std::vector<Tensor> d(1);
        if (want_x) d[0] = c.empty(shape, DType::F32);
        bool summed = false;
        for (size_t i = 0; i < sides.size(); ++i) {
          const auto& [w, wants_w, wants_b, N] = sides[i];
          Tensor dw, db;
          check_here(c, "linear", dy[i]);
          if (!dy[i].defined()) {
            if (wants_w) dw = c.zeros(in_out ? Shape{K, N} : Shape{N, K}, DType::F32);
            if (wants_b) db = c.zeros({N}, DType::F32);
          } else {
            const Factor rounded = want_x || wants_w ? factor_of(c, dy[i], type, Fp8Role::Rows, M, N, want_x, wants_w) : Factor();
            if (want_x) {
              const Factor of_w = factor_of(c, w, type, Fp8Role::Weight, w.size(0), w.size(1), in_out, !in_out);
              multiply(c, d[0].ptr<float>(), rounded, of_w, false, in_out, M, K, N, summed);
            }
            summed = true;
            if (wants_w) {
              dw = c.empty(in_out ? Shape{K, N} : Shape{N, K}, DType::F32);
              multiply(c, dw.ptr<float>(), in_out ? kept : rounded, in_out ? rounded : kept, true, false, in_out ? K : N, in_out ? N : K, M, false);
            }
            if (wants_b) db = column_sums(c, dy[i], M, N);
          }
          d.push_back(std::move(dw)), d.push_back(std::move(db));
        }
        if (has_residual) d.push_back(dy[0]);
        return d;
      });
  return y;
}

inline void check_weight(const Tensor& x, const Tensor& w, const Tensor& bias, const Tensor& residual, bool in_out) {
  check(w.defined() && w.rank() == 2, ErrorCode::Shape, "linear", "weight: expected a matrix, got ", w.describe());
  check_linear(x, w.size(in_out ? 1 : 0), w.size(in_out ? 0 : 1), bias, residual);
}

}  // namespace detail

/// y = act(x w^T + bias) + residual on a weight as it lies in the checkpoint. When something wants a gradient, it is recorded as a
/// linear layer and what the activation needs. Where ctx.training().matmul is bfloat16 (on a GPU also float16), float32 factors are rounded to
/// it, those of the gradients too; sums, results and gradients are float32. In float8 rows are rounded with a scale for each 128 of the summed
/// dimension (dw: 128 tokens), weights with one for each 128 by 128; or each factor with one, if ctx.training().fp8_scaling says so.
/// Shapes: x (...,K) f32|bf16, w (N,K), or (K,N) if in_out, f32|bf16|f16 (used in x's type), bias (N) f32 or {}, residual (...,N) as x or
/// {} -> (...,N) as x.
/// Errors: Error(Shape), Error(Type), also for a gradient with anything but float32.
/// Source: torch.nn.functional.linear; torch.autocast; DeepSeek-V3 technical report, section 3.3.
inline Tensor linear(Context& ctx, const Tensor& x, const Tensor& w, const Tensor& bias, Activation act = Activation::None,
                     const Tensor& residual = {}, bool in_out = false) {
  detail::check_weight(x, w, bias, residual, in_out);
  const auto [M, K] = detail::matrix_of(x, "linear", "x");
  if (recording(ctx, "linear", x, w, bias)) {
    detail::check_f32(x, "linear", "x with gradients");
    detail::check_f32(w, "linear", "weight with gradients");
  }
  const bool together = residual.defined() && act == Activation::None && x.dtype() == DType::F32;
  const LinearPart part{w, bias};
  Tensor y = detail::linear_parts(ctx, x, std::span(&part, 1), together ? residual : Tensor(), in_out, M, K).front();
  y = cast(ctx, activation(ctx, y, act), x.dtype());
  return residual.defined() && !together ? add(ctx, y, residual) : y;
}

/// While it lives, training multiplies in float32; or where it would in float8, in another type.
struct PreciseProducts {
  explicit PreciseProducts(Context& c) : ctx(c), before(c.training()) { set(DType::F32); }
  PreciseProducts(Context& c, DType instead_of_fp8) : ctx(c), before(c.training()) {
    if (before.matmul == DType::F8E4M3) set(instead_of_fp8);
  }
  void set(DType matmul) {
    TrainingMode mode = before;
    mode.matmul = matmul;
    ctx.set_training(mode);
  }
  ~PreciseProducts() { ctx.set_training(before); }
  PreciseProducts(const PreciseProducts&) = delete;
  PreciseProducts& operator=(const PreciseProducts&) = delete;

  Context& ctx;
  const TrainingMode before;
};

/// x w^T + bias for each of several layers: the same as one linear after another, with less to round, to keep and to add.
/// Shapes: x (...,K) f32, each w (N,K) f32, N of its own, bias (N) f32 or {} -> (...,N) each.
/// Errors: Error(Shape), Error(Type).
inline std::vector<Tensor> linears(Context& ctx, const Tensor& x, std::span<const LinearPart> parts) {
  detail::check_f32(x, "linear", "x");
  const auto [M, K] = detail::matrix_of(x, "linear", "x");
  for (const LinearPart& p : parts) {
    detail::check_weight(x, p.weight, p.bias, {}, false);
    detail::check_f32(p.weight, "linear", "weight");
  }
  return detail::linear_parts(ctx, x, parts, {}, false, M, K);
}

namespace detail {

/// The columns of x in another order. Shapes: x (...,K) f32|bf16, order (K).
inline Tensor reordered(Context& ctx, const Tensor& x, std::span<const int64_t> order) {
  const auto [M, K] = matrix_of(x, "linear", "x");
  if (!ctx.device().is_cpu() && x.numel() > 0) {
    const Numbers index(ctx, order);
    if (M == 1) {
      Tensor y = ctx.empty(x.shape(), x.dtype());
      ctx.kernels().gather_rows(y.address(), y.dtype(), x.address(), x.dtype(), index.data(), K, 1, false);
      return y;
    }
    const Tensor columns = transposed(ctx, cast(ctx, x, DType::F32).view({M, K}));  // kernels move rows
    Tensor moved = ctx.empty({K, M}, DType::F32);
    ctx.kernels().gather_rows(moved.address(), DType::F32, columns.address(), DType::F32, index.data(), K, M, false);
    return cast(ctx, transposed(ctx, moved).view(x.shape()), x.dtype());
  }
  Tensor y = ctx.empty(x.shape(), x.dtype());
  const auto run = [&](const auto* from, auto* to) {
    ctx.over_rows(M, K, [&](int64_t begin, int64_t end) {
      for (int64_t m = begin; m < end; ++m)
        for (int64_t k = 0; k < K; ++k) to[m * K + k] = from[m * K + order[static_cast<size_t>(k)]];
    });
  };
  x.dtype() == DType::F32 ? run(x.data<float>(), y.data<float>()) : run(x.data<bfloat16>(), y.data<bfloat16>());
  return y;
}

}  // namespace detail

/// The same in one kernel, on a packed weight.
/// Shapes: x (...,K) f32|bf16, bias (N) f32 or {}, residual (...,N) as x or {} -> (...,N) as x.
/// Errors: Error(Shape), Error(Type), also if an input wants a gradient.
inline Tensor linear(Context& ctx, const Tensor& x, const quant::PackedWeight& w, const Tensor& bias, Activation act = Activation::None,
                     const Tensor& residual = {}) {
  check(w.defined(), ErrorCode::Shape, "linear", "weight: expected a packed weight, got none");
  detail::check_linear(x, w.N, w.K, bias, residual);
  no_gradient(ctx, "linear on a packed weight", x, bias, residual);
  detail::check_here(ctx, "linear", x, w.data, w.scale, bias, residual);
  Tensor y = ctx.empty(detail::with_last(x.shape(), w.N), x.dtype());
  if (y.numel() == 0) return y;
  const Tensor rows = w.order.empty() ? x : detail::reordered(ctx, x, w.order);
  LinearCall call{.y = y.address(),
                  .x = rows.address(),
                  .w = w.data.address(),
                  .w_scale = w.scale.defined() ? w.scale.ptr<float>() : nullptr,
                  .bias = bias.defined() ? bias.ptr<float>() : nullptr,
                  .residual = residual.address(),
                  .type = x.dtype(),
                  .format = w.format,
                  .act = act,
                  .M = detail::matrix_of(x, "linear", "x").N,
                  .N = w.N,
                  .K = w.K,
                  .group = w.group,
                  .int8_rows = w.int8_rows,
                  .fp8_rows = w.fp8_rows,
                  .threads = ctx.threads()};
  const Kernels& k = ctx.kernels();
  const Tensor scratch = ctx.empty({static_cast<int64_t>(w.sparse ? k.sparse_scratch(call) : k.linear_scratch(call))}, DType::U8);
  call.scratch = const_cast<void*>(scratch.address());
  w.sparse ? k.sparse_linear(call) : k.linear(call);
  return y;
}

}  // namespace tenon::ops
