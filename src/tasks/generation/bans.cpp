// Rules that forbid tokens or allow only some.
#include <algorithm>
#include <map>

#include "scores.h"
#include "tenon/tasks/generation/processors.h"

namespace tenon::generation {
namespace {

void ban(std::span<const int64_t> ids, std::span<float> scores) {
  for (const int64_t id : ids)
    if (id >= 0 && id < static_cast<int64_t>(scores.size())) scores[static_cast<size_t>(id)] = kMinusInfinity;
}

void force(std::span<const int64_t> ids, std::span<float> scores) {
  std::fill(scores.begin(), scores.end(), kMinusInfinity);
  for (const int64_t id : ids) scores[static_cast<size_t>(id)] = 0;
}

/// Bans what followed, in `text`, the n - 1 tokens that end `ids`.
void ban_ngrams(std::span<const int64_t> text, std::span<const int64_t> ids, size_t n, std::span<float> scores) {
  if (ids.size() + 1 < n || text.size() < n) return;
  const auto suffix = ids.last(n - 1);
  for (size_t i = 0; i + n <= text.size(); ++i)
    if (std::equal(suffix.begin(), suffix.end(), text.begin() + static_cast<std::ptrdiff_t>(i))) ban(text.subspan(i + n - 1, 1), scores);
}

/// Looks at all rows of a text together: whether its constraint can be met depends on each of them.
class PrefixAllowedTokens final : public LogitsProcessor {
 public:
  PrefixAllowedTokens(AllowedTokens f, int64_t width) : f_(std::move(f)), width_(width) {}

  void apply(Context&, const Step& step, Tensor& scores) override {
    const int64_t V = scores.size(1);
    std::map<int64_t, bool> satisfiable;
    std::vector<Ids> allowed;
    for (size_t i = 0; i < step.rows.size(); ++i) {
      const int64_t text = step.rows[i] / width_;
      const Ids& ids = allowed.emplace_back(f_(text, step.sequences[i]));
      check(!ids.empty(), ErrorCode::Limit, "generate", "prefix_allowed_tokens_fn allows no token for text ", text);
      const float* row = scores.data<float>() + static_cast<int64_t>(i) * V;
      for (const int64_t id : ids) {
        check(id >= 0 && id < V, ErrorCode::Limit, "generate", "prefix_allowed_tokens_fn: token ", id, " is outside the vocabulary of ", V);
        satisfiable[text] = satisfiable[text] || row[id] > kMinusInfinity;
      }
    }
    for (size_t i = 0; i < allowed.size(); ++i) {
      const std::span<float> row(scores.data<float>() + static_cast<int64_t>(i) * V, static_cast<size_t>(V));
      const std::vector<float> before(row.begin(), row.end());
      force(allowed[i], row);
      if (!satisfiable[step.rows[i] / width_]) continue;
      for (const int64_t id : allowed[i]) row[static_cast<size_t>(id)] = before[static_cast<size_t>(id)];
    }
  }

 private:
  AllowedTokens f_;
  int64_t width_;
};

}  // namespace

Processor no_repeat_ngram(int64_t size) {
  return std::make_shared<RowProcessor>(
      [n = static_cast<size_t>(size)](const Row& row, std::span<float> scores) { ban_ngrams(row.ids, row.ids, n, scores); });
}

Processor encoder_no_repeat_ngram(int64_t size, std::vector<Ids> encoder_ids, int64_t width) {
  return std::make_shared<RowProcessor>(
      [n = static_cast<size_t>(size), width, texts = std::move(encoder_ids)](const Row& row, std::span<float> scores) {
        ban_ngrams(texts[static_cast<size_t>(row.index / width)], row.ids, n, scores);
      });
}

Processor bad_words(std::vector<Ids> words, const Ids& eos, int64_t vocab_size) {
  std::vector<SequenceBias> biases;
  for (Ids& word : words) {
    if (word.size() == 1 && std::find(eos.begin(), eos.end(), word[0]) != eos.end()) continue;
    for (const int64_t id : word)
      check(id >= 0 && id < vocab_size, ErrorCode::Limit, "generate", "bad_words_ids: token ", id, " is outside the vocabulary of ",
            vocab_size);
    biases.push_back({std::move(word), kMinusInfinity});
  }
  return sequence_bias(std::move(biases), vocab_size);
}

Processor min_length(int64_t min_length, Ids eos) {
  return std::make_shared<RowProcessor>([=](const Row& row, std::span<float> scores) {
    if (static_cast<int64_t>(row.ids.size()) < min_length) ban(eos, scores);
  });
}

Processor suppress_tokens(Ids tokens) {
  return std::make_shared<RowProcessor>([tokens = std::move(tokens)](const Row&, std::span<float> scores) { ban(tokens, scores); });
}

Processor suppress_tokens_at_begin(Ids tokens, int64_t begin_index) {
  return std::make_shared<RowProcessor>([=](const Row& row, std::span<float> scores) {
    if (static_cast<int64_t>(row.ids.size()) == begin_index) ban(tokens, scores);
  });
}

Processor prefix_allowed_tokens(AllowedTokens f, int64_t width) { return std::make_shared<PrefixAllowedTokens>(std::move(f), width); }

Processor forced_bos_token(int64_t token) {
  return std::make_shared<RowProcessor>([=](const Row& row, std::span<float> scores) {
    if (row.ids.size() == 1) force(std::span(&token, 1), scores);
  });
}

Processor forced_eos_token(Ids tokens, int64_t max_length) {
  return std::make_shared<RowProcessor>([=](const Row& row, std::span<float> scores) {
    if (static_cast<int64_t>(row.ids.size()) == max_length - 1) force(tokens, scores);
  });
}

Processor remove_invalid_values() {
  return std::make_shared<RowProcessor>([](const Row&, std::span<float> scores) {
    constexpr float kMost = std::numeric_limits<float>::max();
    for (float& s : scores) s = std::isnan(s) ? 0 : std::clamp(s, -kMost, kMost);
  });
}

}  // namespace tenon::generation
