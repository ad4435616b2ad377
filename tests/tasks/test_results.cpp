// Scores from logits: functions, order, names.
#include "expect.h"
#include "tenon/tasks/results.h"

using namespace tenon;

TEST_CASE("scores from logits") {
  const std::vector<float> logits = {1, 3, 2};
  const auto soft = tasks::to_scores(logits, ScoreFunction::Softmax);
  CHECK(soft[0] + soft[1] + soft[2] == doctest::Approx(1));
  CHECK(soft[1] == doctest::Approx(0.665241));
  CHECK(tasks::to_scores(logits, ScoreFunction::Sigmoid)[2] == doctest::Approx(0.880797));
  CHECK(tasks::to_scores(logits, ScoreFunction::None) == logits);
  CHECK(tasks::to_scores(std::vector<float>{1e4f, 0}, ScoreFunction::Softmax)[0] == 1);
  CHECK(tasks::to_scores(std::vector<float>{-200, 200}, ScoreFunction::Sigmoid) == std::vector<float>{0, 1});
  CHECK(tasks::to_scores({}, ScoreFunction::Softmax).empty());
}

TEST_CASE("best() sorts, breaks ties by index, and takes 0 for all") {
  const std::vector<float> scores = {2, 5, 5, 1};
  CHECK(tasks::best(scores, 2) == std::vector<int64_t>{1, 2});
  CHECK(tasks::best(scores, 0) == std::vector<int64_t>{1, 2, 0, 3});
  CHECK(tasks::best(scores, 99).size() == 4);
  CHECK(tasks::best({}, 3).empty());
}

TEST_CASE("the function follows config.json") {
  const auto of = [](const char* json) { return tasks::default_function(Json::parse(json)); };
  CHECK(of("{}") == ScoreFunction::Softmax);
  CHECK(of(R"({"num_labels": 1})") == ScoreFunction::Sigmoid);
  CHECK(of(R"({"problem_type": "multi_label_classification"})") == ScoreFunction::Sigmoid);
  CHECK(of(R"({"problem_type": "regression", "num_labels": 1})") == ScoreFunction::None);
  const auto labels =
      tasks::label_scores(std::vector<float>{0, 1}, Json::parse(R"({"id2label": {"0": "bearish", "1": "bullish"}})"), 1, {});
  CHECK(labels[0].label == "bullish");
  CHECK(labels[0].id == 1);
}
