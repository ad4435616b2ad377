// A mixture of experts: a router, a bank of experts, and the layer that joins them with shared experts.
#pragma once

#include <algorithm>
#include <memory>
#include <string>
#include <vector>

#include "tenon/nn/expert_adapters.h"
#include "tenon/nn/mlp.h"
#include "tenon/ops/elementwise.h"
#include "tenon/ops/embedding.h"
#include "tenon/ops/router.h"
#include "tenon/ops/sorted_experts.h"

namespace tenon::nn {

/// Chooses experts for each token from float32 logits, whatever the precision of the model.
class Router {
 public:
  Router() = default;
  Router(int64_t width, int64_t experts, ops::RouterOptions options, bool has_correction_bias = false)
      : gate(Linear(width, experts, false).keep_precise()), options(options), has_correction_bias_(has_correction_bias) {}

  /// Shapes: x (N,C) f32|bf16 -> Routing of N tokens.
  ops::Routing forward(Context& ctx, const Tensor& x) const {
    Tensor seen = ops::cast(ctx, x, DType::F32);
    if (jitter > 0 && ctx.training().dropout) seen = ops::mul(ctx, seen, uniform(ctx, seen.shape()));
    Tensor logits = gate.forward(ctx, seen);
    if (noise > 0 && ctx.training().dropout) logits = ops::add(ctx, logits, normal(ctx, logits.shape()));
    return ops::route(ctx, logits, has_correction_bias_ ? correction_bias : Tensor(), options);
  }
  void visit(const std::string& prefix, Visitor& v) {
    v.linear(prefix, gate);
    if (has_correction_bias_)
      v.parameter(join(prefix, "e_score_correction_bias"), correction_bias, {gate.out_features()}, {.init = Init::Zeros});
  }

  Linear gate;  // (E,C)
  ops::RouterOptions options;
  Tensor correction_bias;  // (E) float32: takes part in the choice, not in the weights (DeepSeek-V3)
  float jitter = 0;        // with ctx.training().dropout, each element it sees is multiplied by a number in [1 - jitter, 1 + jitter]
  float noise = 0;         // with ctx.training().dropout, normal noise of this deviation is added to the logits (Shazeer et al. 2017)

 private:
  Tensor uniform(Context& ctx, const Shape& shape) const {
    Tensor t = Tensor::empty(shape, DType::F32);
    for (float& v : std::span(t.data<float>(), static_cast<size_t>(t.numel()))) v = 1 + jitter * (2 * ctx.random().uniform() - 1);
    return t.to(ctx.device());
  }
  Tensor normal(Context& ctx, const Shape& shape) const {
    Tensor t = Tensor::empty(shape, DType::F32);
    for (float& v : std::span(t.data<float>(), static_cast<size_t>(t.numel()))) v = noise * ctx.random().normal();
    return t.to(ctx.device());
  }

  bool has_correction_bias_ = false;
};

/// E gated feed-forward parts. Once packed, all experts of a call are two grouped matmuls.
class ExpertBank final : public Packable {
 public:
  ExpertBank() = default;
  ExpertBank(int64_t experts, int64_t width, int64_t inner, Activation act) : width_(width), act_(act) {
    for (int64_t e = 0; e < experts; ++e) {
      gate.emplace_back(width, inner, false);
      up.emplace_back(width, inner, false);
      down.emplace_back(inner, width, false);
    }
  }

  int64_t size() const { return static_cast<int64_t>(gate.size()); }
  /// Sum over the chosen experts of weight * expert(x), + residual.
  /// Shapes: x (N,C), residual (N,C) or {} -> (N,C).
  Tensor forward(Context& ctx, const Tensor& x, const ops::Routing& routing, const Tensor& residual) const {
    if (!ctx.device().is_cpu() && grouped_ && !ctx.recorder()) {
      const Grouped& w = grouped_->get([&] { return group(ctx); });
      if (adapted()) return forward_adapted(ctx, x, w, routing, residual);
      return ops::packed_experts(ctx, x, w.gate_up, w.down, act_, routing, residual);
    }
    if (!ctx.device().is_cpu() && !adapted()) {
      if (x.dtype() == DType::F32 && plain() && ops::sorts_experts(ctx)) return ops::sorted_experts(ctx, x, plain_experts(), act_, routing, residual);
    }
    const ops::ExpertRows rows(routing);
    if (!quantized_.empty() && !ctx.recorder()) return forward_quantized(ctx, x, routing, rows, residual);
    if (gate_up_.empty() || ctx.recorder()) return forward_plain(ctx, x, routing, rows, residual);
    return forward_packed(ctx, x, routing, rows, residual, gate_up_, down_, rows.start);
  }
  void visit(const std::string& prefix, const MlpNames& n, Visitor& v) {
    for (size_t e = 0; e < gate.size(); ++e) {
      const std::string name = join(prefix, std::to_string(e));
      v.packed_elsewhere(join(name, n.gate), gate[e]);
      v.packed_elsewhere(join(name, n.up), up[e]);
      v.packed_elsewhere(join(name, n.down), down[e]);
    }
    v.packable(*this);
  }
  void pack(Context& ctx, quant::Packing packing) override {
    unpack();
    if (std::any_of(gate.begin(), gate.end(), [](const Linear& l) { return l.quantized != nullptr; })) return pack_quantized(ctx, packing);
    for (size_t e = 0; e < gate.size(); ++e) {
      const std::array<Tensor, 2> both{gate[e].weight, up[e].weight};
      gate_up_.push_back(quant::pack_rows_concat(ctx, both, packing));
      down_.push_back(quant::pack(ctx, down[e].weight, packing));
      for (Linear* l : {&gate[e], &up[e], &down[e]}) {
        io::release_pages(l->weight);
        l->pack_adapters(ctx, packing.format);
      }
    }
    grouped_ = std::make_shared<Lazy<Grouped>>();
  }
  void unpack() override {
    grouped_.reset();
    gate_up_.clear();
    down_.clear();
    quantized_.clear();
    for (std::vector<Linear>* layers : {&gate, &up, &down})
      for (Linear& l : *layers)
        if (l.quantized) l.unpack();
  }

  std::vector<Linear> gate, up, down;

 private:
  /// An expert whose weights the checkpoint holds quantised: packed when the first token comes to it.
  struct Quantized {
    QuantizedRowsConcat gate_up, down;
  };
  struct Grouped {
    ops::GroupedWeights gate_up, down;
  };

  /// On a device, with adapters beside the experts: nothing comes to the host.
  Tensor forward_adapted(Context& ctx, const Tensor& x, const Grouped& w, const ops::Routing& routing, const Tensor& residual) const {
    if (routing.N == 0) return residual.defined() ? residual : ctx.empty(x.shape(), x.dtype());
    const auto adapters = adapted_->get(ctx, gate, up, down, x.dtype());
    const ops::SortedPlaces s(ctx, routing);
    const Tensor mine = ops::detail::sorted_rows(ctx, x, s.token, s.gaps);
    Tensor both = ops::detail::grouped_packed(ctx, mine, w.gate_up, s, Activation::None, false);
    adapters->gate.add(ctx, both, 0, mine, s);
    adapters->up.add(ctx, both, both.size(1) / 2, mine, s);
    const Tensor h = ops::gated_pair(ctx, both, act_);
    Tensor y = ops::detail::grouped_packed(ctx, h, w.down, s, Activation::None, false);
    adapters->down.add(ctx, y, 0, h, s);
    return ops::detail::sums_of_places(ctx, y, s, routing.weight.ptr<float>(), residual);
  }
  Tensor forward_packed(Context& ctx, const Tensor& x, const ops::Routing& routing, const ops::ExpertRows& rows, const Tensor& residual,
                        std::span<const quant::PackedWeight> gate_up, std::span<const quant::PackedWeight> down_weights,
                        std::span<const int64_t> start) const {
    const Tensor mine = ops::gather_rows(ctx, x, rows.token);
    Tensor both = ops::grouped_linear(ctx, mine, gate_up, start);
    add_adapters(ctx, both, 0, mine, gate, rows);
    add_adapters(ctx, both, both.size(1) / 2, mine, up, rows);
    const Tensor h = ops::gated_pair(ctx, both, act_);
    Tensor y = ops::grouped_linear(ctx, h, down_weights, start);
    add_adapters(ctx, y, 0, h, down, rows);
    return ops::combine_experts(ctx, y, rows, routing, residual);
  }
  Tensor forward_quantized(Context& ctx, const Tensor& x, const ops::Routing& routing, const ops::ExpertRows& rows,
                           const Tensor& residual) const {
    std::vector<quant::PackedWeight> gate_up, down_weights;
    std::vector<int64_t> start = {0};
    for (size_t e = 0; e < gate.size(); ++e) {
      if (rows.start[e] == rows.start[e + 1] && (e + 1 < gate.size() || !gate_up.empty())) continue;  // one at least, for the widths
      gate_up.push_back(quantized_[e]->gate_up.packed(ctx));
      down_weights.push_back(quantized_[e]->down.packed(ctx));
      start.push_back(rows.start[e + 1]);
    }
    return forward_packed(ctx, x, routing, rows, residual, gate_up, down_weights, start);
  }
  /// Nothing is packed yet. Experts that are not all alike stay layers by themselves, which forward_plain calls.
  void pack_quantized(Context& ctx, quant::Packing packing) {
    bool alike = true;
    for (std::vector<Linear>* layers : {&gate, &up, &down})
      for (Linear& l : *layers) {
        alike = alike && l.quantized && QuantizedWeight::alike(*layers->front().quantized, *l.quantized, false);
        l.pack(ctx, packing);
      }
    for (size_t e = 0; alike && e < gate.size(); ++e) alike = QuantizedWeight::alike(*gate[e].quantized, *up[e].quantized);
    using Parts = std::vector<std::shared_ptr<const QuantizedWeight>>;
    for (size_t e = 0; alike && e < gate.size(); ++e)
      quantized_.push_back(std::shared_ptr<const Quantized>(
          new Quantized{QuantizedRowsConcat(Parts{gate[e].quantized, up[e].quantized}), QuantizedRowsConcat(Parts{down[e].quantized})}));
    if (alike) grouped_ = std::make_shared<Lazy<Grouped>>();
  }
  /// All experts as a device's grouped products find them. Only the device knows which of them are visited, so those that the checkpoint holds
  /// quantised are all packed now.
  Grouped group(Context& ctx) const {
    if (quantized_.empty()) return {{ctx, gate_up_}, {ctx, down_}};
    std::vector<quant::PackedWeight> gate_up, down_weights;
    for (const auto& q : quantized_) {
      gate_up.push_back(q->gate_up.packed(ctx));
      down_weights.push_back(q->down.packed(ctx));
    }
    return {{ctx, std::move(gate_up)}, {ctx, std::move(down_weights)}};
  }
  /// Adds what the adapters of each expert's layer make of its rows of x to its rows of y, from a column on.
  static void add_adapters(Context& ctx, Tensor& y, int64_t column, const Tensor& x, const std::vector<Linear>& layers, const ops::ExpertRows& rows) {
    for (size_t e = 0; e < layers.size(); ++e) {
      if (layers[e].lora.empty() || rows.start[e] == rows.start[e + 1]) continue;
      Tensor to = y.rows(rows.start[e], rows.start[e + 1]);
      for (const Lora& l : layers[e].lora) detail::add_columns(ctx, to, column, l.forward(ctx, x.rows(rows.start[e], rows.start[e + 1])));
    }
  }
  bool adapted() const {
    const auto is = [](const Linear& l) { return !l.lora.empty(); };
    return std::any_of(gate.begin(), gate.end(), is) || std::any_of(up.begin(), up.end(), is) || std::any_of(down.begin(), down.end(), is);
  }
  std::vector<ops::GatedExpert> plain_experts() const {
    std::vector<ops::GatedExpert> experts;
    for (size_t e = 0; e < gate.size(); ++e) experts.push_back({gate[e].weight, up[e].weight, down[e].weight});
    return experts;
  }
  /// Whether all layers are float32 weights without adapters.
  bool plain() const {
    const auto is = [](const Linear& l) { return l.lora.empty() && !l.quantized && l.weight.dtype() == DType::F32; };
    return std::all_of(gate.begin(), gate.end(), is) && std::all_of(up.begin(), up.end(), is) && std::all_of(down.begin(), down.end(), is);
  }
  Tensor forward_plain(Context& ctx, const Tensor& x, const ops::Routing& routing, const ops::ExpertRows& rows, const Tensor& residual) const {
    if (x.dtype() == DType::F32 && plain()) return ops::gated_experts(ctx, x, plain_experts(), act_, rows, routing, residual);
    std::vector<Tensor> z(gate.size());
    const Tensor from = ops::cast(ctx, x, DType::F32);
    for (size_t e = 0; e < gate.size(); ++e) {
      if (rows.start[e] == rows.start[e + 1]) continue;
      const auto tokens = std::span(rows.token).subspan(static_cast<size_t>(rows.start[e]), static_cast<size_t>(rows.start[e + 1] - rows.start[e]));
      const Tensor mine = ops::gather_rows(ctx, from, tokens);
      z[e] = down[e].forward(ctx, ops::gated(ctx, gate[e].forward(ctx, mine), up[e].forward(ctx, mine), act_));
    }
    const Tensor y = ops::cast(ctx, ops::combine_experts(ctx, z, rows, routing, width_), x.dtype());
    return residual.defined() ? ops::add(ctx, y, residual) : y;
  }

  int64_t width_ = 0;
  Activation act_ = Activation::Silu;
  std::vector<quant::PackedWeight> gate_up_, down_;           // one for each expert, once packed
  std::vector<std::shared_ptr<const Quantized>> quantized_;  // instead, where all are quantised alike
  std::shared_ptr<Lazy<Grouped>> grouped_;                   // of either, for a device
  std::shared_ptr<AdaptedExperts> adapted_ = std::make_shared<AdaptedExperts>();
};

/// The sizes of a mixture; the defaults are the article's: 16 experts, 2 of them active.
struct MoeConfig {
  int64_t hidden_size = 0, intermediate_size = 0;  // of the model and of one expert
  int64_t num_experts = 16;
  ops::RouterOptions router = {.top_k = 2, .normalize = true};
  Activation act = Activation::Silu;
  int64_t shared_intermediate_size = 0;  // one MLP that every token passes; 0 = none
  bool shared_gate = false;              // weighed by sigmoid of a linear of the token (Qwen2-MoE)
  bool correction_bias = false;          // DeepSeek-V3
  float jitter = 0;                      // of the router's input, in training (Switch)

  /// Errors: Error(Format), Error(Limit).
  void validate() const {
    check(hidden_size > 0 && intermediate_size > 0 && num_experts > 0, ErrorCode::Format, "moe",
          "expected positive sizes, got hidden_size ", hidden_size, ", intermediate_size ", intermediate_size, ", num_experts ", num_experts);
    ops::detail::check_router(router, num_experts);
    check(jitter >= 0 && jitter < 1, ErrorCode::Limit, "moe", "jitter: expected 0 to 1, got ", jitter);
  }
};

struct MoeNames {
  const char *router, *experts;
  MlpNames expert;
  const char *shared, *shared_gate;
};

/// y = sum of weight * expert(x) over the chosen + shared(x) + residual. A layer of its own, for any host's model.
/// Source: Shazeer et al. 2017; Dai et al. 2024, "DeepSeekMoE".
class MoeLayer {
 public:
  MoeLayer() = default;
  explicit MoeLayer(const MoeConfig& c)
      : router(c.hidden_size, c.num_experts, c.router, c.correction_bias),
        experts(c.num_experts, c.hidden_size, c.intermediate_size, c.act),
        has_shared_(c.shared_intermediate_size > 0),
        has_gate_(c.shared_gate) {
    c.validate();
    router.jitter = c.jitter;
    if (has_shared_) shared = Mlp(c.hidden_size, c.shared_intermediate_size, c.act, true, false);
    if (has_gate_) shared_gate = Linear(Linear(c.hidden_size, 1, false).keep_precise());
  }

  /// Shapes: x, residual (N,C) or {} -> (N,C). routing, if not null, gets what the router decided.
  Tensor forward(Context& ctx, const Tensor& x, const Tensor& residual = {}, ops::Routing* routing = nullptr) const {
    const ops::Routing chosen = router.forward(ctx, x);
    Tensor base = residual;
    if (has_shared_) base = has_gate_ ? gated_shared(ctx, x, residual) : shared.forward(ctx, x, residual);
    Tensor y = experts.forward(ctx, x, chosen, base);
    if (routing) *routing = chosen;
    return y;
  }
  void visit(const std::string& prefix, const MoeNames& n, Visitor& v) {
    router.visit(join(prefix, n.router), v);
    experts.visit(join(prefix, n.experts), n.expert, v);
    if (has_shared_) shared.visit(join(prefix, n.shared), kGatedMlp, v);
    if (has_gate_) v.linear(join(prefix, n.shared_gate), shared_gate);
  }

  Router router;
  ExpertBank experts;
  Mlp shared;
  Linear shared_gate;

 private:
  Tensor gated_shared(Context& ctx, const Tensor& x, const Tensor& residual) const {
    const Tensor gate = shared_gate.forward(ctx, ops::cast(ctx, x, DType::F32), Activation::Sigmoid);
    const Tensor y = ops::scale_rows(ctx, shared.forward(ctx, x, {}), gate);
    return residual.defined() ? ops::add(ctx, y, residual) : y;
  }

  bool has_shared_ = false, has_gate_ = false;
};

}  // namespace tenon::nn
