// What tasks answer: labels and tokens with scores, and how scores come from logits.
#pragma once

#include <algorithm>
#include <cmath>
#include <optional>
#include <span>
#include <string>
#include <vector>

#include "tenon/core/json.h"
#include "tenon/models/config.h"

namespace tenon {

/// A class and its score.
struct LabelScore {
  std::string label;
  float score = 0;
  int64_t id = 0;  // the index of the class in the logits
};

/// A token that fits a mask.
struct TokenScore {
  std::string token;  // as text
  float score = 0;    // its probability
  int32_t id = 0;
  std::string sequence;  // the text with the token at the mask's place
};

/// How logits become scores.
enum class ScoreFunction { Softmax, Sigmoid, None };

}  // namespace tenon

namespace tenon::tasks {

/// The function that Transformers' pipelines choose by config.json: none for a regression, the sigmoid for independent labels or a
/// single one, else the softmax.
inline ScoreFunction default_function(const Json& config) {
  const std::string kind = config.value("problem_type", "");
  if (kind == "regression") return ScoreFunction::None;
  if (kind == "multi_label_classification" || models::read_num_labels(config) == 1) return ScoreFunction::Sigmoid;
  return ScoreFunction::Softmax;
}

/// softmax: exp(x - max) / sum; sigmoid: 1 / (1 + exp(-x)).
inline std::vector<float> to_scores(std::span<const float> logits, ScoreFunction function) {
  std::vector<float> scores(logits.begin(), logits.end());
  if (function == ScoreFunction::Sigmoid) {
    for (float& x : scores) x = 1 / (1 + std::exp(-x));
  } else if (function == ScoreFunction::Softmax && !scores.empty()) {
    const float top = *std::max_element(scores.begin(), scores.end());
    double sum = 0;
    for (float& x : scores) sum += x = std::exp(x - top);
    for (float& x : scores) x = static_cast<float>(x / sum);
  }
  return scores;
}

/// The indices of the k largest scores, best first, the lower index first among equals; all for k <= 0.
inline std::vector<int64_t> best(std::span<const float> scores, int64_t k) {
  std::vector<int64_t> order(scores.size());
  for (size_t i = 0; i < order.size(); ++i) order[i] = static_cast<int64_t>(i);
  const size_t keep = k <= 0 ? order.size() : std::min(order.size(), static_cast<size_t>(k));
  std::partial_sort(order.begin(), order.begin() + static_cast<std::ptrdiff_t>(keep), order.end(),
                    [&](int64_t a, int64_t b) { return scores[a] != scores[b] ? scores[a] > scores[b] : a < b; });
  order.resize(keep);
  return order;
}

/// The k best classes of one row of logits under the names that config.json gives them.
inline std::vector<LabelScore> label_scores(std::span<const float> logits, const Json& config, int64_t k,
                                            std::optional<ScoreFunction> function) {
  const std::vector<float> scores = to_scores(logits, function.value_or(default_function(config)));
  std::vector<LabelScore> labels;
  for (const int64_t i : best(scores, k)) labels.push_back({models::label_name(config, i), scores[i], i});
  return labels;
}

}  // namespace tenon::tasks
