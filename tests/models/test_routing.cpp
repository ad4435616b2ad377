// Settings of a decoder's routers: what they change in its passes, its losses and gradients, kept whole or as checkpoints, and errors.
#include "ops/op_test.h"
#include "tenon/models/registry.h"

namespace tenon {
namespace {

constexpr const char* kMixtral = R"({"architectures": ["MixtralForCausalLM"], "model_type": "mixtral", "vocab_size": 19, "hidden_size": 8,
  "intermediate_size": 6, "num_hidden_layers": 2, "num_attention_heads": 2, "num_key_value_heads": 2, "num_local_experts": 4,
  "num_experts_per_tok": 2, "max_position_embeddings": 16, "initializer_range": 0.4})";

std::unique_ptr<models::Model> mixtral(Context& ctx) {
  auto model = models::from_config(ctx, Json::parse(kMixtral), {.class_name = "MixtralForCausalLM", .pack = false, .seed = 5});
  model->unpack();
  return model;
}

models::Inputs some_inputs() {
  models::Inputs in;
  in.input_ids = Tensor::from(std::vector<int64_t>{3, 4, 5, 6, 7, 8, 9, 10, 1, 2}, {2, 5});
  in.attention_mask = Tensor::from(std::vector<int64_t>{1, 1, 1, 1, 1, 1, 1, 1, 0, 0}, {2, 5});
  in.labels = Tensor::from(std::vector<int64_t>{3, 4, 5, 6, 7, 8, 9, 10, -100, -100}, {2, 5});
  in.router_targets = Tensor::from(std::vector<int64_t>{0, 0, 0, -1, 0, 3, 3, 3, 3, 3}, {2, 5});
  return in;
}

models::RoutingSettings all_losses() {
  models::RoutingSettings s;
  s.balance = 0.5f, s.sequence_balance = 0.25f, s.device = 0.125f, s.communication = 0.3f, s.z = 0.01f, s.load_entropy = 0.2f,
  s.token_entropy = 0.1f, s.router_target = 0.7f;
  s.losses.devices = 2, s.losses.devices_per_token = 1;
  return s;
}

Tensor weight_of(const models::Model& model, const std::string& ending) {
  for (const auto& [name, t] : model.parameters())
    if (name.ends_with(ending)) return t;
  FAIL("no such parameter");
  return {};
}

TEST_CASE("while training the loss holds the routers' losses, at other times it does not") {
  Context ctx(2);
  const auto model = mixtral(ctx);
  const models::Inputs in = some_inputs();
  ctx.set_training({.dropout = true});
  const float plain = model->forward(ctx, in).loss.item();
  models::RoutingSettings s = all_losses();
  model->set_routing(s);
  models::Outputs out = model->forward(ctx, in);
  double sum = plain;
  std::vector<float> weights;
  s.visit_weights([&](const char*, float w) { weights.push_back(w); });
  size_t i = 0;
  out.router_losses.visit([&](const char*, Tensor& t) { sum += weights[i++] * t.item(); });
  CHECK(out.loss.item() == doctest::Approx(sum).epsilon(1e-5));
  int64_t places = 0;
  for (const int64_t n : out.expert_loads.values<int64_t>()) places += n;
  CHECK(places == 2 * 2 * 8);
  ctx.set_training({});
  CHECK(model->forward(ctx, in).loss.item() == plain);
}

TEST_CASE("gradients of the whole loss reach the router as finite differences say, also through checkpoints of layers") {
  Context ctx(2);
  const auto model = mixtral(ctx);
  model->set_routing(all_losses());
  const models::Inputs in = some_inputs();
  Tensor gate = weight_of(*model, "layers.1.block_sparse_moe.gate.weight");
  std::vector<Tensor> grads;
  for (const bool checkpoint : {false, true}) {
    train::Tape tape;
    tape.watch(gate);
    ctx.set_training({.dropout = true, .checkpoint = checkpoint});
    ctx.set_recorder(&tape);
    const Tensor loss = model->forward(ctx, in).loss;
    ctx.set_recorder(nullptr);
    tape.backward(ctx, loss);
    grads.push_back(tape.grad(gate));
  }
  CHECK(test::relative_error(grads[1], grads[0]) < 1e-5);
  ctx.set_training({.dropout = true});
  Tensor want = Tensor::empty(gate.shape(), DType::F32);
  for (int64_t i = 0; i < gate.numel(); ++i) {
    const float before = gate.data<float>()[i];
    const auto at = [&](float offset) {
      gate.data<float>()[i] = before + offset;
      return static_cast<double>(model->forward(ctx, in).loss.item());
    };
    want.data<float>()[i] = static_cast<float>((8 * (at(5e-3f) - at(-5e-3f)) - (at(1e-2f) - at(-1e-2f))) / (12 * 5e-3));
    gate.data<float>()[i] = before;
  }
  CHECK(test::relative_error(grads[0], want) < 1e-2);
}

TEST_CASE("any number of experts may be active; what does not fit is refused and changes nothing") {
  Context ctx(2);
  const auto model = mixtral(ctx);
  models::Inputs in = some_inputs();
  in.labels = in.router_targets = {};
  const Tensor two = model->forward(ctx, in).logits;
  models::RoutingSettings s;
  s.active_experts = 4;
  model->set_routing(s);
  const Tensor four = model->forward(ctx, in).logits;
  CHECK(test::relative_error(four, two) > 1e-4);
  s.newcomers = 2, s.newcomer_weight = 0;
  model->set_routing(s);
  CHECK(test::relative_error(model->forward(ctx, in).logits, two) < 1e-5);
  s.active_experts = 5;
  test::expect_error(ErrorCode::Limit, {"[router]", "1 to 4 experts, got 5"}, [&] { model->set_routing(s); });
  CHECK(model->routing().active_experts == 4);
  s.active_experts = 4, s.z = -1;
  test::expect_error(ErrorCode::Limit, {"[routing]", "z: expected"}, [&] { model->set_routing(s); });
  const auto dense =
      models::from_config(ctx, Json::parse(R"({"model_type": "llama", "vocab_size": 19, "hidden_size": 8, "intermediate_size": 6,
    "num_hidden_layers": 1, "num_attention_heads": 2, "max_position_embeddings": 16})"),
                          {.class_name = "LlamaForCausalLM"});
  test::expect_error(ErrorCode::Type, {"[LlamaForCausalLM]", "experts"}, [&] { dense->set_routing({}); });
  test::expect_error(ErrorCode::Type, {"[LlamaForCausalLM]", "router_targets"}, [&] { dense->forward(ctx, some_inputs()); });
}

}  // namespace
}  // namespace tenon
