// What sampling leaves to choose from.
#include <algorithm>
#include <numeric>

#include "scores.h"
#include "tenon/tasks/generation/processors.h"

namespace tenon::generation {
namespace {

/// Indices of scores above -inf: after a top-k few are left, and sorting a whole vocabulary is slow.
std::vector<int32_t> finite(std::span<const float> scores) {
  std::vector<int32_t> indices;
  for (size_t i = 0; i < scores.size(); ++i)
    if (scores[i] > kMinusInfinity) indices.push_back(static_cast<int32_t>(i));
  return indices;
}

/// Bans the tokens for which less(probability) holds, but none of the min_tokens_to_keep largest scores.
template <class Less>
void ban_unlikely(std::span<float> scores, std::span<const float> probabilities, int64_t min_tokens_to_keep, Less&& less) {
  const float keep = kth_largest(scores, std::min(scores.size(), static_cast<size_t>(min_tokens_to_keep)));
  for (size_t i = 0; i < scores.size(); ++i)
    if (less(probabilities[i]) && scores[i] < keep) scores[i] = kMinusInfinity;
}

/// Tokens from the least likely on are banned while their probabilities together stay within 1 - p. Only as many of the likeliest are
/// sorted as are needed: if all others together stay within it, they need no order.
void ban_below_top_p(std::span<float> scores, double p, size_t keep) {
  std::vector<int32_t> order = finite(scores);
  if (order.empty()) return;
  const float top = largest(scores), limit = static_cast<float>(1 - p);
  double sum = 0;
  for (const int32_t i : order) sum += std::exp(scores[i] - top);
  const float total = static_cast<float>(sum);
  const auto probability = [&](int32_t i) { return std::exp(scores[i] - top) / total; };
  const auto likelier = [&](int32_t a, int32_t b) { return scores[a] != scores[b] ? scores[a] > scores[b] : a > b; };
  for (size_t n = std::max<size_t>(256, keep);; n *= 8) {
    n = std::min(n, order.size());
    const auto middle = order.begin() + static_cast<std::ptrdiff_t>(n);
    if (middle != order.end()) std::nth_element(order.begin(), middle, order.end(), likelier);
    double cumulative = 0;
    for (auto i = middle; i != order.end(); ++i) cumulative += probability(*i);
    if (n < order.size() && static_cast<float>(cumulative) > limit) continue;
    for (auto i = middle; i != order.end(); ++i) scores[*i] = kMinusInfinity;
    std::sort(order.begin(), middle, likelier);
    for (size_t i = n; i-- > keep;) {
      cumulative += probability(order[i]);
      if (static_cast<float>(cumulative) > limit) return;
      scores[order[i]] = kMinusInfinity;
    }
    return;
  }
}

float entropy(std::span<const float> scores) {
  const float top = largest(scores), log_of_sum = log_sum(scores, top);
  double sum = 0;
  for (const float s : scores) {
    const float log_p = s - top - log_of_sum;
    if (s > kMinusInfinity) sum -= log_p * std::exp(log_p);
  }
  return static_cast<float>(sum);
}

void ban_untypical(std::span<float> scores, double mass, size_t keep) {
  std::vector<int32_t> order = finite(scores);
  if (order.empty()) return;
  const float top = largest(scores), log_of_sum = log_sum(scores, top), mean = entropy(scores);
  std::vector<float> distance(scores.size());
  for (const int32_t i : order) distance[i] = std::abs(-(scores[i] - top - log_of_sum) - mean);
  std::stable_sort(order.begin(), order.end(), [&](int32_t a, int32_t b) { return distance[a] < distance[b]; });
  double cumulative = 0;
  size_t last = 0;
  while (last + 1 < order.size()) {
    cumulative += std::exp(scores[order[last]] - top - log_of_sum);
    if (static_cast<float>(cumulative) >= static_cast<float>(mass)) break;
    ++last;
  }
  const float limit = distance[order[last]];
  for (size_t i = keep; i < order.size(); ++i)
    if (distance[order[i]] > limit) scores[order[i]] = kMinusInfinity;
}

void ban_by_entropy(std::span<float> scores, double h) {
  constexpr size_t kMost = 100;
  std::vector<int32_t> order = finite(scores);
  const size_t n = std::min(kMost, order.size());
  if (n == 0) return;
  std::partial_sort(order.begin(), order.begin() + static_cast<std::ptrdiff_t>(n), order.end(),
                    [&](int32_t a, int32_t b) { return scores[a] != scores[b] ? scores[a] > scores[b] : a < b; });
  std::vector<float> likeliest;
  for (size_t i = 0; i < n; ++i) likeliest.push_back(scores[order[i]]);
  const float limit = entropy(likeliest) * static_cast<float>(h);
  std::vector<float> kept;
  double cumulative = 0;
  for (const float p : softmax(likeliest)) {
    cumulative += p > 0 ? -p * std::log(p) : 0.0f;
    if (!kept.empty() && static_cast<float>(cumulative) > limit) break;
    kept.push_back(likeliest[kept.size()]);
  }
  std::fill(scores.begin(), scores.end(), kMinusInfinity);
  for (size_t i = 0; i < kept.size(); ++i) scores[order[i]] = kept[i];
}

}  // namespace

Processor temperature(double t) {
  return std::make_shared<RowProcessor>([t = static_cast<float>(t)](const Row&, std::span<float> scores) {
    for (float& s : scores) s /= t;
  });
}

Processor top_k(int64_t k, int64_t min_tokens_to_keep) {
  return std::make_shared<RowProcessor>([k = static_cast<size_t>(std::max(k, min_tokens_to_keep))](const Row&, std::span<float> scores) {
    if (k >= scores.size()) return;
    const float least = kth_largest(scores, k);
    for (float& s : scores)
      if (s < least) s = kMinusInfinity;
  });
}

Processor top_p(double p, int64_t min_tokens_to_keep) {
  return std::make_shared<RowProcessor>(
      [=](const Row&, std::span<float> scores) { ban_below_top_p(scores, p, static_cast<size_t>(min_tokens_to_keep)); });
}

Processor min_p(double p, int64_t min_tokens_to_keep) {
  return std::make_shared<RowProcessor>([=](const Row&, std::span<float> scores) {
    const std::vector<float> probabilities = softmax(scores);
    const float limit = static_cast<float>(p) * largest(probabilities);
    ban_unlikely(scores, probabilities, min_tokens_to_keep, [&](float x) { return x < limit; });
  });
}

Processor top_h(double h) {
  return std::make_shared<RowProcessor>([=](const Row&, std::span<float> scores) { ban_by_entropy(scores, h); });
}

Processor typical_p(double mass, int64_t min_tokens_to_keep) {
  return std::make_shared<RowProcessor>(
      [=](const Row&, std::span<float> scores) { ban_untypical(scores, mass, static_cast<size_t>(min_tokens_to_keep)); });
}

Processor epsilon_cutoff(double epsilon, int64_t min_tokens_to_keep) {
  return std::make_shared<RowProcessor>([=](const Row&, std::span<float> scores) {
    ban_unlikely(scores, softmax(scores), min_tokens_to_keep, [e = static_cast<float>(epsilon)](float x) { return x < e; });
  });
}

Processor eta_cutoff(double epsilon, int64_t min_tokens_to_keep) {
  return std::make_shared<RowProcessor>([=](const Row&, std::span<float> scores) {
    const float e = static_cast<float>(epsilon), eta = std::min(e, std::sqrt(e) * std::exp(-entropy(scores)));
    ban_unlikely(scores, softmax(scores), min_tokens_to_keep, [&](float x) { return x < eta; });
  });
}

Processor renormalize_logits() {
  return std::make_shared<RowProcessor>([](const Row&, std::span<float> scores) { log_softmax(scores); });
}

}  // namespace tenon::generation
