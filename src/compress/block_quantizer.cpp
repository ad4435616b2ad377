// The order of work in one decoder layer: observe, scale, cut off, round, measure.
#include "tenon/compress/block_quantizer.h"

#include <algorithm>
#include <cmath>
#include <numeric>

#include "tenon/compress/gptq.h"
#include "tenon/ops/gated.h"
#include "tenon/ops/matmul.h"
#include "tenon/quant/dequantize.h"

namespace tenon::compress {
namespace {

constexpr std::pair<const char*, Method> kMethods[] = {
    {"awq", Method::Awq}, {"gptq", Method::Gptq}, {"rtn", Method::Rtn}, {"int8", Method::Int8}, {"fp8", Method::Fp8}};

bool is_finite(const Tensor& t) {
  float odd = 0;
  for (const float v : std::as_const(t).values<float>()) odd += v * 0;
  return odd == 0;
}

struct NormParameters {
  Tensor *weight = nullptr, *bias = nullptr;
};

NormParameters parameters_of(nn::AnyNorm& norm) {
  struct Find final : nn::Visitor {
    void parameter(const std::string& name, Tensor& t, const Shape&, const nn::ParameterInfo&) override {
      (name.ends_with(".bias") ? found.bias : found.weight) = &t;
    }
    NormParameters found;
  } find;
  norm.visit("norm", find);
  return find.found;
}

std::vector<int64_t> counting(int64_t n) {
  std::vector<int64_t> v(static_cast<size_t>(n));
  std::iota(v.begin(), v.end(), int64_t{0});
  return v;
}

double squared(const Tensor& t) {
  double sum = 0;
  for (const float v : std::as_const(t).values<float>()) sum += static_cast<double>(v) * v;
  return sum;
}

void add_note(LayerReport& r, const std::string& text) {
  if (r.note.find(text) == std::string::npos) r.note.append(r.note.empty() ? "" : "; ").append(text);
}

constexpr const char* kOddInputs = "its inputs are not finite: rounded without calibration";

}  // namespace

Method parse_method(const std::string& name) {
  std::string known;
  for (const auto& [text, method] : kMethods) {
    if (name == text) return method;
    known.append(known.empty() ? "" : ", ").append(text);
  }
  fail(ErrorCode::Format, "quantize", "method: expected one of ", known, ", got '", name, "'");
}

const char* name_of(Method method) {
  for (const auto& [text, m] : kMethods)
    if (m == method) return text;
  return "";
}

Rounding BlockOptions::rounding() const {
  const WeightFormat format = method == Method::Int8 ? WeightFormat::Int8 : method == Method::Fp8 ? WeightFormat::Fp8 : WeightFormat::Int4;
  return {.format = format, .group = group, .symmetric = symmetric};
}

BlockQuantizer::BlockQuantizer(Context& ctx, nn::DecoderBlock block, std::vector<std::pair<std::string, nn::Linear*>> linears,
                               const BlockOptions& options)
    : ctx_(ctx), block_(std::move(block)), linears_(std::move(linears)), options_(options), rounding_(options.rounding()) {
  check(options_.group > 0, ErrorCode::Shape, "quantize", "group size: expected 1 or more, got ", options_.group);
  for (const auto& [name, l] : linears_) {
    check(l->weight.defined() && l->weight.dtype() == DType::F32 && !l->weight.read_only(), ErrorCode::Type, "quantize", name,
          ": expected a float32 weight of its own memory, got ", l->weight.describe());
    auto f = std::make_unique<Fate>();
    f->report.name = name;
    std::string why;
    if (l->precise())
      why = "a router or gate stays precise";
    else if (l->in_out() || l->weight.rank() != 2)
      why = "its weight lies as (in, out), which the formats do not have";
    else if (options_.skip && options_.skip(name))
      why = "left on request";
    else if (!is_finite(l->weight))
      why = "holds weights that are not finite";
    else
      why = rounding_.refuses(l->out_features(), l->in_features());
    f->left = !why.empty();
    f->report.note = why;
    fates_[l] = std::move(f);
  }
}

BlockQuantizer::Fate* BlockQuantizer::fate(const nn::Linear& l) const {
  const auto it = fates_.find(&l);
  return it == fates_.end() ? nullptr : it->second.get();
}

LayerInputs* BlockQuantizer::inputs(const nn::Linear& l) const { return capture_ ? capture_->of(l) : nullptr; }

Tensor BlockQuantizer::observe(Context& ctx, const Tensor& x, const nn::DecoderRows& rows, int64_t expected) {
  if (!capture_) {
    capture_ = std::make_unique<InputCapture>(ctx_, options_.sample, expected, options_.method == Method::Gptq);
    for (const auto& [name, l] : linears_) {
      if (l->in_out()) continue;
      const bool expert =
          block_.moe && std::any_of(block_.moe->experts.gate.begin(), block_.moe->experts.gate.end(), [&, layer = l](const nn::Linear&) {
            const auto within = [&](const std::vector<nn::Linear>& v) { return layer >= v.data() && layer < v.data() + v.size(); };
            const nn::ExpertBank& e = block_.moe->experts;
            return within(e.gate) || within(e.up) || within(e.down);
          });
      if (!expert) capture_->watch(*l, block_.moe && l == &block_.moe->router.gate);
    }
  }
  const Capturing capturing(ctx, *capture_);
  return block_.forward(ctx, x, rows);
}

/// Whether scales can be chosen for the group; notes why not.
bool BlockQuantizer::usable(const ScaleGroup& group, const LayerInputs* in) {
  for (const auto& list : {group.rounded, group.others})
    for (const nn::Linear* l : list)
      if (l->in_out() || !is_finite(l->weight)) return false;
  if (group.previous && (group.previous->in_out() || !is_finite(group.previous->weight))) return false;
  if (group.rounded.empty()) return false;
  const bool odd = !in || in->odd > 0 || !in->sample.defined();
  for (const nn::Linear* l : group.rounded)
    if (odd) fate(*l)->odd = true;
  return !odd;
}

/// Chooses and applies a group's scales. Returns the scale of each column, empty if nothing was done.
std::vector<float> BlockQuantizer::scale(ScaleGroup g, LayerInputs& in) {
  std::vector<nn::Linear*> rounded;
  for (nn::Linear* l : g.rounded) (fate(*l)->left ? g.others : rounded).push_back(l);
  g.rounded = rounded;
  if (!usable(g, &in)) return {};
  g.input = &in.statistics;
  std::vector<float> chosen;
  if (smooths()) {
    chosen = smooth_scales(g, *options_.smooth);
  } else {
    ScaleChoice choice = search_scales(ctx_, g, rounding_, options_.scales);
    if (!std::isfinite(choice.plain_loss)) {
      for (const nn::Linear* l : g.rounded) fate(*l)->odd = true;
      return {};
    }
    chosen = std::move(choice.scale);
    for (const nn::Linear* l : g.rounded) fate(*l)->report.ratio = choice.ratio;
  }
  apply_scales(g, chosen);
  std::vector<float> columns;
  for (int64_t k = 0; k < g.rounded.front()->in_features(); ++k)
    columns.push_back(chosen[static_cast<size_t>(g.channel.empty() ? k : g.channel[static_cast<size_t>(k)])]);
  in.divide(columns);
  return columns;
}

void BlockQuantizer::scale_attention(const Tensor& sample, const nn::DecoderRows& rows) {
  const NormParameters norm = parameters_of(*block_.norm1);
  const Tensor normed = block_.norm1->forward(ctx_, sample);
  ScaleGroup first{.name = "the norm before attention", .rounded = {}, .weight = norm.weight, .bias = norm.bias};
  first.output = [this, normed, &rows](Context& c) { return block_.attention(c, normed, rows, {}); };
  nn::Linear* output = nullptr;
  ScaleGroup last{.name = "values", .rounded = {}};
  if (block_.latent) {
    nn::LatentAttention& a = *block_.latent;
    const nn::MlaConfig& c = block_.mla;
    const bool low_rank = c.q_lora_rank > 0;
    first.rounded = {low_rank ? &a.q_a : &a.q_b, &a.kv_a};
    if (LayerInputs* in = inputs(*first.rounded[0])) scale(first, *in);
    const auto inner = [&](nn::RmsNorm& n, nn::Linear& l) {
      LayerInputs* in = inputs(l);
      ScaleGroup g{.name = "an inner norm of latent attention", .rounded = {&l}, .weight = &n.weight};
      if (in) g.output = [&l, x = in->sample](Context& x_ctx) { return l.forward(x_ctx, x); }, scale(std::move(g), *in);
    };
    if (low_rank) inner(a.q_norm, a.q_b);
    inner(a.kv_norm, a.kv_b);
    output = &a.output, last.previous = &a.kv_b;
    for (int64_t h = 0; h < c.heads; ++h)
      for (int64_t d = 0; d < c.v_head_dim; ++d) last.row.push_back(h * (c.qk_nope_head_dim + c.v_head_dim) + c.qk_nope_head_dim + d);
  } else {
    nn::GroupedQueryAttention& a = *block_.grouped;
    const nn::GqaConfig& c = block_.gqa;
    if (c.fused_in_out) return;
    first.rounded = {&a.query, &a.key, &a.value};
    if (LayerInputs* in = inputs(a.query)) scale(first, *in);
    if (c.clip > 0) return;  // cutting values off does not go with scales
    output = &a.output, last.previous = &a.value;
    last.row = counting(c.kv_heads * c.head_dim);
    for (int64_t h = 0; h < c.heads; ++h)
      for (int64_t d = 0; d < c.head_dim; ++d) last.channel.push_back(h / (c.heads / c.kv_heads) * c.head_dim + d);
  }
  if (LayerInputs* in = inputs(*output)) {
    last.rounded = {output};
    last.output = [output, x = in->sample](Context& c) { return output->forward(c, x); };
    scale(std::move(last), *in);
  }
}

/// up -> down, where nothing but a product lies between.
void BlockQuantizer::scale_mlp(nn::Mlp& mlp) {
  LayerInputs* in = inputs(mlp.down);
  if (!in || !block_.gated || mlp.up.in_out()) return;
  ScaleGroup g{.name = "up", .rounded = {&mlp.down}, .previous = &mlp.up, .row = counting(mlp.up.out_features())};
  g.output = [&mlp, x = in->sample](Context& c) { return mlp.down.forward(c, x); };
  scale(std::move(g), *in);
}

void BlockQuantizer::scale_norm2() {
  const NormParameters norm = parameters_of(*block_.norm2);
  ScaleGroup g{.name = "the norm before the feed-forward part", .rounded = {}, .weight = norm.weight, .bias = norm.bias};
  LayerInputs* in = nullptr;
  if (block_.moe) {
    nn::MoeLayer& m = *block_.moe;
    in = inputs(m.router.gate);
    for (int64_t e = 0; e < m.experts.size(); ++e)
      for (auto* bank : {&m.experts.gate, &m.experts.up}) g.rounded.push_back(&(*bank)[static_cast<size_t>(e)]);
    g.others = {&m.router.gate};
    for (nn::Linear* l : {&m.shared.gate, &m.shared.up})
      if (fate(*l)) g.rounded.push_back(l);
    if (fate(m.shared_gate)) g.others.push_back(&m.shared_gate);
    if (in) g.output = [&m, x = in->sample](Context& c) { return m.forward(c, x); };
  } else {
    nn::Mlp& m = *block_.mlp;
    in = inputs(m.up);
    if (block_.gated) g.rounded.push_back(&m.gate);
    g.rounded.push_back(&m.up);
    if (in) g.output = [&m, x = in->sample](Context& c) { return m.forward(c, x, {}); };
  }
  if (in) scale(std::move(g), *in);
}

/// The inputs of an expert: the rows routed to it that are finite.
Tensor BlockQuantizer::expert_rows(size_t e) const {
  const std::vector<Tensor>& all = inputs(block_.moe->router.gate)->all;
  const int64_t C = block_.moe->router.gate.in_features();
  std::vector<const float*> rows;
  for (size_t i = 0; i < all.size(); ++i)
    for (int64_t r = routes_[i].start[e]; r < routes_[i].start[e + 1]; ++r) {
      const float* row = all[i].data<float>() + routes_[i].token[static_cast<size_t>(r)] * C;
      float odd = 0;
      for (int64_t c = 0; c < C; ++c) odd += row[c] * 0;
      if (odd == 0) rows.push_back(row);
    }
  Tensor x = Tensor::empty({static_cast<int64_t>(rows.size()), C}, DType::F32);
  for (size_t r = 0; r < rows.size(); ++r) std::copy_n(rows[r], C, x.data<float>() + static_cast<int64_t>(r) * C);
  return x;
}

void BlockQuantizer::finish_expert(size_t e) {
  nn::ExpertBank& bank = block_.moe->experts;
  nn::Linear &gate = bank.gate[e], &up = bank.up[e], &down = bank.down[e];
  LayerInputs* common = inputs(block_.moe->router.gate);
  if (!common || !common->sample.defined()) {
    for (nn::Linear* l : {&gate, &up, &down}) {
      fate(*l)->odd = common != nullptr;
      finish(*l, {}, nullptr);
    }
    return;
  }
  Tensor x = expert_rows(e);
  const int64_t tokens = x.size(0);
  for (nn::Linear* l : {&gate, &up, &down}) fate(*l)->report.tokens = tokens;
  if (tokens < options_.few) {
    x = common->sample;
    for (nn::Linear* l : {&gate, &up, &down})
      if (scales() || options_.method == Method::Gptq) add_note(fate(*l)->report, "few tokens came to this expert: calibrated on those of all");
  }
  LayerInputs inner;
  const auto look = [&] {
    const Tensor h = ops::gated(ctx_, gate.forward(ctx_, x), up.forward(ctx_, x), block_.act);
    inner.odd += !inner.statistics.add(h);
    inner.sample = spread_rows(h, options_.sample);
    return h;
  };
  const Tensor h = look();
  if (scales()) {
    ScaleGroup g{.name = "an expert's up", .rounded = {&down}, .previous = &up, .row = counting(up.out_features())};
    g.output = [&down, sample = inner.sample](Context& c) { return down.forward(c, sample); };
    scale(std::move(g), inner);
  }
  std::optional<Hessian> of_x, of_h;
  if (options_.method == Method::Gptq) {
    of_x.emplace(x.size(1)), of_h.emplace(h.size(1));
    of_x->add(ctx_, x);
    if (!of_h->add(ctx_, h)) fate(down)->odd = true;
  }
  const Tensor some = spread_rows(x, options_.sample);
  finish(gate, some, of_x ? &*of_x : nullptr);
  finish(up, some, of_x ? &*of_x : nullptr);
  finish(down, inner.odd ? Tensor() : inner.sample, of_h ? &*of_h : nullptr);
}

/// Rounds one layer and measures what that changed.
void BlockQuantizer::finish(nn::Linear& l, const Tensor& sample, const Hessian* hessian) {
  Fate& f = *fate(l);
  if (f.left) return;
  const bool seen = sample.defined() && sample.numel() > 0 && !f.odd;
  if (f.odd && (options_.method == Method::Awq || options_.method == Method::Gptq || smooths())) add_note(f.report, kOddInputs);
  const Tensor before = l.weight.clone();
  QuantizedWeight q{.name = f.report.name, .matrix = {}, .int8 = {}};
  if (options_.method == Method::Awq && options_.clip && seen) {
    const bool scores = (block_.grouped && (&l == &block_.grouped->query || &l == &block_.grouped->key)) ||
                        (block_.latent && (&l == &block_.latent->q_a || &l == &block_.latent->q_b));
    if (!scores) search_clip(ctx_, l.weight, sample, rounding_);
  }
  if (options_.method == Method::Int8) {
    q.int8 = to_int8(ctx_, l.weight);
    l.weight = dequantize(q.int8);
  } else {
    if (options_.method == Method::Fp8) {
      q.matrix = quant::round_to_blocks(ctx_, l.weight, options_.group);
    } else if (options_.method == Method::Gptq && hessian && hessian->rows() > 0 && !f.odd) {
      try {
        GptqResult r = gptq(ctx_, l.weight, *hessian,
                            {.group = options_.group,
                             .symmetric = options_.symmetric,
                             .damp_percent = options_.damp_percent,
                             .desc_act = options_.desc_act});
        if (r.damp_percent > options_.damp_percent) add_note(f.report, "its Hessian needed more damping");
        q.matrix = std::move(r.matrix);
      } catch (const Error&) {
        add_note(f.report, "its Hessian cannot be inverted: rounded without calibration");
      }
    }
    if (!q.matrix.defined()) {
      q.matrix = quant::round_to_nearest(ctx_, l.weight, WeightFormat::Int4, options_.group, options_.symmetric);
      if (options_.method == Method::Awq && seen) refit_scales(ctx_, q.matrix, before, sample);
    }
    l.weight = quant::dequantize(ctx_, q.matrix);
  }
  f.report.quantized = true;
  if (seen) {
    const Tensor x = spread_rows(sample, 512);
    Tensor change = l.weight.clone();
    for (int64_t i = 0; i < change.numel(); ++i) change.data<float>()[i] -= before.data<float>()[i];
    const int64_t M = x.size(0), N = l.out_features(), K = l.in_features();
    const double whole = squared(ops::detail::product_of(ctx_, x, before, false, true, M, N, K));
    f.report.error = squared(ops::detail::product_of(ctx_, x, change, false, true, M, N, K)) / std::max(whole, 1e-30);
  }
  done_.push_back(std::move(q));
}

BlockResult BlockQuantizer::quantize(const Tensor& sample, const nn::DecoderRows& rows) {
  std::map<const nn::Linear*, LayerInputs*> seen;  // weights are replaced as they are finished, and inputs are found by weight
  if (block_.moe && capture_)
    if (const LayerInputs* in = inputs(block_.moe->router.gate))
      for (const Tensor& x : in->all) routes_.emplace_back(block_.moe->router.forward(ctx_, x));
  if (scales()) {
    if (sample.defined()) scale_attention(sample, rows);
    if (block_.moe) {
      if (fate(block_.moe->shared.down)) scale_mlp(block_.moe->shared);
    } else {
      scale_mlp(*block_.mlp);
    }
    scale_norm2();
  }
  for (const auto& [name, l] : linears_) seen[l] = inputs(*l);
  if (block_.moe)
    for (int64_t e = 0; e < block_.moe->experts.size(); ++e) finish_expert(static_cast<size_t>(e));
  BlockResult result;
  for (const auto& [name, l] : linears_) {
    Fate& f = *fate(*l);
    if (!f.report.quantized && !f.left) {
      LayerInputs* in = seen[l];
      if (in && in->odd) f.odd = true;
      finish(*l, in ? in->sample : Tensor(), in ? in->hessian.get() : nullptr);
    }
    result.layers.push_back(f.report);
  }
  result.weights = std::move(done_);
  return result;
}

}  // namespace tenon::compress
