// pipeline(): tasks by name, their options passed on, answers as JSON.
#include "expect.h"
#include "tenon/tasks/pipeline.h"

using namespace tenon;
using namespace tenon::test;

TEST_CASE("pipeline() opens a task by its name or by the checkpoint") {
  const auto classify = pipeline("text-classification", golden("bert"));
  const Json& want = expected().at("text-classification").as_array()[0];
  const std::string text = expected().at("texts").as_array()[0].as_string();
  const Result result = classify(text);
  CHECK(result.label() == want.as_array()[0].at("label").as_string());
  CHECK(result.score() == doctest::Approx(want.as_array()[0].at("score").as_number()).epsilon(1e-4));
  check_labels(classify(text, {.top_k = 0}).labels, want);
  CHECK(classify.task() == "text-classification");
  CHECK(classify.model().class_name() == "BertForSequenceClassification");
  check_labels(classify.as<TextClassification>()(text, {.top_k = 0}), want);
  CHECK(error_of([&] { classify.as<FillMask>(); }, "fill-mask") == ErrorCode::Type);

  CHECK(pipeline("sentiment-analysis", golden("bert")).task() == "text-classification");
  CHECK(pipeline("", golden("bert-mlm")).task() == "fill-mask");
  CHECK(task_of(golden("bert")) == "text-classification");
  CHECK(task_of(golden("vit")) == "image-classification");
  CHECK(task_of(golden("vit-pooler")) == "image-feature-extraction");
  CHECK(task_of(golden("clip")) == "zero-shot-image-classification");
  CHECK(error_of([] { pipeline("juggling", golden("bert")); }, "text-classification") == ErrorCode::Limit);
}

TEST_CASE("every task answers through pipeline()") {
  const std::vector<std::string> labels = strings(expected().at("labels"));
  const std::string text = expected().at("texts").as_array()[0].as_string(), image = example_data("cat.png");
  check_values(pipeline("feature-extraction", golden("bert"))(text).features, expected().at("feature-extraction"));
  CHECK(pipeline("sentence-embedding", golden("bert"))(text).features.shape() == Shape{32});
  check_labels(pipeline("image-classification", golden("vit"))(image).labels, expected().at("image-classification").as_array()[0]);
  check_values(pipeline("image-feature-extraction", golden("vit-pooler"))(image, {.pool = true}).features,
               expected().at("image-feature-extraction-pool"));
  check_labels(pipeline("zero-shot-image-classification", golden("clip"))(image, {.candidate_labels = labels}).labels,
               expected().at("zero-shot-image-classification").as_array()[0]);
  const auto fill = pipeline("fill-mask", golden("bert-mlm"));
  const std::vector<Result> filled = fill(strings(expected().at("masked")));
  check_tokens(filled[0].tokens[0], expected().at("fill-mask").as_array()[0]);
  CHECK(error_of([&] { filled[0].label(); }, "labels") == ErrorCode::Type);
}

TEST_CASE("answers as JSON have Transformers' form") {
  Result r;
  r.labels = {{"up", 0.75f, 1}, {"down", 0.25f, 0}};
  CHECK(r.to_json().dump() == Json::parse(R"([{"label": "up", "score": 0.75}, {"label": "down", "score": 0.25}])").dump());
  Result f;
  f.features = Tensor::from(std::vector<float>{1, 2, 3, 4}, {2, 2});
  CHECK(f.to_json().as_array()[1].as_array()[0].as_number() == 3);
  Result t;
  t.tokens = {{{"a", 0.5f, 7, "a b"}}};
  CHECK(t.to_json().as_array()[0].at("token_str").as_string() == "a");
  t.tokens.push_back(t.tokens[0]);
  CHECK(t.to_json().as_array()[1].as_array()[0].at("token").as_int() == 7);
}
