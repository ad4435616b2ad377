// Scanner: finding the matches.
#include "tenon/text/scanner.h"

#include <algorithm>
#include <bit>

#include "tenon/core/error.h"
#include "tenon/text/unicode.h"
#include "tenon/text/utf8.h"

namespace tenon::text {

// Steps back are counted: with these patterns their number is a small multiple of the text, with others it may be its square.
struct Scanner::Work {
  std::string_view text;
  size_t steps;
};

size_t Scanner::interval_of(char32_t c) const {
  return static_cast<size_t>(std::upper_bound(cuts_.begin() + 1, cuts_.end(), c) - cuts_.begin()) - 1;
}

inline Scanner::Bits Scanner::bits_at(std::string_view text, size_t at, size_t& length) const {
  const auto byte = static_cast<unsigned char>(text[at]);
  if (byte < 0x80) {
    length = 1;
    return ascii_[byte];
  }
  length = char_length(text[at]);
  return bits_of(decode(text.data() + at));
}

// The end of the longest run from `at`, of `count` characters.
inline size_t Scanner::run_end(const Node& node, size_t at, uint32_t& count, std::string_view text) const {
  const Bits bit = node.bit;
  count = 0;
  while (at < text.size() && count < node.max) {
    const auto byte = static_cast<unsigned char>(text[at]);
    if (byte < 0x80) {
      if (!(ascii_[byte] & bit)) break;
      ++at;
    } else {
      if (!(bits_of(decode(text.data() + at)) & bit)) break;
      at += char_length(text[at]);
    }
    ++count;
  }
  return at;
}

size_t Scanner::match_run(const Node* node, const Node* stop, size_t at, Work& work) const {
  uint32_t count = 0;
  size_t end = run_end(*node, at, count, work.text);
  if (count < node->min) return kNone;
  while (true) {
    const size_t found = match(node + 1, stop, end, work);
    if (found != kNone || count == node->min || node->is_possessive) return found;
    do --end;
    while (is_continuation(work.text[end]));
    --count;
    check(work.steps-- > 0, ErrorCode::Limit, "pattern", "steps: matching goes back too often on ", work.text.size(), " bytes");
  }
}

size_t Scanner::match(const Node* node, const Node* stop, size_t at, Work& work) const {
  for (; node != stop; ++node) {
    size_t length = 0;
    switch (node->kind) {
      case Node::Run: {
        const bool is_one = node->min == 1 && node->max == 1;
        if (!is_one && !(node->is_possessive || node + 1 == stop)) return match_run(node, stop, at, work);
        uint32_t count = 0;
        at = run_end(*node, at, count, work.text);
        if (count < node->min) return kNone;
        break;
      }
      case Node::Ahead:
        if (at >= work.text.size() || !(bits_at(work.text, at, length) & node->bit)) return kNone;
        break;
      case Node::NotAhead:
        if (at < work.text.size() && (bits_at(work.text, at, length) & node->bit)) return kNone;
        break;
      case Node::End:
        if (at != work.text.size()) return kNone;
        break;
      case Node::Optional:
        for (uint32_t b = node->first; b < node->last; ++b) {
          const size_t found = match(&nodes_[branches_[b].first], nodes_.data() + branches_[b].last, at, work);
          if (found != kNone) return found;
        }
        break;
    }
  }
  return at;
}

bool Scanner::find(std::string_view text, size_t from, size_t& begin, size_t& end) const {
  constexpr size_t kStepsPerByte = 64, kFreeSteps = 65536;
  Work work{text, kStepsPerByte * (text.size() - from) + kFreeSteps};
  for (size_t at = from; at < text.size();) {
    const auto byte = static_cast<unsigned char>(text[at]);
    size_t length = 1;
    uint32_t candidates = 0;
    if (byte < 0x80) {
      candidates = candidates_[byte];
    } else {
      length = char_length(text[at]);
      const Bits bits = bits_of(decode(text.data() + at));
      if (bits & all_starts_)
        for (uint32_t b = 0; b < n_top_; ++b) candidates |= uint32_t{(branches_[b].starts & bits) != 0} << b;
    }
    for (; candidates != 0; candidates &= candidates - 1) {
      const Branch& branch = branches_[static_cast<size_t>(std::countr_zero(candidates))];
      const size_t found = match(&nodes_[branch.first], nodes_.data() + branch.last, at, work);
      if (found == kNone) continue;
      begin = at;
      end = found;
      return true;
    }
    at += length;
  }
  return false;
}

}  // namespace tenon::text
