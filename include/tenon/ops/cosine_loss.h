// The cosine embedding loss: how far pairs of vectors are from pointing the same way.
#pragma once

#include <cmath>

#include "tenon/ops/arrays.h"

namespace tenon::ops {

/// loss = mean over rows of 1 - cos(a, b) where the target is 1, max(0, cos(a, b) - margin) where it is -1.
/// Shapes: a, b (...,C) f32 as (N,C), N targets (none: all are 1) -> scalar.
/// Units: margin in [-1, 1]. DistilBERT's loss of hidden states is that without targets.
/// Errors: Error(Shape), Error(Type), Error(Limit) for another target, naming its position.
/// Source: torch.nn.functional.cosine_embedding_loss.
inline Tensor cosine_embedding_loss(Context& ctx, const Tensor& a, const Tensor& b, std::span<const int64_t> target = {},
                                    float margin = 0) {
  constexpr const char* op = "cosine_embedding_loss";
  detail::check_f32(a, op, "a");
  detail::check_same(a, b, op, "b");
  detail::check_here(ctx, op, a, b);
  const auto [N, C] = detail::matrix_of(a, op, "a");
  check(target.empty() || static_cast<int64_t>(target.size()) == N, ErrorCode::Shape, op, "target: expected ", N, ", got ", target.size());
  for (size_t i = 0; i < target.size(); ++i)
    check(target[i] == 1 || target[i] == -1, ErrorCode::Limit, op, "target: expected 1 or -1, got ", target[i], " at position ", i);

  // Squares and product of each row, with which the gradient is a sum of two vectors.
  struct Row {
    double aa, bb, ab;
    double cosine() const { return ab / std::sqrt(aa * bb); }
  };
  std::vector<Row> rows(static_cast<size_t>(N));
  const float *a0 = a.ptr<float>(), *b0 = b.ptr<float>();
  if (!ctx.device().is_cpu()) {
    const auto products = [&, N = N, C = C](const float* x, const float* y) {
      Tensor dots = ctx.empty({N}, DType::F32);
      if (N) ctx.kernels().dot_rows(dots.ptr<float>(), x, nullptr, y, nullptr, N, C);
      return dots.to(Device{});
    };
    const Tensor aa = products(a0, a0), bb = products(b0, b0), ab = products(a0, b0);
    for (size_t n = 0; n < rows.size(); ++n)
      rows[n] = {1e-12 + static_cast<double>(aa.values<float>()[n]), 1e-12 + static_cast<double>(bb.values<float>()[n]),
                 static_cast<double>(ab.values<float>()[n])};
  } else {
    ctx.over_rows(N, 2 * C, [&, C = C](int64_t begin, int64_t end) {
      for (int64_t n = begin; n < end; ++n) {
        Row r = {1e-12, 1e-12, 0};  // a row of zeros has a cosine of 0
        for (int64_t i = n * C; i < (n + 1) * C; ++i) {
          const double x = a0[i], y = b0[i];
          r.aa += x * x, r.bb += y * y, r.ab += x * y;
        }
        rows[static_cast<size_t>(n)] = r;
      }
    });
  }
  // The slope of each row's loss with its cosine: -1, 1, or 0 within the margin.
  std::vector<float> slopes(rows.size());
  double sum = 0;
  for (size_t n = 0; n < rows.size(); ++n) {
    const bool alike = target.empty() || target[n] == 1;
    const double cosine = rows[n].cosine();
    slopes[n] = alike ? -1.0f : cosine > margin ? 1.0f : 0.0f;
    sum += alike ? 1 - cosine : std::max(0.0, cosine - margin);
  }
  Tensor loss = detail::scalar(ctx, sum / static_cast<double>(N));
  if (recording(ctx, op, a, b))
    ctx.recorder()->record(op, {loss}, {a, b},
                           [a, b, N = N, C = C, rows, slopes, want_a = ctx.wants(a), want_b = ctx.wants(b)](
                               Context& c, std::span<const Tensor> dy) -> std::vector<Tensor> {
                             const double scale = dy[0].item() / static_cast<double>(N);
                             if (!c.device().is_cpu()) {
                               std::vector<float> other, own_a, own_b;
                               for (size_t n = 0; n < rows.size(); ++n) {
                                 const Row& r = rows[n];
                                 const double factor = scale * slopes[n], norms = std::sqrt(r.aa * r.bb);
                                 other.push_back(static_cast<float>(factor / norms));
                                 own_a.push_back(static_cast<float>(-factor * r.ab / (norms * r.aa)));
                                 own_b.push_back(static_cast<float>(-factor * r.ab / (norms * r.bb)));
                               }
                               const Tensor across = detail::column_of(c, other);
                               const auto gradient = [&](const Tensor& x, const Tensor& y, const std::vector<float>& own) {
                                 const Tensor along = elementwise_rows(c, Elementwise::Multiply, x, detail::column_of(c, own), N, C);
                                 return elementwise(c, Elementwise::Add, {elementwise_rows(c, Elementwise::Multiply, y, across, N, C), along})
                                     .view(x.shape());
                               };
                               return {want_a ? gradient(a, b, own_a) : Tensor(), want_b ? gradient(b, a, own_b) : Tensor()};
                             }
                             Tensor da = want_a ? c.empty(a.shape(), DType::F32) : Tensor(),
                                    db = want_b ? c.empty(b.shape(), DType::F32) : Tensor();
                             float *to_a = want_a ? da.data<float>() : nullptr, *to_b = want_b ? db.data<float>() : nullptr;
                             const float *from_a = a.data<float>(), *from_b = b.data<float>();
                             c.over_rows(N, 4 * C, [&](int64_t begin, int64_t end) {
                               for (int64_t n = begin; n < end; ++n) {
                                 const Row& r = rows[static_cast<size_t>(n)];
                                 const double factor = scale * slopes[static_cast<size_t>(n)], norms = std::sqrt(r.aa * r.bb);
                                 const auto other = static_cast<float>(factor / norms);
                                 const auto own_a = static_cast<float>(-factor * r.ab / (norms * r.aa)),
                                            own_b = static_cast<float>(-factor * r.ab / (norms * r.bb));
                                 // d cos / d a = b / (|a| |b|) - cos * a / |a|^2
                                 for (int64_t i = n * C; i < (n + 1) * C && to_a; ++i) to_a[i] = other * from_b[i] + own_a * from_a[i];
                                 for (int64_t i = n * C; i < (n + 1) * C && to_b; ++i) to_b[i] = other * from_a[i] + own_b * from_b[i];
                               }
                             });
                             return {da, db};
                           });
  return loss;
}

}  // namespace tenon::ops
