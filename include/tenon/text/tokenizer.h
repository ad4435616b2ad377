// The tokenizer: text to token ids and back, as the files of a Hugging Face checkpoint describe it.
#pragma once

#include <array>
#include <cstdint>
#include <limits>
#include <map>
#include <memory>
#include <optional>
#include <span>
#include <string>
#include <string_view>
#include <utility>
#include <vector>

#include "tenon/core/json.h"
#include "tenon/text/added_tokens.h"
#include "tenon/text/decoder.h"
#include "tenon/text/encoding.h"
#include "tenon/text/model.h"
#include "tenon/text/normalizer.h"
#include "tenon/text/post_processor.h"
#include "tenon/text/pre_tokenizer.h"

namespace tenon::text {

/// The tokens that have a role; the order is that of kRoleNames.
enum class Role { Bos, Eos, Unk, Sep, Pad, Cls, Mask };
inline constexpr std::array<const char*, 7> kRoleNames = {"bos_token", "eos_token", "unk_token", "sep_token",
                                                          "pad_token", "cls_token", "mask_token"};

inline constexpr int64_t kNoLimit = std::numeric_limits<int64_t>::max();

/// What tokenizer_config.json and its companions say beyond the stages.
struct TokenizerConfig {
  std::string tokenizer_class;  // without "Fast"; empty if no file says
  int64_t model_max_length = kNoLimit;
  Side padding_side = Side::Right;
  Side truncation_side = Side::Right;
  std::vector<std::string> model_input_names = {"input_ids", "attention_mask"};
  bool clean_up_tokenization_spaces = false;
  bool split_special_tokens = false;
  int32_t pad_token_type_id = 0;
  std::array<std::string, kRoleNames.size()> roles;  // content of the token of each role, empty for none
  std::vector<std::string> extra_special_tokens;
  std::string chat_template;
  std::string word_end;  // decode() writes a space for it: CLIP's "</w>"
  Json file;             // tokenizer_config.json as read
};

/// A text or a pair.
struct TextInput {
  std::string_view text;
  std::optional<std::string_view> pair = std::nullopt;
};

/// A text or a pair that is cut into words already.
struct WordsInput {
  std::vector<std::string_view> words;
  std::optional<std::vector<std::string_view>> pair = std::nullopt;
};

/// The description of a tokenizer, its large parts apart; what the file readers hand to the constructor.
struct TokenizerSpec {
  Json normalizer, pre_tokenizer, post_processor, decoder;
  Json model;  // without vocab and merges
  ModelData data;
  std::vector<AddedToken> added_tokens;
  Json truncation, padding;  // kept for save(); encode() goes by its options alone
};

/// What padding brings encodings to.
struct PaddingPlan {
  size_t length;
  int32_t id;
  Side side;
};

/// Const methods may be called from several threads at once. Texts are UTF-8; damaged parts count as U+FFFD.
class Tokenizer {
 public:
  /// Reads a tokenizer.json, a SentencePiece model or a rank file of tiktoken; the content says which. The latter two give what those
  /// libraries give: special tokens in a text are plain text, and none are added.
  /// Errors: Error(File); Error(Format) naming what is damaged or unknown; Error(Type); Error(Limit).
  static Tokenizer from_file(const std::string& path);
  static Tokenizer from_json(std::string_view json, std::string_view where = "tokenizer.json");
  /// Reads a checkpoint's folder: tokenizer.json, or vocab.txt, or vocab.json and merges.txt; with tokenizer_config.json,
  /// special_tokens_map.json, added_tokens.json, chat_template.jinja and, for the kind of model, config.json where they exist.
  /// Errors: as from_file(); Error(File) naming what was looked for.
  static Tokenizer from_folder(const std::string& path);
  explicit Tokenizer(const TokenizerSpec& spec);
  /// A tokenizer whose model sees texts as they are, and the decoder that belongs to it; `spec` is what to_json() will write.
  Tokenizer(const TokenizerSpec& spec, std::unique_ptr<Model> model, std::unique_ptr<Decoder> decoder);

  /// Errors: Error(Limit) for contradictory options: max_length below the specials, a stride that leaves nothing, padding without a
  /// pad token, only_second without a second text, a truncation that would remove a text.
  Encoding encode(std::string_view text, const EncodeOptions& options = {}) const { return encode(TextInput{text}, options); }
  Encoding encode(std::string_view text, std::string_view pair, const EncodeOptions& options = {}) const {
    return encode(TextInput{text, pair}, options);
  }
  Encoding encode(const TextInput& input, const EncodeOptions& options = {}) const;
  /// Words are encoded one by one; word_ids count them and offsets start anew in each.
  Encoding encode_words(const WordsInput& input, const EncodeOptions& options = {}) const;
  /// On up to `threads` threads (0: tenon::get_num_threads()).
  std::vector<Encoding> encode_batch(std::span<const TextInput> inputs, const EncodeOptions& options = {}, int threads = 0) const;
  std::vector<Encoding> encode_batch(std::span<const WordsInput> inputs, const EncodeOptions& options = {}, int threads = 0) const;
  /// The ids of a text in which nothing counts as an added token, without special tokens around it.
  std::vector<int32_t> encode_plain(std::string_view text) const;
  /// Ids instead of texts: special tokens, truncation and padding as the options say. Offsets are (0, 0), word ids -1.
  Encoding prepare(std::span<const int32_t> ids, std::optional<std::span<const int32_t>> pair = std::nullopt,
                   const EncodeOptions& options = {}) const;
  /// The tokens of an encoding as strings: the vocabulary's, but an added token with the whitespace that it took along, and where
  /// the model is Unigram unknown text as it was.
  std::vector<std::string> tokens(const Encoding& encoding) const;
  /// What padding makes of encodings of at most `longest` tokens; nothing if the options ask for none, or for a length that is not known.
  /// Errors: Error(Limit) without a pad token, for absurd lengths, for a multiple that is none of max_length while truncating.
  std::optional<PaddingPlan> padding_for(const EncodeOptions& options, size_t longest) const;
  /// Pads encodings to a common length as the options say. Errors: as padding_for().
  void pad(std::vector<Encoding>& encodings, const EncodeOptions& options) const;

  /// Errors: Error(Limit) naming an id outside the vocabulary.
  std::string decode(std::span<const int32_t> ids, const DecodeOptions& options = {}) const;
  /// The text of tokens given as strings.
  std::string join(std::vector<std::string> tokens) const;

  /// The id of a token, or -1; the token of an id, empty if there is none (see has_id()).
  int32_t token_to_id(std::string_view token) const;
  std::string id_to_token(int64_t id) const;
  bool has_id(int64_t id) const { return added_.entry(id) || model_->vocab().has(id); }
  /// Tokens of the model alone, or with those added.
  size_t vocab_size(bool with_added = true) const;
  std::vector<std::pair<std::string, int32_t>> vocab(bool with_added = true) const;

  /// Adds tokens that the vocabulary lacks, or changes how known ones are found. Returns how many were new or changed.
  size_t add_tokens(std::span<const AddedToken> tokens);
  /// Gives the role to a token, which becomes a special token.
  void set_role(Role role, const AddedToken& token);
  /// Replaces the post-processor by one that puts the bos_token before each text, the eos_token behind it, or none of them.
  /// Errors: Error(Limit) if such a token is asked for and there is none.
  void set_bos_eos(bool add_bos, bool add_eos);
  /// Frames texts as the translation models M2M100, NLLB and MBart want them in a language: "fr", "fra_Latn", "fr_XX".
  /// Errors: Error(Limit) for a language that the tokenizer has no token for; Error(Format) if its class knows no languages.
  void set_language(std::string_view code);
  /// The id of a language's token, or -1; the codes of the languages that the tokenizer's class knows.
  int32_t language_id(std::string_view code) const;
  std::vector<std::string> languages() const;
  /// The tokenizer of what is translated into, where it has files of its own (Marian); else null.
  const std::shared_ptr<const Tokenizer>& target() const { return target_; }
  /// Whether ByteLevel and Metaspace put a space before the text; other pre-tokenizers stay as they are.
  void set_add_prefix_space(bool add_prefix_space);
  const AddedTokens& added_tokens() const { return added_; }
  /// The token of a role (empty for none) and its id (-1 for none).
  const std::string& role(Role role) const { return config_.roles[static_cast<size_t>(role)]; }
  int32_t role_id(Role r) const { return role(r).empty() ? -1 : token_to_id(role(r)); }
  /// Ids of the tokens that decode(skip_special_tokens) skips.
  std::vector<int32_t> special_ids() const;
  size_t num_special_tokens_to_add(bool is_pair = false) const { return post_processor_ ? post_processor_->added(is_pair) : 0; }

  /// "WordPiece", "BPE", "Unigram" or "WordLevel".
  std::string model_type() const { return spec_.model.value("type", ""); }

  /// Normalises a text of valid UTF-8 and cuts it into words, without looking for added tokens: what trainers count. The words are bytes if
  /// cuts_bytes(), where the model's tokens are in the byte alphabet (byte_level.h).
  void cut(std::string_view text, Pieces& pieces) const;
  bool cuts_bytes() const { return reads_bytes_; }
  /// The stages and the configuration with another model: special tokens that frame texts keep their places with the ids that the new
  /// vocabulary has for them, under another name where `renamed` says so. `model` is its object without vocab and merges.
  /// Errors: as the constructor; Error(Format) naming a special token of the post-processor that the vocabulary lacks.
  Tokenizer with_model(const Json& model, const ModelData& data, std::span<const AddedToken> special_tokens,
                       const std::map<std::string, std::string>& renamed = {}) const;
  /// The descriptions of the stages, as tokenizer.json has them; the model's without vocab and merges.
  const TokenizerSpec& stages() const { return spec_; }

  const TokenizerConfig& config() const { return config_; }
  TokenizerConfig& config() { return config_; }

  /// The tokenizer.json, indented as Hugging Face writes it; tokenizer_config.json; both (and the chat template) into a folder. Where a
  /// tokenizer.json cannot say what the model does (Marian, M2M100), save() writes the files that it was read from.
  /// Errors: Error(Format) from to_json() for those; Error(File).
  std::string to_json() const;
  Json config_json() const;
  /// The files with the model that save() writes: tokenizer.json, or those that it was read from.
  std::vector<std::string> file_names() const;
  void save(const std::string& folder) const;

 private:
  friend class DecodeStream;
  friend class IdEncoder;
  using Files = std::vector<std::pair<std::string, std::string>>;
  struct Scratch;
  struct ScratchPool;
  class Lease;
  struct Limits;

  struct FolderFiles;
  void configure(const FolderFiles& files);
  static Tokenizer from_pieces(const std::string& pieces_path, const std::string& vocab_path, const FolderFiles& files, Files& kept);
  void set_pre_tokenizer(std::unique_ptr<PreTokenizer> pre_tokenizer);
  Limits resolve(const EncodeOptions& options, bool is_pair) const;
  std::string_view cut_text(std::string_view text, const EncodeOptions& options, bool is_traced, Scratch& scratch) const;
  void find_tokens(std::string_view word, Scratch& scratch) const;
  size_t first_needed(const Limits& limits, size_t count, Scratch& scratch) const;
  void tokenize(std::string_view text, const EncodeOptions& options, const Limits& limits, int32_t word, Scratch& scratch,
                std::vector<Token>& out) const;
  Encoding encode_one(const TextInput& input, const EncodeOptions& options, Scratch& scratch) const;
  Encoding encode_one(const WordsInput& input, const EncodeOptions& options, Scratch& scratch) const;
  template <class Input>
  std::vector<Encoding> encode_all(std::span<const Input> inputs, const EncodeOptions& options, int threads) const;
  Encoding assemble(const EncodeOptions& options, const Limits& limits, bool is_pair, const Scratch& scratch,
                    bool has_offsets = true) const;
  void append(Encoding& encoding, const Part& part, const Scratch& scratch, bool has_offsets, bool ids_only) const;
  void count_blanks_of_vocab() const;
  void trim(const Part& part, const Token& token, const Scratch& scratch, bool is_first, uint32_t& begin, uint32_t& end) const;
  // What decode() starts from for an id; nothing for one that the options skip.
  std::optional<std::string_view> written(int32_t id, const DecodeOptions& options) const;
  bool cleans_up(const DecodeOptions& options) const;
  std::vector<std::string> to_strings(std::span<const int32_t> ids, const DecodeOptions& options) const;

  std::shared_ptr<const Normalizer> normalizer_;
  std::shared_ptr<const PreTokenizer> pre_tokenizer_;
  bool reads_bytes_ = false;  // the model takes words as bytes, where the pre-tokenizer would write them in the byte alphabet
  std::shared_ptr<const Model> model_;
  std::shared_ptr<const PostProcessor> post_processor_;
  std::shared_ptr<const Decoder> decoder_;
  AddedTokens added_;
  TokenizerConfig config_;
  TokenizerSpec spec_;  // without data and added_tokens
  std::shared_ptr<ScratchPool> pool_;
  std::shared_ptr<const Tokenizer> target_;
  std::shared_ptr<const Files> files_;  // names and contents, where they are kept for save()
};

}  // namespace tenon::text
