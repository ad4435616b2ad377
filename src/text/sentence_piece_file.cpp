// SentencePiece model files: the few fields of the protobuf message that matter, read from its wire format.
#include "tenon/text/sentence_piece_file.h"

#include <bit>
#include <cstdint>
#include <unordered_set>

#include "tenon/core/error.h"
#include "tenon/text/utf8.h"

namespace tenon::text {
namespace {

// The fields of one message, in the order of the file.
class Wire {
 public:
  Wire(std::string_view bytes, std::string_view where) : rest_(bytes), where_(where) {}

  /// Steps to the next field; false at the end.
  bool next() {
    if (rest_.empty()) return false;
    const uint64_t key = varint();
    field_ = static_cast<uint32_t>(key >> 3);
    switch (key & 7) {
      case 0:
        number_ = varint();
        break;
      case 1:
        bytes_ = take(8);
        break;
      case 2:
        bytes_ = take(varint());
        break;
      case 5: {
        bytes_ = take(4);
        number_ = 0;
        for (size_t i = 4; i-- > 0;) number_ = number_ << 8 | static_cast<unsigned char>(bytes_[i]);
        break;
      }
      default:
        fail(ErrorCode::Format, where_, "expected a SentencePiece model, got a field of wire type ", key & 7);
    }
    return true;
  }
  uint32_t field() const { return field_; }
  uint64_t number() const { return number_; }
  bool flag() const { return number_ != 0; }
  float real() const { return std::bit_cast<float>(static_cast<uint32_t>(number_)); }
  std::string_view bytes() const { return bytes_; }

 private:
  uint64_t varint() {
    uint64_t value = 0;
    for (int shift = 0; shift < 64; shift += 7) {
      const auto byte = static_cast<unsigned char>(take(1)[0]);
      value |= uint64_t{byte & 0x7Fu} << shift;
      if (byte < 0x80) return value;
    }
    fail(ErrorCode::Format, where_, "expected a SentencePiece model, got a number that does not end");
  }
  std::string_view take(uint64_t n) {
    check(n <= rest_.size(), ErrorCode::Format, where_, "expected a SentencePiece model, got one that ends ", n - rest_.size(),
          " bytes too early");
    const std::string_view out = rest_.substr(0, n);
    rest_.remove_prefix(n);
    return out;
  }

  std::string_view rest_, where_, bytes_;
  uint32_t field_ = 0;
  uint64_t number_ = 0;
};

SentencePieceFile::Piece read_piece(std::string_view bytes, std::string_view where, size_t id) {
  SentencePieceFile::Piece piece;
  for (Wire w(bytes, where); w.next();) {
    if (w.field() == 1) piece.text = w.bytes();
    if (w.field() == 2) piece.score = w.real();
    if (w.field() == 3) {
      check(w.number() >= 1 && w.number() <= 6, ErrorCode::Format, where, "type of piece ", id, ": expected 1 to 6, got ", w.number());
      piece.type = static_cast<SentencePieceFile::Type>(w.number());
    }
  }
  check(!piece.text.empty() && is_valid_utf8(piece.text), ErrorCode::Format, where, "piece ", id, ": expected a text in UTF-8");
  return piece;
}

}  // namespace

SentencePieceFile::SentencePieceFile(std::string_view file, std::string_view where) {
  std::string_view trainer, normalizer, denormalizer;
  for (Wire w(file, where); w.next();) {
    if (w.field() == 1) pieces.push_back(read_piece(w.bytes(), where, pieces.size()));
    if (w.field() == 2) trainer = w.bytes();
    if (w.field() == 3) normalizer = w.bytes();
    if (w.field() == 5) denormalizer = w.bytes();
  }
  for (Wire w(trainer, where); w.next();) {
    if (w.field() == 3) {
      check(w.number() >= 1 && w.number() <= 4, ErrorCode::Format, where, "model_type: expected 1 to 4, got ", w.number());
      kind = static_cast<Kind>(w.number());
    }
    if (w.field() == 24) whitespace_as_suffix = w.flag();
    if (w.field() == 35) byte_fallback = w.flag();
    if (w.field() == 44) unk_surface = w.bytes();
  }
  for (Wire w(normalizer, where); w.next();) {
    if (w.field() == 2) charsmap = w.bytes();
    if (w.field() == 3) add_dummy_prefix = w.flag();
    if (w.field() == 4) remove_extra_whitespaces = w.flag();
    if (w.field() == 5) escape_whitespaces = w.flag();
  }
  for (Wire w(denormalizer, where); w.next();)
    if (w.field() == 2) decode_charsmap = w.bytes();

  std::unordered_set<std::string_view> ordinary, reserved;
  size_t bytes_found = 0;
  for (size_t id = 0; id < pieces.size(); ++id) {
    const Piece& piece = pieces[id];
    const bool is_ordinary = piece.type == Type::Normal || piece.type == Type::UserDefined || piece.type == Type::Unused;
    check((is_ordinary ? ordinary : reserved).insert(piece.text).second, ErrorCode::Format, where, "piece ", id,
          ": expected a text of its own, got '", piece.text, "' again");
    bytes_found += piece.type == Type::Byte;
    if (piece.type != Type::Unknown) continue;
    check(unk_id < 0, ErrorCode::Format, where, "unknown piece: expected one, got ", unk_id, " and ", id);
    unk_id = static_cast<int32_t>(id);
  }
  check(unk_id >= 0, ErrorCode::Format, where, "unknown piece: expected one, got none");
  check(bytes_found == (byte_fallback ? 256 : 0), ErrorCode::Format, where, "byte pieces: expected ", byte_fallback ? 256 : 0, ", got ",
        bytes_found);
}

bool SentencePieceFile::is_one(std::string_view bytes) {
  // a first piece, which starts with its text
  return bytes.size() > 4 && bytes[0] == 0x0A && static_cast<unsigned char>(bytes[1]) > 2 && bytes[2] == 0x0A &&
         static_cast<unsigned char>(bytes[3]) < static_cast<unsigned char>(bytes[1]);
}

}  // namespace tenon::text
