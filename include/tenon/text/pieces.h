// The text on its way through the stages: what it has become, where each byte came from, and the pieces it is cut into.
#pragma once

#include <cstdint>
#include <string>
#include <string_view>
#include <utility>
#include <vector>

#include "tenon/text/utf8.h"

namespace tenon::text {

/// A range of bytes of the original text.
struct Span {
  uint32_t begin, end;
};

/// A range of the current text. An added token has its id and is left alone by the stages; the others wait for the model.
struct Piece {
  uint32_t begin, end;
  int32_t id = -1;  // the added token, or -1; it may have taken whitespace along on either side
  bool is_open() const { return id < 0; }
};

class Rewriter;

/// Text, pieces and alignment. While every character lies where it lay in the original (the usual case for English), no
/// alignment is stored; the first rewrite that moves something stores one Span per byte, unless nobody will ask.
class Pieces {
 public:
  /// Starts again with a valid UTF-8 text as one open piece. The caller keeps `original` alive. Without `is_traced`, origin()
  /// means nothing.
  void assign(std::string_view original, bool is_traced = true) {
    original_ = original;
    text_.assign(original);
    spans_.clear();
    is_aligned_ = true;
    is_traced_ = is_traced;
    pieces_.clear();
    if (!text_.empty()) pieces_.push_back({0, static_cast<uint32_t>(text_.size())});
  }

  std::string_view original() const { return original_; }
  const std::vector<Piece>& list() const { return pieces_; }
  std::vector<Piece>& list() { return pieces_; }
  std::string_view view(const Piece& p) const { return std::string_view(text_).substr(p.begin, p.end - p.begin); }
  /// For replacing bytes by other bytes of the same character length.
  char* bytes(const Piece& p) { return text_.data() + p.begin; }

  /// Where the character that has byte i of the current text came from.
  Span origin(uint32_t i) const {
    if (!is_traced_) return {0, 0};
    if (!is_aligned_) return spans_[i];
    uint32_t begin = i, end = i + 1;
    while (begin > 0 && is_continuation(text_[begin])) --begin;
    while (end < text_.size() && is_continuation(text_[end])) ++end;
    return {begin, end};
  }
  /// Where the non-empty range [begin, end) of the current text came from.
  Span origin(uint32_t begin, uint32_t end) const { return {origin(begin).begin, origin(end - 1).end}; }

  /// Cuts every open piece: cut(text, emit) calls emit(begin, end) for the parts to keep, in order; empty parts are dropped.
  template <class Cut>
  void split(Cut&& cut) {
    next_.clear();
    for (const Piece& p : pieces_) {
      if (!p.is_open()) {
        next_.push_back(p);
        continue;
      }
      cut(view(p), [&](size_t begin, size_t end) {
        if (begin < end) next_.push_back({p.begin + static_cast<uint32_t>(begin), p.begin + static_cast<uint32_t>(end)});
      });
    }
    pieces_.swap(next_);
  }

  /// As split(), for cuts that also find added tokens: emit takes a Piece whose range is relative to the text.
  template <class Cut>
  void split_tokens(Cut&& cut) {
    next_.clear();
    for (const Piece& p : pieces_) {
      if (!p.is_open()) {
        next_.push_back(p);
        continue;
      }
      cut(view(p), [&](Piece part) {
        part.begin += p.begin;
        part.end += p.begin;
        if (part.begin < part.end) next_.push_back(part);
      });
    }
    pieces_.swap(next_);
  }

  /// Rewrites every open piece: write(rewriter) says what becomes of each character; what it leaves over is kept.
  /// Pieces that become empty are dropped.
  template <class Write>
  void rewrite(Write&& write);

  bool is_open_ascii() const;

  /// Bytes of memory held for reuse.
  size_t capacity() const {
    return text_.capacity() + new_text_.capacity() + (spans_.capacity() + new_spans_.capacity()) * sizeof(Span) +
           (pieces_.capacity() + next_.capacity()) * sizeof(Piece);
  }

 private:
  friend class Rewriter;
  std::string_view original_;
  std::string text_;
  std::vector<Span> spans_;  // one per byte of text_, empty while is_aligned_ and if not is_traced_
  bool is_aligned_ = true, is_traced_ = true;
  std::vector<Piece> pieces_, next_;
  std::string new_text_;
  std::vector<Span> new_spans_;
};

bool is_ascii(std::string_view text);

inline bool Pieces::is_open_ascii() const {
  for (const Piece& p : pieces_)
    if (p.is_open() && !is_ascii(view(p))) return false;
  return true;
}

/// Reads one piece and writes its successor with alignment; the rules are those of tokenizer.json's reference library: what
/// replaces a character has its origin, what is inserted has the origin of the last character read.
class Rewriter {
 public:
  Rewriter(Pieces& pieces, const Piece& piece) : p_(pieces), at_(piece.begin), end_(piece.end) {
    last_ = {pieces.origin(piece.begin).begin, pieces.origin(piece.begin).begin};
  }

  bool done() const { return at_ >= end_; }
  std::string_view rest() const { return std::string_view(p_.text_).substr(at_, end_ - at_); }
  char32_t peek() const { return decode(p_.text_.data() + at_); }
  /// Origin of the next character.
  Span origin() const { return p_.origin(at_); }

  /// Copies n bytes (whole characters) with their origins.
  void keep(size_t n) {
    const auto stop = at_ + static_cast<uint32_t>(n);
    p_.new_text_.append(p_.text_, at_, n);
    if (!p_.is_traced_) {
      at_ = stop;
      return;
    }
    if (!p_.is_aligned_) {
      p_.new_spans_.insert(p_.new_spans_.end(), p_.spans_.begin() + at_, p_.spans_.begin() + stop);
    } else {
      const size_t first = p_.new_spans_.size();
      p_.new_spans_.resize(first + n);
      Span* span = p_.new_spans_.data() + first;
      for (uint32_t i = at_; i < stop;) {
        const auto length = static_cast<uint32_t>(char_length(p_.text_[i]));
        for (uint32_t k = 0; k < length; ++k) *span++ = {i, i + length};
        i += length;
      }
    }
    if (n > 0) last_ = p_.is_aligned_ ? p_.new_spans_.back() : p_.spans_[stop - 1];
    at_ = stop;
  }
  /// Skips the next character.
  void drop() {
    if (p_.is_traced_) last_ = origin();
    at_ += static_cast<uint32_t>(char_length(p_.text_[at_]));
  }
  /// Writes c in the place of the next character.
  void replace(char32_t c) {
    drop();
    put(c, last_);
  }
  /// Writes c with the origin of the last character read.
  void insert(char32_t c) { put(c, last_); }
  void insert(std::string_view text) {
    p_.new_text_.append(text);
    if (p_.is_traced_) p_.new_spans_.insert(p_.new_spans_.end(), text.size(), last_);
  }
  /// Writes c with the given origin.
  void put(char32_t c, Span origin) {
    if (c < 0x80) {
      p_.new_text_.push_back(static_cast<char>(c));
      if (p_.is_traced_) p_.new_spans_.push_back(origin);
      return;
    }
    char buffer[4];
    const size_t n = encode(c, buffer);
    p_.new_text_.append(buffer, n);
    if (!p_.is_traced_) return;
    for (size_t i = 0; i < n; ++i) p_.new_spans_.push_back(origin);
  }

 private:
  Pieces& p_;
  uint32_t at_, end_;
  Span last_;
};

template <class Write>
void Pieces::rewrite(Write&& write) {
  new_text_.clear();
  new_spans_.clear();
  new_text_.reserve(text_.size() + text_.size() / 8);
  if (is_traced_) new_spans_.reserve(text_.size() + text_.size() / 8);
  next_.clear();
  for (const Piece& p : pieces_) {
    Piece q = p;
    q.begin = static_cast<uint32_t>(new_text_.size());
    Rewriter rewriter(*this, p);
    if (p.is_open()) write(rewriter);
    if (!rewriter.done()) rewriter.keep(rewriter.rest().size());
    q.end = static_cast<uint32_t>(new_text_.size());
    if (q.begin < q.end) next_.push_back(q);
  }
  text_.swap(new_text_);
  spans_.swap(new_spans_);
  is_aligned_ = false;
  pieces_.swap(next_);
}

}  // namespace tenon::text
