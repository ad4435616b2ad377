// Parity with PyTorch over training runs: 12 steps of AdamW with clipped gradients on each golden case that has one.
#include "golden.h"
#include "tenon/train/optim.h"

using namespace tenon;
using namespace tenon::test;

TEST_CASE("the losses of training runs equal those of PyTorch") {
  for (const char* name : {"bert", "distilbert", "vit", "clip", "llama", "mixtral-16", "deepseek-v2-lite"}) {
    CAPTURE(std::string(name));
    const std::string folder = golden_folder(name);
    if (folder.empty()) {
      MESSAGE("skipped: no golden case ", name);
      continue;
    }
    const Json meta = Json::parse_file(folder + "/meta.json");
    const Json* run = meta.get("train");
    REQUIRE(run != nullptr);
    models::Inputs inputs;
    assign(inputs, read_all(folder + "/inputs.safetensors"));
    assign(inputs, read_all(folder + "/loss_inputs.safetensors"));
    if (const Json* call = meta.get("loss_call")) inputs.return_loss = call->value("return_loss", false);
    if (const Json* call = meta.get("call")) inputs.output_router_logits = call->value("output_router_logits", false);

    Context ctx;
    const auto model = models::load(ctx, folder, {.pack = false});
    model->unpack();
    std::vector<Tensor> parameters;
    for (const auto& [n, p] : model->parameters()) parameters.push_back(p);
    train::Optimizer optimizer(train::AdamW{.lr = run->value("lr", 0.0), .weight_decay = run->value("weight_decay", 0.0)}, parameters);
    for (const Json& expected : run->at("losses").as_array()) {
      train::Tape tape;
      optimizer.watch(tape);
      ctx.set_recorder(&tape);
      const Tensor loss = model->forward(ctx, inputs).loss;
      ctx.set_recorder(nullptr);
      CHECK(loss.item() == doctest::Approx(expected.as_number()).epsilon(1e-3));
      tape.backward(ctx, loss);
      optimizer.step(ctx, tape, 1.0);
    }
  }
}
