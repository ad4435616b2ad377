// Golden cases on a device: outputs, losses, gradients and generated ids as Transformers has them, with the bounds that hold on the CPU. The
// first tests to run on a GPU: they need nothing of the emulated library.
#include "models/golden.h"

#include "device_test.h"
#include "tasks/formula_session.h"
#include "tenon/train/tape.h"

using namespace tenon;
using namespace tenon::test;
using device_test::kDevice;

namespace {

std::vector<std::string> with_generations() {
  std::vector<std::string> names;
  for (const char* name : kGoldenCases) {
    const std::string folder = golden_folder(name);
    if (!folder.empty() && Json::parse_file(folder + "/meta.json").has("generate")) names.push_back(name);
  }
  return names;
}

void check_outputs(const GoldenCase& c, const models::LoadOptions& options, double bound) {
  Context ctx(kDevice);
  const auto model = models::load(ctx, c.folder, options);
  CHECK(model->device() == kDevice);
  const auto got = flatten(model->forward(ctx, c.inputs));
  for (const auto& [name, want] : c.outputs) {
    CAPTURE(name);
    REQUIRE(got.count(name) == 1);
    CHECK(got.at(name).device() == kDevice);
    CHECK(relative_error(got.at(name), want, c.inputs.attention_mask) < bound);
  }
  CHECK(c.outputs.size() > 0);
}

}  // namespace

TEST_CASE("golden on a device: outputs") {
  for (const char* name : kGoldenCases) {
    INFO(std::string(name));
    const GoldenCase c = open_case(name);
    if (c.folder.empty()) continue;
    check_outputs(c, {}, 1e-4);
    check_outputs(c, {.pack = false}, 1e-4);
  }
}

TEST_CASE("golden on a device: bf16") {
  // Twice the largest error of PyTorch's bf16 on each case, as on the CPU.
  const std::map<std::string, double> bounds = {{"bert", 0.0252},    {"bert-mlm", 0.0196}, {"distilbert", 0.0454}, {"roberta", 0.0254},
                                                {"vit", 0.0182}, {"vit-pooler", 0.0236}, {"clip", 0.1866}};
  for (const auto& [name, bound] : bounds) {
    INFO(name);
    const GoldenCase c = open_case(name);
    if (!c.folder.empty()) check_outputs(c, {.precision = models::Precision::BFloat16}, bound);
  }
}

TEST_CASE("golden on a device: quantised checkpoints and weights that are quantised when they are packed") {
  for (const char* name : {"llama-awq", "llama-gptq", "llama-fp8"}) {
    INFO(std::string(name));
    const GoldenCase c = open_case(name);
    if (!c.folder.empty()) check_outputs(c, {.exact_products = true}, 1e-3);
  }
  // A tiny model suffers from few bits; it must not suffer more than on the CPU.
  for (const auto precision : {models::Precision::Int8, models::Precision::Int4, models::Precision::Fp8}) {
    INFO("precision ", static_cast<int>(precision));
    const GoldenCase c = open_case("llama");
    if (c.folder.empty()) continue;
    Context here, there(kDevice);
    const auto logits = [&](Context& ctx) { return models::load(ctx, c.folder, {.precision = precision})->forward(ctx, c.inputs).logits; };
    const Tensor& want = c.outputs.at("logits");
    CHECK(relative_error(logits(there), want, c.inputs.attention_mask) < 1.5 * relative_error(logits(here), want, c.inputs.attention_mask) + 0.02);
  }
}

TEST_CASE("golden on a device: attentions equal those of the CPU") {
  for (const char* name : {"bert", "vit", "llama", "mistral-window", "deepseek-v3", "t5"}) {
    INFO(std::string(name));
    GoldenCase c = open_case(name);
    if (c.folder.empty()) continue;
    c.inputs.output_attentions = true;
    Context here, there(kDevice);
    const auto want = flatten(models::load(here, c.folder)->forward(here, c.inputs));
    for (const bool pack : {true, false}) {
      const auto got = flatten(models::load(there, c.folder, {.pack = pack})->forward(there, c.inputs));
      CHECK(got.size() == want.size());
      for (const auto& [key, value] : want) {
        CAPTURE(key);
        REQUIRE(got.count(key) == 1);
        CHECK(relative_error(got.at(key), value) < 1e-4);
      }
    }
  }
}

TEST_CASE("golden on a device: losses and every gradient") {
  for (const char* name : kGoldenCases) {
    INFO(std::string(name));
    GoldenCase c = open_case(name);
    if (c.folder.empty() || c.grads.empty()) continue;
    Context ctx(kDevice);
    const auto model = models::load(ctx, c.folder, {.pack = false});
    train::Tape tape;
    const auto parameters = model->parameters();
    for (const auto& [n, p] : parameters) tape.watch(p);
    ctx.set_recorder(&tape);
    const models::Outputs out = model->forward(ctx, c.with_labels);
    ctx.set_recorder(nullptr);
    CHECK(out.loss.device() == kDevice);
    CHECK(out.loss.item() == doctest::Approx(c.loss).epsilon(1e-5));
    tape.backward(ctx, out.loss);
    for (const auto& [n, p] : parameters) {
      CAPTURE(n);
      REQUIRE(c.grads.count(n) == 1);
      const Tensor g = tape.grad(p).to(Device{}), want = c.grads.at(n);
      double largest = 0;
      for (const float v : want.values<float>()) largest = std::max(largest, std::abs(static_cast<double>(v)));
      if (largest < 1e-7) {  // nothing depends on it: rounding noise
        if (g.defined())
          for (const float v : g.values<float>()) CHECK(std::abs(v) < 1e-5f);
        continue;
      }
      REQUIRE(g.defined());
      CHECK(relative_error(g, want) < 1e-3);
    }
  }
}

TEST_CASE("golden on a device: every recorded generation, id for id") {
  for (const std::string& name : with_generations()) {
    INFO(name);
    const std::string folder = golden_folder(name);
    Context ctx(kDevice);
    const auto model = models::load(ctx, folder);
    const auto given = read_all(folder + "/inputs.safetensors");
    models::Inputs inputs;
    inputs.input_ids = given.at("input_ids"), inputs.attention_mask = given.at("attention_mask");
    const Json meta = Json::parse_file(folder + "/meta.json");
    for (const Json& g : meta.at("generate").as_array()) {
      const std::string arguments = g.at("arguments").dump();
      CAPTURE(arguments);
      const GenerationConfig config = GenerationConfig::from_pretrained(folder).update(g.at("arguments"));
      CHECK(rows_of(generate(ctx, *model, inputs, config).sequences) == rows_of(g.at("sequences")));
    }
  }
}
