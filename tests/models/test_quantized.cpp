// Quantised checkpoints end to end: the golden cases, and every format on dense, mixed and latent decoders against dequantised twins.
#include <atomic>
#include <cstring>
#include <thread>

#include "quantized.h"
#include "tenon/models/adapters.h"
#include "tenon/train/tape.h"

using namespace tenon;
using namespace tenon::test;
using models::Precision;

namespace {

bool same_bits(const Tensor& a, const Tensor& b) {
  return a.dtype() == b.dtype() && a.shape() == b.shape() && std::memcmp(std::as_const(a).raw(), std::as_const(b).raw(), a.nbytes()) == 0;
}

Tensor logits(const models::Model& model, int threads = 2) {
  Context ctx(threads);
  return model.forward(ctx, some_tokens()).logits;
}

/// The logits of tokens fed one after another through a cache: latent attention is absorbed there.
Tensor stepwise(const models::Model& model) {
  Context ctx(1);
  models::Inputs in;
  in.input_ids = Tensor::zeros({1, 1}, DType::I64);
  const auto session = model.start(ctx, in);
  Tensor last;
  for (const int64_t id : {5, 9, 23, 41, 7}) {
    const std::vector<std::vector<int64_t>> next(1, {id});
    last = session->feed(ctx, next).clone();
  }
  return last;
}

}  // namespace

TEST_CASE("golden AWQ, GPTQ and FP8 in exact mode, packed and plain; int8 activations stay close") {
  for (const char* name : {"llama-awq", "llama-gptq", "llama-fp8"}) {
    CAPTURE(std::string(name));
    const std::string folder = golden_folder(name);
    if (folder.empty()) {
      MESSAGE("skipped: no golden case ", std::string(name));
      continue;
    }
    models::Inputs in;
    assign(in, read_all(folder + "/inputs.safetensors"));
    const Tensor want = read_all(folder + "/outputs.safetensors").at("logits");
    Context ctx(2);
    const auto error = [&](models::LoadOptions options) {
      models::LoadReport report;
      const auto model = models::load(ctx, folder, options, &report);
      CHECK(report.unexpected.empty());
      CHECK(model->config().at("quantization_config").is_object());
      CHECK(model->num_parameters() == 2 * 160 * 256 + 2 * (2 * 256 * 256 + 2 * 128 * 256 + 3 * 384 * 256) + 5 * 256);
      return relative_error(model->forward(ctx, in).logits, want);
    };
    const double exact = error({.exact_products = true}), plain = error({.pack = false}),
                 bf16 = error({.precision = Precision::BFloat16, .exact_products = true});
    const double int8 = error({}), both = error({.precision = Precision::Int8});
    MESSAGE(std::string(name), ": largest relative error exact ", exact, ", plain ", plain, ", bf16 ", bf16, ", int8 activations ", int8,
            ", int8 head ", both);
    CHECK(exact < 1e-4);
    CHECK(plain < 1e-4);
    CHECK(bf16 < 0.02);
    CHECK(int8 < 0.05);  // tests/python/test_quantized.py compares it with a plain implementation
    CHECK(both < 0.05);
  }
}

TEST_CASE("every format on every kind of decoder equals its dequantised twin, and is saved again to the bit") {
  Context ctx(2);
  for (const char* type : {"llama", "mixtral", "deepseek_v3"})
    for (const auto& [name, recipe] : recipes()) {
      CAPTURE(std::string(type));
      CAPTURE(name);
      const TempFolder folder;
      write_both(ctx, type, recipe, folder / "few", folder / "wide");
      const auto twin = models::load(ctx, folder / "wide", {});
      models::LoadReport report;
      const auto exact = models::load(ctx, folder / "few", {.exact_products = true}, &report);
      CHECK(report.unexpected.empty());
      CHECK(exact->num_parameters() == twin->num_parameters());
      const Tensor want = logits(*twin);
      CHECK(relative_error(logits(*exact), want) < 2e-5);
      CHECK(relative_error(stepwise(*exact), stepwise(*twin)) < 2e-5);
      CHECK(relative_error(logits(*models::load(ctx, folder / "few", {.pack = false})), want) < 2e-5);
      // A token near the border between experts may go to another one: only the dense model is close everywhere.
      const double bound = std::string_view(type) == "llama" ? 0.1 : 1;
      CHECK(relative_error(logits(*models::load(ctx, folder / "few", {})), want) < bound);
      const auto half = models::load(ctx, folder / "few", {.precision = Precision::BFloat16, .exact_products = true});
      CHECK(relative_error(logits(*half), want) < bound);

      models::save(*exact, folder / "again");
      const io::Checkpoint first = io::Checkpoint::open(folder / "few"), second = io::Checkpoint::open(folder / "again");
      CHECK(first.size() == second.size());
      for (const std::string& t : first.names()) CHECK(same_bits(first.get(t), second.get(t)));
      CHECK(second.config().at("quantization_config").dump() == first.config().at("quantization_config").dump());
      CHECK(same_bits(logits(*models::load(ctx, folder / "again", {.exact_products = true})), logits(*exact)));
    }
}

TEST_CASE("first use by several threads at once") {
  Context ctx(1);
  for (const char* type : {"mixtral", "deepseek_v3"}) {
    const TempFolder folder;
    write_both(ctx, type, {}, folder / "few", folder / "wide");
    const auto alone = models::load(ctx, folder / "few", {});
    const Tensor want = logits(*alone, 1), want_step = stepwise(*alone);
    const auto shared = models::load(ctx, folder / "few", {});
    std::atomic<int> wrong = 0;
    std::vector<std::thread> threads;
    for (int i = 0; i < 4; ++i)
      threads.emplace_back([&, i] {
        if (i % 2 ? !same_bits(logits(*shared, 1), want) : !same_bits(stepwise(*shared), want_step)) ++wrong;
      });
    for (std::thread& t : threads) t.join();
    CHECK(wrong == 0);
  }
}

TEST_CASE("adapters train beside a quantised base as beside its twin; the base itself has no gradient") {
  Context ctx(2);
  for (const char* type : {"llama", "mixtral", "deepseek_v3"})
    for (const char* method : {"awq", "fp8"}) {
      CAPTURE(std::string(type));
      CAPTURE(std::string(method));
      const TempFolder folder;
      Recipe recipe;
      for (const auto& [name, r] : recipes())
        if (name == method) recipe = r;
      write_both(ctx, type, recipe, folder / "few", folder / "wide");
      const Json lora =
          Json::parse(R"({"peft_type": "LORA", "r": 4, "lora_alpha": 8, "target_modules": "all-linear", "init_lora_weights": false})");
      struct Run {
        std::unique_ptr<models::Model> model;
        std::unique_ptr<models::Adapters> adapters;
        train::Tape tape;
        Tensor loss;
      };
      const auto run = [&](const std::string& path) {
        auto r = std::make_unique<Run>();
        r->model = models::load(ctx, path, {.pack = false});
        r->adapters = std::make_unique<models::Adapters>(*r->model);
        r->adapters->add("one", lora, 3);
        r->adapters->activate(ctx, {"one"});
        for (const auto& p : r->adapters->parameters("one")) r->tape.watch(p.value);
        models::Inputs in = some_tokens();
        in.labels = in.input_ids;
        ctx.set_recorder(&r->tape);
        r->loss = r->model->forward(ctx, in).loss;
        ctx.set_recorder(nullptr);
        r->tape.backward(ctx, r->loss);
        return r;
      };
      const auto few = run(folder / "few"), wide = run(folder / "wide");
      CHECK(few->loss.item() == doctest::Approx(wide->loss.item()).epsilon(1e-5));
      const auto mine = few->adapters->parameters("one"), theirs = wide->adapters->parameters("one");
      REQUIRE(mine.size() == theirs.size());
      size_t compared = 0;
      for (size_t i = 0; i < mine.size(); ++i) {
        CAPTURE(mine[i].module);
        const Tensor a = few->tape.grad(mine[i].value), b = wide->tape.grad(theirs[i].value);
        CHECK(a.defined() == b.defined());
        if (!a.defined() || !b.defined()) continue;
        CHECK(relative_error(a, b) < 1e-3);
        ++compared;
      }
      CHECK(compared > 10);
      CHECK(contains(error_of([&] { few->adapters->merge(ctx, {"one"}); }), "cannot be merged into a quantised weight"));
      // The adapter acts in inference, too.
      few->model->pack(ctx, Precision::Float32), wide->model->pack(ctx, Precision::Float32);
      few->adapters->activate(ctx, {"one"});
      CHECK(relative_error(logits(*few->model), logits(*wide->model)) < 0.1);
      const Json whole =
          Json::parse(R"({"peft_type": "LORA", "r": 2, "target_modules": ["o_proj"], "modules_to_save": ["down_proj", "w2"]})");
      CHECK(contains(error_of([&] { few->adapters->add("two", whole); }), "a quantised weight cannot be trained"));
    }
  const TempFolder folder;
  Recipe fp8 = recipes().back().second;
  write_both(ctx, "llama", fp8, folder / "few", folder / "wide");
  const auto model = models::load(ctx, folder / "few", {.pack = false});
  train::Tape tape;
  for (const auto& [name, t] : model->parameters())
    if (name == "model.layers.1.mlp.up_proj.weight_scale_inv") tape.watch(t);
  ctx.set_recorder(&tape);
  const std::string text = error_of([&] { model->forward(ctx, some_tokens()); });
  ctx.set_recorder(nullptr);
  CHECK(contains(text, "Type: [quantized weights] model.layers.1.mlp.up_proj.weight_scale_inv: a quantised weight has no gradient"));
}

TEST_CASE("a plain checkpoint in 4 bits and in FP8, rounded when it is opened") {
  Context ctx(2);
  const TempFolder folder;
  for (const char* type : {"llama", "mixtral", "deepseek_v3"}) {
    const auto fresh = models::from_config(ctx, small_decoder(type), {.pack = false, .seed = 2});
    models::save(*fresh, folder / "plain");
    const Tensor want = logits(*fresh);
    const double int4 = relative_error(logits(*models::load(ctx, folder / "plain", {.precision = Precision::Int4})), want);
    const double fp8 = relative_error(logits(*models::load(ctx, folder / "plain", {.precision = Precision::Fp8})), want);
    MESSAGE(std::string(type), ": largest relative error in int4 ", int4, ", fp8 ", fp8);
    CHECK(int4 < 0.8);
    CHECK(fp8 < (std::string_view(type) == "llama" ? 0.3 : 0.8));
    CHECK(fp8 < int4);
  }
}

TEST_CASE("damaged checkpoints name the layer when they are opened; settings may lie beside config.json") {
  Context ctx(1);
  const TempFolder folder;
  Recipe awq;
  write_both(ctx, "llama", awq, folder / "few", folder / "wide");
  const io::Checkpoint good = io::Checkpoint::open(folder / "few");
  const std::string layer = "model.layers.1.mlp.up_proj";
  const auto with = [&](const std::string& suffix, const Tensor& t, Json config = Json()) {
    std::vector<io::NamedTensor> all;
    for (const std::string& name : good.names())
      if (name != layer + suffix)
        all.emplace_back(name, good.get(name));
      else if (t.defined())
        all.emplace_back(name, t);
    io::save_checkpoint(folder / "bad", config.is_null() ? good.config() : config, all);
    return folder / "bad";
  };
  const auto opening = [&](const std::string& path) { return error_of([&] { models::load(ctx, path, {}); }); };
  CHECK(contains(opening(with(".qzeros", {})), "Format: [quantized weights] model.layers.1.mlp.up_proj: qzeros is missing"));
  CHECK(
      contains(opening(with(".scales", Tensor::zeros({1, 96}, DType::F16))), "model.layers.1.mlp.up_proj: scales: expected shape (2, 96)"));
  CHECK(contains(opening(with(".scales", Tensor::zeros({2, 96}, DType::F16))),
                 "model.layers.1.mlp.up_proj.scales: element (0, 0): expected a number other than 0, got 0"));
  for (const auto& [bad, text] : {std::pair{INFINITY, "got inf"}, {-INFINITY, "got -inf"}, {NAN, "nan"}, {-0.0f, "got -0"}}) {
    Tensor scales = good.get(layer + ".scales").clone();
    scales.data<float16>()[96 + 90] = float16::from(bad);
    const std::string path = with(".scales", scales), found = opening(path);
    CHECK(
        contains(found, "Format: [quantized weights] model.layers.1.mlp.up_proj.scales: element (1, 90): expected a number other than 0"));
    CHECK(contains(found, text));
    CHECK(opening(path) == found);  // again
    CHECK(error_of([&] { models::load(ctx, path, {.mapped = true}); }) == found);
  }

  Json bare = good.config();
  bare.set("quantization_config", Json());
  CHECK(contains(opening(with("", {}, bare)), "weights are missing: "));
  CHECK(contains(opening(with("", {}, bare)), ".qweight"));
  Json old = Json::parse(R"({"zero_point": true, "q_group_size": 32, "w_bit": 4, "version": "GEMM"})");
  io::write_file_atomic(with("", {}, bare) + "/quant_config.json", old.dump());
  const auto beside = models::load(ctx, folder / "bad", {});
  CHECK(beside->config().at("quantization_config").at("quant_method").as_string() == "awq");
  CHECK(same_bits(logits(*beside), logits(*models::load(ctx, folder / "few", {}))));
}

TEST_CASE("biases of zeros beside layers that have none are not reported") {
  Context ctx(1);
  const TempFolder folder;
  Recipe gptq;
  for (const auto& [name, r] : recipes())
    if (name == "gptq") gptq = r;
  write_both(ctx, "llama", gptq, folder / "few", folder / "wide");
  const io::Checkpoint good = io::Checkpoint::open(folder / "few");
  std::vector<io::NamedTensor> all;
  for (const std::string& name : good.names()) all.emplace_back(name, good.get(name));
  all.emplace_back("model.layers.0.mlp.up_proj.bias", Tensor::zeros({96}, DType::F16));
  all.emplace_back("model.layers.0.mlp.gate_proj.bias", Tensor::from(std::vector<float>(96, 1.0f), {96}));
  io::save_checkpoint(folder / "biased", good.config(), all);
  models::LoadReport report;
  models::load(ctx, folder / "biased", {}, &report);
  CHECK(report.unexpected == std::vector<std::string>{"model.layers.0.mlp.gate_proj.bias"});
}
