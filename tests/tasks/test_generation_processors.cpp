// Rules for scores: each equals Transformers' on recorded scores; their order; what they refuse.
#include "formula_session.h"

using namespace tenon;
using namespace tenon::test;
namespace gen = tenon::generation;

namespace {

constexpr float kOut = -std::numeric_limits<float>::infinity();

Tensor scores_after(std::initializer_list<std::pair<int64_t, int64_t>> texts, bool banned = false) {
  std::vector<float> all;
  for (const auto& [a, b] : texts)
    for (int64_t v = 0; v < kFormulaVocab; ++v) all.push_back(banned && v % 3 == 0 ? kOut : formula_logit(a, b, v));
  return Tensor::from(all, {static_cast<int64_t>(texts.size()), kFormulaVocab});
}

Tensor plain() { return scores_after({{3, 7}, {2, 2}}); }
Tensor banned() { return scores_after({{3, 7}, {2, 2}}, true); }

void check_rule(const char* name, Tensor scores, const gen::Processor& rule) {
  const auto texts = rows_of(recorded().at("processor_ids"));
  const std::vector<std::span<const int64_t>> sequences(texts.begin(), texts.end());
  Context ctx(1);
  rule->apply(ctx, {sequences, gen::Ids{0, 1}}, scores);
  check_scores(scores, recorded().at("processors").at(name), name);
}

}  // namespace

TEST_CASE("penalties and biases equal Transformers'") {
  const auto encoder = rows_of(recorded().at("encoder_ids"));
  check_rule("repetition_penalty", plain(), gen::repetition_penalty(1.4));
  check_rule("repetition_penalty_padded", plain(), gen::repetition_penalty(1.4, {0, 2}));
  check_rule("encoder_repetition_penalty", plain(), gen::encoder_repetition_penalty(1.6, encoder, 1));
  check_rule("sequence_bias", plain(), gen::sequence_bias({{{5}, 2}, {{7, 9}, -1.5}, {{3, 7, 9}, 0.25}, {{4, 2}, 9}}, kFormulaVocab));
  check_rule("exponential_decay", plain(), gen::exponential_decay_length_penalty({1, 1.2}, {5, 9}, 2));
}

TEST_CASE("bans equal Transformers'") {
  const auto encoder = rows_of(recorded().at("encoder_ids"));
  for (int64_t n = 1; n <= 3; ++n) check_rule(("no_repeat_ngram_" + std::to_string(n)).c_str(), plain(), gen::no_repeat_ngram(n));
  check_rule("encoder_no_repeat_ngram", plain(), gen::encoder_no_repeat_ngram(2, encoder, 1));
  check_rule("bad_words", plain(), gen::bad_words({{7}, {7, 9}, {2, 2, 11}, {5}}, {5}, kFormulaVocab));
  check_rule("min_length", plain(), gen::min_length(6, {5, 9}));
  check_rule("suppress_tokens", plain(), gen::suppress_tokens({1, 2}));
  check_rule("suppress_tokens_at_begin", plain(), gen::suppress_tokens_at_begin({1, 2}, 5));
  const auto allow = [](int64_t text, std::span<const int64_t> ids) { return text == 0 ? gen::Ids{0, 3, 6} : gen::Ids{1, ids.back()}; };
  check_rule("prefix_allowed_tokens", banned(), gen::prefix_allowed_tokens(allow, 1));
  Tensor odd = plain();
  odd.data<float>()[3] = std::nanf(""), odd.data<float>()[kFormulaVocab + 4] = -kOut, odd.data<float>()[kFormulaVocab + 5] = kOut;
  check_rule("remove_invalid_values", odd, gen::remove_invalid_values());
}

TEST_CASE("what sampling leaves equals Transformers'") {
  check_rule("temperature", plain(), gen::temperature(0.7));
  check_rule("top_k", plain(), gen::top_k(5));
  check_rule("top_p", plain(), gen::top_p(0.8));
  check_rule("top_p_banned", banned(), gen::top_p(0.5, 3));
  check_rule("min_p", plain(), gen::min_p(0.1));
  check_rule("min_p_keep", plain(), gen::min_p(0.9, 4));
  check_rule("top_h", plain(), gen::top_h(0.6));
  check_rule("top_h_banned", banned(), gen::top_h(0.4));
  check_rule("typical_p", plain(), gen::typical_p(0.6));
  check_rule("typical_p_banned", banned(), gen::typical_p(0.3, 2));
  check_rule("epsilon_cutoff", plain(), gen::epsilon_cutoff(0.04));
  check_rule("epsilon_cutoff_keep", plain(), gen::epsilon_cutoff(0.4, 3));
  check_rule("eta_cutoff", plain(), gen::eta_cutoff(0.1));
  check_rule("renormalize", banned(), gen::renormalize_logits());
}

TEST_CASE("top_p keeps the same tokens of a large vocabulary as the definition") {
  constexpr int64_t V = 20000;
  for (const double p : {0.1, 0.6, 0.97, 0.9999}) {
    std::vector<float> x(V);
    for (int64_t v = 0; v < V; ++v) x[v] = 2.5f * formula_logit(v / 24, v % 24, v % 7);
    std::vector<int64_t> order(V);
    for (int64_t v = 0; v < V; ++v) order[v] = v;
    std::sort(order.begin(), order.end(), [&](int64_t a, int64_t b) { return x[a] > x[b]; });
    double total = 0, sum = 0;
    for (const float v : x) total += std::exp(double{v});
    size_t kept = 0;
    while (sum < p * total) sum += std::exp(double{x[order[kept++]]});
    Tensor scores = Tensor::from(x, {1, V});
    Context ctx(1);
    const gen::Ids ids = {1}, rows = {0};
    const std::span<const int64_t> sequence(ids);
    gen::top_p(p)->apply(ctx, {{&sequence, 1}, rows}, scores);
    size_t left = 0;
    for (const float v : scores.values<float>()) left += v > kOut;
    CHECK(static_cast<double>(left) == doctest::Approx(static_cast<double>(kept)).epsilon(1e-3));
    CHECK(scores.data<float>()[order[0]] == x[order[0]]);
  }
}

TEST_CASE("rules apply in Transformers' order, the caller's behind them and before sampling's") {
  GenerationConfig c = options(R"({"repetition_penalty": 2.0, "do_sample": true, "temperature": 0.5, "top_k": 2, "renormalize_logits": true,
                                   "suppress_tokens": [0]})");
  std::vector<float> seen;
  gen::ProcessorSetup setup{.prompt_length = 1, .max_length = 9, .vocab_size = 4};
  setup.user.push_back(std::make_shared<gen::RowProcessor>([&](const gen::Row&, std::span<float> s) { seen.assign(s.begin(), s.end()); }));
  const gen::Processors all = gen::make_processors(c, setup);
  CHECK(all.size() == 6);
  Tensor scores = Tensor::from(std::vector<float>{9, 4, 1, 3}, {1, 4});
  Context ctx(1);
  const gen::Ids ids = {1}, rows = {0};
  const std::span<const int64_t> sequence(ids);
  for (const auto& p : all) p->apply(ctx, {{&sequence, 1}, rows}, scores);
  CHECK(seen == std::vector<float>{kOut, 2, 1, 3});  // penalty and suppression before, temperature and top_k after
  const float* s = scores.data<float>();
  CHECK(s[0] == kOut);
  CHECK(s[2] == kOut);
  CHECK(s[3] == doctest::Approx(-std::log(1 + std::exp(-2.0))));
  CHECK(s[1] == doctest::Approx(-2 - std::log(1 + std::exp(-2.0))));
}

TEST_CASE("rules refuse tokens outside the vocabulary") {
  CHECK(error_of([] { gen::sequence_bias({{{24}, 1}}, kFormulaVocab); }, "sequence_bias: token 24") == ErrorCode::Limit);
  CHECK(error_of([] { gen::bad_words({{3, -1}}, {}, kFormulaVocab); }, "bad_words_ids: token -1") == ErrorCode::Limit);
  CHECK(error_of([] { run("one", options(R"({"forced_bos_token_id": 99})")); }, "forced_bos_token_id: token 99") == ErrorCode::Limit);
  GenerateHooks hooks;
  hooks.prefix_allowed_tokens_fn = [](int64_t, std::span<const int64_t>) { return gen::Ids{}; };
  CHECK(error_of([&] { run("one", options("{}"), hooks); }, "allows no token for text 0") == ErrorCode::Limit);
  hooks.prefix_allowed_tokens_fn = [](int64_t, std::span<const int64_t>) { return gen::Ids{24}; };
  CHECK(error_of([&] { run("one", options("{}"), hooks); }, "outside the vocabulary") == ErrorCode::Limit);
}
