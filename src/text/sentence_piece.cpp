// SentencePiece: its four models, from normalised text to pieces.
#include "tenon/text/models/sentence_piece.h"

#include <algorithm>
#include <cfloat>
#include <cstdio>
#include <unordered_map>

#include "tenon/text/models/unigram.h"
#include "tenon/text/word_cache.h"

namespace tenon::text {
namespace {

constexpr float kUnknownPenalty = 10;
constexpr int kMaxDepth = 256;

ModelData list_pieces(const SentencePieceFile& file) {
  ModelData data;
  data.vocab.reserve(file.pieces.size());
  for (const SentencePieceFile::Piece& piece : file.pieces) data.vocab.emplace_back(piece.text, static_cast<int64_t>(data.vocab.size()));
  return data;
}

}  // namespace

// A part of the text while neighbours are merged; empty once it has become part of the one before.
struct SentencePiece::Symbol {
  uint32_t begin, end;
  int32_t prev, next;
  bool is_fixed;
};

struct SentencePiece::Candidate {
  float score;
  int32_t left, right;
  uint32_t size;
  // std heaps keep the largest in front
  bool operator<(const Candidate& o) const { return score != o.score ? score < o.score : left > o.left; }
};

struct SentencePiece::SpMemory : Model::Memory {
  std::string text;                // normalised
  std::vector<uint32_t> origins;   // of its bytes
  std::vector<ModelToken> tokens;  // by bytes of `text`
  UnigramLattice<float> lattice;
  WordCache words;
  std::vector<Symbol> symbols;
  std::vector<Candidate> heap;
  // how pieces that must not be used were made
  std::unordered_map<std::string_view, std::pair<std::string_view, std::string_view>> parts;
};

SentencePiece::SentencePiece(const SentencePieceFile& file)
    : Model(list_pieces(file)),
      kind_(file.kind),
      normalizer_(file, file.charsmap),
      unk_id_(file.unk_id),
      byte_fallback_(file.byte_fallback) {
  float lowest = FLT_MAX;
  std::vector<std::pair<std::string_view, int32_t>> keys;
  for (size_t id = 0; id < file.pieces.size(); ++id) {
    const SentencePieceFile::Piece& piece = file.pieces[id];
    types_.push_back(piece.type);
    scores_.push_back(piece.score);
    wide_scores_.push_back(static_cast<double>(piece.score));
    if (piece.type == Type::Normal) lowest = std::min(lowest, piece.score);
    if (piece.type == Type::Normal || piece.type == Type::UserDefined) keys.emplace_back(piece.text, static_cast<int32_t>(id));
    const size_t last_mark = piece.text.rfind(kSpaceMark);
    if (last_mark != std::string_view::npos)
      for (size_t i = 0; i < last_mark; i += kSpaceMark.size())
        cuts_at_marks_ = cuts_at_marks_ && piece.text.substr(i).starts_with(kSpaceMark);
    cuts_at_marks_ = cuts_at_marks_ && piece.type != Type::Unused;
  }
  unk_score_ = lowest - kUnknownPenalty;
  path_scores_ = wide_scores_;
  for (size_t id = 0; id < types_.size(); ++id)
    if (types_[id] == Type::UserDefined) path_scores_[id] = 0;
  if (kind_ == SentencePieceFile::Kind::Unigram) trie_ = ByteTrie(std::move(keys));
  for (unsigned b = 0; b < 256; ++b) {
    char name[8];
    std::snprintf(name, sizeof(name), "<0x%02X>", b);
    byte_ids_[b] = vocab_.find(name);
  }
}

std::unique_ptr<Model::Memory> SentencePiece::make_memory() const { return std::make_unique<SpMemory>(); }
std::span<const double> SentencePiece::scores() const {
  return kind_ == SentencePieceFile::Kind::Unigram ? std::span<const double>(wide_scores_) : std::span<const double>();
}

// The id of a piece that texts can have, or -1.
int32_t SentencePiece::find_ordinary(std::string_view piece) const {
  const int32_t id = vocab_.find(piece);
  return id >= 0 && (type(id) == Type::Normal || type(id) == Type::UserDefined || type(id) == Type::Unused) ? id : -1;
}
int32_t SentencePiece::find_piece(std::string_view piece) const {
  const int32_t id = vocab_.find(piece);
  return id >= 0 ? id : unk_id_;
}

void SentencePiece::cut_unigram(SpMemory& m) const {
  m.lattice.fill(trie_, m.text, path_scores_.data(), unk_score_, unk_id_);
  m.lattice.reverse(m.text.size());
  const auto& nodes = m.lattice.nodes;
  for (int32_t at = 0; static_cast<size_t>(at) < m.text.size();) {
    const int32_t stop = nodes[static_cast<size_t>(at)].start;
    m.tokens.push_back({nodes[static_cast<size_t>(stop)].id, static_cast<uint32_t>(at), static_cast<uint32_t>(stop)});
    at = stop;
  }
}

// A piece that must not be used is taken apart again, into what it was last made of.
void SentencePiece::resegment(std::string_view piece, SpMemory& m, int depth) const {
  const int32_t id = find_piece(piece);
  const auto parts = type(id) == Type::Unused ? m.parts.find(piece) : m.parts.end();
  if (parts != m.parts.end() && depth < kMaxDepth) {
    const auto [left, right] = parts->second;
    resegment(left, m, depth + 1);
    resegment(right, m, depth + 1);
    return;
  }
  const auto begin = static_cast<uint32_t>(m.tokens.empty() ? 0 : m.tokens.back().end);
  m.tokens.push_back({id, begin, begin + static_cast<uint32_t>(piece.size())});
}

void SentencePiece::merge(std::string_view text, SpMemory& m) const {
  auto& symbols = m.symbols;
  const auto offer = [&](int32_t left, int32_t right) {
    if (left < 0 || right < 0) return;
    const Symbol& a = symbols[static_cast<size_t>(left)];
    const Symbol& b = symbols[static_cast<size_t>(right)];
    if (a.is_fixed || b.is_fixed) return;
    const std::string_view piece = text.substr(a.begin, b.end - a.begin);
    const int32_t id = piece.size() <= vocab_.longest() ? find_ordinary(piece) : -1;
    if (id < 0) return;
    m.heap.push_back({scores_[static_cast<size_t>(id)], left, right, b.end - a.begin});
    std::push_heap(m.heap.begin(), m.heap.end());
    if (type(id) == Type::Unused) m.parts[piece] = {text.substr(a.begin, a.end - a.begin), text.substr(b.begin, b.end - b.begin)};
  };
  m.heap.clear();
  for (size_t i = 1; i < symbols.size(); ++i) offer(static_cast<int32_t>(i) - 1, static_cast<int32_t>(i));
  while (!m.heap.empty()) {
    std::pop_heap(m.heap.begin(), m.heap.end());
    const Candidate top = m.heap.back();
    m.heap.pop_back();
    Symbol& left = symbols[static_cast<size_t>(top.left)];
    Symbol& right = symbols[static_cast<size_t>(top.right)];
    // either may have become part of another since
    if (left.begin == left.end || right.begin == right.end || (left.end - left.begin) + (right.end - right.begin) != top.size) continue;
    left.end = right.end;
    left.next = right.next;
    if (right.next >= 0) symbols[static_cast<size_t>(right.next)].prev = top.left;
    right.begin = right.end;
    offer(left.prev, top.left);
    offer(top.left, left.next);
  }
}

void SentencePiece::cut_bpe_part(uint32_t begin, uint32_t end, SpMemory& m) const {
  const std::string_view text = std::string_view(m.text).substr(begin, end - begin);
  WordCache::Set* known = cuts_at_marks_ ? m.words.place(text) : nullptr;
  if (known && WordCache::recall(*known, text, begin, m.tokens)) return;
  const size_t first = m.tokens.size();
  m.symbols.clear();
  for (uint32_t at = 0; at < text.size();) {
    const auto user =
        static_cast<uint32_t>(normalizer_.has_user_pieces() ? normalizer_.user_pieces().longest_prefix(text.substr(at)).first : 0);
    const auto length = user > 0 ? user : static_cast<uint32_t>(char_length(text[at]));
    const auto i = static_cast<int32_t>(m.symbols.size());
    m.symbols.push_back({at, at + length, i - 1, i + 1, user > 0});
    at += length;
  }
  m.symbols.back().next = -1;
  m.parts.clear();
  merge(text, m);
  for (int32_t i = 0; i >= 0; i = m.symbols[static_cast<size_t>(i)].next) {
    const Symbol& s = m.symbols[static_cast<size_t>(i)];
    resegment(text.substr(s.begin, s.end - s.begin), m, 0);
  }
  if (known) WordCache::keep(*known, text, begin, m.tokens, first);
}

void SentencePiece::cut_bpe(SpMemory& m) const {
  const std::string_view text = m.text;
  size_t begin = 0;
  if (cuts_at_marks_) {
    for (size_t mark = text.find(kSpaceMark, 1); mark != std::string_view::npos; mark = text.find(kSpaceMark, mark + kSpaceMark.size())) {
      const bool is_run = mark >= kSpaceMark.size() && text.substr(mark - kSpaceMark.size(), kSpaceMark.size()) == kSpaceMark;
      if (is_run) continue;
      cut_bpe_part(static_cast<uint32_t>(begin), static_cast<uint32_t>(mark), m);
      begin = mark;
    }
  }
  cut_bpe_part(static_cast<uint32_t>(begin), static_cast<uint32_t>(text.size()), m);
}

void SentencePiece::cut_words(SpMemory& m) const {
  const std::string_view text = m.text;
  const auto add = [&](size_t begin, size_t end) {
    if (begin < end)
      m.tokens.push_back({find_piece(text.substr(begin, end - begin)), static_cast<uint32_t>(begin), static_cast<uint32_t>(end)});
  };
  size_t begin = 0;
  for (size_t mark = text.find(kSpaceMark); mark != std::string_view::npos; mark = text.find(kSpaceMark, mark + kSpaceMark.size())) {
    const size_t cut = normalizer_.whitespace_as_suffix ? mark + kSpaceMark.size() : mark;
    add(begin, cut);
    begin = cut;
  }
  add(begin, text.size());
}

void SentencePiece::cut_chars(SpMemory& m) const {
  const std::string_view text = m.text;
  for (size_t at = 0; at < text.size();) {
    const size_t user = normalizer_.has_user_pieces() ? normalizer_.user_pieces().longest_prefix(text.substr(at)).first : 0;
    const size_t length = user > 0 ? user : char_length(text[at]);
    m.tokens.push_back({find_piece(text.substr(at, length)), static_cast<uint32_t>(at), static_cast<uint32_t>(at + length)});
    at += length;
  }
}

// Places in the text as it came; unknown pieces become bytes, or one piece with the unknown ones beside them.
void SentencePiece::emit(const SpMemory& m, std::vector<ModelToken>& out, std::vector<std::string_view>* surfaces) const {
  bool after_unknown = false;
  const auto keep = [&](uint32_t begin, uint32_t end) {
    if (surfaces) surfaces->push_back(std::string_view(m.text).substr(begin, end - begin));
  };
  for (const ModelToken& token : m.tokens) {
    const uint32_t begin = m.origins[token.begin], end = m.origins[token.end];
    const bool is_unknown = token.id == unk_id_;
    if (is_unknown && byte_fallback_) {
      for (uint32_t i = token.begin; i < token.end; ++i) {
        const bool is_last = i + 1 == token.end;
        out.push_back({byte_ids_[static_cast<unsigned char>(m.text[i])], begin, is_last ? end : begin});
        keep(i, i + 1);
      }
    } else if (is_unknown && after_unknown) {
      out.back().end = end;
      if (surfaces) surfaces->back() = {surfaces->back().data(), surfaces->back().size() + token.end - token.begin};
    } else {
      out.push_back({token.id, begin, end});
      keep(token.begin, token.end);
    }
    after_unknown = is_unknown;
  }
}

void SentencePiece::tokenize(std::string_view text, std::vector<ModelToken>& out, Memory* memory) const {
  std::unique_ptr<Memory> own;
  if (!memory) memory = (own = make_memory()).get();
  tokenize(text, out, nullptr, *memory);
}

void SentencePiece::tokenize(std::string_view text, std::vector<ModelToken>& out, std::vector<std::string_view>* surfaces,
                             Memory& memory) const {
  auto& m = static_cast<SpMemory&>(memory);
  normalizer_.run(text, m.text, &m.origins);
  m.tokens.clear();
  if (m.text.empty()) return;
  switch (kind_) {
    case SentencePieceFile::Kind::Unigram:
      cut_unigram(m);
      break;
    case SentencePieceFile::Kind::Bpe:
      cut_bpe(m);
      break;
    case SentencePieceFile::Kind::Word:
      cut_words(m);
      break;
    case SentencePieceFile::Kind::Char:
      cut_chars(m);
      break;
  }
  emit(m, out, surfaces);
}

std::vector<std::pair<int32_t, int32_t>> SentencePiece::merges() const {
  struct Merge {
    float score;
    int32_t id, left, right;
  };
  std::vector<Merge> found;
  if (kind_ != SentencePieceFile::Kind::Bpe) return {};
  for (int32_t id = 0; id < static_cast<int32_t>(types_.size()); ++id) {
    const std::string_view piece = vocab_.token(id);
    if (type(id) != Type::Normal) continue;
    for (size_t i = char_length(piece[0]); i < piece.size(); i += char_length(piece[i])) {
      const int32_t left = find_ordinary(piece.substr(0, i)), right = find_ordinary(piece.substr(i));
      const bool is_pair = left >= 0 && right >= 0 && type(left) == Type::Normal && type(right) == Type::Normal;
      if (is_pair) found.push_back({scores_[static_cast<size_t>(id)], id, left, right});
    }
  }
  std::stable_sort(found.begin(), found.end(),
                   [](const Merge& a, const Merge& b) { return a.score != b.score ? a.score > b.score : a.id < b.id; });
  std::vector<std::pair<int32_t, int32_t>> out;
  out.reserve(found.size());
  for (const Merge& merge : found) out.emplace_back(merge.left, merge.right);
  return out;
}

}  // namespace tenon::text
