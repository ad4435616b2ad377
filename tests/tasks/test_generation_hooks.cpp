// What a caller takes part in generation with: streaming, stopping, cancelling; and what generate() refuses.
#include <atomic>

#include "formula_session.h"

using namespace tenon;
using namespace tenon::test;
namespace gen = tenon::generation;

namespace {

/// Token 7 as "h", 23 as "x", and so on.
std::string letters(std::span<const int64_t> ids) {
  std::string text;
  for (const int64_t id : ids) text += static_cast<char>('a' + id);
  return text;
}

}  // namespace

TEST_CASE("tokens are streamed as they come, padding for finished rows") {
  std::vector<gen::Ids> steps;
  GenerateHooks hooks;
  hooks.on_tokens = [&](std::span<const int64_t> tokens) { steps.emplace_back(tokens.begin(), tokens.end()); };
  const auto rows = rows_of(run("three", options(R"({"max_new_tokens": 6, "eos_token_id": 5, "pad_token_id": 0})"), hooks).sequences);
  REQUIRE(steps.size() == 6);
  for (size_t s = 0; s < 6; ++s)
    for (size_t r = 0; r < 3; ++r) CHECK(steps[s][r] == rows[r][4 + s]);
  CHECK(steps[1][0] == 0);
}

TEST_CASE("stop strings end a row where the text ends with them") {
  GenerateHooks hooks;
  hooks.decode = letters;
  GenerationConfig c = options(R"({"max_new_tokens": 15, "pad_token_id": 0, "eos_token_id": 5, "stop_strings": ["qm", "tx"]})");
  const auto rows = rows_of(run("three", c, hooks).sequences);
  CHECK(letters(std::span(rows[1]).subspan(4)) == "umqrvtx");  // "vtx" ends the second row
  CHECK(letters(std::span(rows[2]).subspan(4)) == "xvsqmaa");  // and "sqm" the third
  CHECK(error_of([&] { run("three", c); }, "need a tokenizer") == ErrorCode::Limit);
}

TEST_CASE("criteria of the caller see all rows and the scores") {
  GenerationConfig c = options(R"({"max_new_tokens": 15, "output_scores": true})");
  GenerateHooks hooks;
  size_t calls = 0;
  hooks.stopping_criteria.push_back([&](const Tensor& ids, const std::vector<Tensor>& scores) {
    ++calls;
    CHECK(ids.shape() == Shape{3, static_cast<int64_t>(4 + calls)});
    CHECK(scores.size() == calls);
    return std::vector<bool>(3, calls == 4);
  });
  CHECK(run("three", c, hooks).sequences.size(1) == 8);
  hooks.stopping_criteria = {[](const Tensor&, const std::vector<Tensor>&) { return std::vector<bool>{true}; }};
  CHECK(error_of([&] { run("three", c, hooks); }, "expected 3 answers, got 1") == ErrorCode::Shape);
}

TEST_CASE("cancelling returns what is there") {
  std::atomic<bool> cancel = false;
  GenerateHooks hooks;
  hooks.cancel = &cancel;
  int steps = 0;
  hooks.poll = [&] { cancel = ++steps == 3; };
  for (const char* how : {R"({"max_new_tokens": 15})", R"({"max_new_tokens": 15, "num_beams": 2, "eos_token_id": 5})"}) {
    steps = 0, cancel = false;
    const GenerateOutput output = run("three", options(how), hooks);
    CHECK(output.cancelled);
    CHECK(output.sequences.size(1) == 7);
  }
  hooks.poll = [] { throw std::runtime_error("interrupted"); };
  CHECK_THROWS_WITH(run("three", options("{}"), hooks), "interrupted");
}

TEST_CASE("max_time ends generation") {
  GenerationConfig c = options(R"({"max_new_tokens": 1000000, "max_time": 0.000001})");
  CHECK(run("one", c).sequences.size(1) == 4);
}

TEST_CASE("NaN among the logits is an error, unless it is to be removed") {
  Context ctx(1);
  FormulaSession session(1);
  session.poison = 15;
  GenerationConfig c = options(R"({"max_new_tokens": 5})");
  CHECK(error_of([&] { gen::generate(ctx, session, prompt_of("one"), c); }, "NaN for token 0") == ErrorCode::Limit);
  c.remove_invalid_values = true;
  FormulaSession other(1);
  other.poison = 15;
  CHECK(rows_of(gen::generate(ctx, other, prompt_of("one"), c).sequences)[0].size() == 8);
}

TEST_CASE("contradictory and impossible options are named") {
  const auto refused = [](const char* json, const char* part) { return error_of([&] { run("one", options(json)); }, part); };
  CHECK(refused(R"({"max_length": 3})", "max_length: expected more than the 3 tokens") == ErrorCode::Limit);
  CHECK(refused(R"({"max_new_tokens": 0})", "max_new_tokens: expected at least 1") == ErrorCode::Limit);
  CHECK(refused(R"({"max_new_tokens": 2, "min_new_tokens": 3})", "min_new_tokens (3) is more than max_new_tokens (2)") == ErrorCode::Limit);
  CHECK(refused(R"({"top_p": 0.0})", "top_p: expected a number in (0, 1], got 0") == ErrorCode::Limit);
  CHECK(refused(R"({"top_p": 1.5})", "top_p") == ErrorCode::Limit);
  CHECK(refused(R"({"do_sample": true, "temperature": 0.0})", "temperature: expected a number above 0") == ErrorCode::Limit);
  CHECK(refused(R"({"num_return_sequences": 2})", "greedy search has one answer") == ErrorCode::Limit);
  CHECK(refused(R"({"num_beams": 2, "num_return_sequences": 3})", "num_return_sequences (3) is more than num_beams (2)") ==
        ErrorCode::Limit);
  CHECK(refused(R"({"num_beams": 0})", "num_beams") == ErrorCode::Limit);
  CHECK(refused(R"({"num_beams": 1000000})", "more tokens than the vocabulary") == ErrorCode::Limit);
  CHECK(refused(R"({"num_beams": 2, "guidance_scale": 2.0})", "guidance_scale") == ErrorCode::Limit);
  CHECK(refused(R"({"forced_bos_token_id": 3, "suppress_tokens": [3]})", "also in suppress_tokens") == ErrorCode::Limit);
  GenerationConfig mute;
  for (int64_t v = 0; v < kFormulaVocab; ++v) mute.suppress_tokens.push_back(v);
  CHECK(error_of([&] { run("one", mute); }, "forbid every token") == ErrorCode::Limit);
  GenerateHooks hooks;
  hooks.on_tokens = [](std::span<const int64_t>) {};
  CHECK(error_of([&] { run("one", options(R"({"num_beams": 2})"), hooks); }, "streamer cannot be used with num_beams > 1") ==
        ErrorCode::Limit);
  gen::Prompt empty{.sequences = {{}}, .tokens = {{}}};
  Context ctx(1);
  FormulaSession session(1);
  CHECK(error_of([&] { gen::generate(ctx, session, empty, options("{}")); }, "prompt 0 is empty") == ErrorCode::Limit);
}
