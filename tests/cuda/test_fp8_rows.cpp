// FP8 weights of models that multiply rounded rows on a device: against the CPU's simulation, in every place where weights are packed.
#include <cmath>

#include "device_test.h"
#include "models/golden.h"
#include "ops/agree.h"
#include "tenon/models/adapters.h"
#include "tenon/models/registry.h"
#include "tenon/nn/linear.h"

using namespace tenon;
using namespace tenon::device_test;

namespace {

const char* const kSizes = R"("vocab_size": 96, "hidden_size": 160, "num_hidden_layers": 2, "num_attention_heads": 4, "num_key_value_heads": 2,
    "max_position_embeddings": 64, "initializer_range": 0.05, "tie_word_embeddings": false)";
const char* const kLlama = R"("model_type": "llama", "architectures": ["LlamaForCausalLM"], "intermediate_size": 288)";
const char* const kMixtral = R"("model_type": "mixtral", "architectures": ["MixtralForCausalLM"], "intermediate_size": 160, "num_local_experts": 4,
    "num_experts_per_tok": 2)";

std::unique_ptr<models::Model> tiny(Context& ctx, const std::string& family, bool fp8_rows) {
  return models::from_config(ctx, Json::parse("{" + family + ", " + kSizes + "}"),
                             {.precision = models::Precision::Fp8, .fp8_rows = fp8_rows, .pack = true, .seed = 5});
}

Tensor logits(Context& ctx, const models::Model& model) {
  models::Inputs in;
  std::vector<int64_t> ids;
  for (int64_t i = 0; i < 24; ++i) ids.push_back((7 * i + 3) % 96);
  in.input_ids = Tensor::from(ids, {2, 12});
  return model.forward(ctx, in).logits.to(Device{}).to(DType::F32);
}

/// The largest difference over the largest element.
double distance(const Tensor& a, const Tensor& b) {
  double most = 0, largest = 0;
  for (int64_t i = 0; i < a.numel(); ++i) {
    most = std::max<double>(most, std::abs(a.values<float>()[static_cast<size_t>(i)] - b.values<float>()[static_cast<size_t>(i)]));
    largest = std::max<double>(largest, std::abs(b.values<float>()[static_cast<size_t>(i)]));
  }
  return most / largest;
}

/// Packs dense layers in FP8 beside activations in float32, which the device's precision Fp8 has not; on the CPU the flag is set by hand.
struct PackInFp8 final : nn::Visitor {
  explicit PackInFp8(Context& c) : ctx(c) {}
  void parameter(const std::string&, Tensor&, const Shape&, const nn::ParameterInfo&) override {}
  void linear(const std::string&, nn::Linear& l) override {
    if (l.precise() || !l.tied_weight.empty()) return;
    l.pack(ctx, {WeightFormat::Fp8, true});
    set(l.packed);
  }
  void fused(std::span<const std::string>, std::span<nn::Linear* const> layers, nn::FusedLinear& f) override {
    f.pack(ctx, layers, {WeightFormat::Fp8, true});
    set(f.packed);
  }
  void set(quant::PackedWeight& w) {
    CHECK(w.fp8_rows == !ctx.device().is_cpu());
    w.fp8_rows = true, ++rounded;
  }
  Context& ctx;
  int rounded = 0;
};

}  // namespace

TEST_CASE("device: a model's FP8 weights meet rows that are rounded as the CPU's simulation rounds them") {
  Context simulation(1, agree::ref()), there(kDevice);
  const auto made = [](Context& ctx) {
    const auto model = models::from_config(ctx, Json::parse("{" + std::string(kLlama) + ", " + kSizes + "}"), {.pack = true, .seed = 5});
    PackInFp8 packs(ctx);
    model->visit(packs);
    CHECK(packs.rounded == 2 * 4);  // q, k and v; o; gate and up; down
    return logits(ctx, *model);
  };
  const Tensor exact = logits(simulation, *tiny(simulation, kLlama, false)), want = made(simulation), got = made(there);
  INFO("rounded rows: ", distance(got, exact), " from exact products, ", distance(got, want), " from the simulation");
  CHECK(distance(got, exact) > 5e-3);
  CHECK(distance(got, want) < 2e-3);  // an element between two codes may fall to either
}

TEST_CASE("device: FP8 rows are rounded if that is asked for, and never on the CPU") {
  Context here(1), there(kDevice);
  const Tensor exact = logits(here, *tiny(here, kLlama, false));
  CHECK(distance(logits(here, *tiny(here, kLlama, true)), exact) == 0);
  const double apart = distance(logits(there, *tiny(there, kLlama, false)), exact);
  const double rounded = distance(logits(there, *tiny(there, kLlama, true)), exact);
  INFO("from the CPU's logits: ", apart, " exact, ", rounded, " with rounded rows");
  CHECK(apart < 0.02);
  CHECK(rounded > 2 * apart);
  CHECK(rounded < 0.3);
}

TEST_CASE("device: rounded rows follow a model that moves, is copied or packed again, and a mixture's experts") {
  for (const char* family : {kLlama, kMixtral}) {
    CAPTURE(std::string(family));
    Context here(1), there(kDevice);
    auto model = tiny(here, family, true);
    const Tensor exact = logits(here, *model);
    CHECK(distance(logits(there, *tiny(there, family, false)), exact) < 0.02);
    model->to(there);
    const Tensor rounded = logits(there, *model);
    CHECK(distance(rounded, exact) > 5e-3);
    CHECK(distance(rounded, exact) < 0.3);
    const auto copied = models::copy(there, *model, {.precision = models::Precision::Fp8});
    CHECK(distance(logits(there, *copied), rounded) == 0);
    model->set_fp8_rows(false);
    model->pack(there, models::Precision::Fp8);
    CHECK(distance(logits(there, *model), exact) < 0.02);
    model->set_fp8_rows(true);
    model->pack(there, models::Precision::Fp8);
    CHECK(distance(logits(there, *model), rounded) == 0);
    model->to(here);
    CHECK(distance(logits(here, *model), exact) == 0);
  }
}

TEST_CASE("device: weights that adapters were merged into meet rounded rows, too") {
  Context there(kDevice);
  const auto model = tiny(there, kLlama, true);
  const Tensor before = logits(there, *model);
  models::Adapters adapters(*model);
  adapters.add("mine", Json::parse(R"({"peft_type": "LORA", "r": 4, "lora_alpha": 8, "target_modules": ["q_proj", "down_proj"]})"), 3);
  adapters.merge(there, {"mine"});  // B is zero
  CHECK(distance(logits(there, *model), before) == 0);
}

TEST_CASE("device: rounded rows of a checkpoint in FP8") {
  const std::string folder = test::golden_folder("llama-fp8");
  if (folder.empty()) return;
  Context here(1), there(kDevice);
  const auto open = [&](Context& ctx, bool fp8_rows) { return models::load(ctx, folder, {.fp8_rows = fp8_rows}); };
  auto exact = open(there, false), rounded = open(there, true);
  const Tensor a = logits(there, *exact), b = logits(there, *rounded);
  CHECK(distance(a, logits(here, *open(here, true))) < 1e-4);
  CHECK(distance(b, a) > 1e-3);
  CHECK(distance(b, a) < 0.3);
  CHECK_THROWS_AS(models::load(there, folder, {.exact_products = true, .fp8_rows = true}), Error);
}
