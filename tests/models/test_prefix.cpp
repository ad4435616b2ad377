// Prefixes and prompts before texts: the forward pass against sessions, gradients, and what is refused.
#include <cstring>

#include "ops/op_test.h"
#include "tenon/models/registry.h"
#include "tenon/nn/prefix.h"

using namespace tenon;
using models::Inputs;

namespace {

std::unique_ptr<models::Model> make(Context& ctx, const char* type, const char* class_name, bool pack) {
  Json c;
  c.set("model_type", type), c.set("hidden_size", 16), c.set("num_hidden_layers", 2), c.set("num_attention_heads", 2),
      c.set("sliding_window", 6);
  c.set("intermediate_size", 32), c.set("vocab_size", 50), c.set("max_position_embeddings", 16), c.set("num_key_value_heads", 1);
  for (const char* key : {"kv_lora_rank", "qk_nope_head_dim", "v_head_dim", "moe_intermediate_size"}) c.set(key, 8);
  c.set("qk_rope_head_dim", 4), c.set("n_routed_experts", 4), c.set("num_experts_per_tok", 2), c.set("initializer_range", 0.3);
  models::LoadOptions options;
  options.class_name = class_name, options.pack = pack, options.seed = 5;
  return models::from_config(ctx, c, options);
}

Tensor ids() { return Tensor::from(std::vector<int64_t>{5, 9, 23, 41, 7, 8, 8, 13, 30, 31}, {2, 5}); }
const std::vector<std::vector<int64_t>> kTokens = {{5, 9, 23, 41, 7}, {8, 8, 13, 30, 31}};

}  // namespace

TEST_CASE("a prefix in the forward pass and in a session: the same logits, with windows and without, plain and packed") {
  for (const auto& [type, name, width] :
       {std::tuple{"llama", "LlamaForCausalLM", 8}, {"gpt2", "GPT2LMHeadModel", 16}, {"mistral", "MistralForCausalLM", 8}}) {
    CAPTURE(type);
    for (const bool pack : {false, true}) {
      Context ctx(2);
      const auto model = make(ctx, type, name, pack);
      Inputs in;
      in.input_ids = ids();
      const Tensor bare = model->forward(ctx, in).logits;
      in.prefix_key_values = test::normal({3, 2 * 2 * width}, 1);
      const Tensor whole = model->forward(ctx, in).logits;
      CHECK(test::relative_error(whole, bare) > 1e-2);
      const auto session = model->start(ctx, in);
      CHECK(session->length(0) == 0);
      CHECK(session->max_length() == 16 - 3);
      CHECK(test::relative_error(session->feed(ctx, kTokens, true).view(whole.shape()), whole) < 1e-4);
      CHECK(session->length(1) == 5);
      session->truncate(1, 3);
      const Tensor again = session->feed(ctx, std::vector<std::vector<int64_t>>{{}, {30, 31}}, true);
      CHECK(test::relative_error(again, whole.view({10, 50}).rows(8, 10)) < 1e-4);
    }
  }
}

TEST_CASE("a prompt of embeddings in a session is what it is before the text's own") {
  Context ctx(2);
  const auto model = make(ctx, "llama", "LlamaForCausalLM", true);
  const auto parameters = model->parameters();
  const Tensor& table = parameters[0].second;  // the embeddings of words come first
  REQUIRE(table.shape() == Shape{50, 16});
  Inputs with;
  with.input_ids = ids(), with.prompt_embeds = test::normal({3, 16}, 2);
  const auto session = model->start(ctx, with);
  const Tensor got = session->feed(ctx, kTokens, true);
  Inputs in;
  in.inputs_embeds = Tensor::empty({2, 8, 16}, DType::F32);
  float* to = in.inputs_embeds.data<float>();
  for (int64_t b = 0; b < 2; ++b)
    for (int64_t t = 0; t < 8; ++t, to += 16) {
      const Tensor from = t < 3 ? with.prompt_embeds.rows(t, t + 1) : table.rows(kTokens[b][t - 3], kTokens[b][t - 3] + 1);
      std::memcpy(to, from.raw(), 64);
    }
  const Tensor whole = model->forward(ctx, in).logits.view({16, 50});
  CHECK(test::relative_error(got.rows(0, 5), whole.rows(3, 8)) < 1e-4);
  CHECK(test::relative_error(got.rows(5, 10), whole.rows(11, 16)) < 1e-4);
}

TEST_CASE("gradients reach a prefix from all sequences: finite differences") {
  const std::vector<int64_t> start{0, 2, 5};
  test::check_gradients(
      [&](Context& c, const std::vector<Tensor>& in) {
        const nn::Prefix prefix(in[0], start, 2, 3);
        return ops::mul(c, prefix.before(c, 1, true, in[1]), prefix.before(c, 0, false, in[1]));
      },
      {test::normal({2, 12}, 1), test::normal({5, 3}, 2)});
  Context ctx(1);
  const nn::Prefix prefix(test::normal({2, 12}, 1), start, 2, 3);
  CHECK(prefix.k_start == std::vector<int64_t>{0, 4, 9});
  CHECK(prefix.key_bias({1, 2, 3, 4, 5}) == std::vector<float>{0, 0, 1, 2, 0, 0, 3, 4, 5});
}

TEST_CASE("prefixes and prompts that do not fit are refused") {
  Context ctx(1);
  const auto llama = make(ctx, "llama", "LlamaForCausalLM", false), latent = make(ctx, "deepseek_v2", "DeepseekV2ForCausalLM", false);
  Inputs in;
  in.input_ids = ids();
  in.prefix_key_values = test::normal({3, 31}, 1);
  test::expect_error(ErrorCode::Shape, {"prefix", "2 * 8"}, [&] { llama->forward(ctx, in); });
  test::expect_error(ErrorCode::Type, {"latent"}, [&] { latent->forward(ctx, in); });
  in.prefix_key_values = test::normal({12, 32}, 1);
  test::expect_error(ErrorCode::Limit, {"max_position_embeddings"}, [&] { llama->forward(ctx, in); });
  in.prefix_key_values = test::normal({16, 32}, 1);
  test::expect_error(ErrorCode::Limit, {"no room"}, [&] { llama->start(ctx, in); });
  in.prefix_key_values = {};
  in.prompt_embeds = test::normal({3, 15}, 1);
  test::expect_error(ErrorCode::Shape, {"prompt_embeds"}, [&] { llama->start(ctx, in); });
}
