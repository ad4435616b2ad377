// ByteLevel: GPT-2's way to cut a text, then the byte alphabet.
#pragma once

#include <algorithm>
#include <memory>

#include "tenon/text/byte_level.h"
#include "tenon/text/normalizers/replace.h"
#include "tenon/text/pre_tokenizer.h"
#include "tenon/text/scanner.h"

namespace tenon::text {

class ByteLevel : public PreTokenizer {
 public:
  explicit ByteLevel(const Json& spec)
      : add_prefix_space_(spec.value("add_prefix_space", true)), use_regex_(spec.value("use_regex", true)) {}

  void cut(Pieces& pieces) const override {
    const auto wants_space = [&](const Piece& p) { return p.is_open() && pieces.view(p)[0] != ' '; };
    if (add_prefix_space_ && std::any_of(pieces.list().begin(), pieces.list().end(), wants_space)) {
      pieces.rewrite([](Rewriter& r) {
        if (r.rest()[0] != ' ') Prepend::prepend(r, " ");
      });
    }
    if (use_regex_) {
      static const std::unique_ptr<Scanner> scanner = Scanner::make(kWords);
      pieces.split([](std::string_view text, auto emit) {
        size_t begin = 0, end = 0;
        while (scanner->find(text, end, begin, end)) emit(begin, end);
      });
    }
    if (!leaves_bytes_) pieces.rewrite([](Rewriter& r) { write_byte_level(r); });
  }
  bool leave_bytes() override { return leaves_bytes_ = true; }

 private:
  // every character is part of a match
  static constexpr const char* kWords = R"('s|'t|'re|'ve|'m|'ll|'d| ?\p{L}+| ?\p{N}+| ?[^\s\p{L}\p{N}]+|\s+(?!\S)|\s+)";
  bool add_prefix_space_, use_regex_, leaves_bytes_ = false;
};

}  // namespace tenon::text
