// Tiny decoders with random weights, and what they write alone: what tests of the engine compare with.
#pragma once

#include <map>

#include "expect.h"
#include "tenon/models/decoder.h"
#include "tenon/models/registry.h"
#include "tenon/tasks/engine.h"

namespace tenon::test {

using generation::Ids;

inline std::unique_ptr<models::Model> tiny_decoder(const std::string& more = "", models::Precision precision = models::Precision::Float32) {
  Context ctx(1);
  const Json config = Json::parse(
      R"({"model_type": "llama", "architectures": ["LlamaForCausalLM"], "vocab_size": 96, "hidden_size": 32, "intermediate_size": 48,
          "num_hidden_layers": 2, "num_attention_heads": 4, "num_key_value_heads": 2, "max_position_embeddings": 256,
          "rms_norm_eps": 1e-6, "initializer_range": 0.4, "tie_word_embeddings": false)" + more + "}");
  return models::from_config(ctx, config, {.precision = precision, .seed = 5});
}

/// Prompts that differ from each other, of this many tokens.
inline Ids prompt_of_length(int64_t n, int64_t variant) {
  Ids ids;
  for (int64_t i = 0; i < n; ++i) ids.push_back((variant * 31 + i * (7 + variant % 5)) % 96);
  return ids;
}

inline GenerationConfig new_tokens(int64_t n) {
  GenerationConfig c;
  c.max_new_tokens = n;
  return c;
}

/// What generate() writes after the prompt.
inline Ids alone(const models::Model& model, const Ids& prompt, const GenerationConfig& config, uint64_t seed = 0) {
  Context ctx(1);
  models::Inputs in;
  in.input_ids = Tensor::from(prompt, {1, static_cast<int64_t>(prompt.size())});
  GenerateHooks hooks;
  hooks.seed = seed;
  const Tensor sequence = generate(ctx, model, in, config, hooks).sequences;
  return Ids(sequence.data<int64_t>() + prompt.size(), sequence.data<int64_t>() + sequence.numel());
}

/// Bytes of `n` pages of the tiny decoder's cache.
inline size_t pages(const models::Model& model, size_t n) {
  return n * models::DecoderSession(dynamic_cast<const models::Decoder&>(model), 0).cache().page_bytes();
}

/// The requests of a test and what became of them.
class Ledger {
 public:
  /// A request that writes down its result.
  EngineRequest request(Ids prompt, GenerationConfig config, uint64_t seed = 0) {
    EngineRequest r;
    r.prompt = std::move(prompt), r.config = std::move(config), r.hooks.seed = seed;
    r.on_finish = [this](const EngineResult& result) {
      CHECK_MESSAGE(results.count(result.id) == 0, "on_finish is called once");
      results[result.id] = result;
    };
    return r;
  }
  std::map<int64_t, EngineResult> results;
};

}  // namespace tenon::test
