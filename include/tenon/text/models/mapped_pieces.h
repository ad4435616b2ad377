// SentencePiece whose pieces have their ids from a vocabulary of their own: Marian's and M2M100's files.
#pragma once

#include <memory>
#include <string>
#include <string_view>
#include <utility>
#include <vector>

#include "tenon/text/decoder.h"
#include "tenon/text/models/sentence_piece.h"

namespace tenon::text {

class MappedPieces : public Model {
 public:
  /// A piece that the vocabulary lacks is the unknown token. With `reads_codes` a text may start with a code like ">>fr<<", which is one
  /// token. Errors: Error(Format) if the vocabulary lacks the unknown token.
  MappedPieces(const SentencePieceFile& file, const ModelData& vocab, std::string_view unk_token, bool reads_codes)
      : Model(vocab), pieces_(file), unk_id_(vocab_.find(unk_token)), reads_codes_(reads_codes) {
    check(unk_id_ >= 0, ErrorCode::Format, "vocab.json", "expected the unknown token '", unk_token, "' in it");
    for (const SentencePieceFile::Piece& piece : file.pieces) ids_.push_back(id_of(piece.text));
    unk_piece_ = file.unk_id;
  }

  void tokenize(std::string_view text, std::vector<ModelToken>& out, Memory* memory) const override {
    std::unique_ptr<Memory> own;
    if (!memory) memory = (own = make_memory()).get();
    auto& m = static_cast<Buffers&>(*memory);
    const size_t code = code_length(text);
    if (code > 0) out.push_back({id_of(text.substr(0, code)), 0, static_cast<uint32_t>(code)});
    m.surfaces.clear();
    const size_t first = out.size();
    pieces_.tokenize(text.substr(code), out, &m.surfaces, *m.pieces);
    for (size_t i = first; i < out.size(); ++i) {
      ModelToken& token = out[i];
      // an unknown piece is its text, which the vocabulary may have
      token.id = token.id == unk_piece_ ? id_of(m.surfaces[i - first]) : ids_[static_cast<size_t>(token.id)];
      token.begin += static_cast<uint32_t>(code);
      token.end += static_cast<uint32_t>(code);
    }
  }

  std::unique_ptr<Memory> make_memory() const override {
    auto memory = std::make_unique<Buffers>();
    memory->pieces = pieces_.make_memory();
    return memory;
  }

 private:
  struct Buffers : Memory {
    std::unique_ptr<Memory> pieces;
    std::vector<std::string_view> surfaces;
  };
  int32_t id_of(std::string_view piece) const {
    const int32_t id = vocab_.find(piece);
    return id >= 0 ? id : unk_id_;
  }
  size_t code_length(std::string_view text) const {
    if (!reads_codes_ || !text.starts_with(">>")) return 0;
    const size_t end = text.find("<<");
    return end == std::string_view::npos ? 0 : end + 2;
  }

  SentencePiece pieces_;
  std::vector<int32_t> ids_;  // by piece
  int32_t unk_id_, unk_piece_ = -1;
  bool reads_codes_;
};

/// Pieces to text between special tokens, which stay as they are with `separator` behind them; no white space at either end.
class MappedPiecesDecoder : public Decoder {
 public:
  MappedPiecesDecoder(const SentencePieceFile& file, std::vector<std::string> special_tokens, std::string separator);
  void decode(std::vector<std::string>& tokens) const override;

 private:
  SentencePieceDecoder decoder_;
  std::vector<std::string> special_tokens_;  // in order
  std::string separator_;
};

}  // namespace tenon::text
