// Engine: answers equal to single runs whoever else is there, shared beginnings, full caches, refusals, errors, cancellation.
#include <map>

#include "engine_models.h"
#include "models/golden.h"

using namespace tenon;
using namespace tenon::test;

TEST_CASE("each request gets the answer that it would get alone, whoever joins and leaves") {
  for (const char* more : {"", R"(, "model_type": "mistral", "architectures": ["MistralForCausalLM"], "sliding_window": 20)",
                           R"(, "model_type": "mixtral", "architectures": ["MixtralForCausalLM"], "num_local_experts": 4, "num_experts_per_tok": 2)"}) {
    CAPTURE(std::string(more));
    const auto model = tiny_decoder(more);
    Engine engine(*model, {.max_cache_bytes = pages(*model, 64), .max_batch = 5, .prefill_chunk = 40});
    Ledger ledger;
    std::map<int64_t, Ids> expected;
    std::map<int64_t, Ids> streamed;
    Random random(3);
    for (int64_t n = 0; n < 24;) {
      if (random.uniform() < 0.4f) {
        const Ids prompt = prompt_of_length(1 + random.next() % 90, n);
        GenerationConfig c = new_tokens(1 + random.next() % 30);
        c.eos_token_id = {17};
        if (n % 3 == 1) c.do_sample = true, c.temperature = 1.5;
        if (n % 4 == 2) c.repetition_penalty = 1.3, c.no_repeat_ngram_size = 3;
        EngineRequest r = ledger.request(prompt, c, static_cast<uint64_t>(n));
        auto mine = std::make_shared<int64_t>(0);
        r.hooks.on_tokens = [&streamed, mine](std::span<const int64_t> t) { streamed[*mine].insert(streamed[*mine].end(), t.begin(), t.end()); };
        *mine = engine.submit(std::move(r));
        expected[*mine] = alone(*model, prompt, c, static_cast<uint64_t>(n));
        ++n;
      }
      engine.step();
    }
    while (engine.step()) CHECK(engine.stats().running <= 5);
    REQUIRE(ledger.results.size() == 24);
    for (const auto& entry : ledger.results) {
      const int64_t id = entry.first;
      const EngineResult& result = entry.second;
      CAPTURE(id);
      CHECK(result.tokens == expected[id]);
      CHECK(streamed[id] == expected[id]);
      CHECK(result.reason == (result.tokens.back() == 17 ? FinishReason::Stop : FinishReason::Length));
    }
    const EngineStats s = engine.stats();
    CHECK(s.finished == 24);
    CHECK(s.running + s.waiting == 0);
    CHECK(s.cache_bytes == s.kept_bytes);
  }
}

TEST_CASE("beginnings are computed once, over other requests and over other turns of a talk") {
  const auto model = tiny_decoder();
  for (const bool share : {true, false}) {
    Engine engine(*model, {.max_cache_bytes = pages(*model, 64), .share_prefixes = share, .threads = 1});
    Ledger ledger;
    Ids prompt = prompt_of_length(100, 1);
    const auto ask = [&] {
      const int64_t id = engine.submit(ledger.request(prompt, new_tokens(40)));
      while (engine.step()) continue;
      CHECK(ledger.results[id].tokens == alone(*model, prompt, new_tokens(40)));
      return ledger.results[id];
    };
    CHECK(ask().shared_tokens == 0);
    prompt.resize(97);  // 96 of them are known, and the last must be computed
    prompt[96] = 5;
    const EngineResult second = ask();
    CHECK(second.shared_tokens == (share ? 96 : 0));
    prompt.insert(prompt.end(), second.tokens.begin(), second.tokens.end());
    prompt.push_back(3);
    CHECK(ask().shared_tokens == (share ? 128 : 0));
    prompt[40] = 95;
    CHECK(ask().shared_tokens == (share ? 32 : 0));
    CHECK(engine.stats().prefix_hit_tokens == (share ? 256 : 0));
    CHECK(engine.stats().prompt_tokens + engine.stats().prefix_hit_tokens == 100 + 97 + 138 + 138);
  }
}

TEST_CASE("requests that come together share a long beginning too") {
  const auto model = tiny_decoder();
  Engine engine(*model, {.max_cache_bytes = pages(*model, 64), .prefill_chunk = 32});
  Ledger ledger;
  std::map<int64_t, Ids> expected;
  for (int64_t i = 0; i < 6; ++i) {
    Ids prompt = prompt_of_length(130, 1);
    prompt.push_back(i);
    expected[engine.submit(ledger.request(prompt, new_tokens(5)))] = alone(*model, prompt, new_tokens(5));
  }
  while (engine.step()) continue;
  for (const auto& [id, ids] : expected) CHECK(ledger.results[id].tokens == ids);
  CHECK(engine.stats().prefix_hit_tokens == 5 * 128);
  CHECK(engine.stats().prompt_tokens == 131 + 5 * 3);
}

TEST_CASE("in a cache that is too small for all, requests wait and give way, and none is lost") {
  const auto model = tiny_decoder();
  for (const size_t size : {4, 6, 9}) {
    CAPTURE(size);
    Engine engine(*model, {.max_cache_bytes = pages(*model, size), .prefill_chunk = 64, .threads = 1});
    Ledger ledger;
    std::map<int64_t, Ids> expected;
    for (int64_t i = 0; i < 8; ++i) {
      const Ids prompt = prompt_of_length(20 + 5 * i, i);
      expected[engine.submit(ledger.request(prompt, new_tokens(70)))] = alone(*model, prompt, new_tokens(70));
    }
    while (engine.step()) CHECK(engine.stats().cache_bytes <= pages(*model, size));
    REQUIRE(ledger.results.size() == 8);
    int64_t preemptions = 0;
    for (const auto& [id, result] : ledger.results) {
      CHECK(result.tokens == expected[id]);
      preemptions += result.preemptions;
    }
    CHECK(ledger.results[1].preemptions == 0);  // the oldest never gives way
    CHECK(preemptions == engine.stats().preempted);
    if (size > 4) CHECK(preemptions > 0);
  }
}

TEST_CASE("what was kept for later makes room for what runs") {
  const auto model = tiny_decoder();
  Engine engine(*model, {.max_cache_bytes = pages(*model, 5), .threads = 1});
  Ledger ledger;
  for (int64_t i = 0; i < 6; ++i) {
    const Ids prompt = prompt_of_length(96, i);
    const int64_t id = engine.submit(ledger.request(prompt, new_tokens(30)));
    while (engine.step()) CHECK(engine.stats().cache_bytes <= pages(*model, 5));
    CHECK(ledger.results[id].tokens == alone(*model, prompt, new_tokens(30)));
  }
  CHECK(engine.stats().preempted == 0);
}

TEST_CASE("what can never be served is refused at once, and says why") {
  const auto model = tiny_decoder();
  Engine engine(*model, {.max_cache_bytes = pages(*model, 4), .max_waiting = 2});
  const auto code = [&](Ids prompt, GenerationConfig c, const char* part) {
    return error_of([&] { engine.submit({.prompt = std::move(prompt), .config = std::move(c)}); }, part);
  };
  CHECK(code({}, new_tokens(1), "the prompt is empty") == ErrorCode::Limit);
  CHECK(code({96}, new_tokens(1), "token 96 is outside the vocabulary of 96") == ErrorCode::Limit);
  CHECK(code({-1}, new_tokens(1), "token -1") == ErrorCode::Limit);
  CHECK(code(prompt_of_length(257, 0), new_tokens(1), "257 tokens, but the model's context holds 256") == ErrorCode::Limit);
  CHECK(code(prompt_of_length(100, 0), new_tokens(30), "may grow to 129 tokens, but max_cache_bytes") == ErrorCode::Memory);
  CHECK(code({1}, new_tokens(0), "max_new_tokens") == ErrorCode::Limit);
  GenerationConfig c = new_tokens(1);
  c.num_beams = 2;
  CHECK(code({1}, c, "num_beams") == ErrorCode::Limit);
  c = new_tokens(1), c.num_return_sequences = 2, c.do_sample = true;
  CHECK(code({1}, c, "num_return_sequences") == ErrorCode::Limit);
  c = new_tokens(1), c.guidance_scale = 2;
  CHECK(code({1}, c, "guidance_scale") == ErrorCode::Limit);
  c = new_tokens(1), c.stop_strings = {"x"};
  CHECK(code({1}, c, "tokenizer") == ErrorCode::Limit);
  c = new_tokens(1), c.suppress_tokens = {1}, c.bad_words_ids = {{96}};
  CHECK(code({1}, c, "96") == ErrorCode::Limit);
  CHECK_FALSE(engine.has_work());
  engine.submit({.prompt = {1}, .config = new_tokens(1)});
  engine.submit({.prompt = {1}, .config = new_tokens(1)});
  CHECK(code({1}, new_tokens(1), "the queue is full: 2") == ErrorCode::Limit);
  while (engine.step()) continue;
  CHECK(engine.stats().finished == 2);

  CHECK(error_of([&] { Engine(*model, {.max_cache_bytes = 10}); }, "max_cache_bytes") == ErrorCode::Limit);
  CHECK(error_of([&] { Engine(*model, {.max_batch = 0}); }, "max_batch") == ErrorCode::Limit);
  const auto headless = tiny_decoder(R"(, "architectures": ["LlamaModel"])");
  CHECK(error_of([&] { Engine{*headless}; }, "LlamaModel") == ErrorCode::Type);
}

TEST_CASE("NaN, rules that forbid everything and callbacks that throw end one request only") {
  const auto model = tiny_decoder();
  for (auto& [name, t] : model->parameters())
    if (name.find("embed_tokens") != std::string::npos) Tensor(t).data<float>()[90 * t.size(1)] = std::nanf("");
  Engine engine(*model, {.max_cache_bytes = pages(*model, 64)});
  Ledger ledger;
  const Ids prompt = {1, 2, 3};
  const int64_t good = engine.submit(ledger.request(prompt, new_tokens(20)));
  const int64_t poisoned = engine.submit(ledger.request({1, 2, 90}, new_tokens(20)));
  GenerationConfig none = new_tokens(20);
  for (int64_t i = 0; i < 96; ++i) none.suppress_tokens.push_back(i);
  const int64_t forbidden = engine.submit(ledger.request(prompt, none));
  EngineRequest r = ledger.request(prompt, new_tokens(20));
  r.hooks.on_tokens = [n = 0](std::span<const int64_t>) mutable {
    if (++n == 3) throw std::runtime_error("the caller hung up");
  };
  const int64_t thrown = engine.submit(std::move(r));
  const int64_t last = engine.submit(ledger.request(prompt, new_tokens(20)));
  while (engine.step()) continue;
  const auto failed_with = [&](int64_t id, const char* part) {
    const EngineResult& result = ledger.results[id];
    REQUIRE(result.reason == FinishReason::Error);
    CHECK_MESSAGE(std::string(result.error->what()).find(part) != std::string::npos, result.error->what());
  };
  failed_with(poisoned, "NaN");
  failed_with(forbidden, "forbid every token");
  failed_with(thrown, "the caller hung up");
  CHECK(ledger.results[thrown].tokens.size() == 3);
  CHECK(ledger.results[good].tokens == alone(*model, prompt, new_tokens(20)));
  CHECK(ledger.results[last].tokens == ledger.results[good].tokens);
  CHECK(engine.stats().failed == 3);
  CHECK(engine.stats().finished == 2);
}

TEST_CASE("a request ends where the model's context is full") {
  const auto model = tiny_decoder();
  Engine engine(*model, {.max_cache_bytes = pages(*model, 16)});
  Ledger ledger;
  const Ids prompt = prompt_of_length(250, 2);
  const int64_t id = engine.submit(ledger.request(prompt, new_tokens(1000)));
  while (engine.step()) continue;
  CHECK(ledger.results[id].reason == FinishReason::Length);
  CHECK(ledger.results[id].tokens == alone(*model, prompt, new_tokens(1000)));
}

TEST_CASE("cancelled requests stop, waiting or running, and give their memory back") {
  const auto model = tiny_decoder();
  Engine engine(*model, {.max_cache_bytes = pages(*model, 16), .max_batch = 2, .share_prefixes = false});
  Ledger ledger;
  std::vector<int64_t> ids;
  for (int64_t i = 0; i < 4; ++i) ids.push_back(engine.submit(ledger.request(prompt_of_length(10, i), new_tokens(50))));
  for (int i = 0; i < 5; ++i) engine.step();
  CHECK(engine.cancel(ids[0]));
  CHECK(engine.cancel(ids[3]));
  engine.step();
  CHECK(ledger.results[ids[0]].reason == FinishReason::Cancelled);
  CHECK(ledger.results[ids[0]].tokens.size() == 5);
  CHECK(ledger.results[ids[3]].reason == FinishReason::Cancelled);
  CHECK(ledger.results[ids[3]].tokens.empty());
  CHECK_FALSE(engine.cancel(ids[0]));
  CHECK_FALSE(engine.cancel(1000));
  while (engine.step()) continue;
  CHECK(ledger.results[ids[2]].tokens == alone(*model, prompt_of_length(10, 2), new_tokens(50)));
  CHECK(engine.stats().cancelled == 2);
  CHECK(engine.stats().cache_bytes == 0);
}

TEST_CASE("requests start in the order in which they came") {
  const auto model = tiny_decoder();
  Engine engine(*model, {.max_cache_bytes = pages(*model, 8), .max_batch = 1});
  std::vector<int64_t> order;
  for (int64_t i = 0; i < 6; ++i) {
    EngineRequest r{.prompt = prompt_of_length(40 - 5 * i, i), .config = new_tokens(3)};
    r.on_finish = [&](const EngineResult& result) { order.push_back(result.id); };
    engine.submit(std::move(r));
  }
  while (engine.step()) continue;
  CHECK(order == std::vector<int64_t>{1, 2, 3, 4, 5, 6});
}

TEST_CASE("every kind of decoder runs in the engine as it runs alone") {
  for (const char* name : {"gpt2", "llama", "mistral-window", "qwen3-moe", "deepseek-v2", "deepseek-v3"}) {
    CAPTURE(std::string(name));
    const std::string folder = golden_folder(name);
    if (folder.empty()) continue;
    Context ctx;
    const auto model = models::load(ctx, folder);
    Engine engine(*model, {.max_cache_bytes = pages(*model, 9), .prefill_chunk = 33});
    Ledger ledger;
    std::map<int64_t, Ids> expected;
    for (int64_t i = 0; i < 6; ++i) {
      Ids prompt = prompt_of_length(34 + 9 * i, i % 2);  // each begins as the one before the last
      expected[engine.submit(ledger.request(prompt, new_tokens(30)))] = alone(*model, prompt, new_tokens(30));
      engine.step();
    }
    while (engine.step()) continue;
    for (const auto& [id, ids] : expected) CHECK(ledger.results[id].tokens == ids);
    CHECK(engine.stats().prefix_hit_tokens > 0);
  }
}
