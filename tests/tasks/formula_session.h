// A model that is a formula (see tests/golden/make_generation.py), as a DecodingSession that checks how it is used.
#pragma once

#include "expect.h"
#include "tenon/tasks/generation/generate.h"

namespace tenon::test {

inline constexpr int64_t kFormulaVocab = 24;

inline float formula_logit(int64_t a, int64_t b, int64_t v) {
  uint32_t x = static_cast<uint32_t>(a * 8191 + b * 127 + v + 1);
  x = (x ^ (x >> 16)) * 0x7FEB352Du;
  x = (x ^ (x >> 15)) * 0x846CA68Bu;
  x ^= x >> 16;
  return static_cast<float>(x >> 8) * 0x1p-21f - 4.0f;
}

/// Counts what it computes. A token in [0, V) may be given to `poison`: after it the logits are NaN.
class FormulaSession final : public models::DecodingSession {
 public:
  explicit FormulaSession(int64_t sequences, int64_t max_length = kUnlimited)
      : texts_(static_cast<size_t>(sequences)), max_length_(max_length) {}

  int64_t vocab_size() const override { return kFormulaVocab; }
  int64_t max_length() const override { return max_length_; }
  int64_t size() const override { return static_cast<int64_t>(texts_.size()); }
  int64_t length(int64_t i) const override { return static_cast<int64_t>(texts_.at(static_cast<size_t>(i)).size()); }

  Tensor feed(Context&, std::span<const std::vector<int64_t>> tokens, bool all_positions) override {
    REQUIRE(tokens.size() == texts_.size());
    ++passes;
    std::vector<float> logits;
    for (size_t i = 0; i < tokens.size(); ++i) {
      for (size_t t = 0; t < tokens[i].size(); ++t) {
        check(tokens[i][t] >= 0 && tokens[i][t] < kFormulaVocab, ErrorCode::Limit, "formula", "token ", tokens[i][t]);
        texts_[i].push_back(tokens[i][t]);
        REQUIRE(static_cast<int64_t>(texts_[i].size()) <= max_length_);
        if (all_positions || t + 1 == tokens[i].size()) add(texts_[i], logits);
      }
      computed += static_cast<int64_t>(tokens[i].size());
    }
    return Tensor::from(logits, {static_cast<int64_t>(logits.size()) / kFormulaVocab, kFormulaVocab});
  }
  void reorder(std::span<const int64_t> parents) override {
    std::vector<generation::Ids> texts;
    for (const int64_t p : parents) texts.push_back(texts_.at(static_cast<size_t>(p)));
    texts_ = std::move(texts);
  }
  void truncate(int64_t i, int64_t length) override {
    REQUIRE(length <= this->length(i));
    texts_[static_cast<size_t>(i)].resize(static_cast<size_t>(length));
  }

  int64_t passes = 0, computed = 0;
  int64_t poison = -1;
  int64_t twist = 0;  // another formula: a model that drafts badly at times

 private:
  void add(const generation::Ids& text, std::vector<float>& logits) const {
    const int64_t a = text.size() > 1 ? text[text.size() - 2] : kFormulaVocab, b = text.back();
    const bool twisted = twist > 0 && b % twist == 0;
    for (int64_t v = 0; v < kFormulaVocab; ++v)
      logits.push_back(b == poison ? std::nanf("") : formula_logit(a, b, twisted ? (v + 7) % kFormulaVocab : v));
  }

  std::vector<generation::Ids> texts_;
  int64_t max_length_;
};

class FormulaModel final : public models::Model {
 public:
  explicit FormulaModel(const std::string& config = "{}") : Model(Json::parse(config)) {}
  std::string class_name() const override { return "FormulaForCausalLM"; }
  models::Outputs compute(Context&, const models::Inputs&) const override { return {}; }
  void visit(nn::Visitor&) override {}
  std::unique_ptr<models::DecodingSession> begin(Context&, const models::Inputs& in) const override {
    return std::make_unique<FormulaSession>(in.input_ids.size(0));
  }
};

inline const Json& recorded() {
  static const Json json = Json::parse_file(golden("generation.json"));
  return json;
}

inline generation::Ids ids_of(const Json& list) {
  generation::Ids ids;
  for (const Json& id : list.as_array()) ids.push_back(id.as_int());
  return ids;
}

inline std::vector<generation::Ids> rows_of(const Json& lists) {
  std::vector<generation::Ids> rows;
  for (const Json& list : lists.as_array()) rows.push_back(ids_of(list));
  return rows;
}

inline std::vector<generation::Ids> rows_of(const Tensor& t) {
  std::vector<generation::Ids> rows;
  for (int64_t i = 0; i < t.size(0); ++i) rows.emplace_back(t.data<int64_t>() + i * t.size(1), t.data<int64_t>() + (i + 1) * t.size(1));
  return rows;
}

/// A recorded prompt.
inline generation::Prompt prompt_of(const std::string& name) {
  const Json::Array& parts = recorded().at("prompts").at(name).as_array();
  generation::Prompt prompt;
  prompt.sequences = rows_of(parts[0]);
  for (size_t i = 0; i < prompt.sequences.size(); ++i) {
    generation::Ids tokens = prompt.sequences[i];
    if (!parts[1].is_null()) std::erase(tokens, 0);
    prompt.tokens.push_back(tokens);
  }
  return prompt;
}

inline GenerationConfig options(const std::string& json) { return GenerationConfig().update(Json::parse(json)); }

inline GenerateOutput run(const std::string& prompt, const GenerationConfig& config, const GenerateHooks& hooks = {}) {
  Context ctx(1);
  const generation::Prompt p = prompt_of(prompt);
  FormulaSession session(static_cast<int64_t>(p.tokens.size()));
  return generation::generate(ctx, session, p, config, hooks);
}

/// Compares float32 rows with lists in which null stands for -inf.
inline void check_scores(const Tensor& got, const Json& want, const std::string& what) {
  CAPTURE(what);
  const Json::Array& rows = want.as_array();
  REQUIRE(got.size(0) == static_cast<int64_t>(rows.size()));
  for (size_t r = 0; r < rows.size(); ++r) {
    const Json::Array& row = rows[r].as_array();
    REQUIRE(got.size(1) == static_cast<int64_t>(row.size()));
    for (size_t v = 0; v < row.size(); ++v) {
      CAPTURE(r);
      CAPTURE(v);
      const float x = got.data<float>()[static_cast<int64_t>(r) * got.size(1) + static_cast<int64_t>(v)];
      if (row[v].is_null())
        CHECK(x == -std::numeric_limits<float>::infinity());
      else
        CHECK(x == doctest::Approx(row[v].as_number()).epsilon(2e-6));
    }
  }
}

}  // namespace tenon::test
