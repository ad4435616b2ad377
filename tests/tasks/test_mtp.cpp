// Multi-token prediction: the block over pieces against one pass, and generation with it against generation without.
#include "../models/golden.h"
#include "expect.h"
#include "tenon/models/mtp.h"
#include "tenon/tasks/engine.h"
#include "tenon/tasks/generation/generate.h"

using namespace tenon;

namespace {

std::string folder() { return tenon::test::golden_folder("deepseek-v3"); }

Json config_with_block() {
  Json config = Json::parse_file(folder() + "/config.json");
  config.set("num_nextn_predict_layers", 1);
  config.set("initializer_range", 0.2);
  return config;
}

std::vector<int64_t> some_ids(int64_t n) {
  std::vector<int64_t> ids;
  for (int64_t i = 0; i < n; ++i) ids.push_back(5 + i * 37 % 150);
  return ids;
}

}  // namespace

TEST_CASE("the block guesses in pieces what it guesses in one pass") {
  if (folder().empty()) return;
  Context ctx;
  const auto model = models::load(ctx, folder());
  const auto block = models::from_config(ctx, config_with_block(), {.class_name = "DeepseekV3MtpModel", .pack = true, .seed = 3});
  const auto& decoder = dynamic_cast<const models::Decoder&>(*model);
  const auto& mtp = dynamic_cast<const models::MtpModel&>(*block);
  const std::vector<int64_t> ids = some_ids(41);
  for (const size_t piece : {size_t{1}, size_t{3}, size_t{40}}) {
    models::DecoderSession whole_main(decoder, 1), main(decoder, 1);
    models::MtpSession whole(mtp, whole_main), drafts(mtp, main);
    for (size_t i = 0; i + 1 < ids.size();) {
      const size_t end = std::min(ids.size() - 1, i + piece);
      main.feed(ctx, std::vector<std::vector<int64_t>>{{ids.begin() + static_cast<int64_t>(i), ids.begin() + static_cast<int64_t>(end)}},
                false);
      const int64_t guess = drafts.draft(ctx, std::span(ids).first(end + 1), static_cast<int64_t>(i));
      if (end + 1 == ids.size()) {
        whole_main.feed(ctx, std::vector<std::vector<int64_t>>{{ids.begin(), ids.end() - 1}}, false);
        CHECK(guess == whole.draft(ctx, ids, 0));
      }
      i = end;
    }
    CHECK_THROWS_AS(drafts.draft(ctx, ids, 3), Error);
  }
}

TEST_CASE("generation with the block gives the text without it, greedy and sampled, in all precisions") {
  if (folder().empty()) return;
  for (const auto precision : {models::Precision::Float32, models::Precision::BFloat16, models::Precision::Int8}) {
    Context ctx;
    const auto model = models::load(ctx, folder(), {.precision = precision});
    const auto block =
        models::from_config(ctx, config_with_block(), {.class_name = "DeepseekV3MtpModel", .precision = precision, .seed = 3});
    models::Inputs in;
    in.input_ids = Tensor::from(some_ids(9), {1, 9});
    for (const bool sample : {false, true}) {
      GenerationConfig config;
      config.max_new_tokens = 24, config.do_sample = sample, config.temperature = 0.7;
      GenerateHooks hooks;
      hooks.seed = 5, hooks.mtp = block.get();
      const Tensor plain = generate(ctx, *model, in, config, hooks).sequences;
      config.use_mtp = true;
      const Tensor drafted = generate(ctx, *model, in, config, hooks).sequences;
      REQUIRE(drafted.shape() == plain.shape());
      if (precision == models::Precision::Float32)
        CHECK(std::equal(plain.values<int64_t>().begin(), plain.values<int64_t>().end(), drafted.values<int64_t>().begin()));
    }
  }
}

TEST_CASE("an engine with the block gives each request the text without it, to the bit, whoever comes and goes") {
  if (folder().empty()) return;
  Context ctx;
  const auto model = models::load(ctx, folder());
  const auto block = models::from_config(ctx, config_with_block(), {.class_name = "DeepseekV3MtpModel", .seed = 3});
  const auto alone = [&](int64_t length, int64_t tokens, bool sample, uint64_t seed) {
    models::Inputs in;
    in.input_ids = Tensor::from(some_ids(length), {1, length});
    GenerationConfig config;
    config.max_new_tokens = tokens, config.do_sample = sample;
    GenerateHooks hooks;
    hooks.seed = seed;
    const Tensor all = generate(ctx, *model, in, config, hooks).sequences;
    return std::vector<int64_t>(all.data<int64_t>() + length, all.data<int64_t>() + all.numel());
  };
  const size_t page = models::DecoderSession(dynamic_cast<const models::Decoder&>(*model), 0).cache().page_bytes();
  for (const bool tight : {false, true}) {  // then requests give way to each other and are computed again
    Engine engine(*model, {.max_cache_bytes = (tight ? 3 : 500) * page, .max_batch = 4, .prefill_chunk = 7, .mtp = block.get()});
    std::map<int64_t, std::vector<int64_t>> expected, got;
    for (int64_t i = 0; i < 6; ++i) {
      EngineRequest request{.prompt = some_ids(3 + 5 * i)};
      request.config.max_new_tokens = 12 + 20 * (i % 3), request.config.do_sample = i % 2 == 1;
      request.hooks.seed = static_cast<uint64_t>(i);
      request.on_finish = [&](const EngineResult& r) {
        CHECK(r.reason == FinishReason::Length);
        got[r.id] = r.tokens;
      };
      const std::vector<int64_t> text = alone(3 + 5 * i, 12 + 20 * (i % 3), i % 2 == 1, static_cast<uint64_t>(i));
      expected[engine.submit(std::move(request))] = text;
      engine.step();
    }
    while (engine.step()) {
    }
    CHECK(got == expected);
    const EngineStats stats = engine.stats();
    CHECK(stats.drafted_tokens > 0);
    CHECK(stats.accepted_tokens <= stats.drafted_tokens);
    CHECK((stats.preempted > 0) == tight);
    CHECK(stats.prefix_hit_tokens == 0);
  }
}

TEST_CASE("a draft that is right saves a step of an engine, and one that is wrong costs none") {
  if (folder().empty()) return;
  Context ctx;
  const auto model = models::load(ctx, folder());
  const auto block = models::from_config(ctx, config_with_block(), {.class_name = "DeepseekV3MtpModel", .seed = 3});
  const auto steps = [&](const models::Model* mtp, int64_t& accepted) {
    Engine engine(*model, {.mtp = mtp});
    EngineRequest request{.prompt = some_ids(5)};
    request.config.max_new_tokens = 60;
    // Only two tokens are allowed, so that many guesses are right.
    request.hooks.prefix_allowed_tokens_fn = [](int64_t, std::span<const int64_t>) { return std::vector<int64_t>{7, 9}; };
    engine.submit(std::move(request));
    while (engine.step()) {
    }
    accepted = engine.stats().accepted_tokens;
    return engine.stats().steps;
  };
  int64_t none = 0, accepted = 0;
  const int64_t plain = steps(nullptr, none), drafted = steps(block.get(), accepted);
  CHECK(none == 0);
  CHECK(drafted == plain - accepted);
}

TEST_CASE("a model without a block, and a block of other sizes, are refused") {
  if (folder().empty()) return;
  Context ctx;
  const auto model = models::load(ctx, folder());
  Json config = config_with_block();
  models::Inputs in;
  in.input_ids = Tensor::from(some_ids(3), {1, 3});
  GenerationConfig options;
  options.use_mtp = true;
  CHECK_THROWS_AS(generate(ctx, *model, in, options), Error);
  config.set("num_nextn_predict_layers", 0);
  CHECK_THROWS_AS(models::from_config(ctx, config, {.class_name = "DeepseekV3MtpModel"}), Error);
  config = config_with_block();
  config.set("vocab_size", 96);
  const auto other = models::from_config(ctx, config, {.class_name = "DeepseekV3MtpModel"});
  GenerateHooks hooks;
  hooks.mtp = other.get();
  CHECK_THROWS_AS(generate(ctx, *model, in, options, hooks), Error);
  hooks.mtp = model.get();
  CHECK_THROWS_AS(generate(ctx, *model, in, options, hooks), Error);
  CHECK_THROWS_AS(Engine(*model, {.mtp = other.get()}), Error);
  CHECK_THROWS_AS(Engine(*model, {.mtp = model.get()}), Error);
}
