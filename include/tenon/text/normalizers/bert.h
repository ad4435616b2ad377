// BertNormalizer: cleaning, spaces around ideographs, accents, lower case, in one pass.
#pragma once

#include <algorithm>
#include <array>
#include <vector>

#include "tenon/text/normalizer.h"
#include "tenon/text/unicode.h"

namespace tenon::text {

class BertNormalizer : public Normalizer {
 public:
  explicit BertNormalizer(const Json& spec)
      : clean_(spec.value("clean_text", true)),
        chinese_(spec.value("handle_chinese_chars", true)),
        lower_(spec.value("lowercase", true)),
        strip_(spec.value("strip_accents", lower_)) {
    for (char32_t c = 0; c < 128; ++c) {
      char32_t low[2];
      if (lower_) to_lower(c, low);
      const uint16_t flags = char_flags(c);
      const bool is_removed = clean_ && (flags & kControl);
      ascii_[c] = static_cast<int8_t>(is_removed ? -1 : clean_ && (flags & kSpace) ? ' ' : lower_ ? low[0] : c);
    }
  }

  void normalize(Pieces& pieces) const override {
    if (in_place(pieces)) return;
    pieces.rewrite([this](Rewriter& r) { Pass(*this, r).run(); });
  }

 private:
  // Plain ASCII without control characters keeps its layout. What is done before another byte turns up does no harm: doing it again changes
  // nothing.
  bool in_place(Pieces& pieces) const {
    for (const Piece& p : pieces.list()) {
      if (!p.is_open()) continue;
      char* bytes = pieces.bytes(p);
      for (uint32_t i = 0; i < p.end - p.begin; ++i) {
        const auto c = static_cast<unsigned char>(bytes[i]);
        if (c >= 128 || ascii_[c] < 0) return false;
        bytes[i] = static_cast<char>(ascii_[c]);
      }
    }
    return true;
  }

  // One piece. Stripping accents needs the canonical order of marks, so marks wait in items_ until the next starter.
  class Pass {
   public:
    Pass(const BertNormalizer& n, Rewriter& r) : n_(n), r_(r) {}

    void run() {
      while (!r_.done()) {
        char32_t c = r_.peek();
        const Span origin = r_.origin();
        r_.drop();
        if (c < 128) {
          if (n_.ascii_[c] < 0) continue;
          flush();
          last_ = origin;
          r_.put(static_cast<char32_t>(n_.ascii_[c]), origin);
          continue;
        }
        const uint16_t flags = char_flags(c);
        if (n_.clean_) {
          if (flags & kControl) continue;
          if (flags & kSpace) c = ' ';
        }
        const bool is_apart = n_.chinese_ && (flags & kChinese);
        if (is_apart && c < kFirstCompatible) {
          flush();
          last_ = origin;
          for (const char32_t part : {U' ', c, U' '}) r_.put(part, origin);
          continue;
        }
        if (is_apart) add(' ', origin);
        add(c, origin);
        if (is_apart) add(' ', origin);
      }
      flush();
    }

   private:
    static constexpr char32_t kFirstCompatible = 0xA000;  // ideographs below have neither accents nor a lower case

    struct Item {
      int ccc;
      char32_t c;
      bool is_inserted;
    };

    void add(char32_t c, Span origin) {
      if (!n_.strip_) return emit(c, origin);
      char32_t parts[32];
      const int n = decompose(c, false, parts);
      if (n == 1 && combining_class(parts[0]) == 0) {
        flush();
        last_ = origin;
        return emit(parts[0], origin);
      }
      origins_.push_back(origin);
      for (int i = 0; i < n; ++i) {
        const int ccc = combining_class(parts[i]);
        if (ccc == 0) flush();
        items_.push_back({ccc, parts[i], i > 0});
      }
    }

    // Characters take the origins of the source characters in order, inserted ones that of the character before them.
    void flush() {
      if (items_.empty()) return;
      if (items_.size() > 1) std::stable_sort(items_.begin(), items_.end(), [](const Item& a, const Item& b) { return a.ccc < b.ccc; });
      for (const Item& item : items_) {
        if (!item.is_inserted && next_ < origins_.size()) last_ = origins_[next_++];
        emit(item.c, last_);
      }
      items_.clear();
      if (next_ == origins_.size()) {
        origins_.clear();
        next_ = 0;
      }
    }

    void emit(char32_t c, Span origin) {
      if (n_.strip_ && (char_flags(c) & kNonspacing)) return;
      if (!n_.lower_) return r_.put(c, origin);
      char32_t low[2];
      const int n = to_lower(c, low);
      for (int i = 0; i < n; ++i) r_.put(low[i], origin);
    }

    const BertNormalizer& n_;
    Rewriter& r_;
    std::vector<Item> items_;
    std::vector<Span> origins_;
    size_t next_ = 0;
    Span last_{};
  };

  bool clean_, chinese_, lower_, strip_;
  std::array<int8_t, 128> ascii_{};  // what becomes of an ASCII character, -1 if it is removed
};

}  // namespace tenon::text
