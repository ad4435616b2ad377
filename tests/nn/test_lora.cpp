// Low-rank adapters of linear layers: against the dense product, packed and plain, fused and in experts; gradients with a frozen weight.
#include "ops/op_test.h"
#include "tenon/nn/decoder_attention.h"
#include "tenon/nn/mixture_of_experts.h"
#include "tenon/nn/self_attention.h"

namespace tenon {
namespace {

using nn::Linear;
using nn::Lora;

Lora adapter(int64_t in, int64_t out, uint64_t seed, int64_t r = 3) {
  Lora l;
  l.a = test::normal({r, in}, seed, 0.3f), l.b = test::normal({out, r}, seed + 1, 0.3f);
  l.scaling = 0.75f;
  return l;
}

Linear layer(int64_t in, int64_t out, uint64_t seed) {
  Linear l(in, out);
  l.weight = test::normal({out, in}, seed, 0.3f), l.bias = test::normal({out}, seed + 1);
  return l;
}

/// The layer with its adapters added to its weight.
Linear dense(Context& ctx, const Linear& l) {
  Linear d(l.in_features(), l.out_features());
  d.weight = l.weight.clone(), d.bias = l.bias;
  for (const Lora& a : l.lora) {
    const Tensor product = ops::scale(ctx, ops::matmul(ctx, a.b, a.a), a.scaling);
    d.weight = ops::add(ctx, d.weight, product);
  }
  return d;
}

TEST_CASE("an adapter acts like its product added to the weight, before the activation, plain and packed") {
  Context ctx(2);
  for (const int64_t rows : {1, 5, 70}) {
    Linear l = layer(20, 13, 1);
    l.lora = {adapter(20, 13, 5), adapter(20, 13, 9, 7)};
    const Linear want = dense(ctx, l);
    const Tensor x = test::normal({rows, 20}, 3), residual = test::normal({rows, 13}, 4);
    const Tensor y = want.forward(ctx, x), curved = want.forward(ctx, x, Activation::Tanh, residual);
    CHECK(test::relative_error(l.forward(ctx, x), y) < 1e-5);
    CHECK(test::relative_error(l.forward(ctx, x, Activation::Tanh, residual), curved) < 1e-5);
    CHECK(test::relative_error(l.forward(ctx, x, Activation::None, residual), ops::add(ctx, y, residual)) < 1e-5);
    l.pack(ctx, WeightFormat::F32);
    CHECK(test::relative_error(l.forward(ctx, x, Activation::Tanh, residual), curved) < 1e-5);
    l.pack(ctx, WeightFormat::BF16);
    CHECK(test::relative_error(l.forward(ctx, x.to(DType::BF16)).to(DType::F32), y) < 0.03);
    l.pack(ctx, WeightFormat::Int8);
    const DType between = ctx.kernels().fast_bf16 ? DType::BF16 : DType::F32;
    CHECK(test::relative_error(l.forward(ctx, x.to(between)).to(DType::F32), y) < 0.03);
    CHECK(test::relative_error(l.forward(ctx, x), y) < 0.03);
  }
}

TEST_CASE("an adapter that was changed after packing counts as it is now") {
  Context ctx;
  Linear l = layer(6, 4, 1);
  l.lora = {adapter(6, 4, 5)};
  l.pack(ctx, WeightFormat::F32);
  const Tensor x = test::normal({2, 6}, 3), before = l.forward(ctx, x);
  for (float& v : std::span(l.lora[0].b.data<float>(), 12)) v = 0;
  ++l.lora[0].b.storage()->version;
  const Linear base = [&] { Linear b = l; b.lora.clear(); return b; }();
  CHECK(test::relative_error(l.forward(ctx, x), base.forward(ctx, x)) < 1e-6);
  CHECK(test::relative_error(before, base.forward(ctx, x)) > 1e-3);
}

TEST_CASE("gradients reach the factors and the input past a weight that nobody watches") {
  const Linear base = layer(5, 4, 1);
  const auto f = [&](Context& c, const std::vector<Tensor>& in) {
    Linear l = base;
    Lora a;
    a.a = in[0], a.b = in[1], a.scaling = 0.5f;
    l.lora = {a};
    return l.forward(c, in[2], Activation::Tanh);
  };
  test::check_gradients(f, {test::normal({2, 5}, 1), test::normal({4, 2}, 2), test::normal({3, 5}, 3)});
}

TEST_CASE("dropout of an adapter touches its own input alone, and only while training") {
  Context ctx(1);
  Linear l = layer(64, 8, 1);
  l.lora = {adapter(64, 8, 5)};
  const Tensor x = test::normal({4, 64}, 3), y = l.forward(ctx, x);
  l.lora[0].dropout = 0.5f;
  CHECK(test::relative_error(l.forward(ctx, x), y) < 1e-7);
  ctx.set_training({.dropout = true});
  CHECK(test::relative_error(l.forward(ctx, x), y) > 1e-3);
  l.lora[0].dropout = 1;
  Linear base = l;
  base.lora.clear();
  CHECK(test::relative_error(l.forward(ctx, x), base.forward(ctx, x)) < 1e-6);
}

TEST_CASE("query, key and value packed as one keep their adapters") {
  Context ctx(2);
  nn::SelfAttention attention(16, 2);
  uint64_t seed = 1;
  for (Linear* l : {&attention.query, &attention.key, &attention.value, &attention.output}) *l = layer(16, 16, seed += 2);
  attention.query.lora = {adapter(16, 16, 31)};
  attention.value.lora = {adapter(16, 16, 41), adapter(16, 16, 51)};
  const nn::PackedRows rows{.B = 2, .T = 4, .source = {0, 1, 2, 3, 4, 5, 6}, .start = {0, 4, 7}, .key_bias = {}};
  const Tensor x = test::normal({7, 16}, 3);
  const Tensor plain = attention.forward(ctx, x, rows, false, {}, nullptr);
  const std::array<Linear*, 3> three{&attention.query, &attention.key, &attention.value};
  attention.fused.pack(ctx, three, WeightFormat::F32);
  CHECK(test::relative_error(attention.forward(ctx, x, rows, false, {}, nullptr), plain) < 1e-5);
  attention.fused.pack(ctx, three, WeightFormat::BF16);
  CHECK(test::relative_error(attention.forward(ctx, x.to(DType::BF16), rows, false, {}, nullptr).to(DType::F32), plain) < 0.05);
}

TEST_CASE("experts keep their adapters, packed and plain, and gradients reach those that were chosen") {
  nn::MixtureOfExperts moe({.hidden_size = 12, .intermediate_size = 10, .num_experts = 4}, 3, 0.4f);
  nn::ExpertBank& bank = moe.layer().experts;
  for (uint64_t e : {0, 2, 3}) {
    bank.gate[e].lora = {adapter(12, 10, 10 * e + 1)};
    bank.up[e].lora = {adapter(12, 10, 10 * e + 3)};
    bank.down[e].lora = {adapter(10, 12, 10 * e + 5)};
  }
  Context ctx(2);
  const Tensor x = test::normal({9, 12}, 5), plain = moe.forward(ctx, x);
  moe.pack(ctx, WeightFormat::F32);
  CHECK(test::relative_error(moe.forward(ctx, x), plain) < 1e-5);
  nn::MixtureOfExperts bare({.hidden_size = 12, .intermediate_size = 10, .num_experts = 4}, 3, 0.4f);
  CHECK(test::relative_error(bare.forward(ctx, x), plain) > 1e-2);
  train::Tape tape;
  for (uint64_t e : {0, 2, 3}) tape.watch(bank.down[e].lora[0].b);
  ctx.set_recorder(&tape);
  const Tensor y = moe.forward(ctx, x);
  tape.backward(ctx, y, test::normal(y.shape(), 6));
  CHECK(tape.grad(bank.down[0].lora[0].b).defined());
}

TEST_CASE("latent attention with an adapter on the product that it absorbs") {
  const nn::MlaConfig c{.hidden_size = 16, .heads = 2, .q_lora_rank = 0, .kv_lora_rank = 8, .qk_nope_head_dim = 6, .qk_rope_head_dim = 4,
                        .v_head_dim = 6};
  nn::LatentAttention mla(c);
  struct Fill final : nn::Visitor {
    void parameter(const std::string&, Tensor& t, const Shape& shape, const nn::ParameterInfo& info) override {
      t = info.init == nn::Init::Normal ? test::normal(shape, ++seed, 0.3f) : test::floats(std::vector<float>(shape.numel(), 1), shape);
    }
    uint64_t seed = 0;
  } fill;
  mla.visit("", fill);
  mla.kv_b.lora = {adapter(8, 24, 71)};
  Context ctx(1);
  const nn::Rope rope({.width = 4});
  const std::vector<int64_t> positions{0, 1, 2};
  nn::DecoderRows rows{.q_start = {0, 3}, .k_start = {0, 3}, .key_bias = {}, .angles = rope.angles(ctx, positions)};
  const Tensor x = test::normal({3, 16}, 3), whole = mla.forward(ctx, x, rows, 0, {});
  mla.pack(ctx, WeightFormat::F32);
  nn::KvCache cache({.layers = 1, .k_width = mla.cache_width(), .v_width = 0});
  cache.add();
  nn::CacheStep step(cache, {3});
  rows.cache = &step;
  CHECK(test::relative_error(mla.forward(ctx, x, rows, 0, {}), whole) < 1e-5);
}

}  // namespace
}  // namespace tenon
