// From tokens to an Encoding: truncation, windows, special tokens, padding.
#include <algorithm>

#include "scratch.h"
#include "tenon/core/error.h"
#include "tenon/text/unicode.h"
#include "tenon/text/utf8.h"

namespace tenon::text {
namespace {

constexpr double kMaxWindowTokens = 1 << 28;
constexpr uint32_t kMostBlanks = 15;  // at least so many

struct Window {
  size_t begin, end;
};

// The windows of `max` tokens that cover n, each sharing `stride` with the one before; the first one is the truncated text.
std::vector<Window> windows(size_t n, size_t max, size_t stride, Side side, bool all) {
  if (n <= max) return {{0, n}};
  if (max == 0) return all ? std::vector<Window>{{0, 0}, {0, n}} : std::vector<Window>{{0, 0}};
  check(stride < max, ErrorCode::Limit, "tokenizer", "stride: expected less than the ", max, " tokens that truncation leaves, got ",
        stride);
  std::vector<Window> out;
  const size_t step = max - stride;
  for (size_t at = 0; at < n; at += step) {
    // counted from the end for the left side
    const size_t stop = std::min(at + max, n);
    out.push_back(side == Side::Right ? Window{at, stop} : Window{n - stop, n - at});
    if (stop == n || !all) break;
  }
  return out;
}

struct Lengths {
  size_t first, second;
};

// What is left of texts of n1 and n2 tokens, of which more than `max` do not fit.
Lengths longest_first(size_t n1, size_t n2, size_t max) {
  const bool is_swapped = n1 > n2;
  size_t small = std::min(n1, n2);
  size_t large = small > max ? small : std::max(small, max - small);
  if (small + large > max) {
    small = max / 2;
    large = small + max % 2;
  }
  return is_swapped ? Lengths{large, small} : Lengths{small, large};
}

Lengths truncated(size_t n1, size_t n2, bool is_pair, size_t max, Truncation strategy) {
  if (max == 0) return {0, 0};
  if (n1 + n2 <= max) return {n1, n2};
  if (strategy == Truncation::LongestFirst) return is_pair ? longest_first(n1, n2, max) : Lengths{max, 0};
  const bool is_first = strategy == Truncation::OnlyFirst;
  check(is_first || is_pair, ErrorCode::Limit, "tokenizer", "truncation only_second: expected a second text, got none");
  const size_t other = is_first ? n2 : n1;
  check(other < max, ErrorCode::Limit, "tokenizer", "truncation ", is_first ? "only_first" : "only_second",
        ": expected the other text to leave room in ", max, " tokens, got ", other);
  return is_first ? Lengths{max - other, n2} : Lengths{n1, max - other};
}

template <class T>
void pad_vector(std::vector<T>& v, size_t n, T value, Side side) {
  v.insert(side == Side::Right ? v.end() : v.begin(), n, value);
}

void pad_to(Encoding& e, size_t target, int32_t id, int32_t type_id, Side side, bool ids_only) {
  for (Encoding& window : e.overflowing) pad_to(window, target, id, type_id, side, ids_only);
  if (e.size() >= target) return;
  const size_t n = target - e.size();
  if (side == Side::Left)
    for (auto& [i, text] : e.texts) i += static_cast<uint32_t>(n);
  pad_vector(e.ids, n, id, side);
  if (ids_only) return;
  pad_vector(e.type_ids, n, type_id, side);
  pad_vector(e.attention_mask, n, 0, side);
  pad_vector(e.special_tokens_mask, n, 1, side);
  pad_vector(e.offsets, n, {0u, 0u}, side);
  pad_vector(e.word_ids, n, -1, side);
  pad_vector(e.sequence_ids, n, -1, side);
}

bool is_blank(char32_t c) {
  if (c < 0x80) return c == ' ' || (c >= 9 && c <= 13);
  return c == 0x120 || (char_flags(c) & kSpace);
}

// Blank characters at either end of a token's text.
void count_blanks(std::string_view text, uint32_t& leading, uint32_t& trailing) {
  leading = trailing = 0;
  for (size_t i = 0; i < text.size() && is_blank(decode(text.data() + i)); i += char_length(text[i])) ++leading;
  while (!text.empty() && is_blank(last_char(text))) {
    ++trailing;
    size_t n = 1;
    while (is_continuation(text[text.size() - n])) ++n;
    text.remove_suffix(n);
  }
}

}  // namespace

Tokenizer::Limits Tokenizer::resolve(const EncodeOptions& options, bool is_pair) const {
  check(options.max_length >= -1, ErrorCode::Limit, "tokenizer", "max_length: expected at least 0, got ", options.max_length);
  check(options.stride >= 0, ErrorCode::Limit, "tokenizer", "stride: expected at least 0, got ", options.stride);
  check(options.pad_to_multiple_of >= 0, ErrorCode::Limit, "tokenizer", "pad_to_multiple_of: expected at least 0, got ",
        options.pad_to_multiple_of);
  Limits limits;
  limits.side = options.truncation_side.value_or(config_.truncation_side);
  const int64_t max_length = options.max_length >= 0 ? options.max_length : config_.model_max_length;
  if (options.truncation == Truncation::None || max_length == kNoLimit) return limits;
  const auto added = static_cast<int64_t>(options.add_special_tokens ? num_special_tokens_to_add(is_pair) : 0);
  check(max_length >= added, ErrorCode::Limit, "tokenizer", "max_length: expected room for the ", added, " special tokens, got ",
        max_length);
  const int64_t room = max_length - added;
  // a stride that leaves no progress is an error once a text is cut; one past the length never makes sense
  check(options.stride <= room, ErrorCode::Limit, "tokenizer", "stride: expected less than the ", room,
        " tokens that max_length leaves, got ", options.stride);
  limits.is_truncated = true;
  limits.max_tokens = static_cast<size_t>(room);
  return limits;
}

void Tokenizer::count_blanks_of_vocab() const {
  std::call_once(pool_->has_blanks, [&] {
    const Vocab& vocab = model_->vocab();
    pool_->blanks.resize(static_cast<size_t>(vocab.id_limit()));
    for (int64_t id = 0; id < vocab.id_limit(); ++id) {
      uint32_t leading = 0, trailing = 0;
      count_blanks(vocab.token(id), leading, trailing);
      pool_->blanks[static_cast<size_t>(id)] = static_cast<uint8_t>(std::min(leading, kMostBlanks) | std::min(trailing, kMostBlanks) << 4);
    }
  });
}

void Tokenizer::trim(const Part& part, const Token& token, const Scratch& scratch, bool is_first, uint32_t& begin, uint32_t& end) const {
  uint32_t leading = 0, trailing = 0;
  if (token.text >= 0) {
    count_blanks(scratch.texts[static_cast<size_t>(token.text)], leading, trailing);
  } else if (token.is_added) {
    count_blanks(added_.entry(token.id)->text, leading, trailing);
  } else {
    if (static_cast<size_t>(token.id) >= pool_->blanks.size()) return;  // a special token outside the vocabulary
    const uint32_t blanks = pool_->blanks[static_cast<size_t>(token.id)];
    if (blanks == 0) return;
    leading = blanks & kMostBlanks;
    trailing = blanks >> 4;
    if (leading == kMostBlanks || trailing == kMostBlanks) count_blanks(model_->vocab().token(token.id), leading, trailing);
  }
  for (int i = 0; i < part.trims; ++i) {
    const bool is_prefix = (is_first || begin == 0) && part.keeps_prefix_space && leading == 1;
    if (leading > 0 && !is_prefix) begin = std::min(begin + leading, end);
    if (trailing > 0 && end >= trailing) end = std::max(end - trailing, begin);
  }
}

void Tokenizer::append(Encoding& encoding, const Part& part, const Scratch& scratch, bool has_offsets, bool ids_only) const {
  const size_t n = part.tokens.size(), first = encoding.ids.size();
  encoding.ids.resize(first + n);
  for (size_t i = 0; i < n; ++i) {
    const Token& token = part.tokens[i];
    encoding.ids[first + i] = token.id;
    if (token.text >= 0) encoding.texts.emplace_back(static_cast<uint32_t>(first + i), scratch.texts[static_cast<size_t>(token.text)]);
  }
  if (ids_only) return;
  encoding.type_ids.resize(first + n, part.type_id);
  encoding.attention_mask.resize(first + n, 1);
  encoding.special_tokens_mask.resize(first + n, part.is_special);
  encoding.sequence_ids.resize(first + n, part.sequence);
  encoding.offsets.resize(first + n);
  encoding.word_ids.resize(first + n);
  const bool is_trimmed = part.trims > 0 && has_offsets;
  if (is_trimmed) count_blanks_of_vocab();
  for (size_t i = 0; i < n; ++i) {
    const Token& token = part.tokens[i];
    uint32_t begin = token.begin, end = token.end;
    if (is_trimmed) trim(part, token, scratch, i == 0, begin, end);
    encoding.offsets[first + i] = {begin, end};
    encoding.word_ids[first + i] = token.word;
  }
}

Encoding Tokenizer::assemble(const EncodeOptions& options, const Limits& limits, bool is_pair, const Scratch& scratch,
                             bool has_offsets) const {
  const std::vector<Token>& first = scratch.tokens[0];
  const std::vector<Token>& second = scratch.tokens[1];
  Lengths lengths{first.size(), second.size()};
  if (limits.is_truncated) lengths = truncated(first.size(), second.size(), is_pair, limits.max_tokens, options.truncation);
  const auto stride = static_cast<size_t>(options.stride);
  const auto firsts = windows(first.size(), lengths.first, stride, limits.side, options.return_overflowing);
  const auto seconds = windows(second.size(), lengths.second, stride, limits.side, options.return_overflowing);
  const double total =
      static_cast<double>(firsts.size()) * static_cast<double>(seconds.size()) * static_cast<double>(lengths.first + lengths.second);
  check(total <= kMaxWindowTokens || firsts.size() * seconds.size() == 1, ErrorCode::Memory, "tokenizer", "overflowing: expected at most ",
        kMaxWindowTokens, " tokens in all windows, got ", firsts.size(), " x ", seconds.size(), " windows");

  std::vector<Part> parts;
  const auto build = [&](const Window& a, const Window& b) {
    parts.clear();
    parts.push_back({std::span(first).subspan(a.begin, a.end - a.begin), 0, 0});
    if (is_pair) parts.push_back({std::span(second).subspan(b.begin, b.end - b.begin), 1, 1});
    if (post_processor_) post_processor_->process(parts, options.add_special_tokens);
    size_t n = 0;
    for (const Part& part : parts) n += part.tokens.size();
    Encoding out;
    out.ids.reserve(n);
    if (!options.ids_only) {
      for (auto* v : {&out.type_ids, &out.attention_mask, &out.special_tokens_mask, &out.word_ids, &out.sequence_ids}) v->reserve(n);
      out.offsets.reserve(n);
    }
    for (const Part& part : parts) append(out, part, scratch, has_offsets, options.ids_only);
    return out;
  };
  Encoding out = build(firsts[0], seconds[0]);
  // the other windows of the first text with every one of the second, then the first with the others of the second
  for (size_t i = 1; i <= firsts.size(); ++i)
    for (size_t j = i == firsts.size() ? 1 : 0; j < seconds.size(); ++j)
      out.overflowing.push_back(build(firsts[i % firsts.size()], seconds[j]));
  return out;
}

std::optional<PaddingPlan> Tokenizer::padding_for(const EncodeOptions& options, size_t longest) const {
  if (options.padding == Padding::None) return std::nullopt;
  const int64_t max_length = options.max_length >= 0 ? options.max_length : config_.model_max_length;
  auto target = static_cast<int64_t>(longest);
  if (options.padding == Padding::MaxLength) {
    target = max_length;
    if (target == kNoLimit) return std::nullopt;  // no length to pad to
    check(target < int64_t{1} << 30, ErrorCode::Limit, "tokenizer", "max_length: expected less than 2^30 for padding, got ", target);
  }
  const int64_t multiple = options.pad_to_multiple_of;
  if (multiple > 0) {
    check(multiple < int64_t{1} << 30, ErrorCode::Limit, "tokenizer", "pad_to_multiple_of: expected less than 2^30, got ", multiple);
    check(options.truncation == Truncation::None || max_length == kNoLimit || max_length % multiple == 0, ErrorCode::Limit, "tokenizer",
          "pad_to_multiple_of: expected a divisor of max_length ", max_length, " while truncating, got ", multiple);
    target = (target + multiple - 1) / multiple * multiple;
  }
  int32_t id = role_id(Role::Pad);
  if (id < 0 && !role(Role::Pad).empty()) id = role_id(Role::Unk);  // as every token that the vocabulary lacks
  check(id >= 0, ErrorCode::Limit, "tokenizer", "padding: expected a tokenizer with a pad_token; set one (often the eos_token) first");
  return PaddingPlan{static_cast<size_t>(target), id, options.padding_side.value_or(config_.padding_side)};
}

void Tokenizer::pad(std::vector<Encoding>& encodings, const EncodeOptions& options) const {
  size_t longest = 0;
  for (const Encoding& e : encodings) longest = std::max(longest, e.size());
  const std::optional<PaddingPlan> plan = padding_for(options, longest);
  if (!plan) return;
  for (Encoding& e : encodings) pad_to(e, plan->length, plan->id, config_.pad_token_type_id, plan->side, options.ids_only);
}

int Encoding::n_sequences() const { return std::find(sequence_ids.begin(), sequence_ids.end(), 1) == sequence_ids.end() ? 1 : 2; }

int64_t Encoding::char_to_token(uint32_t position, int sequence) const {
  for (size_t i = 0; i < sequence_ids.size(); ++i)
    if (sequence_ids[i] == sequence && position >= offsets[i].first && position < offsets[i].second) return static_cast<int64_t>(i);
  return -1;
}

std::pair<int64_t, int64_t> Encoding::word_to_tokens(int32_t word, int sequence) const {
  int64_t begin = 0, end = 0;
  for (size_t i = 0; i < sequence_ids.size(); ++i) {
    if (sequence_ids[i] != sequence || word_ids[i] != word) continue;
    if (end == 0) begin = static_cast<int64_t>(i);
    end = static_cast<int64_t>(i) + 1;
  }
  return {begin, end};
}

std::pair<uint32_t, uint32_t> Encoding::word_to_chars(int32_t word, int sequence) const {
  const auto [begin, end] = word_to_tokens(word, sequence);
  if (begin == end) return {0, 0};
  return {offsets[static_cast<size_t>(begin)].first, offsets[static_cast<size_t>(end) - 1].second};
}

int32_t Encoding::char_to_word(uint32_t position, int sequence) const {
  const int64_t token = char_to_token(position, sequence);
  return token < 0 ? -1 : word_ids[static_cast<size_t>(token)];
}

}  // namespace tenon::text
