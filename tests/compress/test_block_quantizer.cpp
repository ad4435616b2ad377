// Whole decoder layers: dense, mixtures and latent attention, with what goes wrong in calibration.
#include <doctest/doctest.h>

#include <cmath>

#include "tenon/compress/block_quantizer.h"
#include "tenon/core/random.h"

using namespace tenon;
using compress::BlockOptions;
using compress::BlockQuantizer;
using compress::Method;

namespace {

constexpr int64_t kWidth = 64, kInner = 96, kTokens = 24, kWindows = 6;

struct Fill final : nn::Visitor {
  void parameter(const std::string& name, Tensor& t, const Shape& shape, const nn::ParameterInfo& info) override {
    t = Tensor::empty(shape, DType::F32);
    for (int64_t i = 0; i < t.numel(); ++i) {
      const float r = random.normal();
      t.data<float>()[i] = info.init == nn::Init::Ones ? 1 + 0.2f * r : 0.15f * r;
    }
    // Some channels are far larger than the rest, as in trained models.
    if (name.starts_with("norm") && name.ends_with("weight"))
      for (const int64_t k : {2, 33}) t.data<float>()[k] *= 20;
  }
  Random random{7};
};

struct List final : nn::Visitor {
  void parameter(const std::string&, Tensor&, const Shape&, const nn::ParameterInfo&) override {}
  void linear(const std::string& name, nn::Linear& l) override { linears.emplace_back(name, &l); }
  void packed_elsewhere(const std::string& name, nn::Linear& l) override { linears.emplace_back(name, &l); }
  std::vector<std::pair<std::string, nn::Linear*>> linears;
};

enum class Kind { Dense, Moe, Latent };

/// A layer with everything it consists of.
struct Layer {
  explicit Layer(Kind kind) : norm1(kWidth, 1e-6f, false), norm2(kWidth, 1e-6f, false), rope(config()) {
    block.norm1 = &norm1, block.norm2 = &norm2;
    if (kind == Kind::Latent) {
      block.mla = {.hidden_size = kWidth,
                   .heads = 2,
                   .q_lora_rank = 32,
                   .kv_lora_rank = 32,
                   .qk_nope_head_dim = 16,
                   .qk_rope_head_dim = 16,
                   .v_head_dim = 32,
                   .scale = 0.2f};
      latent = nn::LatentAttention(block.mla);
      block.latent = &latent;
    } else {
      block.gqa = {.hidden_size = kWidth, .heads = 4, .kv_heads = 2, .head_dim = 16, .scale = 0.25f};
      grouped = nn::GroupedQueryAttention(block.gqa);
      block.grouped = &grouped;
    }
    if (kind == Kind::Dense) {
      mlp = nn::Mlp(kWidth, kInner, Activation::Silu, true, false);
      block.mlp = &mlp;
    } else {
      moe = nn::MoeLayer({.hidden_size = kWidth, .intermediate_size = 64, .num_experts = 4, .shared_intermediate_size = 64});
      block.moe = &moe;
    }
    Fill fill;
    visit(fill);
  }
  static nn::RopeConfig config() {
    nn::RopeConfig c;
    c.width = 16, c.max_positions = 64, c.original_positions = 64;
    return c;
  }
  void visit(nn::Visitor& v) {
    norm1.visit("norm1", v);
    block.latent ? latent.visit("attention", v) : grouped.visit("attention", {"q", "k", "v", "o", "", ""}, v);
    norm2.visit("norm2", v);
    block.moe ? moe.visit("moe", {"gate", "experts", nn::kGatedMlp, "shared", ""}, v) : mlp.visit("mlp", nn::kGatedMlp, v);
  }
  std::vector<std::pair<std::string, nn::Linear*>> linears() {
    List list;
    visit(list);
    return list.linears;
  }
  nn::DecoderRows rows(Context& ctx, int64_t windows) const {
    nn::DecoderRows r;
    std::vector<int64_t> positions;
    for (int64_t i = 0; i <= windows; ++i) r.q_start.push_back(i * kTokens);
    for (int64_t i = 0; i < windows * kTokens; ++i) positions.push_back(i % kTokens);
    r.k_start = r.q_start;
    r.angles = rope.angles(ctx, positions);
    return r;
  }

  nn::AnyNorm norm1, norm2;
  nn::GroupedQueryAttention grouped;
  nn::LatentAttention latent;
  nn::Mlp mlp;
  nn::MoeLayer moe;
  nn::Rope rope;
  nn::DecoderBlock block;
};

Tensor states(uint64_t seed) {
  Random random(seed);
  Tensor x = Tensor::empty({kWindows * kTokens, kWidth}, DType::F32);
  for (int64_t i = 0; i < x.numel(); ++i) x.data<float>()[i] = random.normal();
  return x;
}

double error(const Tensor& a, const Tensor& b, const Tensor& base) {
  double change = 0, whole = 0;
  for (int64_t i = 0; i < a.numel(); ++i) {
    change += std::pow(static_cast<double>(a.data<float>()[i]) - b.data<float>()[i], 2);
    whole += std::pow(static_cast<double>(a.data<float>()[i]) - base.data<float>()[i], 2);
  }
  return change / whole;
}

struct Outcome {
  double error = 0;
  compress::BlockResult result;
};

Outcome quantize(Layer& layer, const BlockOptions& options, const Tensor& x = states(1)) {
  Context ctx(2);
  BlockQuantizer quantizer(ctx, layer.block, layer.linears(), options);
  const Tensor unseen = states(2);
  const nn::DecoderRows rows = layer.rows(ctx, kWindows);
  const Tensor right = layer.block.forward(ctx, unseen, rows);
  quantizer.observe(ctx, x, rows, x.size(0));
  Outcome o;
  o.result = quantizer.quantize(x, rows);
  o.error = error(right, layer.block.forward(ctx, unseen, rows), unseen);
  return o;
}

const compress::LayerReport& report_of(const Outcome& o, const std::string& name) {
  for (const compress::LayerReport& l : o.result.layers)
    if (l.name == name) return l;
  throw std::runtime_error("no layer " + name);
}

}  // namespace

TEST_CASE("AWQ and GPTQ lose less than plain rounding: dense, mixture, latent attention") {
  for (const Kind kind : {Kind::Dense, Kind::Moe, Kind::Latent}) {
    CAPTURE(static_cast<int>(kind));
    double errors[3] = {};
    for (const Method method : {Method::Rtn, Method::Awq, Method::Gptq}) {
      Layer layer(kind);
      const Outcome o = quantize(layer, {.method = method, .group = 32});
      errors[method == Method::Rtn ? 0 : method == Method::Awq ? 1 : 2] = o.error;
      for (const compress::LayerReport& l : o.result.layers) {
        CAPTURE(l.name);
        const bool router = l.name == "moe.gate";
        CHECK(l.quantized != router);
        if (!router) CHECK((l.error > 0 && l.error < 0.1));
      }
      CHECK(o.result.weights.size() + (kind == Kind::Dense ? 0 : 1) == o.result.layers.size());
    }
    CHECK(errors[1] < 0.8 * errors[0]);
    CHECK(errors[2] < errors[0]);
  }
}

TEST_CASE("the router sees after AWQ what it saw before: every consumer of the norm is scaled") {
  Layer layer(Kind::Moe);
  struct Norm final : nn::Visitor {
    void parameter(const std::string&, Tensor& t, const Shape&, const nn::ParameterInfo&) override { weight = t; }
    Tensor weight;
  } norm;
  layer.norm2.visit("norm2", norm);
  const Tensor norm_before = norm.weight.clone(), gate_before = layer.moe.router.gate.weight.clone();
  quantize(layer, {.method = Method::Awq, .group = 32});
  layer.norm2.visit("norm2", norm);
  double moved = 0;
  for (int64_t k = 0; k < kWidth; ++k) {
    moved += std::fabs(norm.weight.data<float>()[k] / norm_before.data<float>()[k] - 1);
    for (int64_t e = 0; e < 4; ++e)
      CHECK(norm.weight.data<float>()[k] * layer.moe.router.gate.weight.data<float>()[e * kWidth + k] ==
            doctest::Approx(norm_before.data<float>()[k] * gate_before.data<float>()[e * kWidth + k]).epsilon(1e-4));
  }
  CHECK(moved > 0.1);
}

TEST_CASE("int8 with smoothing and FP8 blocks stay close") {
  for (const Kind kind : {Kind::Dense, Kind::Moe, Kind::Latent}) {
    Layer smooth(kind), plain(kind), fp8(kind);
    const Outcome a = quantize(smooth, {.method = Method::Int8, .smooth = 0.5f}), b = quantize(plain, {.method = Method::Int8});
    CHECK(a.error < 1e-3);
    CHECK(b.error < 1e-3);
    CHECK(a.result.weights[0].int8.q.dtype() == DType::I8);
    const Outcome c = quantize(fp8, {.method = Method::Fp8, .group = 32});
    CHECK(c.error < 0.03);  // a token that goes to another expert counts whole
    CHECK(c.result.weights[0].matrix.format == WeightFormat::Fp8);
  }
}

TEST_CASE("an expert that few tokens reached is calibrated on those of all, and says so") {
  Layer layer(Kind::Moe);
  float* gate = layer.moe.router.gate.weight.data<float>();
  for (int64_t k = 0; k < kWidth; ++k) gate[3 * kWidth + k] = 0;  // expert 3 never has the largest logits, but seldom
  const Outcome o = quantize(layer, {.method = Method::Awq, .group = 32, .few = 100});
  int noted = 0;
  for (const compress::LayerReport& l : o.result.layers) {
    if (l.name.find("experts") == std::string::npos) continue;
    CHECK(l.quantized);
    CHECK((l.tokens < 100) == (l.note.find("few tokens") != std::string::npos));
    noted += !l.note.empty();
  }
  CHECK(noted > 0);
}

TEST_CASE("what cannot be quantised is left and named") {
  Layer layer(Kind::Dense);
  layer.mlp.up.weight.data<float>()[5] = NAN;
  const Tensor query = layer.grouped.query.weight;
  const BlockOptions options{.method = Method::Awq, .group = 64, .skip = [](const std::string& name) { return name == "attention.q"; }};
  const Outcome o = quantize(layer, options);
  CHECK(report_of(o, "attention.q").note == "left on request");
  CHECK_FALSE(report_of(o, "attention.q").quantized);
  CHECK(report_of(o, "mlp.up_proj").note.find("not finite") != std::string::npos);
  CHECK_FALSE(report_of(o, "mlp.up_proj").quantized);
  CHECK(report_of(o, "mlp.down_proj").note.find("96 columns are no multiple of the group size 64") != std::string::npos);
  CHECK(report_of(o, "attention.k").quantized);
  CHECK(report_of(o, "attention.v").quantized);
}

TEST_CASE("calibration that is not finite is named, and its layers are rounded") {
  for (const Method method : {Method::Awq, Method::Gptq}) {
    Layer layer(Kind::Moe);
    Tensor x = states(3);
    x.data<float>()[100] = NAN;
    const Outcome o = quantize(layer, {.method = method, .group = 32}, x);
    CHECK(report_of(o, "attention.q").quantized);
    CHECK(report_of(o, "attention.q").note.find("inputs are not finite") != std::string::npos);
    CHECK(std::isfinite(o.error));
    CHECK(o.error < 0.2);
  }
}
