// The negative log-likelihood of labels, given logarithms of probabilities.
#pragma once

#include <limits>

#include "tenon/ops/arrays.h"

namespace tenon::ops {

namespace detail {

/// How many labels count: are not `ignore`.
/// Errors: Error(Shape) if there are not N; Error(Limit) naming the first outside [0, C).
inline int64_t count_labels(std::span<const int64_t> labels, int64_t N, int64_t C, int64_t ignore, std::string_view op) {
  check(static_cast<int64_t>(labels.size()) == N, ErrorCode::Shape, op, "labels: expected ", N, ", got ", labels.size());
  int64_t counted = 0;
  for (size_t i = 0; i < labels.size(); ++i) {
    if (labels[i] == ignore) continue;
    check(labels[i] >= 0 && labels[i] < C, ErrorCode::Limit, op, "label: expected 0 to ", C - 1, " or ", ignore, ", got ", labels[i],
          " at position ", i);
    ++counted;
  }
  return counted;
}

/// Where among all N * C elements those lie that counted labels name.
inline std::vector<int64_t> places_of(std::span<const int64_t> labels, int64_t C, int64_t ignore) {
  std::vector<int64_t> places;
  for (size_t n = 0; n < labels.size(); ++n)
    if (labels[n] != ignore) places.push_back(static_cast<int64_t>(n) * C + labels[n]);
  return places;
}

}  // namespace detail

/// loss = mean over the counted rows of -x[label].
/// Shapes: x (...,C) f32 as (N,C), N labels -> scalar.
/// Units: x holds logarithms of probabilities; rows labelled `ignore` are not counted; NaN if none is.
/// Errors: Error(Shape), Error(Type), Error(Limit) naming the first label outside [0, C).
/// Source: torch.nn.functional.nll_loss.
inline Tensor nll_loss(Context& ctx, const Tensor& x, std::span<const int64_t> labels, int64_t ignore = -100) {
  detail::check_f32(x, "nll_loss", "x");
  detail::check_here(ctx, "nll_loss", x);
  const auto [N, C] = detail::matrix_of(x, "nll_loss", "x");
  const int64_t counted = detail::count_labels(labels, N, C, ignore, "nll_loss");
  double sum = 0;
  if (!ctx.device().is_cpu()) {
    const std::vector<int64_t> places = detail::places_of(labels, C, ignore);
    const detail::Numbers index(ctx, places);
    Tensor chosen = ctx.empty({counted}, DType::F32);
    if (counted) ctx.kernels().gather_rows(chosen.address(), DType::F32, x.address(), DType::F32, index.data(), counted, 1, false);
    sum = -detail::total(ctx, chosen);
  } else {
    for (int64_t n = 0; n < N; ++n)
      if (const int64_t label = labels[static_cast<size_t>(n)]; label != ignore) sum -= x.data<float>()[n * C + label];
  }
  Tensor loss = detail::scalar(ctx, counted ? sum / static_cast<double>(counted) : std::numeric_limits<double>::quiet_NaN());
  if (recording(ctx, "nll_loss", x))
    ctx.recorder()->record("nll_loss", {loss}, {x},
                           [shape = x.shape(), C = C, counted, ignore, label = std::vector<int64_t>(labels.begin(), labels.end())](
                               Context& c, std::span<const Tensor> dy) -> std::vector<Tensor> {
                             Tensor dx = c.zeros(shape, DType::F32);
                             const auto slope = static_cast<float>(-dy[0].item() / static_cast<double>(counted));
                             if (!c.device().is_cpu()) {
                               const std::vector<int64_t> places = detail::places_of(label, C, ignore);
                               const detail::Numbers index(c, places);
                               const Tensor slopes = detail::column_of(c, std::vector<float>(places.size(), slope));
                               if (counted) c.kernels().scatter_add_rows(dx.ptr<float>(), slopes.ptr<float>(), index.data(), counted, 1);
                               return {dx};
                             }
                             float* row = dx.data<float>();
                             for (size_t n = 0; n < label.size(); ++n, row += C)
                               if (label[n] != ignore) row[label[n]] = slope;
                             return {dx};
                           });
  return loss;
}

}  // namespace tenon::ops
