// The experts of a mixture on a device: rows are sorted by expert there and met by all weights in one launch, and the host knows none of it.
#pragma once

#include <algorithm>
#include <memory>
#include <vector>

#include "tenon/ops/gated_experts.h"

namespace tenon::ops {

/// The places of a routing by expert, as Kernels::sort_by_expert has them.
struct SortedPlaces {
  int64_t N, K, E;
  bool gaps;                 // places may be empty: the last rows are then nobody's
  Tensor start, token, row;  // (E+1), (N*K), (N*K) int64
  Tensor place;              // (N*K): that of each row, -1 behind the last; for gradients

  SortedPlaces(Context& ctx, const Routing& r, bool with_places = false)
      : N(r.N), K(r.K), E(r.E), gaps(r.expert.tensor().device().is_cpu()), start(ctx.empty({E + 1}, DType::I64)),
        token(ctx.empty({N * K}, DType::I64)), row(ctx.empty({N * K}, DType::I64)) {
    const Tensor expert = r.expert.tensor().to(ctx.device());
    if (with_places) {  // each place as a token of its own
      place = ctx.empty({N * K}, DType::I64);
      ctx.kernels().sort_by_expert(start.ptr<int64_t>(), place.ptr<int64_t>(), row.ptr<int64_t>(), expert.ptr<int64_t>(), N * K, 1, E);
    }
    ctx.kernels().sort_by_expert(start.ptr<int64_t>(), token.ptr<int64_t>(), row.ptr<int64_t>(), expert.ptr<int64_t>(), N, K, E);
  }
  int64_t rows() const { return N * K; }
};

/// Packed weights of one shape and format as a device finds them: their addresses lie there, too.
struct GroupedWeights {
  std::vector<quant::PackedWeight> kept;
  Tensor w, scale, order;      // (groups) addresses; order is {} where no weight's columns are in another one
  std::vector<Tensor> orders;  // (K) int64 or {}

  GroupedWeights() = default;
  /// Errors: Error(Shape) if they differ.
  GroupedWeights(Context& ctx, std::vector<quant::PackedWeight> weights) : kept(std::move(weights)) {
    check(!kept.empty(), ErrorCode::Shape, "grouped_linear", "expected at least one weight");
    std::vector<uint64_t> at, scale_at, order_at;
    bool ordered = false;
    for (const quant::PackedWeight& p : kept) {
      const quant::PackedWeight& first = kept.front();
      detail::check_here(ctx, "grouped_linear", p.data, p.scale);
      check(p.defined() && p.N == first.N && p.K == first.K && p.format == first.format && p.group == first.group, ErrorCode::Shape,
            "grouped_linear", "weights: expected one shape and format");
      ordered |= !p.order.empty();
      orders.push_back(p.order.empty() ? Tensor() : Tensor::from(p.order, {p.K}).to(ctx.device()));
      order_at.push_back(p.order.empty() ? 0 : reinterpret_cast<uintptr_t>(orders.back().address()));
      at.push_back(reinterpret_cast<uintptr_t>(p.data.address()));
      if (p.scale.defined()) scale_at.push_back(reinterpret_cast<uintptr_t>(p.scale.address()));
    }
    const auto groups = static_cast<int64_t>(kept.size());
    w = Tensor::from(at, {groups}).to(ctx.device());
    if (!scale_at.empty()) scale = Tensor::from(scale_at, {groups}).to(ctx.device());
    if (ordered) order = Tensor::from(order_at, {groups}).to(ctx.device());
  }
};

namespace detail {

/// Row i is x[index[i]], or zeros behind the last row.
inline Tensor sorted_rows(Context& ctx, const Tensor& x, const Tensor& index, bool gaps) {
  const int64_t n = index.numel(), C = x.size(1);
  Tensor y = ctx.empty({n, C}, x.dtype());
  if (!gaps) {
    ctx.kernels().gather_rows(y.address(), y.dtype(), x.address(), x.dtype(), index.ptr<int64_t>(), n, C, false);
    return y;
  }
  const std::vector<float> once(static_cast<size_t>(n), 1.0f);
  const OnDevice<float> weights(ctx, once);
  ctx.kernels().combine_rows(y.address(), x.address(), index.ptr<int64_t>(), weights.data(), n, 1, C, false, x.dtype());
  return y;
}

/// sum (N,C) of each token's rows of z times their weights (1 without), + residual.
inline Tensor sums_of_places(Context& ctx, const Tensor& z, const SortedPlaces& s, const float* weight, const Tensor& residual) {
  const int64_t C = z.size(1);
  Tensor y = residual.defined() ? residual.clone() : ctx.empty({s.N, C}, z.dtype());
  const std::vector<float> once(weight ? 0 : static_cast<size_t>(s.rows()), 1.0f);
  const OnDevice<float> unweighted(ctx, once);
  ctx.kernels().combine_rows(y.address(), z.address(), s.row.ptr<int64_t>(), weight ? weight : unweighted.data(), s.N, s.K, C, residual.defined(),
                             z.dtype());
  return y;
}

inline GroupedLinearCall grouped_call(const SortedPlaces& s, Tensor& y, const Tensor& x) {
  GroupedLinearCall c{.y = y.address(), .x = x.address(), .start = s.start.ptr<int64_t>(), .type = x.dtype(), .y_type = y.dtype()};
  c.M = s.rows(), c.N = y.size(1), c.K = x.size(1), c.groups = s.E;
  return c;
}

inline Tensor grouped_packed(Context& ctx, const Tensor& x, const GroupedWeights& w, const SortedPlaces& s, Activation act, bool gated) {
  const quant::PackedWeight& first = w.kept.front();
  check(x.size(1) == first.K && static_cast<int64_t>(w.kept.size()) == s.E, ErrorCode::Shape, "grouped_linear", "x: expected ", first.K,
        " columns for ", w.kept.size(), " groups, got ", x.shape(), " for ", s.E);
  Tensor rows = x;
  if (w.order.defined()) {
    rows = ctx.empty(x.shape(), x.dtype());
    ctx.kernels().reorder_columns({.y = rows.address(), .x = x.address(), .order = static_cast<const int64_t* const*>(w.order.address()),
                                   .start = s.start.ptr<int64_t>(), .type = x.dtype(), .M = s.rows(), .K = first.K, .groups = s.E});
  }
  Tensor y = ctx.empty({s.rows(), gated ? first.N / 2 : first.N}, x.dtype());
  GroupedLinearCall c = grouped_call(s, y, rows);
  c.w = static_cast<const void* const*>(w.w.address());
  c.w_scale = static_cast<const float* const*>(w.scale.address());
  c.format = first.format, c.group = first.group, c.act = act, c.gated = gated, c.fp8_rows = first.fp8_rows;
  ctx.kernels().grouped_linear(c);
  return y;
}

/// Matrices of a member of all experts, in the type of the products, and their addresses on the device.
class ExpertMatrices {
 public:
  ExpertMatrices(Context& ctx, std::span<const GatedExpert> experts, Tensor GatedExpert::* member, DType type)
      : kept_(in_type(ctx, experts, member, type)), at_(addresses(kept_)), list_(ctx, at_) {}
  const void* const* data() const { return list_.data(); }

 private:
  static std::vector<Tensor> in_type(Context& ctx, std::span<const GatedExpert> experts, Tensor GatedExpert::* member, DType type) {
    std::vector<Tensor> all;
    for (const GatedExpert& e : experts) all.push_back(converted(ctx, e.*member, type));
    return all;
  }
  static std::vector<const void*> addresses(const std::vector<Tensor>& tensors) {
    std::vector<const void*> at;
    for (const Tensor& t : tensors) at.push_back(t.address());
    return at;
  }
  std::vector<Tensor> kept_;
  std::vector<const void*> at_;
  OnDevice<const void*> list_;
};

/// y = x w^T, or x w if transposed, for each expert's rows.
inline void grouped_plain(Context& ctx, Tensor& y, const Tensor& x, const ExpertMatrices& w, const SortedPlaces& s, bool transposed = false,
                          bool accumulate = false) {
  GroupedLinearCall c = grouped_call(s, y, x);
  c.w = w.data(), c.format = x.dtype() == DType::F32 ? WeightFormat::F32 : WeightFormat::BF16;
  c.transposed = transposed, c.accumulate = accumulate;
  ctx.kernels().grouped_linear(c);
}

/// a^T b over each expert's rows, if any of them is wanted, for those that are.
inline void grouped_gradients(Context& ctx, std::vector<Tensor>& d, size_t first, const std::vector<bool>& wanted, const Tensor& a, const Tensor& b,
                              const SortedPlaces& s) {
  if (std::find(wanted.begin(), wanted.end(), true) == wanted.end()) return;
  std::vector<Tensor> all;
  std::vector<float*> at;
  for (size_t e = 0; e < wanted.size(); ++e) {
    all.push_back(ctx.empty({a.size(1), b.size(1)}, DType::F32));
    at.push_back(all.back().ptr<float>());
    if (wanted[e]) d[first + 3 * e] = all.back();
  }
  const OnDevice<float*> to(ctx, at);
  GroupedGradCall c{.dw = to.data(), .a = a.address(), .b = b.address(), .start = s.start.ptr<int64_t>(), .type = a.dtype()};
  c.N = a.size(1), c.K = b.size(1), c.groups = s.E;
  ctx.kernels().grouped_gradient(c);
}

}  // namespace detail

/// y = sum over a token's places of weight * down(act(gate x) * up x) + residual, on packed weights of a device. Inference only.
/// Shapes: x (N,C) f32|bf16; gate_up of (2F,C), gates above ups, and down of (C,F), one each for every expert; residual (N,C) as x or {} ->
/// (N,C) as x.
/// Errors: Error(Shape), Error(Type), also if a gradient is wanted; Error(Device) unless all lies there.
inline Tensor packed_experts(Context& ctx, const Tensor& x, const GroupedWeights& gate_up, const GroupedWeights& down, Activation act,
                             const Routing& r, const Tensor& residual) {
  detail::check_f32_or_bf16(x, "packed_experts", "x");
  no_gradient(ctx, "packed_experts", x, residual);
  check(x.rank() == 2 && x.size(0) == r.N, ErrorCode::Shape, "packed_experts", "x: expected ", r.N, " tokens, got ", x.shape());
  if (residual.defined()) detail::check_same(x, residual, "packed_experts", "residual");
  detail::check_here(ctx, "packed_experts", x, residual, r.weight, gate_up.w, down.w);
  if (r.N == 0) return residual.defined() ? residual : ctx.empty(x.shape(), x.dtype());
  const SortedPlaces s(ctx, r);
  const Tensor h = detail::grouped_packed(ctx, detail::sorted_rows(ctx, x, s.token, s.gaps), gate_up, s, act, true);
  return detail::sums_of_places(ctx, detail::grouped_packed(ctx, h, down, s, Activation::None, false), s, r.weight.ptr<float>(), residual);
}

/// Whether the products of a step are ones that sorted_experts() makes: float8 ones are made expert by expert.
inline bool sorts_experts(const Context& ctx) {
  const DType type = detail::training_type(ctx);
  return !ctx.device().is_cpu() && type != DType::F8E4M3;
}

/// gated_experts() on a device, without the host's knowledge of who goes where. Shapes, errors: as there; Error(Type) unless sorts_experts().
inline Tensor sorted_experts(Context& ctx, const Tensor& x, std::span<const GatedExpert> experts, Activation act, const Routing& r,
                             const Tensor& residual) {
  const bool record = detail::check_gated_experts(ctx, x, experts, r, residual);
  check(sorts_experts(ctx), ErrorCode::Type, "gated_experts", "expected a device and products of float32, bfloat16 or float16");
  if (r.N == 0) return gated_experts(ctx, x, experts, act, ExpertRows(r), r, residual);
  struct Kept {
    SortedPlaces s;
    std::vector<GatedExpert> experts;
    Tensor weight, mine, gate, up, z;
  };
  const int64_t C = x.size(1), F = experts[0].gate.size(0);
  const DType type = ctx.training().matmul;
  const auto k = std::make_shared<Kept>(Kept{SortedPlaces(ctx, r, record), {experts.begin(), experts.end()}, r.weight, {}, {}, {}, {}});
  const SortedPlaces& s = k->s;
  k->mine = detail::sorted_rows(ctx, detail::converted(ctx, x, type), s.token, s.gaps);
  k->gate = ctx.empty({s.rows(), F}, type), k->up = ctx.empty({s.rows(), F}, type), k->z = ctx.empty({s.rows(), C}, DType::F32);
  const auto matrices = [type](Context& c, std::span<const GatedExpert> of, Tensor GatedExpert::* member) {
    return detail::ExpertMatrices(c, of, member, type);
  };
  detail::grouped_plain(ctx, k->gate, k->mine, matrices(ctx, experts, &GatedExpert::gate), s);
  detail::grouped_plain(ctx, k->up, k->mine, matrices(ctx, experts, &GatedExpert::up), s);
  detail::grouped_plain(ctx, k->z, detail::gated_of(ctx, k->gate, k->up, act), matrices(ctx, experts, &GatedExpert::down), s);
  Tensor y = detail::sums_of_places(ctx, k->z, s, r.weight.ptr<float>(), residual);
  if (!record) return y;
  const auto wants = [&](Tensor GatedExpert::* member) {
    std::vector<bool> w;
    for (const GatedExpert& e : experts) w.push_back(ctx.wants(e.*member));
    return w;
  };
  ctx.recorder()->record(
      "gated_experts", {y}, detail::gated_experts_inputs(x, experts, r, residual),
      [k, act, C, F, type, matrices, want_x = ctx.wants(x), want_weight = ctx.wants(r.weight), has_residual = residual.defined(),
       want_gate = wants(&GatedExpert::gate), want_up = wants(&GatedExpert::up),
       want_down = wants(&GatedExpert::down)](Context& c, std::span<const Tensor> dy) -> std::vector<Tensor> {
        const SortedPlaces& p = k->s;
        std::vector<Tensor> d(3 + 3 * k->experts.size());
        if (has_residual) d[2] = dy[0];
        detail::check_here(c, "gated_experts", dy[0]);
        if (want_weight) {
          d[1] = c.empty({p.N, p.K}, DType::F32);
          std::vector<int64_t> token(static_cast<size_t>(p.rows()));  // of each place
          for (size_t i = 0; i < token.size(); ++i) token[i] = static_cast<int64_t>(i) / p.K;
          const detail::Numbers token_of(c, token);
          c.kernels().dot_rows(d[1].ptr<float>(), k->z.ptr<float>(), p.row.ptr<int64_t>(), dy[0].ptr<float>(), token_of.data(), p.rows(), C);
        }
        k->z = {};
        const Tensor weights = detail::sorted_rows(c, k->weight.view({p.rows(), 1}), p.place, p.gaps);
        Tensor dz = c.empty({p.rows(), C}, DType::F32), dh = c.empty({p.rows(), F}, DType::F32);
        c.kernels().combine_rows(dz.address(), dy[0].address(), p.token.ptr<int64_t>(), weights.ptr<float>(), p.rows(), 1, C, false, DType::F32);
        dz = detail::converted(c, dz, type);
        detail::grouped_gradients(c, d, 5, want_down, dz, detail::gated_of(c, k->gate, k->up, act), p);
        detail::grouped_plain(c, dh, dz, matrices(c, k->experts, &GatedExpert::down), p, true);
        const auto [dgate, dup] = detail::gated_gradients(c, dh, k->gate, k->up, act);
        detail::grouped_gradients(c, d, 3, want_gate, dgate, k->mine, p);
        detail::grouped_gradients(c, d, 4, want_up, dup, k->mine, p);
        k->mine = k->gate = k->up = {};
        if (!want_x) return d;
        Tensor dmine = c.empty({p.rows(), C}, DType::F32);
        detail::grouped_plain(c, dmine, dgate, matrices(c, k->experts, &GatedExpert::gate), p, true);
        detail::grouped_plain(c, dmine, dup, matrices(c, k->experts, &GatedExpert::up), p, true, true);
        d[0] = detail::sums_of_places(c, dmine, p, nullptr, {});
        return d;
      });
  return y;
}

}  // namespace tenon::ops
