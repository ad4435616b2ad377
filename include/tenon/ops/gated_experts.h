// All gated experts of a mixture in one step on plain weights, with gradients: rows sorted by expert, products over each expert's rows.
#pragma once

#include <algorithm>
#include <atomic>
#include <memory>
#include <vector>

#include "tenon/ops/experts.h"

namespace tenon::ops {

/// The weights of one expert.
/// Shapes: gate, up (F,C), down (C,F) f32.
struct GatedExpert {
  Tensor gate, up, down;
};

namespace detail {

/// Rows by expert: row i of expert e, start[e] <= i < start[e + 1], is that of token[i] in place[i]; place p lies at row[p].
struct ExpertPlan {
  std::vector<int64_t> start, token, row, place;

  explicit ExpertPlan(const ExpertRows& from) : start(from.start), token(from.token), row(from.row), place(token.size()) {
    for (size_t p = 0; p < row.size(); ++p)
      if (row[p] >= 0) place[static_cast<size_t>(row[p])] = static_cast<int64_t>(p);
  }
  int64_t rows() const { return start.back(); }
  int64_t rows(size_t e) const { return start[e + 1] - start[e]; }
  Tensor of(size_t e, const Tensor& t) const { return t.rows(start[e], start[e + 1]); }
  std::span<const int64_t> tokens(size_t e) const { return std::span(token).subspan(static_cast<size_t>(start[e]), static_cast<size_t>(rows(e))); }
};

/// body(context, e) for each expert, those without rows too. One with many rows has all threads; the others are done side by side, a thread
/// each, the largest first, so that threads need not wait for each other after every product. On a device one after another.
template <class Body>
void each_expert(Context& ctx, const ExpertPlan& plan, Body&& body) {
  std::vector<size_t> few;
  for (size_t e = 0; e + 1 < plan.start.size(); ++e) {
    if (!ctx.device().is_cpu() || 2 * ctx.threads() * plan.rows(e) > plan.rows()) body(ctx, e);
    else few.push_back(e);
  }
  std::stable_sort(few.begin(), few.end(), [&](size_t a, size_t b) { return plan.rows(a) > plan.rows(b); });
  if (few.empty()) return;
  std::atomic<size_t> next{0};
  parallel_for(ctx.threads(), ctx.threads(), 1, [&](int64_t, int64_t) {
    Context own = ctx;
    own.set_threads(1);
    for (size_t i; (i = next++) < few.size();) body(own, few[i]);
  });
}

/// sum (N,C) of each token's rows times their weights (1 without), + residual.
inline Tensor gather_sums(Context& ctx, const Tensor& z, const ExpertPlan& plan, const float* weight, int64_t N, int64_t K,
                          const Tensor& residual) {
  const int64_t C = z.size(1);
  Tensor y = residual.defined() ? residual.clone() : ctx.empty({N, C}, DType::F32);
  const std::vector<float> ones(weight ? 0 : static_cast<size_t>(N * K), 1.0f);
  const OnDevice<float> unweighted(ctx, ones);
  const Numbers rows(ctx, plan.row);
  const float* w = weight ? weight : unweighted.data();
  float* to = y.ptr<float>();
  ctx.over_rows(N, K * C, [&](int64_t begin, int64_t end) {
    ctx.kernels().combine_rows(to + begin * C, z.address(), rows.data() + begin * K, w + begin * K, end - begin, K, C, residual.defined(),
                               DType::F32);
  });
  return y;
}

inline Tensor gated_of(Context& ctx, const Tensor& gate, const Tensor& up, Activation act) {
  const int64_t F = gate.size(1);
  Tensor h = ctx.empty(gate.shape(), gate.dtype());
  auto* to = static_cast<char*>(h.address());
  const auto *g = static_cast<const char*>(gate.address()), *u = static_cast<const char*>(up.address());
  const size_t row = static_cast<size_t>(F) * size_of(gate.dtype());
  ctx.over_rows(gate.size(0), 8 * F, [&](int64_t begin, int64_t end) {
    ctx.kernels().gated(to + begin * row, g + begin * row, u + begin * row, F, end - begin, F, act, gate.dtype());
  });
  return h;
}

/// Gradients of gate and up from that of act(gate) * up, in the type of the products.
inline std::pair<Tensor, Tensor> gated_gradients(Context& ctx, const Tensor& dh, const Tensor& gate, const Tensor& up, Activation act) {
  const DType type = gate.dtype();
  const int64_t F = gate.size(1);
  if (type != DType::F32 && !ctx.device().is_cpu()) {  // whole, as one launch does it
    const auto [wide_gate, wide_up] = gated_gradients(ctx, dh, converted(ctx, gate, DType::F32), converted(ctx, up, DType::F32), act);
    return {converted(ctx, wide_gate, type), converted(ctx, wide_up, type)};
  }
  Tensor dgate = ctx.empty(gate.shape(), type), dup = ctx.empty(gate.shape(), type);
  auto *to_gate = static_cast<char*>(dgate.address()), *to_up = static_cast<char*>(dup.address());
  const auto *g = static_cast<const char*>(gate.address()), *u = static_cast<const char*>(up.address());
  const float* d = dh.ptr<float>();
  const auto size = static_cast<int64_t>(size_of(type));
  const Kernels& k = ctx.kernels();
  ctx.over_rows(gate.size(0), 16 * F, [&](int64_t begin, int64_t end) {
    if (type == DType::F32)
      return k.gated_backward(dgate.ptr<float>() + begin * F, dup.ptr<float>() + begin * F, d + begin * F, gate.ptr<float>() + begin * F,
                              up.ptr<float>() + begin * F, (end - begin) * F, act);
    std::vector<float> room(static_cast<size_t>(4 * F));  // a row at a time stays in the first-level cache
    float *g0 = room.data(), *u0 = g0 + F, *dg0 = u0 + F, *du0 = dg0 + F;
    for (int64_t i = begin; i < end; ++i) {
      k.cast(g0, DType::F32, g + i * F * size, type, F);
      k.cast(u0, DType::F32, u + i * F * size, type, F);
      k.gated_backward(dg0, du0, d + i * F, g0, u0, F, act);
      k.cast(to_gate + i * F * size, type, dg0, DType::F32, F);
      k.cast(to_up + i * F * size, type, du0, DType::F32, F);
    }
  });
  return {dgate, dup};
}

/// c (n,N) = a (n,K) times a matrix, (N,K) if trans_b; or added to c. Float8 factors give float32.
inline void multiply_rows(Context& ctx, const Tensor& c, const Factor& a, const Factor& w, bool trans_b, bool accumulate) {
  if (!a.plain.defined())
    return multiply(ctx, Tensor(c).ptr<float>(), a, w, false, trans_b, c.size(0), c.size(1), a.straight.codes.size(1), accumulate);
  ctx.kernels().matmul({.c = const_cast<void*>(c.address()),
                        .a = a.plain.address(),
                        .b = w.plain.address(),
                        .type = a.plain.dtype(),
                        .c_type = c.dtype(),
                        .trans_b = trans_b,
                        .accumulate = accumulate,
                        .M = c.size(0),
                        .N = c.size(1),
                        .K = a.plain.size(1),
                        .threads = ctx.threads()});
}

/// The gradient (N,K) of a matrix: a^T b over M rows, zeros if there are none.
inline Tensor weight_gradient(Context& ctx, const Factor& a, const Factor& b, int64_t N, int64_t K, int64_t M) {
  Tensor d = ctx.empty({N, K}, DType::F32);
  multiply(ctx, d.ptr<float>(), a, b, true, false, N, K, M, false);
  return d;
}

/// Whether the step is to be recorded. Errors: as gated_experts().
inline bool check_gated_experts(Context& ctx, const Tensor& x, std::span<const GatedExpert> experts, const Routing& r, const Tensor& residual) {
  check_f32(x, "gated_experts", "x");
  check(!experts.empty() && static_cast<int64_t>(experts.size()) == r.E && x.rank() == 2 && x.size(0) == r.N, ErrorCode::Shape, "gated_experts",
        "x: expected ", r.N, " tokens for ", experts.size(), " experts, got ", x.shape());
  const int64_t C = x.size(1), F = experts[0].gate.size(0);
  bool record = recording(ctx, "gated_experts", x, r.weight);
  if (residual.defined()) {
    check_same(x, residual, "gated_experts", "residual");
    record |= recording(ctx, "gated_experts", residual);
  }
  check_here(ctx, "gated_experts", x, r.weight, residual);
  for (const GatedExpert& e : experts) {
    for (const Tensor* t : {&e.gate, &e.up, &e.down}) {
      check_f32(*t, "gated_experts", "weight");
      check(t->shape() == (t == &e.down ? Shape{C, F} : Shape{F, C}), ErrorCode::Shape, "gated_experts", "weight: expected ", Shape{F, C},
            " or ", Shape{C, F}, ", got ", t->shape());
      record |= recording(ctx, "gated_experts", *t);
    }
    check_here(ctx, "gated_experts", e.gate, e.up, e.down);
  }
  return record;
}

/// What the step is recorded with, in the order of its gradients.
inline std::vector<Tensor> gated_experts_inputs(const Tensor& x, std::span<const GatedExpert> experts, const Routing& r, const Tensor& residual) {
  std::vector<Tensor> inputs = {x, r.weight, residual};
  for (const GatedExpert& e : experts) inputs.insert(inputs.end(), {e.gate, e.up, e.down});
  return inputs;
}

}  // namespace detail

/// y = sum over a token's places of weight * down(act(gate x) * up x) + residual. Products are those of ctx.training().matmul.
/// Shapes: x (N,C) f32, experts of one shape, routing of N tokens, residual (N,C) f32 or {} -> (N,C) f32.
/// Errors: Error(Shape), Error(Type).
inline Tensor gated_experts(Context& ctx, const Tensor& x, std::span<const GatedExpert> experts, Activation act, const ExpertRows& rows,
                            const Routing& r, const Tensor& residual) {
  const bool record = detail::check_gated_experts(ctx, x, experts, r, residual);
  const int64_t C = x.size(1), F = experts[0].gate.size(0), N = r.N, K = r.K;
  struct Kept {
    detail::ExpertPlan plan;
    std::vector<GatedExpert> experts;  // not their rounded copies: rounding again costs 2 % of a step, copies a tenth of its memory
    Tensor weight, z;
    std::vector<Tensor> mine, gate, up;  // of each expert apart: what one held serves the gradients of the next
  };
  const detail::FactorType type{detail::training_type(ctx), ctx.training().fp8_scaling};
  const DType kept = type.type == DType::F8E4M3 ? DType::F32 : type.type;
  const auto k = std::make_shared<Kept>(Kept{detail::ExpertPlan(rows), {experts.begin(), experts.end()}, r.weight, {}, {}, {}, {}});
  const detail::ExpertPlan& plan = k->plan;
  k->z = ctx.empty({plan.rows(), C}, DType::F32);
  k->mine.resize(experts.size()), k->gate.resize(experts.size()), k->up.resize(experts.size());
  const Tensor rounded = detail::converted(ctx, x, kept);
  using Role = detail::Fp8Role;
  detail::each_expert(ctx, plan, [&](Context& c, size_t e) {
    const Tensor mine = k->mine[e] = detail::picked_or_zero(c, rounded, plan.tokens(e));
    const Tensor gated = k->gate[e] = c.empty({plan.rows(e), F}, kept), raised = k->up[e] = c.empty(gated.shape(), kept);
    if (plan.rows(e) == 0) return;
    const auto rows_of = [&](const Tensor& t) { return detail::factor_of(c, t, type, Role::Rows, t.size(0), t.size(1), true, false); };
    const auto weight = [&](const Tensor& w) { return detail::factor_of(c, w, type, Role::Weight, w.size(0), w.size(1), true, false); };
    const detail::Factor factor = rows_of(mine);
    detail::multiply_rows(c, gated, factor, weight(experts[e].gate), true, false);
    detail::multiply_rows(c, raised, factor, weight(experts[e].up), true, false);
    detail::multiply_rows(c, plan.of(e, k->z), rows_of(detail::gated_of(c, gated, raised, act)), weight(experts[e].down), true, false);
  });
  Tensor y = detail::gather_sums(ctx, k->z, plan, r.weight.ptr<float>(), N, K, residual);
  if (!record) return y;
  const auto wants = [&](auto member) {
    std::vector<bool> w;
    for (const GatedExpert& e : experts) w.push_back(ctx.wants(e.*member));
    return w;
  };
  ctx.recorder()->record(
      "gated_experts", {y}, detail::gated_experts_inputs(x, experts, r, residual),
      [k, act, N, K, C, F, type, want_x = ctx.wants(x), want_weight = ctx.wants(r.weight), has_residual = residual.defined(),
       want_gate = wants(&GatedExpert::gate), want_up = wants(&GatedExpert::up),
       want_down = wants(&GatedExpert::down)](Context& c, std::span<const Tensor> dy) -> std::vector<Tensor> {
        const detail::ExpertPlan& p = k->plan;
        std::vector<Tensor> d(3 + 3 * k->experts.size());
        if (has_residual) d[2] = dy[0];
        detail::check_here(c, "gated_experts", dy[0]);
        const float* d0 = dy[0].ptr<float>();
        if (want_weight) {
          d[1] = c.empty({N, K}, DType::F32);
          float* to = d[1].ptr<float>();
          const float* z = k->z.ptr<float>();
          std::vector<int64_t> token(p.row.size());
          for (size_t i = 0; i < token.size(); ++i) token[i] = static_cast<int64_t>(i) / K;
          const detail::Numbers row_of(c, p.row), token_of(c, token);
          c.over_rows(N * K, 2 * C, [&](int64_t begin, int64_t end) {
            c.kernels().dot_rows(to + begin, z, row_of.data() + begin, d0, token_of.data() + begin, end - begin, C);
          });
        }
        k->z = {};
        const Tensor dmine = want_x ? c.empty({p.rows(), C}, DType::F32) : Tensor();
        const Tensor weights = detail::picked_or_zero(c, k->weight.view({N * K, 1}), p.place);
        const float* w0 = weights.ptr<float>();
        const detail::Numbers tokens(c, p.token);
        detail::each_expert(c, p, [&](Context& own, size_t e) {
          const int64_t n = p.rows(e), first = p.start[e];
          Tensor dz = own.empty({n, C}, DType::F32);
          own.over_rows(n, C, [&](int64_t begin, int64_t end) {
            own.kernels().combine_rows(dz.ptr<float>() + begin * C, d0, tokens.data() + first + begin, w0 + first + begin, end - begin, 1, C, false,
                                       DType::F32);
          });
          const auto rows_of = [&](const Tensor& t, bool straight, bool turned) {
            return detail::factor_of(own, t, type, Role::Rows, n, t.size(1), straight, turned);
          };
          const auto weight = [&](const Tensor& w) { return detail::factor_of(own, w, type, Role::Weight, w.size(0), w.size(1), false, true); };
          const Tensor rows = std::move(k->mine[e]), gate = std::move(k->gate[e]), up = std::move(k->up[e]);
          const detail::Factor of_z = rows_of(dz, true, want_down[e]);
          dz = {};
          if (want_down[e]) d[3 + 3 * e + 2] = detail::weight_gradient(own, of_z, rows_of(detail::gated_of(own, gate, up, act), false, true), C, F, n);
          Tensor dh = own.empty({n, F}, DType::F32);
          if (n > 0) detail::multiply_rows(own, dh, of_z, weight(k->experts[e].down), false, false);
          const auto [dgate, dup] = detail::gated_gradients(own, dh, gate, up, act);
          const detail::Factor of_gate = rows_of(dgate, want_x, want_gate[e]), of_up = rows_of(dup, want_x, want_up[e]);
          const detail::Factor mine = want_gate[e] || want_up[e] ? rows_of(rows, false, true) : detail::Factor();
          if (want_gate[e]) d[3 + 3 * e] = detail::weight_gradient(own, of_gate, mine, F, C, n);
          if (want_up[e]) d[3 + 3 * e + 1] = detail::weight_gradient(own, of_up, mine, F, C, n);
          if (want_x && n > 0) {
            detail::multiply_rows(own, p.of(e, dmine), of_gate, weight(k->experts[e].gate), false, false);
            detail::multiply_rows(own, p.of(e, dmine), of_up, weight(k->experts[e].up), false, true);
          }
        });
        if (want_x) d[0] = detail::gather_sums(c, dmine, p, nullptr, N, K, {});
        return d;
      });
  return y;
}

}  // namespace tenon::ops
