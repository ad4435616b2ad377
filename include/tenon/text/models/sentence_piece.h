// The models of SentencePiece as its own library runs them: a text is normalised and cut as a whole.
#pragma once

#include <array>
#include <memory>
#include <string>
#include <string_view>
#include <utility>
#include <vector>

#include "tenon/text/byte_trie.h"
#include "tenon/text/charsmap.h"
#include "tenon/text/decoder.h"
#include "tenon/text/model.h"
#include "tenon/text/sentence_piece_file.h"

namespace tenon::text {

/// SentencePiece's normaliser: the longest rule wins, pieces that users defined stay, spaces become marks.
class SentencePieceNormalizer {
 public:
  SentencePieceNormalizer(const SentencePieceFile& file, std::string_view charsmap);

  /// Writes the normalised text; origins, if not null, gets the place in `text` that each of its bytes came from, and the end.
  void run(std::string_view text, std::string& out, std::vector<uint32_t>* origins) const;
  const ByteTrie& user_pieces() const { return user_pieces_; }
  bool has_user_pieces() const { return has_user_pieces_; }

  bool add_dummy_prefix, remove_extra_whitespaces, escape_whitespaces, whitespace_as_suffix;

 private:
  struct Writer;
  std::pair<size_t, std::string_view> next(std::string_view text) const;

  Charsmap map_;
  ByteTrie user_pieces_;
  bool has_user_pieces_ = false;
  std::array<bool, 128> is_plain_{};  // no rule or user piece begins with this character and another of ASCII, or is it
};

class SentencePiece : public Model {
 public:
  explicit SentencePiece(const SentencePieceFile& file);
  void tokenize(std::string_view text, std::vector<ModelToken>& out, Memory* memory) const override;
  /// The same, with what the normalised text has at each token, in views that live until `memory` is used again.
  void tokenize(std::string_view text, std::vector<ModelToken>& out, std::vector<std::string_view>* surfaces, Memory& memory) const;
  std::unique_ptr<Memory> make_memory() const override;
  /// Pairs that make a piece, by the score of the piece: the model as other libraries want it. Empty unless it is BPE.
  std::vector<std::pair<int32_t, int32_t>> merges() const override;
  std::span<const double> scores() const override;

 private:
  using Type = SentencePieceFile::Type;
  struct SpMemory;
  struct Symbol;
  struct Candidate;

  Type type(int32_t id) const { return types_[static_cast<size_t>(id)]; }
  int32_t find_ordinary(std::string_view piece) const;
  int32_t find_piece(std::string_view piece) const;
  void cut_unigram(SpMemory& memory) const;
  void cut_bpe(SpMemory& memory) const;
  void cut_bpe_part(uint32_t begin, uint32_t end, SpMemory& memory) const;
  void merge(std::string_view text, SpMemory& memory) const;
  void resegment(std::string_view piece, SpMemory& memory, int depth) const;
  void cut_words(SpMemory& memory) const;
  void cut_chars(SpMemory& memory) const;
  void emit(const SpMemory& memory, std::vector<ModelToken>& out, std::vector<std::string_view>* surfaces) const;

  SentencePieceFile::Kind kind_;
  SentencePieceNormalizer normalizer_;
  std::vector<Type> types_;
  std::vector<float> scores_;
  std::vector<double> wide_scores_;  // the same, for scores()
  std::array<int32_t, 256> byte_ids_{};
  int32_t unk_id_;
  bool byte_fallback_;
  bool cuts_at_marks_ = true;  // no piece has a mark behind another character: what lies between two marks can be cut on its own
  float unk_score_ = 0;
  ByteTrie trie_;                    // of the pieces that are text
  std::vector<double> path_scores_;  // of the pieces while a way is sought: users' pieces always win
};

/// Pieces to text as SentencePiece's library does it.
class SentencePieceDecoder : public Decoder {
 public:
  explicit SentencePieceDecoder(const SentencePieceFile& file);
  void decode(std::vector<std::string>& tokens) const override;

 private:
  static void flush(std::string& bytes, std::string& text);

  std::vector<std::string> controls_;
  std::string unk_, unk_surface_;
  bool byte_fallback_;
  SentencePieceNormalizer normalizer_;  // run on the result if the model says so
  bool is_normalized_, has_prefix_, removes_spaces_;
};

}  // namespace tenon::text
