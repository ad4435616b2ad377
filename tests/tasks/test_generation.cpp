// generate(): greedy and beam search id for id as Transformers; sampling; speculation; several answers; lengths.
#include <atomic>
#include <set>

#include "formula_session.h"

using namespace tenon;
using namespace tenon::test;
namespace gen = tenon::generation;

namespace {

models::Inputs inputs_of(const std::string& prompt) {
  const Json::Array& parts = recorded().at("prompts").at(prompt).as_array();
  models::Inputs inputs;
  const auto tensor = [](const std::vector<gen::Ids>& rows) {
    gen::Ids flat;
    for (const gen::Ids& row : rows) flat.insert(flat.end(), row.begin(), row.end());
    return Tensor::from(flat, {static_cast<int64_t>(rows.size()), static_cast<int64_t>(rows[0].size())});
  };
  inputs.input_ids = tensor(rows_of(parts[0]));
  if (!parts[1].is_null()) inputs.attention_mask = tensor(rows_of(parts[1]));
  return inputs;
}

}  // namespace

TEST_CASE("greedy and beam search give Transformers' ids and scores") {
  Context ctx(1);
  const FormulaModel model;
  for (const Json& c : recorded().at("generate").as_array()) {
    const std::string given = c.at("options").dump();
    CAPTURE(given);
    GenerationConfig config = options(given);
    const models::Inputs inputs = inputs_of(c.at("prompt").as_string());
    // With scores all rows stay in the batch, without them finished ones leave it.
    CHECK(rows_of(generate(ctx, model, inputs, config).sequences) == rows_of(c.at("sequences")));
    config.output_scores = true;
    const GenerateOutput output = generate(ctx, model, inputs, config);
    CHECK(rows_of(output.sequences) == rows_of(c.at("sequences")));
    check_scores(output.scores.back(), c.at("last_scores"), given);
    if (config.num_beams == 1) continue;
    CHECK(rows_of(output.beam_indices.to(DType::I64)) == rows_of(c.at("beam_indices")));
    const Json::Array& scores = c.at("sequences_scores").as_array();
    REQUIRE(output.sequences_scores.numel() == static_cast<int64_t>(scores.size()));
    for (size_t i = 0; i < scores.size(); ++i)
      CHECK(output.sequences_scores.data<float>()[i] == doctest::Approx(scores[i].as_number()).epsilon(1e-5));
  }
}

TEST_CASE("padding is found by the padding token, and prompts may be missing or refused") {
  Context ctx(1);
  const FormulaModel model;
  models::Inputs inputs = inputs_of("padded");
  const GenerationConfig c = options(R"({"max_new_tokens": 9, "eos_token_id": 5, "pad_token_id": 0, "bos_token_id": 8})");
  const auto want = rows_of(generate(ctx, model, inputs, c).sequences);
  inputs.attention_mask = Tensor();
  CHECK(rows_of(generate(ctx, model, inputs, c).sequences) == want);
  CHECK(rows_of(generate(ctx, model, {}, c).sequences)[0][0] == 8);
  CHECK(error_of([&] { generate(ctx, model, {}, options("{}")); }, "bos_token_id") == ErrorCode::Limit);
  inputs.attention_mask = Tensor::zeros({3, 4}, DType::I64);
  CHECK(error_of([&] { generate(ctx, model, inputs, c); }, "prompt 0 is empty") == ErrorCode::Limit);
  inputs.attention_mask = Tensor::zeros({3, 5}, DType::I64);
  CHECK(error_of([&] { generate(ctx, model, inputs, c); }, "attention_mask: expected (3, 4)") == ErrorCode::Shape);
  inputs.input_ids = Tensor::zeros({4}, DType::I64);
  CHECK(error_of([&] { generate(ctx, model, inputs, c); }, "input_ids: expected (batch, tokens)") == ErrorCode::Shape);
}

TEST_CASE("an encoder-decoder starts from its start token, or from what the caller gives") {
  Context ctx(1);
  const FormulaModel model(R"({"is_encoder_decoder": true})");
  const models::Inputs inputs = inputs_of("three");
  GenerationConfig c =
      options(R"({"max_new_tokens": 5, "decoder_start_token_id": 3, "forced_bos_token_id": 9, "encoder_no_repeat_ngram_size": 1})");
  const auto rows = rows_of(generate(ctx, model, inputs, c).sequences);
  CHECK(rows[0].size() == 6);
  for (const gen::Ids& row : rows) CHECK(gen::Ids(row.begin(), row.begin() + 2) == gen::Ids{3, 9});
  for (const int64_t id : {3, 7, 1}) CHECK(std::find(rows[0].begin() + 2, rows[0].end(), id) == rows[0].end());
  GenerateHooks hooks;
  hooks.decoder_input_ids = Tensor::from(gen::Ids{4, 5, 6}, {3, 1});
  const auto led = rows_of(generate(ctx, model, inputs, c, hooks).sequences);
  CHECK(gen::Ids(led[1].begin(), led[1].begin() + 2) == gen::Ids{3, 5});
  c.decoder_start_token_id.reset();
  CHECK(error_of([&] { generate(ctx, model, inputs, c); }, "decoder_start_token_id") == ErrorCode::Limit);
}

TEST_CASE("finished rows leave the batch") {
  Context ctx(1);
  const gen::Prompt prompt = prompt_of("three");
  FormulaSession all(3), leaving(3);
  GenerationConfig c = options(R"({"max_new_tokens": 20, "eos_token_id": 5, "pad_token_id": 0})");
  gen::generate(ctx, leaving, prompt, c);
  c.output_logits = true;
  gen::generate(ctx, all, prompt, c);
  CHECK(all.computed == 12 + 3 * 19);
  CHECK(leaving.computed == 12 + 1 * 0 + 9 + 19);  // the first row ends at once, the second after 10 tokens
  CHECK(leaving.size() == 1);
}

TEST_CASE("sampling is reproducible, differs between rows and seeds, and does not depend on companions") {
  const GenerationConfig c = options(R"({"max_new_tokens": 12, "do_sample": true, "temperature": 1.3, "num_return_sequences": 4})");
  GenerateHooks hooks;
  hooks.seed = 11;
  const auto first = rows_of(run("one", c, hooks).sequences);
  CHECK(first == rows_of(run("one", c, hooks).sequences));
  CHECK(std::set<gen::Ids>(first.begin(), first.end()).size() == 4);
  hooks.seed = 12;
  CHECK(first != rows_of(run("one", c, hooks).sequences));
  GenerationConfig alone = c, many = c;
  alone.num_return_sequences = many.num_return_sequences = 1;
  const auto three = rows_of(run("three", many, hooks).sequences);
  CHECK(three.size() == 3);
  Context ctx(1);
  gen::Prompt prompt = prompt_of("three");
  prompt.sequences.resize(1), prompt.tokens.resize(1);
  FormulaSession session(1);
  CHECK(rows_of(gen::generate(ctx, session, prompt, alone, hooks).sequences)[0] == three[0]);
}

TEST_CASE("sampling follows the probabilities that are left") {
  const GenerationConfig c = options(R"({"max_new_tokens": 1, "do_sample": true, "top_k": 3, "num_return_sequences": 2000})");
  const GenerateOutput output = run("one", c);
  std::vector<double> count(kFormulaVocab), p(kFormulaVocab);
  for (const gen::Ids& row : rows_of(output.sequences)) count[row.back()] += 1.0 / 2000;
  std::vector<float> logits(kFormulaVocab);
  for (int64_t v = 0; v < kFormulaVocab; ++v) logits[v] = formula_logit(7, 1, v);
  std::vector<float> sorted = logits;
  std::sort(sorted.rbegin(), sorted.rend());
  double total = 0;
  for (int i = 0; i < 3; ++i) total += std::exp(sorted[i]);
  for (int64_t v = 0; v < kFormulaVocab; ++v) p[v] = logits[v] >= sorted[2] ? std::exp(logits[v]) / total : 0;
  for (int64_t v = 0; v < kFormulaVocab; ++v) CHECK(std::abs(count[v] - p[v]) < 0.04);
}

TEST_CASE("beam sampling is reproducible and gives different beams") {
  const GenerationConfig c =
      options(R"({"max_new_tokens": 8, "do_sample": true, "num_beams": 3, "num_return_sequences": 3, "eos_token_id": 5})");
  GenerateHooks hooks;
  hooks.seed = 3;
  const auto rows = rows_of(run("three", c, hooks).sequences);
  CHECK(rows.size() == 9);
  CHECK(rows == rows_of(run("three", c, hooks).sequences));
  CHECK(std::set<gen::Ids>(rows.begin(), rows.end()).size() == 9);
  hooks.seed = 4;
  CHECK(rows != rows_of(run("three", c, hooks).sequences));
}

TEST_CASE("speculation gives the answer of greedy search in fewer passes") {
  Context ctx(1);
  for (const char* rules :
       {R"({"max_new_tokens": 30, "suppress_tokens": [5]})",
        R"({"max_new_tokens": 30, "repetition_penalty": 1.2, "no_repeat_ngram_size": 5, "eos_token_id": 5, "min_new_tokens": 11})",
        R"({"max_new_tokens": 30, "eos_token_id": [9, 5]})"}) {
    GenerationConfig c = options(rules);
    for (const char* name : {"one", "pattern"}) {
      const gen::Prompt prompt = prompt_of(name);
      FormulaSession plain(1);
      const auto want = rows_of(gen::generate(ctx, plain, prompt, c).sequences);
      GenerationConfig lookup = c;
      lookup.prompt_lookup_num_tokens = 4;
      FormulaSession session(1);
      CHECK(rows_of(gen::generate(ctx, session, prompt, lookup).sequences) == want);
      CHECK(session.passes <= plain.passes);
      for (const int64_t twist : {0, 3}) {
        c.assistant_confidence_threshold = 0;
        FormulaSession confirmed(1), draft(1);
        draft.twist = twist;
        GenerateHooks hooks;
        std::vector<int64_t> streamed;
        hooks.on_tokens = [&](std::span<const int64_t> t) { streamed.insert(streamed.end(), t.begin(), t.end()); };
        const auto got = rows_of(gen::generate(ctx, confirmed, prompt, c, hooks, &draft).sequences);
        CHECK(got == want);
        CHECK(streamed == gen::Ids(want[0].begin() + static_cast<std::ptrdiff_t>(prompt.sequences[0].size()), want[0].end()));
        CHECK(confirmed.passes <= plain.passes);
        if (want[0].size() > 20) CHECK(confirmed.passes < plain.passes);
      }
    }
  }
}

TEST_CASE("speculation gives the text of sampling with the same seed, in fewer passes") {
  Context ctx(1);
  GenerationConfig c = options(R"({"max_new_tokens": 30, "do_sample": true, "top_k": 4, "temperature": 0.4, "assistant_confidence_threshold": 0})");
  const gen::Prompt prompt = prompt_of("pattern");
  int64_t plain_passes = 0, fewer_passes = 0;
  std::set<gen::Ids> texts;
  for (uint64_t seed = 0; seed < 20; ++seed) {
    GenerateHooks hooks;
    hooks.seed = seed;
    FormulaSession plain(1), looking(1), confirmed(1), draft(1);
    const auto want = rows_of(gen::generate(ctx, plain, prompt, c, hooks).sequences);
    texts.insert(want[0]);
    GenerationConfig lookup = c;
    lookup.prompt_lookup_num_tokens = 4;
    CHECK(rows_of(gen::generate(ctx, looking, prompt, lookup, hooks).sequences) == want);
    CHECK(rows_of(gen::generate(ctx, confirmed, prompt, c, hooks, &draft).sequences) == want);
    plain_passes += plain.passes, fewer_passes += confirmed.passes;
  }
  CHECK(texts.size() > 10);
  CHECK(fewer_passes < plain_passes);
}

TEST_CASE("a sampled token that a draft met has the probability that sampling gives it") {
  Context ctx(1);
  const GenerationConfig c = options(R"({"max_new_tokens": 2, "do_sample": true, "top_k": 0, "assistant_confidence_threshold": 0})");
  const gen::Prompt prompt = prompt_of("pattern");
  constexpr int64_t kDraws = 4000;
  FormulaSession first(1);
  Tensor logits = first.feed(ctx, prompt.tokens, false);
  const auto scores = logits.values<float>();
  double sum = 0;
  for (const float s : scores) sum += std::exp(static_cast<double>(s));
  std::vector<int64_t> counts(scores.size());
  for (uint64_t seed = 0; seed < kDraws; ++seed) {
    GenerateHooks hooks;
    hooks.seed = seed;
    FormulaSession session(1), draft(1);
    ++counts[static_cast<size_t>(rows_of(gen::generate(ctx, session, prompt, c, hooks, &draft).sequences)[0][prompt.sequences[0].size()])];
  }
  double chi_squared = 0;
  for (size_t i = 0; i < counts.size(); ++i) {
    const double expected = kDraws * std::exp(static_cast<double>(scores[i])) / sum;
    if (expected > 0) chi_squared += (static_cast<double>(counts[i]) - expected) * (static_cast<double>(counts[i]) - expected) / expected;
  }
  const auto degrees = static_cast<double>(counts.size() - 1);
  CHECK(chi_squared < degrees + 4 * std::sqrt(2 * degrees));
}

TEST_CASE("speculation refuses what it cannot speed up") {
  GenerationConfig c = options(R"({"prompt_lookup_num_tokens": 3})");
  CHECK(error_of([&] { run("three", c); }, "one prompt at a time") == ErrorCode::Limit);
  c.num_beams = 2;
  CHECK(error_of([&] { run("one", c); }, "writes one text") == ErrorCode::Limit);
}

TEST_CASE("a row ends where the model's context is full") {
  Context ctx(1);
  gen::Prompt prompt = prompt_of("padded");
  FormulaSession session(3, 6);
  const GenerationConfig c = options(R"({"max_new_tokens": 50, "eos_token_id": 22, "pad_token_id": 0})");
  const auto rows = rows_of(gen::generate(ctx, session, prompt, c).sequences);
  CHECK(rows[0].size() == 9);  // prompts of 4, 2 and 3 tokens, 7 in all: the last token is not read again
  CHECK(rows[0][7] == 0);
  CHECK(rows[1][8] != 0);
  FormulaSession small(3, 3);
  CHECK(error_of([&] { gen::generate(ctx, small, prompt, c); }, "prompt 0 has 4 tokens, but the model's context holds 3") ==
        ErrorCode::Limit);
}
