// Engine with a thread of its own: submitting, streaming and cancelling from many threads; callbacks; ends.
#include <atomic>
#include <thread>

#include "engine_models.h"

using namespace tenon;
using namespace tenon::test;

TEST_CASE("many threads submit, read and cancel while the engine runs") {
  const auto model = tiny_decoder();
  Engine engine(*model, {.max_cache_bytes = pages(*model, 12), .max_batch = 4, .threads = 1});
  std::vector<Ids> expected;
  for (int64_t v = 0; v < 4; ++v) expected.push_back(alone(*model, prompt_of_length(20, v), new_tokens(25)));
  engine.start();
  engine.start();  // once is enough
  std::atomic<int> equal{0}, cut{0}, whole{0};
  std::vector<std::thread> users;
  for (int64_t u = 0; u < 4; ++u)
    users.emplace_back([&, u] {
      for (int64_t round = 0; round < 6; ++round) {
        const int64_t v = (u + round) % 4;
        const auto stream = engine.stream({.prompt = prompt_of_length(20, v), .config = new_tokens(25)});
        Ids got;
        while (const auto token = stream->next()) {
          got.push_back(*token);
          if (round % 3 == 2 && got.size() == 5) engine.cancel(stream->id());
        }
        const EngineResult result = stream->result();
        const bool begins = got == result.tokens && std::equal(got.begin(), got.end(), expected[static_cast<size_t>(v)].begin());
        equal += begins;
        (result.reason == FinishReason::Cancelled ? cut : whole) += 1;
        engine.stats();
      }
    });
  for (std::thread& t : users) t.join();
  engine.stop();
  CHECK(equal == 24);
  CHECK(whole >= 16);
  CHECK(cut + whole == 24);
  CHECK_FALSE(engine.has_work());
  CHECK(engine.stats().finished + engine.stats().cancelled == 24);
}

TEST_CASE("stop() keeps what is there, and start() goes on") {
  const auto model = tiny_decoder();
  Engine engine(*model, {.max_cache_bytes = pages(*model, 12), .threads = 1});
  const auto first = engine.stream({.prompt = {1, 2, 3}, .config = new_tokens(200)});
  engine.start();
  first->next();
  engine.stop();
  engine.stop();
  const auto second = engine.stream({.prompt = {1, 2, 3}, .config = new_tokens(5)});
  engine.start();
  CHECK(second->result().tokens == alone(*model, {1, 2, 3}, new_tokens(5)));
  CHECK(first->result().tokens == alone(*model, {1, 2, 3}, new_tokens(200)));
}

TEST_CASE("callbacks may submit and cancel, but not step or stop") {
  const auto model = tiny_decoder();
  Engine engine(*model, {.max_cache_bytes = pages(*model, 12)});
  Ledger ledger;
  EngineRequest r = ledger.request({1, 2}, new_tokens(3));
  const auto note = std::move(r.on_finish);
  int64_t follow = 0;
  r.on_finish = [&](const EngineResult& result) {
    note(result);
    follow = engine.submit(ledger.request({4}, new_tokens(2)));
    CHECK(engine.stats().waiting == 1);
  };
  engine.submit(std::move(r));
  EngineRequest bad = ledger.request({1, 2}, new_tokens(3));
  bad.hooks.on_tokens = [&](std::span<const int64_t>) { engine.step(); };
  const int64_t id = engine.submit(std::move(bad));
  while (engine.step() || engine.has_work()) continue;
  CHECK(ledger.results[follow].tokens == alone(*model, {4}, new_tokens(2)));
  CHECK(std::string(ledger.results[id].error->what()).find("callback") != std::string::npos);
}

TEST_CASE("an engine that ends cancels what has not finished") {
  const auto model = tiny_decoder();
  Ledger ledger;
  std::unique_ptr<EngineStream> stream;
  {
    Engine engine(*model, {.max_cache_bytes = pages(*model, 12)});
    engine.submit(ledger.request({1, 2}, new_tokens(9)));
    engine.step();
    stream = engine.stream({.prompt = {1}, .config = new_tokens(9)});
  }
  CHECK(ledger.results[1].reason == FinishReason::Cancelled);
  CHECK(ledger.results[1].tokens.size() == 1);
  CHECK_FALSE(stream->next().has_value());
  CHECK(stream->result().reason == FinishReason::Cancelled);
}

TEST_CASE("without work the engine waits") {
  const auto model = tiny_decoder();
  Engine engine(*model, {.max_cache_bytes = pages(*model, 12)});
  CHECK_FALSE(engine.step());
  CHECK_FALSE(engine.wait(0.001));
  std::thread later([&] { engine.submit({.prompt = {1}, .config = new_tokens(1)}); });
  CHECK(engine.wait(30));
  later.join();
  CHECK_FALSE(engine.step());
}
