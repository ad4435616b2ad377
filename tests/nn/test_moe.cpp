// A mixture of experts as a layer of its own: packed against plain, many experts, shared parts, gradients, jitter, errors.
#include "ops/op_test.h"
#include "tenon/models/decoder_config.h"
#include "tenon/nn/mixture_of_experts.h"

namespace tenon {
namespace {

using nn::MixtureOfExperts;
using nn::MoeConfig;

MoeConfig small() { return {.hidden_size = 24, .intermediate_size = 40}; }

TEST_CASE("the article's shape is one constructor call: 16 experts, 2 of them active") {
  const MixtureOfExperts moe({.hidden_size = 24, .intermediate_size = 40}, 1, 0.2f);
  CHECK(moe.config().num_experts == 16);
  CHECK(moe.config().router.top_k == 2);
  CHECK(moe.parameters().size() == 1 + 16 * 3);
  CHECK(moe.parameters()[0].first == "gate.weight");
  Context ctx(2);
  ops::Routing r;
  const Tensor y = moe.forward(ctx, test::normal({3, 5, 24}, 1), &r);
  CHECK(y.shape() == Shape{3, 5, 24});
  CHECK(r.expert.size() == 30);
  CHECK(r.dropped_share() == 0);
}

TEST_CASE("packed experts give what plain ones give, for few tokens and many, with shared experts and their gate") {
  for (const int64_t N : {1, 3, 200}) {
    for (const bool shared : {false, true}) {
      MoeConfig c = small();
      c.num_experts = 7, c.router.top_k = 3;
      if (shared) c.shared_intermediate_size = 16, c.shared_gate = true;
      MixtureOfExperts moe(c, 3, 0.2f);
      Context ctx(3);
      const Tensor x = test::normal({N, 24}, 5).to(DType::BF16).to(DType::F32);  // rounded once, so that all see the same tokens
      const Tensor plain = moe.forward(ctx, x);
      moe.pack(ctx, WeightFormat::F32);
      CHECK(test::relative_error(moe.forward(ctx, x), plain) < 1e-5);
      moe.pack(ctx, WeightFormat::BF16);
      CHECK(test::relative_error(moe.forward(ctx, x.to(DType::BF16)), plain) < 0.05);
      moe.pack(ctx, WeightFormat::Int8);
      CHECK(test::relative_error(moe.forward(ctx, x), plain) < 0.05);
    }
  }
}

TEST_CASE("a token's result does not depend on the tokens beside it") {
  MixtureOfExperts moe(small(), 3, 0.2f);
  Context ctx(2);
  moe.pack(ctx, WeightFormat::F32);
  const Tensor x = test::normal({50, 24}, 5), all = moe.forward(ctx, x);
  for (const int64_t n : {0, 17, 49}) CHECK(test::relative_error(moe.forward(ctx, x.rows(n, n + 1)), all.rows(n, n + 1)) < 1e-6);
}

TEST_CASE("gradients reach the input, the router, the experts and the shared part") {
  MoeConfig c{.hidden_size = 5, .intermediate_size = 6, .num_experts = 4};
  c.shared_intermediate_size = 4, c.shared_gate = true;
  const MixtureOfExperts model(c, 3, 0.5f);
  std::vector<Tensor> inputs = {test::normal({6, 5}, 1)};
  std::vector<std::string> names;
  for (const auto& [name, t] : model.parameters())
    if (name == "gate.weight" || name.starts_with("experts.1.") || name.starts_with("shared")) {
      names.push_back(name);
      inputs.push_back(t);
    }
  test::check_gradients(
      [&](Context& ctx, const std::vector<Tensor>& in) {
        nn::MoeLayer layer = model.layer();
        struct Replace final : nn::Visitor {
          void parameter(const std::string& name, Tensor& t, const Shape&, const nn::ParameterInfo&) override {
            for (size_t i = 0; i < names->size(); ++i)
              if ((*names)[i] == name) t = (*values)[i + 1];
          }
          const std::vector<std::string>* names;
          const std::vector<Tensor>* values;
        } replace;
        replace.names = &names, replace.values = &in;
        layer.visit("", {"gate", "experts", nn::kGatedMlp, "shared_experts", "shared_expert_gate"}, replace);
        return layer.forward(ctx, in[0]);
      },
      inputs, 1e-2, 0.002f);
}

TEST_CASE("jitter moves the router's input in training, and only then") {
  MoeConfig c = small();
  c.jitter = 0.5f;
  const MixtureOfExperts moe(c, 3, 0.2f);
  Context ctx;
  const Tensor x = test::normal({4, 24}, 5), first = moe.forward(ctx, x);
  CHECK(test::relative_error(moe.forward(ctx, x), first) == 0);
  ctx.set_training({.dropout = true});
  CHECK(test::relative_error(moe.forward(ctx, x), first) > 1e-4);
}

TEST_CASE("parameters are set by name, and what does not fit is refused") {
  MixtureOfExperts moe(small(), 3, 0.2f);
  moe.set("experts.2.up_proj.weight", Tensor::zeros({40, 24}, DType::F32));
  test::expect_error(ErrorCode::Shape, {"experts.2.up_proj.weight", "(40, 24)"},
                     [&] { moe.set("experts.2.up_proj.weight", Tensor::zeros({4, 24}, DType::F32)); });
  test::expect_error(ErrorCode::Format, {"experts.99"}, [&] { moe.set("experts.99.up_proj.weight", Tensor::zeros({4, 24}, DType::F32)); });
  test::expect_error(ErrorCode::Limit, {"top_k"}, [] { MixtureOfExperts({.hidden_size = 8, .intermediate_size = 8, .num_experts = 4, .router = {.top_k = 5}}); });
  test::expect_error(ErrorCode::Format, {"hidden_size"}, [] { MixtureOfExperts({.hidden_size = 0, .intermediate_size = 8}); });
  Context ctx;
  test::expect_error(ErrorCode::Shape, {"[moe]", "24"}, [&] { moe.forward(ctx, test::normal({2, 23}, 1)); });
}

TEST_CASE("DeepSeek-V3 caches 70,272 bytes a token in bfloat16, 71 times less than its expanded keys and values") {
  const Json published = Json::parse(R"({"model_type": "deepseek_v3", "hidden_size": 7168, "num_hidden_layers": 61, "num_attention_heads": 128,
    "num_key_value_heads": 128, "q_lora_rank": 1536, "kv_lora_rank": 512, "qk_nope_head_dim": 128, "qk_rope_head_dim": 64, "v_head_dim": 128,
    "intermediate_size": 18432, "moe_intermediate_size": 2048, "n_routed_experts": 256, "num_experts_per_tok": 8, "n_group": 8, "topk_group": 4})");
  const models::DecoderConfig c(models::DecoderKind::DeepseekV3, published);
  const nn::CacheLayout latent{.layers = c.num_layers, .k_width = c.mla.kv_lora_rank + c.mla.qk_rope_head_dim, .v_width = 0, .dtype = DType::BF16};
  CHECK(latent.bytes_per_token() == 70272);
  const nn::CacheLayout expanded{.layers = c.num_layers, .k_width = c.mla.heads * c.mla.qk_head_dim(), .v_width = c.mla.heads * c.mla.v_head_dim, .dtype = DType::BF16};
  CHECK(expanded.bytes_per_token() / latent.bytes_per_token() == 71);
}

}  // namespace
}  // namespace tenon
