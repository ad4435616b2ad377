// Losses that compare distributions: the Kullback-Leibler divergence, and distillation from a teacher's logits.
#pragma once

#include <cmath>
#include <limits>

#include "tenon/ops/arrays.h"
#include "tenon/ops/elementwise.h"
#include "tenon/ops/nll_loss.h"
#include "tenon/ops/softmax.h"

namespace tenon::ops {

enum class Reduction : uint8_t { Mean, BatchMean, Sum };  // over all elements; over the first dimension; not at all

namespace detail {

/// The sum of body(begin, end) over rows [0, N), in blocks added up in order: the same for any number of threads.
template <class Body>
double sum_of_rows(Context& ctx, int64_t N, int64_t cost, Body&& body) {
  std::vector<double> sums(static_cast<size_t>((N + kSumBlock - 1) / kSumBlock));
  ctx.over_rows(static_cast<int64_t>(sums.size()), kSumBlock * cost, [&](int64_t begin, int64_t end) {
    for (int64_t i = begin; i < end; ++i) sums[static_cast<size_t>(i)] = body(i * kSumBlock, std::min(N, (i + 1) * kSumBlock));
  });
  double total = 0;
  for (const double sum : sums) total += sum;
  return total;
}

inline double divisor_of(const Tensor& x, Reduction reduction, std::string_view op) {
  check(reduction != Reduction::BatchMean || x.rank() >= 1, ErrorCode::Shape, op, "batchmean: expected at least one dimension, got ",
        x.describe());
  return reduction == Reduction::Sum ? 1 : static_cast<double>(reduction == Reduction::Mean ? x.numel() : x.size(0));
}

/// The terms of kl_div on a device.
inline Tensor divergences(Context& ctx, const Tensor& x, const Tensor& t, bool log_target) {
  using enum Elementwise;
  if (log_target) return elementwise(ctx, Multiply, {elementwise(ctx, Exp, {t}), elementwise(ctx, Subtract, {t, x})});
  const Tensor zero = number(ctx, 0), nan = number(ctx, std::numeric_limits<float>::quiet_NaN());
  const Tensor terms = elementwise(ctx, Multiply, {t, elementwise(ctx, Subtract, {elementwise(ctx, Log, {t}), x})});
  const Tensor none = elementwise(ctx, Where, {elementwise(ctx, Equal, {t, zero}), zero, nan});
  return elementwise(ctx, Where, {elementwise(ctx, Greater, {t, zero}), terms, none});
}

/// factor times the terms' gradients, of x and of the target.
inline std::vector<Tensor> divergence_gradients(Context& ctx, const Tensor& x, const Tensor& t, bool log_target, float factor, bool want_x,
                                                bool want_target) {
  using enum Elementwise;
  const Tensor p = log_target ? elementwise(ctx, Exp, {t}) : t;
  Tensor dt;
  if (want_target) {
    const Tensor one = number(ctx, 1);
    if (log_target) {
      dt = elementwise(ctx, Multiply, {p, elementwise(ctx, Add, {elementwise(ctx, Subtract, {t, x}), one})});
    } else {
      const Tensor zero = number(ctx, 0), logs = elementwise(ctx, Add, {elementwise(ctx, Log, {p}), one});
      dt = elementwise(ctx, Subtract, {elementwise(ctx, Where, {elementwise(ctx, Greater, {p, zero}), logs, zero}), x});
    }
    dt = scaled(ctx, dt, factor);
  }
  return {want_x ? scaled(ctx, p, -factor) : Tensor(), dt};
}

}  // namespace detail

/// loss = sum of target * (log(target) - x), over the number of elements (Mean), or over the size of the first dimension (BatchMean).
/// Shapes: x, target (...) f32 -> scalar.
/// Units: x holds logarithms of probabilities; target probabilities, or their logarithms with log_target. A target of 0 counts as 0.
/// Errors: Error(Shape), Error(Type).
/// Source: torch.nn.functional.kl_div.
inline Tensor kl_div(Context& ctx, const Tensor& x, const Tensor& target, Reduction reduction = Reduction::Mean, bool log_target = false) {
  detail::check_f32(x, "kl_div", "x");
  detail::check_same(x, target, "kl_div", "target");
  detail::check_here(ctx, "kl_div", x, target);
  const double divisor = detail::divisor_of(x, reduction, "kl_div");
  const float *a = x.ptr<float>(), *t = target.ptr<float>();
  const double sum = !ctx.device().is_cpu() ? detail::total(ctx, detail::divergences(ctx, x, target, log_target)) : detail::sum_of_rows(ctx, x.numel(), 4, [&](int64_t begin, int64_t end) {
    double part = 0;
    for (int64_t i = begin; i < end; ++i) {
      if (log_target)
        part += std::exp(static_cast<double>(t[i])) * (static_cast<double>(t[i]) - a[i]);
      else if (t[i] > 0)
        part += t[i] * (std::log(static_cast<double>(t[i])) - a[i]);
      else
        part += t[i] == 0 ? 0 : std::numeric_limits<double>::quiet_NaN();
    }
    return part;
  });
  Tensor loss = detail::scalar(ctx, sum / divisor);
  if (recording(ctx, "kl_div", x, target))
    ctx.recorder()->record("kl_div", {loss}, {x, target},
                           [x, target, divisor, log_target, want_x = ctx.wants(x), want_target = ctx.wants(target)](
                               Context& c, std::span<const Tensor> dy) -> std::vector<Tensor> {
                             const float factor = static_cast<float>(dy[0].item() / divisor);
                             if (!c.device().is_cpu()) return detail::divergence_gradients(c, x, target, log_target, factor, want_x, want_target);
                             Tensor dx = want_x ? c.empty(x.shape(), DType::F32) : Tensor();
                             Tensor dt = want_target ? c.empty(x.shape(), DType::F32) : Tensor();
                             float *to_x = want_x ? dx.data<float>() : nullptr, *to_t = want_target ? dt.data<float>() : nullptr;
                             const float *a = x.data<float>(), *t = target.data<float>();
                             c.over_rows(x.numel(), 8, [&](int64_t begin, int64_t end) {
                               for (int64_t i = begin; i < end; ++i) {
                                 const float p = log_target ? std::exp(t[i]) : t[i];
                                 if (to_x) to_x[i] = -factor * p;
                                 if (!to_t) continue;
                                 if (log_target)
                                   to_t[i] = factor * p * (t[i] - a[i] + 1);
                                 else
                                   to_t[i] = factor * ((p > 0 ? std::log(p) + 1 : 0) - a[i]);
                               }
                             });
                             return {dx, dt};
                           });
  return loss;
}

namespace detail {

/// p = softmax(x / temperature) for one row, x / temperature in `scaled`; returns log(sum of exp(x / temperature)).
inline double soften(const Kernels& k, float* p, float* scaled, const float* x, int64_t C, float temperature) {
  k.axpby(scaled, x, C, 1 / temperature, 0);
  k.softmax(p, scaled, 1, C);
  const auto largest = static_cast<int64_t>(std::max_element(scaled, scaled + C) - scaled);
  return static_cast<double>(scaled[largest]) - std::log(static_cast<double>(p[largest]));  // p there is 1 / sum of exp(x - max)
}

/// softmax(x / temperature), or its logarithm.
inline Tensor softened(Context& ctx, const Tensor& x, float temperature, bool logarithm) {
  Tensor y = scaled(ctx, x, 1 / temperature);
  const auto [N, C] = matrix_of(x, "distillation_loss", "x");
  float* p = y.ptr<float>();
  if (N == 0) return y;
  logarithm ? ctx.kernels().log_softmax(p, p, N, C) : ctx.kernels().softmax(p, p, N, C);
  return y;
}

/// The loss of distillation on a device.
inline double distilled(Context& ctx, const Tensor& student, const Tensor& teacher, std::span<const int64_t> labels, float temperature,
                        int64_t ignore, double soft_weight, double hard_weight) {
  const auto [N, C] = matrix_of(student, "distillation_loss", "student");
  double loss = 0;
  if (soft_weight > 0) loss += soft_weight * total(ctx, divergences(ctx, softened(ctx, student, temperature, true), softened(ctx, teacher, temperature, false), false));
  if (hard_weight == 0) return loss;
  Tensor rows = ctx.empty({N}, DType::F32);
  const Numbers label(ctx, labels);
  if (N) ctx.kernels().cross_entropy(rows.ptr<float>(), nullptr, student.ptr<float>(), label.data(), N, C, ignore, 0);
  return loss + hard_weight * total(ctx, rows);
}

/// Its gradient: soft * (softmax of the student - that of the teacher) + hard times that of the cross-entropy.
inline Tensor distilled_gradient(Context& ctx, const Tensor& student, const Tensor& teacher, std::span<const int64_t> labels, float temperature,
                                 int64_t ignore, float soft, float hard) {
  const auto [N, C] = matrix_of(student, "distillation_loss", "student");
  Tensor dx = ctx.zeros(student.shape(), DType::F32);
  if (N == 0) return dx;
  float* d = dx.ptr<float>();
  if (hard != 0) {
    const Numbers label(ctx, labels);
    Tensor unused = ctx.empty({N}, DType::F32);
    ctx.kernels().cross_entropy(unused.ptr<float>(), d, student.ptr<float>(), label.data(), N, C, ignore, 0);
  }
  const Tensor p = softened(ctx, student, temperature, false), q = softened(ctx, teacher, temperature, false);
  ctx.kernels().axpby(d, p.ptr<float>(), dx.numel(), soft, hard);
  ctx.kernels().axpby(d, q.ptr<float>(), dx.numel(), -soft, 1);
  return dx;
}

}  // namespace detail

/// loss = alpha * T^2 * KL + (1 - alpha) * CE: KL = kl_div(log_softmax(student / T), softmax(teacher / T), BatchMean), and CE =
/// cross_entropy(student, labels). Computed row by row; no matrix of probabilities is made.
/// Shapes: student, teacher (...,C) f32 as (N,C), N labels (none with alpha = 1) -> scalar.
/// Units: temperature T above 0, alpha in [0, 1]; rows labelled `ignore` do not count in CE, all do in KL.
/// Errors: Error(Shape), Error(Type), also for a teacher that wants a gradient; Error(Limit).
/// Source: Hinton et al. 2015, "Distilling the Knowledge in a Neural Network", as PyTorch computes it from the functions above.
inline Tensor distillation_loss(Context& ctx, const Tensor& student, const Tensor& teacher, std::span<const int64_t> labels,
                                float temperature = 2, float alpha = 0.5f, int64_t ignore = -100) {
  constexpr const char* op = "distillation_loss";
  detail::check_f32(student, op, "student");
  detail::check_same(student, teacher, op, "teacher");
  detail::check_here(ctx, op, student, teacher);
  no_gradient(ctx, "distillation_loss, teacher", teacher);
  const auto [N, C] = detail::matrix_of(student, op, "student");
  check(C > 0, ErrorCode::Shape, op, "student: expected at least one class, got ", student.shape());
  check(temperature > 0 && std::isfinite(temperature), ErrorCode::Limit, op, "temperature: expected above 0, got ", temperature);
  check(alpha >= 0 && alpha <= 1, ErrorCode::Limit, op, "alpha: expected 0 to 1, got ", alpha);
  const bool hard = alpha < 1;
  const int64_t counted = hard ? detail::count_labels(labels, N, C, ignore, op) : 0;
  const double soft_weight = alpha * static_cast<double>(temperature) * temperature / static_cast<double>(student.size(0));
  const double hard_weight = !hard ? 0 : counted ? (1.0 - alpha) / static_cast<double>(counted) : std::numeric_limits<double>::quiet_NaN();

  const bool there = !ctx.device().is_cpu();
  const double loss = there ? detail::distilled(ctx, student, teacher, labels, temperature, ignore, soft_weight, hard_weight) : detail::sum_of_rows(ctx, N, 8 * C, [&, C = C](int64_t begin, int64_t end) {
    const Kernels& k = ctx.kernels();
    std::vector<float> p(static_cast<size_t>(C)), s(p), t(p);
    double sum = 0;
    for (int64_t n = begin; n < end; ++n) {
      const float* from = student.data<float>() + n * C;
      if (alpha > 0) {
        const double student_sum = detail::soften(k, p.data(), s.data(), from, C, temperature);
        const double teacher_sum = detail::soften(k, p.data(), t.data(), teacher.data<float>() + n * C, C, temperature);
        double kl = student_sum - teacher_sum;
        for (size_t i = 0; i < p.size(); ++i)
          if (p[i] > 0) kl += static_cast<double>(p[i]) * (static_cast<double>(t[i]) - s[i]);  // a logit of -inf has no part in it
        sum += soft_weight * kl;
      }
      float ce = 0;
      if (hard) k.cross_entropy(&ce, nullptr, from, &labels[static_cast<size_t>(n)], 1, C, ignore, 0);
      if (hard) sum += hard_weight * ce;
    }
    return sum;
  });
  Tensor y = detail::scalar(ctx, loss);
  if (recording(ctx, op, student))
    ctx.recorder()->record(
        op, {y}, {student},
        [student, teacher, label = std::vector<int64_t>(labels.begin(), labels.end()), N = N, C = C, temperature, ignore, hard, soft_weight,
         hard_weight = counted ? hard_weight : 0](Context& c, std::span<const Tensor> dy) -> std::vector<Tensor> {
          const double scale = dy[0].item();
          // The softened logits' own slope is 1 / T.
          const float soft = static_cast<float>(scale * soft_weight / temperature), by_label = static_cast<float>(scale * hard_weight);
          if (!c.device().is_cpu()) return {detail::distilled_gradient(c, student, teacher, label, temperature, ignore, soft, hard ? by_label : 0)};
          Tensor dx = c.empty(student.shape(), DType::F32);
          float* to = dx.data<float>();
          c.over_rows(N, 8 * C, [&](int64_t begin, int64_t end) {
            const Kernels& k = c.kernels();
            std::vector<float> p(static_cast<size_t>(C)), scaled(p);
            float unused;
            for (int64_t n = begin; n < end; ++n) {
              const float* from = student.data<float>() + n * C;
              float* d = to + n * C;
              if (hard) k.cross_entropy(&unused, d, from, &label[static_cast<size_t>(n)], 1, C, ignore, 0);
              detail::soften(k, p.data(), scaled.data(), from, C, temperature);
              k.axpby(d, p.data(), C, soft, hard ? by_label : 0);
              detail::soften(k, p.data(), scaled.data(), teacher.data<float>() + n * C, C, temperature);
              k.axpby(d, p.data(), C, -soft, 1);
            }
          });
          return {dx};
        });
  return y;
}

}  // namespace tenon::ops
