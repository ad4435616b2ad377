// IdEncoder: the words of a text straight to ids, and the special tokens around them.
#include "tenon/text/id_encoder.h"

#include <algorithm>
#include <iterator>
#include <limits>

#include "scratch.h"

namespace tenon::text {

struct IdEncoder::State {
  State(const Tokenizer& tokenizer, const EncodeOptions& given)
      : scratch(tokenizer), options(given), limits(tokenizer.resolve(given, false)) {
    options.padding = Padding::None;
    options.ids_only = true;
    options.return_overflowing = false;
    // where a template puts a text, its special tokens as ids of their own
    std::vector<Part> parts{{{}, 0, 0}};
    if (tokenizer.post_processor_) tokenizer.post_processor_->process(parts, options.add_special_tokens);
    for (const Part& part : parts) {
      if (part.sequence >= 0)
        around.emplace_back();
      else
        for (const Token& token : part.tokens) around.back().push_back(token.id);
    }
    // a stride that leaves nothing is an error of a text that is cut, which the other way knows
    const bool is_usual_cut = options.truncation == Truncation::LongestFirst || options.truncation == Truncation::OnlyFirst;
    is_simple = around.size() == 2 &&
                (!limits.is_truncated || (is_usual_cut && static_cast<size_t>(options.stride) < limits.max_tokens));
  }

  Tokenizer::Lease scratch;
  EncodeOptions options;
  Tokenizer::Limits limits;
  std::vector<std::vector<int32_t>> around{1};  // special tokens before the text, behind it, ...
  bool is_simple;
};

IdEncoder::IdEncoder(const Tokenizer& tokenizer, const EncodeOptions& options)
    : tokenizer_(tokenizer), state_(std::make_unique<State>(tokenizer, options)) {}
IdEncoder::~IdEncoder() = default;

void IdEncoder::tokenize(std::string_view text, std::vector<int32_t>& ids) {
  Tokenizer::Scratch& scratch = *state_->scratch;
  const Tokenizer::Limits& limits = state_->limits;
  tokenizer_.cut_text(text, state_->options, false, scratch);
  const std::vector<Piece>& list = scratch.pieces.list();
  const bool loses_start = limits.is_truncated && limits.side == Side::Left, loses_end = limits.is_truncated && !loses_start;
  const size_t first = loses_start ? tokenizer_.first_needed(limits, 0, scratch) : 0;
  const size_t enough = loses_end ? ids.size() + limits.max_tokens : std::numeric_limits<size_t>::max();
  for (size_t i = first; i < list.size() && ids.size() < enough; ++i) {
    const Piece& p = list[i];
    if (!p.is_open()) {
      ids.push_back(p.id);
      continue;
    }
    tokenizer_.find_tokens(scratch.pieces.view(p), scratch);
    for (const ModelToken& t : scratch.model_tokens) ids.push_back(t.id);
  }
}

void IdEncoder::append(const TextInput& input, std::vector<int32_t>& ids) {
  if (input.pair || !state_->is_simple) {
    const Encoding e = tokenizer_.encode_one(input, state_->options, *state_->scratch);
    ids.insert(ids.end(), e.ids.begin(), e.ids.end());
    return;
  }
  const auto& before = state_->around[0];
  const auto& behind = state_->around[1];
  ids.insert(ids.end(), before.begin(), before.end());
  const size_t first = ids.size(), max = state_->limits.max_tokens;
  tokenize(input.text, ids);
  if (state_->limits.is_truncated && ids.size() - first > max) {
    const auto start = ids.begin() + static_cast<std::ptrdiff_t>(first);
    if (state_->limits.side == Side::Left) std::move(ids.end() - static_cast<std::ptrdiff_t>(max), ids.end(), start);
    ids.resize(first + max);
  }
  ids.insert(ids.end(), behind.begin(), behind.end());
}

}  // namespace tenon::text
