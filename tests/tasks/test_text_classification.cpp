// Text classification: equal to Transformers' pipeline; batches, options, errors, threads.
#include <thread>

#include "expect.h"
#include "tenon/tasks/text_classification.h"

using namespace tenon;
using namespace tenon::test;

TEST_CASE("text classification answers what Transformers answers") {
  const TextClassification classify(golden("bert"));
  const std::vector<std::string> texts = strings(expected().at("texts"));
  const Json& want = expected().at("text-classification");
  for (size_t i = 0; i < texts.size(); ++i) check_labels(classify(texts[i], {.top_k = 0}), want.as_array()[i]);
  check_labels(classify(texts[0], {.top_k = 2, .function = ScoreFunction::Sigmoid}), expected().at("text-classification-sigmoid"));
  const text::TextInput pair{texts[0], texts[1]};
  check_labels(classify(std::span(&pair, 1), {.top_k = 0})[0], expected().at("text-classification-pair"));
}

TEST_CASE("text classification: a batch gives what single calls give, in order, for any batch size") {
  const std::vector<std::string> texts = strings(expected().at("texts"));
  for (const int size : {1, 2, 32}) {
    const TextClassification classify(golden("bert"), {.batch_size = size});
    const auto all = classify(texts, {.top_k = 0});
    REQUIRE(all.size() == texts.size());
    for (size_t i = 0; i < texts.size(); ++i) check_labels(all[i], expected().at("text-classification").as_array()[i]);
  }
  const TextClassification classify(golden("bert"));
  CHECK(classify(std::vector<std::string>{}).empty());
  CHECK(classify(texts[0]).size() == 1);
  CHECK(classify(texts[0], {.function = ScoreFunction::None})[0].score != doctest::Approx(classify(texts[0])[0].score));
}

TEST_CASE("text classification: long texts and bad folders are named") {
  const TextClassification classify(golden("bert"));
  std::string longer;
  for (int i = 0; i < 100; ++i) longer += "shares ";
  CHECK(error_of([&] { classify(longer); }, "truncation") == ErrorCode::Limit);
  CHECK(classify(longer, {.truncation = true}).size() == 1);
  CHECK(classify(longer, {.truncation = true, .max_length = 8})[0].score ==
        doctest::Approx(classify(longer, {.truncation = true, .max_length = 8})[0].score));
  CHECK(classify("shares").size() == 1);  // usable after the error
  CHECK(error_of([] { TextClassification("no/such/folder"); }, "no/such/folder") == ErrorCode::File);
  CHECK(error_of([] { TextClassification(golden("vit")); }, "vit") == ErrorCode::Format);
  CHECK(error_of([] { TextClassification(golden("bert-mlm")); }, "classifier") == ErrorCode::Format);
  CHECK(error_of([] { TextClassification(golden("bert"), {.batch_size = 0}); }, "batch_size") == ErrorCode::Limit);
}

TEST_CASE("text classification: several threads share one object") {
  const TextClassification classify(golden("bert"), {.threads = 1});
  const std::vector<std::string> texts = strings(expected().at("texts"));
  std::vector<std::vector<std::vector<LabelScore>>> answers(4);
  std::vector<std::thread> threads;
  for (auto& answer : answers) threads.emplace_back([&] { answer = classify(texts, {.top_k = 0}); });
  for (auto& t : threads) t.join();
  for (const auto& answer : answers)
    for (size_t i = 0; i < texts.size(); ++i) check_labels(answer[i], expected().at("text-classification").as_array()[i]);
}
