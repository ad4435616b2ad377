// GenerationConfig: defaults, generation_config.json and config.json, what callers override, unknown options.
#include "formula_session.h"

using namespace tenon;
using namespace tenon::test;

TEST_CASE("options are read under Transformers' names") {
  const GenerationConfig c =
      options(R"({"max_new_tokens": 7, "do_sample": true, "temperature": 0.25, "early_stopping": "never", "eos_token_id": [3, 4],
    "bad_words_ids": [[1, 2], [3]], "sequence_bias": [[[1], 0.5]], "exponential_decay_length_penalty": [3, 1.5], "stop_strings": "end",
    "forced_eos_token_id": 9, "use_cache": false, "num_beam_groups": 1, "penalty_alpha": null, "top_h": 0.5, "num_beams": 2})");
  CHECK(c.max_new_tokens == 7);
  CHECK(c.do_sample);
  CHECK(c.temperature == 0.25);
  CHECK(c.early_stopping == EarlyStopping::Never);
  CHECK(c.eos_token_id == std::vector<int64_t>{3, 4});
  CHECK(c.bad_words_ids.size() == 2);
  CHECK(c.sequence_bias[0].bias == 0.5f);
  CHECK(c.exponential_decay_length_penalty->factor == 1.5);
  CHECK(c.stop_strings == std::vector<std::string>{"end"});
  CHECK(c.forced_eos_token_id == std::vector<int64_t>{9});
  CHECK(c.top_k == 50);
  c.check();
}

TEST_CASE("null turns an option off") {
  GenerationConfig c = options(R"({"top_p": 0.5, "eos_token_id": 3, "max_length": 9})");
  c.update(Json::parse(R"({"top_p": null, "eos_token_id": null, "top_k": null, "max_length": null})"));
  CHECK(c.top_p == 1);
  CHECK(c.top_k == 0);
  CHECK(c.eos_token_id.empty());
  CHECK(!c.max_length);
}

TEST_CASE("unknown, unsupported and mistyped options are named") {
  CHECK(error_of([] { options(R"({"max_tokens": 3})"); }, "unknown option \"max_tokens\"") == ErrorCode::Limit);
  CHECK(error_of([] { options(R"({"penalty_alpha": 0.6})"); }, "penalty_alpha is not supported") == ErrorCode::Limit);
  CHECK(error_of([] { options(R"({"num_beams": "two"})"); }, "num_beams") == ErrorCode::Type);
  CHECK(error_of([] { options(R"({"early_stopping": "soon"})"); }, "early_stopping") == ErrorCode::Limit);
  CHECK(error_of([] { options(R"({"sequence_bias": [[1]]})"); }, "sequence_bias") == ErrorCode::Limit);
  CHECK(error_of([] { GenerationConfig().update(Json(3)); }, "generation_config") == ErrorCode::Type);
}

TEST_CASE("generation_config.json goes before config.json, which has the roles it lacks") {
  Folder folder("generation");
  folder.write("config.json",
               R"({"model_type": "llama", "eos_token_id": 2, "bos_token_id": 1, "num_beams": 6, "max_length": 512, "vocab_size": 9})");
  GenerationConfig c = GenerationConfig::from_pretrained(folder.path());
  CHECK(c.num_beams == 6);
  CHECK(c.max_length == 512);
  folder.write("generation_config.json", R"({"eos_token_id": [2, 7], "temperature": 0.6, "top_k": null, "some_new_key": {"a": 1}})");
  c = GenerationConfig::from_pretrained(folder.path());
  CHECK(c.eos_token_id == std::vector<int64_t>{2, 7});
  CHECK(c.bos_token_id == 1);
  CHECK(c.num_beams == 1);
  CHECK(c.temperature == 0.6);
  CHECK(c.top_k == 50);
  folder.write("generation_config.json", "{\"top_p\": \"high\"}");
  CHECK(error_of([&] { GenerationConfig::from_pretrained(folder.path()); }, "top_p") == ErrorCode::Type);
  folder.write("generation_config.json", "{");
  CHECK(error_of([&] { GenerationConfig::from_pretrained(folder.path()); }, "generation_config.json") == ErrorCode::Format);
}
