// Training modes of whole models: dropout, checkpoints that give the same gradients from less memory, and what configurations refuse.
#include "golden.h"
#include "tenon/train/tape.h"

using namespace tenon;
using namespace tenon::test;

namespace {

constexpr const char* kCases[] = {"bert",  "bert-mlm",   "distilbert", "roberta",   "vit",         "clip",        "gpt2",   "llama",
                                  "qwen3", "mixtral-16", "olmoe",      "qwen3-moe", "deepseek-v2", "deepseek-v3", "marian", "m2m100",
                                  "t5"};

models::Inputs open_inputs(const std::string& folder) {
  models::Inputs in;
  assign(in, read_all(folder + "/inputs.safetensors"));
  assign(in, read_all(folder + "/loss_inputs.safetensors"));
  const Json meta = Json::parse_file(folder + "/meta.json");
  if (const Json* call = meta.get("loss_call")) in.return_loss = call->value("return_loss", false);
  if (const Json* call = meta.get("call")) in.output_router_logits = call->value("output_router_logits", false);
  return in;
}

struct Step {
  double loss = 0;
  std::vector<Tensor> grads;
};

Step run_step(const models::Model& model, const models::Inputs& in, const TrainingMode& mode, uint64_t seed = 1) {
  Context ctx(2);
  ctx.set_training(mode);
  ctx.random() = Random(seed);
  train::Tape tape;
  const auto parameters = model.parameters();
  for (const auto& [name, p] : parameters) tape.watch(p);
  ctx.set_recorder(&tape);
  const models::Outputs out = model.forward(ctx, in);
  ctx.set_recorder(nullptr);
  // Without labels, some weighted sum of the outputs.
  const Tensor y = out.loss.defined() ? out.loss : out.logits.defined() ? out.logits : out.last_hidden_state;
  Tensor dy = Tensor::empty(y.shape(), DType::F32);
  Step step;
  for (int64_t i = 0; i < y.numel(); ++i) {
    dy.data<float>()[i] = y.numel() == 1 ? 1 : static_cast<float>(i % 7 - 3);
    step.loss += static_cast<double>(dy.data<float>()[i]) * y.data<float>()[i];
  }
  tape.backward(ctx, y, dy);
  for (const auto& [name, p] : parameters) step.grads.push_back(tape.grad(p));
  return step;
}

/// The largest difference of two sets of gradients over the largest magnitude of all.
double difference(const Step& a, const Step& b) {
  double worst = 0, largest = 0;
  for (size_t i = 0; i < a.grads.size(); ++i) {
    REQUIRE(a.grads[i].defined() == b.grads[i].defined());
    if (!a.grads[i].defined()) continue;
    const auto x = a.grads[i].values<float>(), y = b.grads[i].values<float>();
    for (size_t j = 0; j < x.size(); ++j) {
      worst = std::max(worst, std::abs(static_cast<double>(x[j]) - y[j]));
      largest = std::max(largest, std::abs(static_cast<double>(y[j])));
    }
  }
  return worst / largest;
}

/// |a - b| / |b| over all gradients.
double length(const Step& a, const Step& b) {
  double difference = 0, length = 0;
  for (size_t i = 0; i < a.grads.size(); ++i) {
    if (!a.grads[i].defined()) continue;
    const auto x = a.grads[i].values<float>(), y = b.grads[i].values<float>();
    for (size_t j = 0; j < x.size(); ++j) difference += (x[j] - y[j]) * (x[j] - y[j]), length += y[j] * y[j];
  }
  return std::sqrt(difference / length);
}

Json tiny_bert(double dropout) {
  return Json::parse(R"({"model_type": "bert", "architectures": ["BertForSequenceClassification"], "vocab_size": 50, "hidden_size": 64,
    "num_hidden_layers": 8, "num_attention_heads": 4, "intermediate_size": 256, "max_position_embeddings": 128,
    "hidden_dropout_prob": )" + std::to_string(dropout) + "}");
}

models::Inputs tiny_inputs(int64_t B, int64_t T) {
  models::Inputs in;
  std::vector<int64_t> ids, labels;
  for (int64_t i = 0; i < B * T; ++i) ids.push_back(i * 7 % 50);
  for (int64_t i = 0; i < B; ++i) labels.push_back(i % 2);
  in.input_ids = Tensor::from(ids, {B, T});
  in.labels = Tensor::from(labels, {B});
  return in;
}

}  // namespace

TEST_CASE("checkpoints give the same loss and gradients, with dropout and without") {
  for (const char* name : kCases) {
    INFO(std::string(name));
    const std::string folder = golden_folder(name);
    if (folder.empty()) continue;
    Context ctx;
    const auto model = models::load(ctx, folder, {.pack = false});
    const models::Inputs in = open_inputs(folder);
    for (const bool dropout : {false, true}) {
      const Step plain = run_step(*model, in, {.dropout = dropout}), kept = run_step(*model, in, {.dropout = dropout, .checkpoint = true});
      CHECK(kept.loss == plain.loss);
      CHECK(difference(kept, plain) < 1e-6);
    }
  }
}

TEST_CASE("float8 and bfloat16 give gradients near those of float32, checkpoints the same ones") {
  for (const char* name : kCases) {
    INFO(std::string(name));
    const std::string folder = golden_folder(name);
    if (folder.empty()) continue;
    Context ctx;
    const auto model = models::load(ctx, folder, {.pack = false});
    const models::Inputs in = open_inputs(folder);
    const Step exact = run_step(*model, in, {}), half = run_step(*model, in, {.matmul = DType::BF16}), eighth = run_step(*model, in, {.matmul = DType::F8E4M3});
    const bool chooses = model->config().value("num_experts", int64_t{0}) + model->config().value("num_local_experts", int64_t{0}) +
                             model->config().value("n_routed_experts", int64_t{0}) > 0;  // a token may then go to another expert
    CHECK(length(half, exact) > 0);
    CHECK(length(half, exact) < (chooses ? 0.15 : 0.05));
    CHECK(length(eighth, exact) > length(half, exact));
    CHECK(length(eighth, exact) < (chooses ? 0.6 : 0.35));
    CHECK(difference(run_step(*model, in, {.matmul = DType::F8E4M3, .checkpoint = true}), eighth) < 1e-6);
  }
}

TEST_CASE("checkpoints need less memory") {
  Context make;
  const auto model = models::from_config(make, tiny_bert(0.1), {.pack = false});
  const models::Inputs in = tiny_inputs(8, 128);
  size_t peak[2];
  for (const bool checkpoint : {false, true}) {
    Context ctx(1);
    ctx.set_training({.checkpoint = checkpoint});
    train::Tape tape;
    for (const auto& [name, p] : model->parameters()) tape.watch(p);
    ctx.set_recorder(&tape);
    const Tensor loss = model->forward(ctx, in).loss;
    tape.backward(ctx, loss);
    peak[checkpoint] = ctx.pool().peak_bytes();
  }
  CHECK(peak[1] < peak[0] / 2);
}

TEST_CASE("dropout depends on its seed alone, and is off unless asked for") {
  for (const char* name : {"bert", "distilbert", "roberta", "gpt2", "marian", "t5"}) {
    INFO(std::string(name));
    const std::string folder = golden_folder(name);
    if (folder.empty()) continue;
    Context ctx;
    const auto model = models::load(ctx, folder, {.pack = false});
    const models::Inputs in = open_inputs(folder);
    const Step plain = run_step(*model, in, {}), first = run_step(*model, in, {.dropout = true});
    const Step again = run_step(*model, in, {.dropout = true});
    CHECK(first.loss != plain.loss);
    CHECK(first.loss == again.loss);
    CHECK(difference(first, again) == 0);
    CHECK(run_step(*model, in, {.dropout = true}, 2).loss != first.loss);
  }
}

TEST_CASE("dropout of a packed model that records nothing") {
  Context ctx;
  const auto model = models::from_config(ctx, tiny_bert(0.5), {.pack = true});
  const models::Inputs in = tiny_inputs(2, 9);
  const double plain = model->forward(ctx, in).loss.item();
  ctx.set_training({.dropout = true});
  CHECK(model->forward(ctx, in).loss.item() != plain);
  ctx.set_training({});
  CHECK(model->forward(ctx, in).loss.item() == plain);
}

TEST_CASE("a dropout that is no probability is refused") {
  Context ctx;
  for (const double p : {-0.1, 1.5}) {
    try {
      models::from_config(ctx, tiny_bert(p));
      FAIL("expected an error");
    } catch (const Error& e) {
      CHECK(e.code() == ErrorCode::Format);
      CHECK(std::string(e.what()).find("hidden_dropout_prob") != std::string::npos);
    }
  }
}
