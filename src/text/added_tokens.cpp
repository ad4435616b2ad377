// AddedTokens: giving ids, finding the tokens in a text.
#include "tenon/text/added_tokens.h"

#include <algorithm>
#include <cstring>
#include <limits>

#include "tenon/core/error.h"
#include "tenon/text/unicode.h"
#include "tenon/text/utf8.h"

namespace tenon::text {
namespace {

std::string normalize(const std::string& content, const Normalizer& normalizer) {
  Pieces pieces;
  pieces.assign(content);
  normalizer.normalize(pieces);
  std::string out;
  for (const Piece& p : pieces.list()) out += pieces.view(p);
  return out;
}

bool ends_with_word(std::string_view text) { return !text.empty() && (char_flags(last_char(text)) & kWord); }
bool starts_with_word(std::string_view text) { return !text.empty() && (char_flags(decode(text.data())) & kWord); }

size_t leading_space(std::string_view text) {
  size_t i = 0;
  while (i < text.size() && (char_flags(decode(text.data() + i)) & kSpace)) i += char_length(text[i]);
  return i;
}

size_t trailing_space(std::string_view text) {
  std::string_view rest = text;
  while (!rest.empty() && (char_flags(last_char(rest)) & kSpace)) {
    do rest.remove_suffix(1);
    while (is_continuation(rest.data()[rest.size()]));
  }
  return text.size() - rest.size();
}

}  // namespace

void AddedTokens::Trie::add(std::string_view text, int32_t id) {
  if (text.empty()) return;
  if (ids.empty()) ids.push_back(-1);
  uint32_t node = 0;
  for (const char c : text) {
    const auto [edge, is_new] = edges.try_emplace(uint64_t{node} << 8 | static_cast<unsigned char>(c), static_cast<uint32_t>(ids.size()));
    if (is_new) ids.push_back(-1);
    node = edge->second;
  }
  if (ids[node] < 0) ids[node] = id;
  starts[static_cast<unsigned char>(text[0])] = true;
}

void AddedTokens::Trie::finish() {
  const auto count = std::count(starts.begin(), starts.end(), true);
  single_start = count == 1 ? static_cast<int>(std::find(starts.begin(), starts.end(), true) - starts.begin()) : -1;
}

bool AddedTokens::Trie::find(std::string_view text, size_t from, size_t& begin, size_t& end, int32_t& id) const {
  for (size_t i = from; i < text.size(); ++i) {
    if (single_start >= 0) {
      const void* hit = std::memchr(text.data() + i, single_start, text.size() - i);
      if (!hit) return false;
      i = static_cast<size_t>(static_cast<const char*>(hit) - text.data());
    } else {
      while (i < text.size() && !starts[static_cast<unsigned char>(text[i])]) ++i;
    }
    id = -1;
    uint32_t node = 0;
    for (size_t k = i; k < text.size(); ++k) {
      const auto edge = edges.find(uint64_t{node} << 8 | static_cast<unsigned char>(text[k]));
      if (edge == edges.end()) break;
      node = edge->second;
      if (ids[node] < 0) continue;
      id = ids[node];
      end = k + 1;
    }
    begin = i;
    if (id >= 0) return true;
  }
  return false;
}

size_t AddedTokens::add(std::span<const AddedToken> tokens, const Vocab& vocab, const Normalizer* normalizer) {
  const auto vocab_size = static_cast<int64_t>(vocab.size());
  const int64_t largest = entries_.empty() ? -1 : entries_.rbegin()->first;
  int64_t next = std::max(vocab_size, largest + 1);
  size_t added = 0;
  for (const AddedToken& token : tokens) {
    if (token.content.empty()) continue;
    check(is_valid_utf8(token.content), ErrorCode::Format, "tokenizer", "added token: expected UTF-8, got damaged text");
    int64_t id = find(token.content);
    if (id >= 0 && entries_.at(static_cast<int32_t>(id)).token == token) continue;
    if (id < 0) id = vocab.find(token.content);
    if (id < 0) id = next++;
    check(id <= std::numeric_limits<int32_t>::max(), ErrorCode::Limit, "tokenizer", "added tokens: no id left for '", token.content, "'");
    Entry entry{token, token.content};
    if (token.normalized && normalizer) entry.text = normalize(token.content, *normalizer);
    ids_[token.content] = static_cast<int32_t>(id);
    entries_[static_cast<int32_t>(id)] = std::move(entry);
    ++added;
  }
  if (added > 0) {
    plain_ = normalized_ = Trie();
    for (const auto& [id, entry] : entries_) (entry.token.normalized ? normalized_ : plain_).add(entry.text, id);
    plain_.finish();
    normalized_.finish();
  }
  return added;
}

int32_t AddedTokens::find(std::string_view content) const {
  const auto it = ids_.find(content);
  return it == ids_.end() ? -1 : it->second;
}

bool AddedTokens::is_special(std::string_view text) const {
  const auto it = ids_.find(text);
  return it != ids_.end() && entries_.at(it->second).token.special;
}

const AddedTokens::Entry* AddedTokens::entry(int64_t id) const {
  if (id < 0 || id > std::numeric_limits<int32_t>::max()) return nullptr;
  const auto it = entries_.find(static_cast<int32_t>(id));
  return it == entries_.end() ? nullptr : &it->second;
}

void AddedTokens::split(Pieces& pieces, bool normalized, bool ignore_specials) const {
  const Trie& trie = normalized ? normalized_ : plain_;
  if (trie.empty()) return;
  pieces.split_tokens([&](std::string_view text, auto emit) {
    size_t done = 0, from = 0, begin = 0, end = 0;
    size_t space_end = 0;  // of the last white space behind a token: a run that is cut by tokens of white space is looked through once
    int32_t id = -1;
    for (; trie.find(text, from, begin, end, id); from = end) {
      const AddedToken& token = entries_.at(id).token;
      if (ignore_specials && token.special) continue;
      if (token.single_word && (ends_with_word(text.substr(0, begin)) || starts_with_word(text.substr(end)))) continue;
      size_t left = begin, right = end;
      // whitespace that the token before took is gone for lstrip alone: a token that is itself whitespace comes again
      if (token.lstrip) left = done < begin ? begin - trailing_space(text.substr(done, begin - done)) : done;
      if (token.rstrip && end > space_end) space_end = end + leading_space(text.substr(end));
      if (token.rstrip) right = space_end;
      if (left > right) continue;
      if (done < left) emit(Piece{static_cast<uint32_t>(done), static_cast<uint32_t>(left)});
      emit(Piece{static_cast<uint32_t>(left), static_cast<uint32_t>(right), id});
      done = right;
    }
    if (done < text.size()) emit(Piece{static_cast<uint32_t>(done), static_cast<uint32_t>(text.size())});
  });
}

}  // namespace tenon::text
