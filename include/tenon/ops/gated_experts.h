// All gated experts of a mixture in one step on plain weights, with gradients: rows sorted by expert, products over each expert's rows.
#pragma once

#include <algorithm>
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

/// Rows by expert, each expert's beginning where pieces of 32 rows begin if it has many: products of whole pieces are faster, and rows of
/// zeros change no sum.
struct ExpertPlan {
  std::vector<int64_t> start, token, row;  // as ExpertRows has them; token -1: a row of zeros
  std::vector<float> weight;               // of each row
  int64_t rows = 0;

  ExpertPlan(const ExpertRows& from, const Routing& r) : start{0}, row(from.row.size(), -1) {
    const size_t E = from.start.size() - 1;
    for (size_t e = 0; e < E; ++e) {
      const int64_t n = from.start[e + 1] - from.start[e];
      start.push_back(start.back() + (n >= 128 ? (n + 31) / 32 * 32 : n));
    }
    rows = start.back();
    token.assign(static_cast<size_t>(rows), -1);
    weight.assign(static_cast<size_t>(rows), 0);
    const float* w = r.weight.data<float>();
    for (size_t p = 0; p < row.size(); ++p) {
      if (from.row[p] < 0) continue;
      const auto e = static_cast<size_t>(r.expert[p]);
      row[p] = start[e] + from.row[p] - from.start[e];
      token[static_cast<size_t>(row[p])] = static_cast<int64_t>(p) / r.K;
      weight[static_cast<size_t>(row[p])] = w[p];
    }
  }
  /// body(e, first row, rows) for each expert that has some.
  template <class Body>
  void each(Body&& body) const {
    for (size_t e = 0; e + 1 < start.size(); ++e)
      if (start[e] < start[e + 1]) body(e, start[e], start[e + 1] - start[e]);
  }
};

/// The tokens' rows by expert, in the type of the products. Shapes: x (N,C) f32 -> (rows, C).
inline Tensor spread_rows(Context& ctx, const Tensor& x, const ExpertPlan& plan, DType type) {
  const int64_t C = x.size(1);
  Tensor y = ctx.empty({plan.rows, C}, type);
  auto* to = static_cast<char*>(y.raw());
  const size_t row = static_cast<size_t>(C) * size_of(type);
  ctx.over_rows(plan.rows, C, [&](int64_t begin, int64_t end) {
    for (int64_t i = begin; i < end; ++i) {
      const int64_t t = plan.token[static_cast<size_t>(i)];
      if (t < 0) std::memset(to + static_cast<size_t>(i) * row, 0, row);
      else ctx.kernels().cast(to + static_cast<size_t>(i) * row, type, x.data<float>() + t * C, DType::F32, C);
    }
  });
  return y;
}

/// sum (N,C) of each token's rows times their weights (1 without), + residual.
inline Tensor gather_sums(Context& ctx, const Tensor& z, const ExpertPlan& plan, const float* weight, int64_t N, int64_t K,
                          const Tensor& residual) {
  const int64_t C = z.size(1);
  Tensor y = residual.defined() ? residual.clone() : ctx.empty({N, C}, DType::F32);
  const std::vector<float> ones(weight ? 0 : static_cast<size_t>(N * K), 1.0f);
  const float* w = weight ? weight : ones.data();
  float* to = y.data<float>();
  ctx.over_rows(N, K * C, [&](int64_t begin, int64_t end) {
    ctx.kernels().combine_rows(to + begin * C, z.raw(), plan.row.data() + begin * K, w + begin * K, end - begin, K, C, residual.defined(),
                               DType::F32);
  });
  return y;
}

inline Tensor gated_of(Context& ctx, const Tensor& gate, const Tensor& up, Activation act) {
  const int64_t F = gate.size(1);
  Tensor h = ctx.empty(gate.shape(), gate.dtype());
  auto* to = static_cast<char*>(h.raw());
  const auto *g = static_cast<const char*>(gate.raw()), *u = static_cast<const char*>(up.raw());
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
  Tensor dgate = ctx.empty(gate.shape(), type), dup = ctx.empty(gate.shape(), type);
  auto *to_gate = static_cast<char*>(dgate.raw()), *to_up = static_cast<char*>(dup.raw());
  const auto *g = static_cast<const char*>(gate.raw()), *u = static_cast<const char*>(up.raw());
  const float* d = dh.data<float>();
  const auto size = static_cast<int64_t>(size_of(type));
  const Kernels& k = ctx.kernels();
  ctx.over_rows(gate.size(0), 16 * F, [&](int64_t begin, int64_t end) {
    if (type == DType::F32)
      return k.gated_backward(dgate.data<float>() + begin * F, dup.data<float>() + begin * F, d + begin * F, gate.data<float>() + begin * F,
                              up.data<float>() + begin * F, (end - begin) * F, act);
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

/// c (rows, N) = a (rows, K) times each expert's matrix, (N,K) if trans_b.
inline void multiply_experts(Context& ctx, Tensor& c, const Tensor& a, const std::vector<Tensor>& w, const ExpertPlan& plan, bool trans_b,
                             bool accumulate) {
  const int64_t N = c.size(1), K = a.size(1);
  plan.each([&](size_t e, int64_t first, int64_t n) {
    ctx.kernels().matmul({.c = static_cast<char*>(c.raw()) + first * N * static_cast<int64_t>(size_of(c.dtype())),
                          .a = static_cast<const char*>(a.raw()) + first * K * static_cast<int64_t>(size_of(a.dtype())),
                          .b = w[e].raw(),
                          .type = a.dtype(),
                          .c_type = c.dtype(),
                          .trans_b = trans_b,
                          .accumulate = accumulate,
                          .M = n,
                          .N = N,
                          .K = K,
                          .threads = ctx.threads()});
  });
}

/// The gradient (N,K) of expert e's matrix: a^T b over its rows, zeros if it has none.
inline Tensor expert_gradient(Context& ctx, const Tensor& a, const Tensor& b, const ExpertPlan& plan, size_t e) {
  const int64_t N = a.size(1), K = b.size(1), first = plan.start[e], n = plan.start[e + 1] - first;
  Tensor d = ctx.empty({N, K}, DType::F32);
  const auto at = [&](const Tensor& t) {
    return static_cast<const char*>(t.raw()) + first * t.size(1) * static_cast<int64_t>(size_of(t.dtype()));
  };
  multiply(ctx, d.data<float>(), at(a), at(b), a.dtype(), true, false, N, K, n, false);
  return d;
}

}  // namespace detail

/// y = sum over a token's places of weight * down(act(gate x) * up x) + residual. Products are those of ctx.training().matmul.
/// Shapes: x (N,C) f32, experts of one shape, routing of N tokens, residual (N,C) f32 or {} -> (N,C) f32.
/// Errors: Error(Shape), Error(Type).
inline Tensor gated_experts(Context& ctx, const Tensor& x, std::span<const GatedExpert> experts, Activation act, const ExpertRows& rows,
                            const Routing& r, const Tensor& residual) {
  detail::check_f32(x, "gated_experts", "x");
  check(!experts.empty() && static_cast<int64_t>(experts.size()) == r.E && x.rank() == 2 && x.size(0) == r.N, ErrorCode::Shape, "gated_experts",
        "x: expected ", r.N, " tokens for ", experts.size(), " experts, got ", x.shape());
  const int64_t C = x.size(1), F = experts[0].gate.size(0), N = r.N, K = r.K;
  std::vector<Tensor> inputs = {x, r.weight, residual};
  bool record = recording(ctx, "gated_experts", x, r.weight);
  if (residual.defined()) {
    detail::check_same(x, residual, "gated_experts", "residual");
    record |= recording(ctx, "gated_experts", residual);
  }
  for (const GatedExpert& e : experts) {
    for (const Tensor* t : {&e.gate, &e.up, &e.down}) {
      detail::check_f32(*t, "gated_experts", "weight");
      check(t->shape() == (t == &e.down ? Shape{C, F} : Shape{F, C}), ErrorCode::Shape, "gated_experts", "weight: expected ", Shape{F, C},
            " or ", Shape{C, F}, ", got ", t->shape());
      record |= recording(ctx, "gated_experts", *t);
      inputs.push_back(*t);
    }
  }
  struct Kept {
    detail::ExpertPlan plan;
    std::vector<Tensor> gate_w, up_w, down_w;
    Tensor mine, gate, up, z;
  };
  const DType type = ctx.training().matmul;
  const auto k = std::make_shared<Kept>(Kept{detail::ExpertPlan(rows, r), {}, {}, {}, {}, {}, {}, {}});
  const detail::ExpertPlan& plan = k->plan;
  for (size_t e = 0; e < experts.size(); ++e) {
    const bool used = plan.start[e] < plan.start[e + 1];
    k->gate_w.push_back(used ? detail::converted(ctx, experts[e].gate, type) : Tensor());
    k->up_w.push_back(used ? detail::converted(ctx, experts[e].up, type) : Tensor());
    k->down_w.push_back(used ? detail::converted(ctx, experts[e].down, type) : Tensor());
  }
  k->mine = detail::spread_rows(ctx, x, plan, type);
  k->gate = ctx.empty({plan.rows, F}, type), k->up = ctx.empty({plan.rows, F}, type);
  detail::multiply_experts(ctx, k->gate, k->mine, k->gate_w, plan, true, false);
  detail::multiply_experts(ctx, k->up, k->mine, k->up_w, plan, true, false);
  k->z = ctx.empty({plan.rows, C}, DType::F32);
  detail::multiply_experts(ctx, k->z, detail::gated_of(ctx, k->gate, k->up, act), k->down_w, plan, true, false);
  Tensor y = detail::gather_sums(ctx, k->z, plan, r.weight.data<float>(), N, K, residual);
  if (!record) return y;
  const auto wants = [&](auto member) {
    std::vector<bool> w;
    for (const GatedExpert& e : experts) w.push_back(ctx.wants(e.*member));
    return w;
  };
  ctx.recorder()->record(
      "gated_experts", {y}, std::move(inputs),
      [k, act, N, K, C, F, type, want_x = ctx.wants(x), want_weight = ctx.wants(r.weight), has_residual = residual.defined(),
       want_gate = wants(&GatedExpert::gate), want_up = wants(&GatedExpert::up),
       want_down = wants(&GatedExpert::down)](Context& c, std::span<const Tensor> dy) -> std::vector<Tensor> {
        const detail::ExpertPlan& p = k->plan;
        const size_t E = k->gate_w.size();
        std::vector<Tensor> d(3 + 3 * E);
        if (has_residual) d[2] = dy[0];
        const float* d0 = dy[0].data<float>();
        if (want_weight) {
          d[1] = c.zeros({N, K}, DType::F32);
          float* to = d[1].data<float>();
          const float* z = k->z.data<float>();
          c.over_rows(N, 2 * K * C, [&](int64_t begin, int64_t end) {
            for (int64_t i = begin * K; i < end * K; ++i) {
              if (p.row[static_cast<size_t>(i)] < 0) continue;
              const float *a = z + p.row[static_cast<size_t>(i)] * C, *b = d0 + i / K * C;
              float sums[16] = {};  // side by side, so that they need not wait for each other
              int64_t j = 0;
              for (; j + 16 <= C; j += 16)
                for (int64_t l = 0; l < 16; ++l) sums[l] += a[j + l] * b[j + l];
              for (; j < C; ++j) sums[0] += a[j] * b[j];
              double sum = 0;
              for (const float s : sums) sum += s;
              to[i] = static_cast<float>(sum);
            }
          });
        }
        k->z = {};
        Tensor dz = c.empty({p.rows, C}, DType::F32);
        float* dz0 = dz.data<float>();
        c.over_rows(p.rows, C, [&](int64_t begin, int64_t end) {
          c.kernels().combine_rows(dz0 + begin * C, d0, p.token.data() + begin, p.weight.data() + begin, end - begin, 1, C, false, DType::F32);
        });
        dz = detail::converted(c, dz, type);
        Tensor h = detail::gated_of(c, k->gate, k->up, act);
        for (size_t e = 0; e < E; ++e)
          if (want_down[e]) d[3 + 3 * e + 2] = detail::expert_gradient(c, dz, h, p, e);
        h = c.empty({p.rows, F}, DType::F32);
        detail::multiply_experts(c, h, dz, k->down_w, p, false, false);
        dz = {};
        const auto [dgate, dup] = detail::gated_gradients(c, h, k->gate, k->up, act);
        k->gate = k->up = h = {};
        for (size_t e = 0; e < E; ++e) {
          if (want_gate[e]) d[3 + 3 * e] = detail::expert_gradient(c, dgate, k->mine, p, e);
          if (want_up[e]) d[3 + 3 * e + 1] = detail::expert_gradient(c, dup, k->mine, p, e);
        }
        if (want_x) {
          Tensor dmine = c.empty({p.rows, C}, DType::F32);
          detail::multiply_experts(c, dmine, dgate, k->gate_w, p, false, false);
          detail::multiply_experts(c, dmine, dup, k->up_w, p, false, true);
          d[0] = detail::gather_sums(c, dmine, p, nullptr, N, K, {});
        }
        return d;
      });
  return y;
}

}  // namespace tenon::ops
