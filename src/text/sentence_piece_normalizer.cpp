// SentencePiece's normaliser and its way back from pieces to text.
#include <algorithm>

#include "tenon/text/decoders/byte_level.h"
#include "tenon/text/models/sentence_piece.h"
#include "tenon/text/utf8.h"

namespace tenon::text {

SentencePieceNormalizer::SentencePieceNormalizer(const SentencePieceFile& file, std::string_view charsmap)
    : add_dummy_prefix(file.add_dummy_prefix),
      remove_extra_whitespaces(file.remove_extra_whitespaces),
      escape_whitespaces(file.escape_whitespaces),
      whitespace_as_suffix(file.whitespace_as_suffix) {
  if (!charsmap.empty()) map_ = Charsmap(charsmap);
  std::vector<std::pair<std::string_view, int32_t>> user;
  for (size_t id = 0; id < file.pieces.size(); ++id)
    if (file.pieces[id].type == SentencePieceFile::Type::UserDefined) user.emplace_back(file.pieces[id].text, static_cast<int32_t>(id));
  has_user_pieces_ = !user.empty();
  std::array<bool, 128> starts_user_piece{};
  for (const auto& [text, id] : user)
    if (static_cast<unsigned char>(text[0]) < 128) starts_user_piece[static_cast<unsigned char>(text[0])] = true;
  user_pieces_ = ByteTrie(std::move(user));
  for (size_t i = 0; i < is_plain_.size(); ++i) {
    char two[2] = {static_cast<char>(i), 0};
    bool is_plain = i != ' ' && !starts_user_piece[i] && map_.longest({two, 1}).first == 0;
    for (int k = 1; k < 128 && is_plain; ++k) {
      two[1] = static_cast<char>(k);
      is_plain = !map_.has_path({two, 2});
    }
    is_plain_[i] = is_plain;
  }
}

// The next characters that are replaced together: how many bytes they have, and what stands for them.
std::pair<size_t, std::string_view> SentencePieceNormalizer::next(std::string_view text) const {
  if (has_user_pieces_) {
    const size_t length = user_pieces_.longest_prefix(text).first;
    if (length > 0) return {length, text.substr(0, length)};
  }
  const auto rule = map_.longest(text);
  if (rule.first > 0) return rule;
  const size_t length = char_length(text[0]);
  return {length, text.substr(0, length)};
}

struct SentencePieceNormalizer::Writer {
  std::string& out;
  std::vector<uint32_t>* origins;
  std::string_view space;

  void put(std::string_view bytes, uint32_t origin) {
    out.append(bytes);
    if (origins) origins->insert(origins->end(), bytes.size(), origin);
  }
  void put_text(std::string_view text, uint32_t origin) {
    for (const char c : text) put(c == ' ' ? space : std::string_view(&c, 1), origin);
  }
};

void SentencePieceNormalizer::run(std::string_view text, std::string& out, std::vector<uint32_t>* origins) const {
  out.clear();
  if (origins) origins->clear();
  Writer writer{out, origins, escape_whitespaces ? kSpaceMark : std::string_view(" ")};
  size_t at = 0;
  if (remove_extra_whitespaces) {
    while (at < text.size()) {
      const auto [length, to] = next(text.substr(at));
      if (to != " ") break;
      at += length;
    }
  }
  if (at == text.size()) {
    if (origins) origins->push_back(static_cast<uint32_t>(at));
    return;
  }
  if (!whitespace_as_suffix && add_dummy_prefix) writer.put(writer.space, static_cast<uint32_t>(at));
  bool after_space = remove_extra_whitespaces;
  const auto is_ascii_at = [&](size_t i) { return i == text.size() || static_cast<unsigned char>(text[i]) < 128; };
  while (at < text.size()) {
    size_t plain = at;
    while (plain < text.size() && static_cast<unsigned char>(text[plain]) < 128 && is_plain_[static_cast<unsigned char>(text[plain])] &&
           is_ascii_at(plain + 1))
      ++plain;
    if (plain > at) {
      out.append(text, at, plain - at);
      if (origins)
        for (; at < plain; ++at) origins->push_back(static_cast<uint32_t>(at));
      at = plain;
      after_space = false;
      continue;
    }
    auto [length, to] = next(text.substr(at));
    while (after_space && to.starts_with(' ')) to.remove_prefix(1);
    if (!to.empty()) {
      writer.put_text(to, static_cast<uint32_t>(at));
      after_space = to.ends_with(' ');
    }
    at += length;
    after_space = after_space && remove_extra_whitespaces;
  }
  auto end = static_cast<uint32_t>(at);
  while (remove_extra_whitespaces && out.ends_with(writer.space)) {
    out.erase(out.size() - writer.space.size());
    if (!origins) continue;
    end = (*origins)[out.size()];
    origins->resize(out.size());
  }
  if (whitespace_as_suffix && add_dummy_prefix) writer.put(writer.space, end);
  if (origins) origins->push_back(end);
}

SentencePieceDecoder::SentencePieceDecoder(const SentencePieceFile& file)
    : unk_(file.pieces[static_cast<size_t>(file.unk_id)].text),
      unk_surface_(file.unk_surface),
      byte_fallback_(file.byte_fallback),
      normalizer_(file, file.decode_charsmap),
      is_normalized_(!file.decode_charsmap.empty()),
      has_prefix_(file.add_dummy_prefix),
      removes_spaces_(file.remove_extra_whitespaces) {
  normalizer_.add_dummy_prefix = normalizer_.remove_extra_whitespaces = normalizer_.escape_whitespaces = false;
  normalizer_.whitespace_as_suffix = false;
  for (const SentencePieceFile::Piece& piece : file.pieces)
    if (piece.type == SentencePieceFile::Type::Control) controls_.emplace_back(piece.text);
}

// Bytes as text; each that belongs to no character becomes U+FFFD.
void SentencePieceDecoder::flush(std::string& bytes, std::string& text) {
  for (size_t i = 0; i < bytes.size();) {
    size_t length = std::min(char_length(bytes[i]), bytes.size() - i);
    const bool is_valid = is_valid_utf8(std::string_view(bytes).substr(i, length));
    if (!is_valid) length = 1;
    text += is_valid ? std::string_view(bytes).substr(i, length) : std::string_view("\xEF\xBF\xBD");
    i += length;
  }
  bytes.clear();
}

void SentencePieceDecoder::decode(std::vector<std::string>& tokens) const {
  std::string text, bytes;
  bool took_space = false, is_start = true;
  for (const std::string& token : tokens) {
    if (const int byte = byte_fallback_ ? fallback_byte(token) : -1; byte >= 0) {
      bytes += static_cast<char>(byte);
      continue;
    }
    flush(bytes, text);
    if (took_space || !text.empty()) is_start = false;
    took_space = false;
    if (std::find(controls_.begin(), controls_.end(), token) != controls_.end()) continue;
    if (token == unk_) {
      text += unk_surface_;
      continue;
    }
    std::string_view rest = token;
    if (is_start && (has_prefix_ || removes_spaces_) && rest.starts_with(kSpaceMark)) {
      rest.remove_prefix(kSpaceMark.size());
      took_space = !removes_spaces_;
    }
    std::string piece(rest);
    replace_all(piece, kSpaceMark, " ");
    text += piece;
  }
  flush(bytes, text);
  if (is_normalized_) {
    const std::string before = std::move(text);
    normalizer_.run(before, text, nullptr);
  }
  tokens.assign(1, std::move(text));
}

}  // namespace tenon::text
