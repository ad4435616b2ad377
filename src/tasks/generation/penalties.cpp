// Rules that make tokens likelier or less likely.
#include <algorithm>

#include "scores.h"
#include "tenon/tasks/generation/processors.h"

namespace tenon::generation {
namespace {

/// Sorted and without what the scores lack.
Ids distinct(std::span<const int64_t> ids, int64_t vocab_size) {
  Ids sorted(ids.begin(), ids.end());
  std::sort(sorted.begin(), sorted.end());
  sorted.erase(std::unique(sorted.begin(), sorted.end()), sorted.end());
  std::erase_if(sorted, [&](int64_t id) { return id < 0 || id >= vocab_size; });
  return sorted;
}

void penalize(std::span<const int64_t> ids, float penalty, std::span<float> scores) {
  for (const int64_t id : distinct(ids, static_cast<int64_t>(scores.size()))) {
    float& s = scores[static_cast<size_t>(id)];
    s = s < 0 ? s * penalty : s / penalty;
  }
}

}  // namespace

Processor repetition_penalty(double penalty, Ids ignore) {
  return std::make_shared<RowProcessor>([=](const Row& row, std::span<float> scores) {
    const size_t skip = ignore.empty() ? 0 : static_cast<size_t>(ignore[static_cast<size_t>(row.index)]);
    penalize(row.ids.subspan(std::min(skip, row.ids.size())), static_cast<float>(penalty), scores);
  });
}

Processor encoder_repetition_penalty(double penalty, std::vector<Ids> encoder_ids, int64_t width) {
  return std::make_shared<RowProcessor>([penalty, width, texts = std::move(encoder_ids)](const Row& row, std::span<float> scores) {
    penalize(texts[static_cast<size_t>(row.index / width)], static_cast<float>(1 / penalty), scores);
  });
}

Processor sequence_bias(std::vector<SequenceBias> biases, int64_t vocab_size) {
  for (const SequenceBias& b : biases)
    for (const int64_t id : b.tokens)
      check(id >= 0 && id < vocab_size, ErrorCode::Limit, "generate", "sequence_bias: token ", id, " is outside the vocabulary of ",
            vocab_size);
  return std::make_shared<RowProcessor>([biases = std::move(biases)](const Row& row, std::span<float> scores) {
    // Biases of one token are summed first: of two -inf and inf the sum is what Transformers adds.
    std::vector<std::pair<int64_t, float>> sums;
    for (const SequenceBias& b : biases) {
      const size_t prefix = b.tokens.size() - 1;
      if (prefix > row.ids.size() || !std::equal(b.tokens.begin(), b.tokens.end() - 1, row.ids.end() - static_cast<std::ptrdiff_t>(prefix)))
        continue;
      const auto same = std::find_if(sums.begin(), sums.end(), [&](const auto& s) { return s.first == b.tokens.back(); });
      if (same == sums.end())
        sums.emplace_back(b.tokens.back(), b.bias);
      else
        same->second += b.bias;
    }
    for (const auto& [id, bias] : sums) scores[static_cast<size_t>(id)] += bias;
  });
}

Processor exponential_decay_length_penalty(ExponentialDecay decay, Ids eos, int64_t prompt_length) {
  return std::make_shared<RowProcessor>([=](const Row& row, std::span<float> scores) {
    const int64_t excess = static_cast<int64_t>(row.ids.size()) - prompt_length - decay.start;
    if (excess <= 0) return;
    const float factor = static_cast<float>(std::pow(decay.factor, static_cast<double>(excess)) - 1);
    for (const int64_t id : distinct(eos, static_cast<int64_t>(scores.size()))) {
      float& s = scores[static_cast<size_t>(id)];
      if (std::isfinite(s)) s += std::abs(s) * factor;
    }
  });
}

}  // namespace tenon::generation
