// Decoding pieces that have their ids from a vocabulary of their own.
#include "tenon/text/models/mapped_pieces.h"

#include <algorithm>

#include "trim.h"

namespace tenon::text {

MappedPiecesDecoder::MappedPiecesDecoder(const SentencePieceFile& file, std::vector<std::string> special_tokens, std::string separator)
    : decoder_(file), special_tokens_(std::move(special_tokens)), separator_(std::move(separator)) {
  std::sort(special_tokens_.begin(), special_tokens_.end());
}

void MappedPiecesDecoder::decode(std::vector<std::string>& tokens) const {
  std::string text;
  std::vector<std::string> part;
  const auto flush = [&] {
    if (!part.empty()) decoder_.decode(part);
    for (const std::string& piece : part) text += piece;
    part.clear();
  };
  for (std::string& token : tokens) {
    if (!std::binary_search(special_tokens_.begin(), special_tokens_.end(), token)) {
      part.push_back(std::move(token));
      continue;
    }
    flush();
    text += token + separator_;
  }
  flush();
  replace_all(text, kSpaceMark, " ");
  tokens.assign(1, std::string(trim_back(trim_front(text))));
}

}  // namespace tenon::text
