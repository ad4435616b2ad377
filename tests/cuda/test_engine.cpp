// The engine on a device: tokens chosen there, steps as graphs, and the answers of the CPU's engine whoever joins, leaves and gives way.
#include <cstdlib>

#include "device_test.h"
#include "tasks/engine_models.h"
#include "tenon/models/mtp.h"

using namespace tenon;
using namespace tenon::device_test;
using namespace tenon::test;

namespace {

/// A tiny decoder here and its twin on the device.
struct Twins {
  explicit Twins(const std::string& more = "", models::Precision precision = models::Precision::Float32)
      : here(tiny_decoder(more, precision)), there(tiny_decoder(more, precision)) {
    Context ctx(kDevice);
    there->to(ctx);
  }
  std::unique_ptr<models::Model> here, there;
};

GenerationConfig sampled(int64_t n, double temperature = 1.5, int64_t top_k = 30, double top_p = 0.9) {
  GenerationConfig c = new_tokens(n);
  c.do_sample = true, c.temperature = temperature, c.top_k = top_k, c.top_p = top_p;
  return c;
}

/// Requests of every kind: greedy, sampled with settings of their own, and with rules that only the host knows.
GenerationConfig mixed(int64_t i, int64_t n) {
  GenerationConfig c = i % 3 == 0 ? new_tokens(n) : sampled(n, 1 + 0.25 * static_cast<double>(i % 4), i % 2 ? 30 : 0, i % 5 ? 0.9 : 1);
  c.eos_token_id = {17};
  if (i % 4 == 2) c.repetition_penalty = 1.3;
  if (i % 5 == 3) c.min_new_tokens = 4;
  return c;
}

/// TENON_CUDA_GRAPHS=0 while it lives.
struct NoGraphs {
  NoGraphs() { setenv("TENON_CUDA_GRAPHS", "0", 1); }
  ~NoGraphs() { unsetenv("TENON_CUDA_GRAPHS"); }
};

std::map<int64_t, Ids> tokens_of(const Ledger& ledger) {
  std::map<int64_t, Ids> all;
  for (const auto& [id, result] : ledger.results) all[id] = result.tokens;
  return all;
}

}  // namespace

TEST_CASE("device: an engine's answers are the CPU's, whoever joins and leaves, with graphs and without") {
  for (const char* more : {"", R"(, "model_type": "mistral", "architectures": ["MistralForCausalLM"], "sliding_window": 20)",
                           R"(, "model_type": "mixtral", "architectures": ["MixtralForCausalLM"], "num_local_experts": 4, "num_experts_per_tok": 2)"}) {
    CAPTURE(std::string(more));
    const Twins models(more);
    const auto run = [](const models::Model& model) {
      Engine engine(model, {.max_cache_bytes = pages(model, 64), .max_batch = 5, .prefill_chunk = 40, .threads = 1});
      Ledger ledger;
      Random random(3);
      for (int64_t n = 0; n < 16;) {
        if (random.uniform() < 0.3f) {
          const Ids prompt = prompt_of_length(1 + random.next() % 60, n);
          engine.submit(ledger.request(prompt, mixed(n, 5 + random.next() % 26), static_cast<uint64_t>(n % 3)));
          ++n;
        }
        engine.step();
      }
      while (engine.step()) continue;
      CHECK(engine.stats().finished == 16);
      return tokens_of(ledger);
    };
    const auto want = run(*models.here);
    const int launches = counts().graph_launches;
    CHECK(run(*models.there) == want);
    CHECK(counts().graph_launches > launches + 10);
    const NoGraphs off;
    const int before = counts().graph_launches;
    CHECK(run(*models.there) == want);
    CHECK(counts().graph_launches == before);
  }
}

TEST_CASE("device: of a step of an engine ids alone come to the host, and the scores of those whose rules need them") {
  const Twins models;
  for (const bool ruled : {false, true}) {
    Engine engine(*models.there);
    Ledger ledger;
    const auto ask = [&](Ids prompt, const GenerationConfig& c, uint64_t seed) { engine.submit(ledger.request(std::move(prompt), c, seed)); };
    ask({5, 6}, new_tokens(20), 0);
    ask({7, 8, 9}, sampled(20), 1);
    ask({7, 8, 9}, sampled(20), 1);
    ask({4}, sampled(20, 0.7, 0, 1), 2);
    GenerationConfig c = new_tokens(20);
    if (ruled) c.repetition_penalty = 1.4;
    ask({3, 2, 1}, c, 0);
    for (int step = 0; step < 20; ++step) {
      const size_t bytes = counts().bytes_to_host;
      const int graphs = counts().graph_launches;
      engine.step();
      CHECK(counts().bytes_to_host - bytes == 5 * 12 + (ruled ? 96 * sizeof(float) : 0));
      CHECK(counts().graph_launches - graphs == (step >= 2));  // the prompts, a step that makes what is made once, then graphs
    }
    CHECK_FALSE(engine.has_work());
    CHECK(ledger.results[2].tokens == ledger.results[3].tokens);
    CHECK(ledger.results[2].tokens == alone(*models.here, {7, 8, 9}, sampled(20), 1));
    CHECK(ledger.results[5].tokens == alone(*models.here, {3, 2, 1}, c));
  }
}

TEST_CASE("device: the graph of a batch's size is kept while others come and go") {
  const Twins models;
  Engine engine(*models.there);
  Ledger ledger;
  const auto graphs_of_step = [&] {
    const int graphs = counts().graph_launches;
    engine.step();
    return counts().graph_launches - graphs;
  };
  for (int64_t i = 0; i < 2; ++i) engine.submit(ledger.request(prompt_of_length(4, i), new_tokens(60)));
  engine.step(), engine.step();
  CHECK(graphs_of_step() == 1);
  for (int64_t i = 0; i < 4; ++i) {
    engine.submit(ledger.request({7 + i}, new_tokens(5)));  // a prompt of one token is read as those that write read theirs
    CHECK(graphs_of_step() == (i > 0));
    for (int step = 0; step < 4; ++step) CHECK(graphs_of_step() == 1);
    CHECK(graphs_of_step() == 1);  // two again
  }
  while (engine.step()) continue;
  for (int64_t i = 0; i < 2; ++i) CHECK(ledger.results[i + 1].tokens == alone(*models.here, prompt_of_length(4, i), new_tokens(60)));
  for (int64_t i = 0; i < 4; ++i) CHECK(ledger.results[i + 3].tokens == alone(*models.here, {7 + i}, new_tokens(5)));
}

TEST_CASE("device: graphs of an engine with little room, shared beginnings, keys in bytes, and requests that are cancelled") {
  const Twins models;
  for (const CacheCodes codes : {CacheCodes::None, CacheCodes::Int8, CacheCodes::Fp8}) {
    CAPTURE(static_cast<int>(codes));
    const auto run = [&](const models::Model& model) {
      const size_t page = models::DecoderSession(dynamic_cast<const models::Decoder&>(model), 0, SIZE_MAX, codes).cache().page_bytes();
      Engine engine(model, {.max_cache_bytes = 6 * page, .max_batch = 5, .prefill_chunk = 48, .cache_codes = codes, .threads = 1});
      Ledger ledger;
      for (int64_t i = 0; i < 8; ++i) {
        Ids prompt = prompt_of_length(40, 1);  // one page of it is shared
        prompt.push_back(i);
        engine.submit(ledger.request(prompt, i % 2 ? sampled(50) : new_tokens(50), 9));
      }
      for (int step = 0; engine.step(); ++step)
        if (step == 30) CHECK(engine.cancel(2));
      CHECK(engine.stats().preempted > 0);
      CHECK(engine.stats().prefix_hit_tokens > 0);
      CHECK(engine.stats().cancelled == 1);
      return tokens_of(ledger);
    };
    const auto want = run(*models.here);
    const int launches = counts().graph_launches;
    CHECK(run(*models.there) == want);
    CHECK(counts().graph_launches > launches + 20);
  }
}

TEST_CASE("device: NaN and rules that forbid everything end one request of an engine only") {
  Twins models;
  for (auto& [name, t] : models.here->parameters())
    if (name.find("embed_tokens") != std::string::npos) Tensor(t).data<float>()[90 * t.size(1)] = std::nanf("");
  Context ctx(kDevice);
  models.here->to(ctx);
  Engine engine(*models.here);
  Ledger ledger;
  GenerationConfig none = new_tokens(20);
  for (int64_t i = 0; i < 96; ++i) none.suppress_tokens.push_back(i);
  engine.submit(ledger.request({1, 2, 3}, new_tokens(20)));
  engine.submit(ledger.request({1, 2, 90}, new_tokens(20)));
  engine.submit(ledger.request({1, 2, 3}, none));
  engine.submit(ledger.request({1, 2, 3}, sampled(20), 4));
  while (engine.step()) continue;
  const auto error = [&](int64_t id) { return std::string(ledger.results[id].error ? ledger.results[id].error->what() : ""); };
  CHECK(error(2).find("NaN") != std::string::npos);
  CHECK(error(3).find("forbid every token") != std::string::npos);
  CHECK(ledger.results[1].tokens == alone(*tiny_decoder(), {1, 2, 3}, new_tokens(20)));
  CHECK(ledger.results[4].tokens == alone(*tiny_decoder(), {1, 2, 3}, sampled(20), 4));
}

TEST_CASE("device: an engine with drafts writes the CPU's answers") {
  const std::string more = R"(, "model_type": "deepseek_v3", "architectures": ["DeepseekV3ForCausalLM"], "moe_intermediate_size": 24,
      "n_routed_experts": 8, "num_experts_per_tok": 2, "n_group": 4, "topk_group": 2, "first_k_dense_replace": 1, "kv_lora_rank": 16,
      "q_lora_rank": 20, "qk_nope_head_dim": 8, "qk_rope_head_dim": 4, "v_head_dim": 8, "num_nextn_predict_layers": 1)";
  const Twins models(more);
  const auto run = [](models::Model& model) {
    Context here(1), ctx(model.device());
    const auto block = models::from_config(here, model.config(), {.class_name = "DeepseekV3MtpModel", .seed = 3});
    block->to(ctx);
    Engine engine(model, {.max_batch = 3, .threads = 1, .mtp = block.get()});
    Ledger ledger;
    for (int64_t i = 0; i < 5; ++i) engine.submit(ledger.request(prompt_of_length(3 + 4 * i, i), mixed(i, 25), 5));
    while (engine.step()) continue;
    CHECK(engine.stats().drafted_tokens > 0);
    return tokens_of(ledger);
  };
  const auto want = run(*models.here);
  CHECK(run(*models.there) == want);
}
