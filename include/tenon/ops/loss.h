// Losses: float32 scalars, means over what is counted.
#pragma once

#include <cmath>
#include <limits>

#include "tenon/ops/checks.h"
#include "tenon/ops/elementwise.h"

namespace tenon::ops {

/// loss = mean over the counted rows of (1-s) * -log p[label] + s * mean over c of -log p[c], p = softmax(logits).
/// Shapes: logits (...,C) f32 as (N,C), N labels -> scalar.
/// Units: smoothing s in [0, 1); rows labelled `ignore` are not counted; NaN if none is.
/// Errors: Error(Shape), Error(Type), Error(Limit) naming the first label outside [0, C).
/// Source: torch.nn.functional.cross_entropy.
inline Tensor cross_entropy(Context& ctx, const Tensor& logits, std::span<const int64_t> labels, int64_t ignore = -100,
                            float smoothing = 0) {
  detail::check_f32(logits, "cross_entropy", "logits");
  const auto [N, C] = detail::matrix_of(logits, "cross_entropy", "logits");
  check(static_cast<int64_t>(labels.size()) == N, ErrorCode::Shape, "cross_entropy", "labels: expected ", N, " for logits ", logits.shape(),
        ", got ", labels.size());
  check(smoothing >= 0 && smoothing < 1, ErrorCode::Limit, "cross_entropy", "smoothing: expected 0 to below 1, got ", smoothing);
  int64_t counted = 0;
  for (size_t i = 0; i < labels.size(); ++i) {
    if (labels[i] == ignore) continue;
    check(labels[i] >= 0 && labels[i] < C, ErrorCode::Limit, "cross_entropy", "label: expected 0 to ", C - 1, " or ", ignore, ", got ",
          labels[i], " at position ", i);
    ++counted;
  }
  // d, if wanted, is multiplied by `scale` row by row, while a row is in the first cache.
  const auto run = [N = N, C = C, ignore, smoothing](Context& c, float* loss, float* d, float scale, const float* x,
                                                     std::span<const int64_t> of_rows) {
    const Kernels& k = c.kernels();
    const detail::Numbers label(c, of_rows);
    c.over_rows(N, 4 * C, [&](int64_t begin, int64_t end) {
      const int64_t piece = d && c.device().is_cpu() ? 1 : end - begin;
      for (int64_t n = begin; n < end; n += piece) {
        k.cross_entropy(loss + n, d ? d + n * C : nullptr, x + n * C, label.data() + n, piece, C, ignore, smoothing);
        if (d) k.axpby(d + n * C, d + n * C, piece * C, scale, 0);
      }
    });
  };
  detail::check_here(ctx, "cross_entropy", logits);
  Tensor rows = ctx.empty({N}, DType::F32);
  run(ctx, rows.ptr<float>(), nullptr, 1, logits.ptr<float>(), labels);
  double sum = 0;
  const Tensor losses = rows.to(Device{});
  for (const float v : losses.values<float>()) sum += v;
  Tensor loss = detail::scalar(ctx, counted ? sum / static_cast<double>(counted) : std::numeric_limits<double>::quiet_NaN());
  // The gradient is computed in the backward pass: kept from here it would take as much memory as the logits.
  if (recording(ctx, "cross_entropy", logits))
    ctx.recorder()->record("cross_entropy", {loss}, {logits},
                           [run, logits, rows, counted, label = std::vector<int64_t>(labels.begin(), labels.end())](
                               Context& c, std::span<const Tensor> dy) -> std::vector<Tensor> {
                             Tensor d = c.empty(logits.shape(), DType::F32), ignored = c.empty(rows.shape(), DType::F32);
                             const float scale = counted ? static_cast<float>(dy[0].item() / static_cast<double>(counted)) : 0;
                             run(c, ignored.ptr<float>(), d.ptr<float>(), scale, logits.ptr<float>(), label);
                             return {d};
                           });
  return loss;
}

/// loss = mean of (x - target)^2.
/// Shapes: x, target (...) f32 -> scalar.
/// Errors: Error(Shape), Error(Type).
/// Source: torch.nn.functional.mse_loss.
inline Tensor mse_loss(Context& ctx, const Tensor& x, const Tensor& target) {
  detail::check_f32(x, "mse_loss", "x");
  detail::check_same(x, target, "mse_loss", "target");
  detail::check_here(ctx, "mse_loss", x, target);
  const Tensor x_host = x.to(Device{}), target_host = target.to(Device{});
  const auto a = x_host.values<float>(), b = target_host.values<float>();
  double sum = 0;
  for (size_t i = 0; i < a.size(); ++i) sum += static_cast<double>(a[i] - b[i]) * (a[i] - b[i]);
  Tensor loss = detail::scalar(ctx, sum / static_cast<double>(x.numel()));
  if (recording(ctx, "mse_loss", x, target))
    ctx.recorder()->record("mse_loss", {loss}, {x, target},
                           [x, target, want_target = ctx.wants(target)](Context& c, std::span<const Tensor> dy) -> std::vector<Tensor> {
                             const float factor = static_cast<float>(2 * dy[0].item() / static_cast<double>(x.numel()));
                             Tensor dx = detail::scaled(c, target, -factor);
                             c.kernels().axpby(dx.ptr<float>(), x.ptr<float>(), x.numel(), factor, 1);
                             return {dx, want_target ? detail::scaled(c, dx, -1) : Tensor()};
                           });
  return loss;
}

/// loss = mean of -(target * log(sigmoid(x)) + (1 - target) * log(1 - sigmoid(x))).
/// Shapes: x, target (...) f32 -> scalar.
/// Units: target in [0, 1].
/// Errors: Error(Shape), Error(Type), also for a target that wants a gradient.
/// Source: torch.nn.functional.binary_cross_entropy_with_logits.
inline Tensor bce_with_logits_loss(Context& ctx, const Tensor& x, const Tensor& target) {
  detail::check_f32(x, "bce_with_logits_loss", "x");
  detail::check_same(x, target, "bce_with_logits_loss", "target");
  no_gradient(ctx, "bce_with_logits_loss, target", target);
  detail::check_here(ctx, "bce_with_logits_loss", x, target);
  const Tensor x_host = x.to(Device{}), target_host = target.to(Device{});
  const auto a = x_host.values<float>(), b = target_host.values<float>();
  double sum = 0;
  for (size_t i = 0; i < a.size(); ++i) sum += std::max(a[i], 0.0f) - a[i] * b[i] + std::log1p(std::exp(-std::fabs(a[i])));
  Tensor loss = detail::scalar(ctx, sum / static_cast<double>(x.numel()));
  if (recording(ctx, "bce_with_logits_loss", x))
    ctx.recorder()->record("bce_with_logits_loss", {loss}, {x}, [x, target](Context& c, std::span<const Tensor> dy) -> std::vector<Tensor> {
      const float factor = static_cast<float>(dy[0].item() / static_cast<double>(x.numel()));
      Tensor dx = c.empty(x.shape(), DType::F32);
      c.kernels().activation(dx.address(), x.address(), x.numel(), Activation::Sigmoid, DType::F32);
      c.kernels().axpby(dx.ptr<float>(), target.ptr<float>(), x.numel(), -factor, factor);
      return {dx};
    });
  return loss;
}

}  // namespace tenon::ops
