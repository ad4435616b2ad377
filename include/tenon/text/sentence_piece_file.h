// A SentencePiece model file: its pieces and how it wants texts normalised.
#pragma once

#include <string>
#include <string_view>
#include <vector>

namespace tenon::text {

struct SentencePieceFile {
  enum class Kind { Unigram = 1, Bpe = 2, Word = 3, Char = 4 };
  enum class Type { Normal = 1, Unknown = 2, Control = 3, UserDefined = 4, Unused = 5, Byte = 6 };
  struct Piece {
    std::string_view text;
    float score = 0;
    Type type = Type::Normal;
  };

  /// Reads the protobuf message; what is read are views into `bytes`. Files that SentencePiece would refuse are refused.
  /// Errors: Error(Format) saying what is damaged.
  SentencePieceFile(std::string_view bytes, std::string_view where);
  /// Whether a file starts as such a message does.
  static bool is_one(std::string_view bytes);

  Kind kind = Kind::Unigram;
  std::vector<Piece> pieces;  // by id
  int32_t unk_id = -1;
  bool byte_fallback = false;
  bool whitespace_as_suffix = false;
  bool add_dummy_prefix = true;
  bool remove_extra_whitespaces = true;
  bool escape_whitespaces = true;
  std::string_view charsmap, decode_charsmap;
  std::string_view unk_surface = " \xE2\x81\x87 ";
};

/// The mark that stands for a space, U+2581.
inline constexpr std::string_view kSpaceMark = "\xE2\x96\x81";

}  // namespace tenon::text
