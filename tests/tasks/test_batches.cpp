// Many texts in one call: grouped by length, bounded in memory, answered in the order they came in.
#include <random>

#include "expect.h"

using namespace tenon;
using namespace tenon::test;

namespace {

std::vector<std::string> ragged(size_t n) {
  std::mt19937 random(1);
  const char* words[] = {"profit", "falls", "the", "cat", "sat", "on", "mat", "shares"};
  std::vector<std::string> texts;
  for (size_t i = 0; i < n; ++i) {
    std::string text;
    for (size_t k = random() % 14; k > 0; --k) text += std::string(words[random() % 8]) + " ";
    texts.push_back(text);
  }
  return texts;
}

}  // namespace

TEST_CASE("groups hold every text once, the longest first, within both bounds") {
  const tasks::Runner runner(golden("bert"), {.batch_size = 4}, {.class_name = "BertModel"});
  const auto tokenizer = text::Tokenizer::from_folder(golden("bert"));
  const std::vector<std::string> texts = ragged(150);  // more than the 128 that are encoded at a time
  for (const int64_t positions : {1, 20, 1000}) {
    std::vector<int> seen(texts.size());
    const std::vector<text::TextInput> inputs = tasks::text_inputs(texts);
    tasks::in_text_batches(runner, tokenizer, inputs, {}, positions, [&](std::span<const size_t> places, const models::Inputs& batch) {
      const int64_t B = batch.input_ids.size(0), T = batch.input_ids.size(1);
      CHECK(B == static_cast<int64_t>(places.size()));
      CHECK(B <= 4);
      CHECK((B == 1 || B * T <= positions));
      for (size_t i = 0; i < places.size(); ++i) {
        seen[places[i]] += 1;
        const std::vector<int32_t> ids = tokenizer.encode(texts[places[i]]).ids;
        const auto row = batch.input_ids.values<int32_t>().subspan(i * static_cast<size_t>(T), static_cast<size_t>(T));
        CHECK(std::equal(ids.begin(), ids.end(), row.begin()));
      }
    });
    CHECK(seen == std::vector<int>(texts.size(), 1));
  }
}

TEST_CASE("texts of mixed length are answered in order by every text task") {
  const std::vector<std::string> texts = ragged(40);
  const SentenceEmbedding embed(golden("bert"), {.batch_size = 7});
  const FeatureExtraction extract(golden("bert"), {.batch_size = 7});
  const Tensor together = embed(texts);
  const std::vector<Tensor> states = extract(texts);
  for (size_t i = 0; i < texts.size(); ++i) {
    const Tensor alone = embed(texts[i]), state = extract(texts[i]);
    for (int64_t c = 0; c < alone.numel(); ++c)
      CHECK(together.data<float>()[static_cast<int64_t>(i) * alone.numel() + c] == doctest::Approx(alone.data<float>()[c]).epsilon(1e-3));
    REQUIRE(states[i].shape() == state.shape());
    CHECK(states[i].data<float>()[state.numel() - 1] == doctest::Approx(state.data<float>()[state.numel() - 1]).epsilon(1e-3));
  }
  const FillMask fill(golden("bert-mlm"), {.batch_size = 2});
  const std::vector<std::string> masked = {"the [MASK]", "shares [MASK] after the [MASK]", "[MASK]"};
  const auto answers = fill(masked);
  for (size_t i = 0; i < masked.size(); ++i) {
    const auto alone = fill(masked[i]);
    REQUIRE(answers[i].size() == alone.size());
    CHECK(answers[i][0][0].id == alone[0][0].id);
  }
}

TEST_CASE("a braced list of two texts is two texts; none give none") {
  const TextClassification classify(golden("bert"));
  CHECK(classify({"profit falls", "the cat"}).size() == 2);
  CHECK(SentenceEmbedding(golden("bert"))({"profit falls", "the cat"}).size(0) == 2);
  CHECK(pipeline("text-classification", golden("bert"))({"profit falls", "the cat"}).size() == 2);
  CHECK(classify(std::vector<std::string>{}).empty());
  CHECK(SentenceEmbedding(golden("bert"))(std::vector<std::string>{}).size(0) == 0);
}
