// Generation on a device: tokens chosen there, and steps that are recorded once and launched again. Tiny decoders of random weights.
#include <cmath>
#include <cstdlib>
#include <optional>

#include "device_test.h"
#include "tenon/models/adapters.h"
#include "tenon/models/decoder.h"
#include "tenon/models/registry.h"
#include "tenon/tasks/engine.h"
#include "tenon/tasks/generation/generate.h"

using namespace tenon;
using namespace tenon::device_test;

namespace {

const char* const kLlama = R"("model_type": "llama", "architectures": ["LlamaForCausalLM"], "intermediate_size": 48)";
const char* const kGpt2 = R"("model_type": "gpt2", "architectures": ["GPT2LMHeadModel"], "n_embd": 32, "n_layer": 2, "n_head": 4, "n_positions": 256)";
const char* const kMixtral = R"("model_type": "mixtral", "architectures": ["MixtralForCausalLM"], "intermediate_size": 24, "num_local_experts": 4)";
const char* const kQwen2Moe = R"("model_type": "qwen2_moe", "architectures": ["Qwen2MoeForCausalLM"], "intermediate_size": 48,
    "moe_intermediate_size": 24, "shared_expert_intermediate_size": 16, "num_experts": 4, "num_experts_per_tok": 2)";
const char* const kDeepseekV3 = R"("model_type": "deepseek_v3", "architectures": ["DeepseekV3ForCausalLM"], "intermediate_size": 48,
    "moe_intermediate_size": 24, "n_routed_experts": 8, "num_experts_per_tok": 2, "n_group": 4, "topk_group": 2, "first_k_dense_replace": 1,
    "kv_lora_rank": 16, "q_lora_rank": 20, "qk_nope_head_dim": 8, "qk_rope_head_dim": 4, "v_head_dim": 8)";

std::unique_ptr<models::Model> tiny(const std::string& family, const models::LoadOptions& options = {.seed = 5}) {
  Context ctx(1);
  return models::from_config(ctx, Json::parse("{" + family + R"(, "vocab_size": 96, "hidden_size": 32, "num_hidden_layers": 2,
      "num_attention_heads": 4, "num_key_value_heads": 2, "max_position_embeddings": 256, "initializer_range": 0.3, "eos_token_id": null,
      "pad_token_id": 0, "bos_token_id": 1, "tie_word_embeddings": false})"), options);
}

models::Inputs prompts(int64_t B) {
  std::vector<int64_t> ids, mask;
  for (int64_t b = 0; b < B; ++b)
    for (int64_t i = 0; i < 5; ++i) mask.push_back(i >= b % 3), ids.push_back(i >= b % 3 ? (17 * b + 5 * i + 2) % 96 : 0);
  models::Inputs in;
  in.input_ids = Tensor::from(ids, {B, 5}), in.attention_mask = Tensor::from(mask, {B, 5});
  return in;
}

GenerationConfig greedy(int64_t n) {
  GenerationConfig c;
  c.max_new_tokens = n, c.pad_token_id = 0;
  return c;
}
GenerationConfig sampled(int64_t n) {
  GenerationConfig c = greedy(n);
  c.do_sample = true, c.temperature = 0.8, c.top_k = 20, c.top_p = 0.9;
  return c;
}

/// TENON_CUDA_GRAPHS while it lives.
struct Graphs {
  explicit Graphs(bool on) { setenv("TENON_CUDA_GRAPHS", on ? "1" : "0", 1); }
  ~Graphs() { unsetenv("TENON_CUDA_GRAPHS"); }
};

std::vector<int64_t> ids_of(Context& ctx, const models::Model& model, const models::Inputs& in, const GenerationConfig& c, GenerateHooks hooks = {}) {
  hooks.seed = 3;
  const Tensor t = generate(ctx, model, in, c, hooks).sequences;
  return {t.data<int64_t>(), t.data<int64_t>() + t.numel()};
}

}  // namespace

TEST_CASE("device: generation chooses there what the host would, and nothing but ids comes back") {
  auto model = tiny(kLlama);
  Context here(1), there(kDevice);
  std::vector<GenerationConfig> all = {greedy(9), sampled(9)};
  all.push_back(sampled(9)), all.back().num_return_sequences = 3;
  all.push_back(sampled(9)), all.back().top_k = 0, all.back().top_p = 1, all.back().temperature = 1.3;
  std::vector<std::vector<int64_t>> want;
  for (const auto& c : all) want.push_back(ids_of(here, *model, prompts(2), c));
  model->to(there);
  for (size_t i = 0; i < all.size(); ++i) {
    INFO("configuration ", i);
    const int to_host = counts().to_host;
    const size_t bytes = counts().bytes_to_host;
    CHECK(ids_of(there, *model, prompts(2), all[i]) == want[i]);
    CHECK(counts().to_host == to_host + 9);
    CHECK(counts().bytes_to_host - bytes == 9 * 12 * 2 * static_cast<size_t>(all[i].num_return_sequences));
  }
}

TEST_CASE("device: rules that change or look at scores keep them on the host, with the same ids") {
  auto model = tiny(kLlama);
  Context here(1), there(kDevice);
  std::vector<GenerationConfig> all(6, greedy(8));
  all[0].repetition_penalty = 1.5, all[1].output_scores = true, all[2].num_beams = 3, all[3].no_repeat_ngram_size = 2;
  all[4] = sampled(8), all[4].min_p = 0.05;
  all[5].guidance_scale = 1.5, all[5].num_return_sequences = 2, all[5].do_sample = true;
  std::vector<std::vector<int64_t>> want;
  for (const auto& c : all) want.push_back(ids_of(here, *model, prompts(2), c));
  model->to(there);
  for (size_t i = 0; i < all.size(); ++i) {
    INFO("configuration ", i);
    CHECK(ids_of(there, *model, prompts(2), all[i]) == want[i]);
  }
}

TEST_CASE("device: logits that are not finite are an error there, too") {
  auto model = tiny(kLlama);
  for (auto& [name, p] : model->parameters())
    if (name == "lm_head.weight") const_cast<Tensor&>(p).data<float>()[7 * 32] = std::nanf("");
  Context here(1), there(kDevice);
  model->pack(here, models::Precision::Float32);
  const auto message = [&](Context& ctx) {
    try {
      ids_of(ctx, *model, prompts(2), greedy(3));
    } catch (const Error& e) {
      return std::string(e.what());
    }
    return std::string();
  };
  const std::string want = message(here);
  CHECK(want.find("NaN for token 7") != std::string::npos);
  model->to(there);
  CHECK(message(there) == want);
}

TEST_CASE("device: recorded steps write the same ids, over pages and growing caches") {
  struct Case {
    const char *name, *family;
    models::LoadOptions options = {.seed = 5};
    CacheCodes codes = CacheCodes::None;
  };
  const std::vector<Case> cases = {{"llama", kLlama},
                                   {"llama, plain weights", kLlama, {.pack = false, .seed = 5}},
                                   {"llama, bf16", kLlama, {.precision = models::Precision::BFloat16, .seed = 5}},
                                   {"llama, int8 cache", kLlama, {.seed = 5}, CacheCodes::Int8},
                                   {"gpt2", kGpt2},
                                   {"mixtral", kMixtral},
                                   {"mixtral, int4", kMixtral, {.precision = models::Precision::Int4, .seed = 5}},
                                   {"qwen2_moe", kQwen2Moe},
                                   {"deepseek_v3", kDeepseekV3}};
  for (const Case& c : cases) {
    INFO(std::string(c.name));
    auto model = tiny(c.family, c.options);
    Context ctx(kDevice);
    model->to(ctx);
    GenerationConfig config = greedy(40);
    if (c.codes != CacheCodes::None) config.cache_implementation = "quantized";
    std::vector<int64_t> plain;
    {
      const Graphs off(false);
      const int launches = counts().graph_launches;
      plain = ids_of(ctx, *model, prompts(3), config);
      CHECK(counts().graph_launches == launches);
    }
    const int launches = counts().graph_launches;
    CHECK(ids_of(ctx, *model, prompts(3), config) == plain);
    CHECK(counts().graph_launches == launches + 38);  // of 39 steps behind the prompt, all but the first
  }
}

TEST_CASE("device: graphs follow rows that leave, pages beyond their room, samples and a past") {
  auto model = tiny(kMixtral);
  Context ctx(kDevice);
  model->to(ctx);
  const auto both = [&](const models::Inputs& in, const GenerationConfig& c) {
    std::vector<int64_t> plain;
    {
      const Graphs off(false);
      plain = ids_of(ctx, *model, in, c);
    }
    const int launches = counts().graph_launches;
    CHECK(ids_of(ctx, *model, in, c) == plain);
    return std::pair(plain, counts().graph_launches - launches);
  };
  GenerationConfig ends = sampled(60);
  ends.num_return_sequences = 2;
  for (int64_t id = 0; id < 96; id += 24) ends.eos_token_id.push_back(id);
  CHECK(both(prompts(4), ends).second > 0);
  CHECK(both(prompts(8), greedy(70)).second == 68);  // 24 pages, room for 16 at first
  models::Inputs in = prompts(1);
  in.attention_mask = {};
  in.use_cache = true;
  in.past_key_values = model->forward(ctx, in).past_key_values;
  models::Inputs on = prompts(1);
  on.input_ids = Tensor::from(std::vector<int64_t>{2, 7, 12, 17, 22, 5}, {1, 6});
  on.attention_mask = {};
  on.past_key_values = in.past_key_values;
  CHECK(both(on, greedy(40)).second > 0);
}

TEST_CASE("device: what needs the host in each step is not recorded, and writes the same") {
  Context ctx(kDevice);
  const auto launches_of = [&](const models::Model& model) {
    std::vector<int64_t> plain;
    {
      const Graphs off(false);
      plain = ids_of(ctx, model, prompts(2), greedy(12));
    }
    const int launches = counts().graph_launches;
    CHECK(ids_of(ctx, model, prompts(2), greedy(12)) == plain);
    return counts().graph_launches - launches;
  };
  auto latent = tiny(kDeepseekV3, {.pack = false, .seed = 5});  // without packed weights keys are made of all that is cached
  latent->to(ctx);
  CHECK(launches_of(*latent) == 0);
}

namespace {

/// A model with two adapters for all its layers, experts among them.
struct Adapted {
  Adapted(const std::string& family, Context& ctx, models::Precision precision = models::Precision::Float32)
      : model(tiny(family, {.precision = precision, .seed = 5})) {
    model->to(ctx);
    adapters.emplace(*model);
    const char* const one = R"({"peft_type": "LORA", "r": 3, "lora_alpha": 6, "target_modules": "all-linear", "init_lora_weights": false,
        "rank_pattern": {"experts.1.w1": 5, "experts.2.down_proj": 7}})";
    const char* const two = R"({"peft_type": "LORA", "r": 8, "lora_alpha": 4, "target_modules": ["w2", "down_proj", "q_proj"],
        "init_lora_weights": false})";
    adapters->add("one", Json::parse(one), 1), adapters->add("two", Json::parse(two), 2);
  }
  /// As a step of training leaves it.
  void change(const std::string& name) {
    for (auto& p : adapters->parameters(name)) {
      Tensor half = p.value.to(Device{}).clone();
      for (int64_t i = 0; i < half.numel(); ++i) half.data<float>()[i] *= 0.5f;
      cuda::copy(p.value.address(), p.value.device(), std::as_const(half).address(), {}, half.nbytes());
      ++p.value.storage()->version;
    }
  }
  std::unique_ptr<models::Model> model;
  std::optional<models::Adapters> adapters;
};

}  // namespace

TEST_CASE("device: adapters beside a mixture's experts ask nothing of the host, and graphs follow their changes") {
  for (const char* family : {kMixtral, kQwen2Moe, kLlama}) {
    CAPTURE(std::string(family));
    Context here(1), there(kDevice);
    Adapted a(family, here), b(family, there);
    for (const std::vector<std::string>& active : {std::vector<std::string>{"one"}, {"one", "two"}, {"two"}}) {
      a.adapters->activate(here, active), b.adapters->activate(there, active);
      const std::vector<int64_t> want = ids_of(here, *a.model, prompts(3), greedy(16));
      const int launches = counts().graph_launches;
      CHECK(ids_of(there, *b.model, prompts(3), greedy(16)) == want);
      CHECK(counts().graph_launches == launches + 14);
    }
    const auto steps = [&](Context& ctx, Adapted& m) {
      std::vector<int64_t> tokens;
      Engine engine(*m.model, {.threads = 1});
      EngineRequest request{.prompt = {5, 6, 7}, .config = greedy(30)};
      request.on_finish = [&](const EngineResult& r) { tokens = r.tokens; };
      engine.submit(std::move(request));
      for (int step = 0; engine.step(); ++step) {
        if (step == 6) m.adapters->activate(ctx, {"one"});
        if (step == 12) m.change("one");
        if (step == 18) m.adapters->activate(ctx, {});
        if (step == 24) m.adapters->merge(ctx, {"two"});
      }
      return tokens;
    };
    const std::vector<int64_t> want = steps(here, a);
    const int launches = counts().graph_launches;
    CHECK(steps(there, b) == want);
    CHECK(counts().graph_launches - launches >= 18);
  }
}

TEST_CASE("device: adapters beside experts in few bits") {
  for (const char* family : {kMixtral, kQwen2Moe})
    for (const auto precision : {models::Precision::BFloat16, models::Precision::Fp8}) {
      CAPTURE(std::string(family));
      CAPTURE(static_cast<int>(precision));
      Context here(1), there(kDevice);
      Adapted a(family, here, precision), b(family, there, precision);
      const auto logits = [](Context& ctx, Adapted& m, const std::vector<std::string>& active) {
        m.adapters->activate(ctx, active);
        models::Inputs in = prompts(3);
        in.attention_mask = {};
        return down<float>(m.model->forward(ctx, in).logits);
      };
      const auto distance = [](const std::vector<float>& x, const std::vector<float>& y) {
        double most = 0, largest = 0;
        for (size_t i = 0; i < x.size(); ++i) {
          most = std::max<double>(most, std::abs(x[i] - y[i]));
          largest = std::max<double>(largest, std::abs(y[i]));
        }
        return most / largest;
      };
      const std::vector<float> bare = logits(here, a, {}), want = logits(here, a, {"one", "two"});
      const double apart = distance(logits(there, b, {}), bare), adapted = distance(logits(there, b, {"one", "two"}), want);
      INFO("from the CPU's logits: ", apart, " without adapters, ", adapted, " with them, which change them by ", distance(want, bare));
      CHECK(adapted < 3 * apart + 0.02);
      CHECK(distance(want, bare) > 10 * adapted);
    }
}
