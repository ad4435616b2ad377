// Tokenizer: the way of a text through the stages, and back.
#include "tenon/text/tokenizer.h"

#include <algorithm>
#include <atomic>

#include "families.h"
#include "scratch.h"
#include "tenon/core/error.h"
#include "tenon/core/parallel.h"
#include "tenon/text/decoders/word_piece.h"
#include "tenon/text/id_encoder.h"
#include "tenon/text/utf8.h"
#include "trim.h"

namespace tenon::text {
namespace {

// Converts byte positions to characters. Positions come nearly in order, so it walks from the last one.
class CharCounter {
 public:
  explicit CharCounter(std::string_view text) : text_(text), is_ascii_(is_ascii(text)) {}

  uint32_t operator()(uint32_t byte) {
    if (is_ascii_) return byte;
    for (; byte_ < byte; ++byte_) chars_ += !is_continuation(text_[byte_]);
    for (; byte_ > byte; --byte_) chars_ -= !is_continuation(text_[byte_ - 1]);
    return chars_;
  }

 private:
  std::string_view text_;
  bool is_ascii_;
  uint32_t byte_ = 0, chars_ = 0;
};

// Byte or character offsets in the caller's text, of which `text` is the repaired form.
class OffsetConverter {
 public:
  OffsetConverter(std::string_view text, bool byte_offsets, const std::vector<uint32_t>& positions)
      : counter_(text), byte_offsets_(byte_offsets), positions_(positions) {}

  uint32_t operator()(uint32_t byte) {
    if (byte_offsets_ && positions_.empty()) return byte;
    const uint32_t chars = counter_(byte);
    return byte_offsets_ ? positions_[chars] : chars;
  }

 private:
  CharCounter counter_;
  bool byte_offsets_;
  const std::vector<uint32_t>& positions_;
};

}  // namespace

Tokenizer::Tokenizer(const TokenizerSpec& spec) : Tokenizer(spec, make_model(spec.model, spec.data), make_decoder(spec.decoder)) {
  normalizer_ = make_normalizer(spec.normalizer);
  set_pre_tokenizer(make_pre_tokenizer(spec.pre_tokenizer));
  post_processor_ = make_post_processor(spec.post_processor);
  added_.add(spec.added_tokens, model_->vocab(), normalizer_.get());
}

Tokenizer::Tokenizer(const TokenizerSpec& spec, std::unique_ptr<Model> model, std::unique_ptr<Decoder> decoder)
    : model_(std::move(model)), decoder_(std::move(decoder)), pool_(std::make_shared<ScratchPool>()) {
  pool_->free.reserve(64);
  spec_.normalizer = spec.normalizer;
  spec_.pre_tokenizer = spec.pre_tokenizer;
  spec_.post_processor = spec.post_processor;
  spec_.decoder = spec.decoder;
  spec_.model = spec.model;
  spec_.truncation = spec.truncation;
  spec_.padding = spec.padding;
}

void Tokenizer::set_pre_tokenizer(std::unique_ptr<PreTokenizer> pre_tokenizer) {
  reads_bytes_ = pre_tokenizer && model_->reads_bytes() && pre_tokenizer->leave_bytes();
  pre_tokenizer_ = std::move(pre_tokenizer);
}

// Brings a text to pieces: added tokens, and the words that the model will see. Returns the text as valid UTF-8.
std::string_view Tokenizer::cut_text(std::string_view text, const EncodeOptions& options, bool is_traced, Scratch& scratch) const {
  check(text.size() < std::numeric_limits<uint32_t>::max() / 4, ErrorCode::Limit, "tokenizer", "text: expected less than 1 GiB, got ",
        text.size(), " bytes");
  scratch.positions.clear();
  if (!is_valid_utf8(text)) {
    scratch.repaired = repair_utf8(text, &scratch.positions);
    text = scratch.repaired;
  }
  Pieces& pieces = scratch.pieces;
  const bool ignores_specials = options.split_special_tokens || config_.split_special_tokens;
  pieces.assign(text, is_traced || (pre_tokenizer_ && pre_tokenizer_->reads_origins()));
  added_.split(pieces, false, ignores_specials);
  if (normalizer_) normalizer_->normalize(pieces);
  added_.split(pieces, true, ignores_specials);
  if (pre_tokenizer_) pre_tokenizer_->cut(pieces);
  return text;
}

// The tokens of a word, in scratch.model_tokens.
void Tokenizer::find_tokens(std::string_view word, Scratch& scratch) const {
  scratch.model_tokens.clear();
  if (reads_bytes_)
    model_->tokenize_bytes(word, scratch.model_tokens, scratch.memory.get());
  else
    model_->tokenize(word, scratch.model_tokens, scratch.memory.get());
}

// Of a text that loses its start only the last pieces are needed: the first of them, where `count` tokens are there already.
size_t Tokenizer::first_needed(const Limits& limits, size_t count, Scratch& scratch) const {
  const std::vector<Piece>& list = scratch.pieces.list();
  size_t first = list.size();
  for (; first > 0 && count < limits.max_tokens + 1; --first) {
    const Piece& p = list[first - 1];
    if (p.is_open()) find_tokens(scratch.pieces.view(p), scratch);
    count += p.is_open() ? scratch.model_tokens.size() : 1;
  }
  return first;
}

void Tokenizer::tokenize(std::string_view text, const EncodeOptions& options, const Limits& limits, int32_t word, Scratch& scratch,
                         std::vector<Token>& out) const {
  text = cut_text(text, options, true, scratch);
  const Pieces& pieces = scratch.pieces;
  const std::vector<Piece>& list = pieces.list();
  // of a text that will be cut, only the tokens that can stay are made
  const bool is_cut = limits.is_truncated && !options.return_overflowing;
  const size_t first = is_cut && limits.side == Side::Left ? first_needed(limits, out.size(), scratch) : 0;
  const size_t enough = is_cut && limits.side == Side::Right ? limits.max_tokens + 1 : std::numeric_limits<size_t>::max();
  OffsetConverter offset(text, options.byte_offsets, scratch.positions);
  const int32_t verbatim = model_->verbatim_id();
  for (size_t i = first; i < list.size() && out.size() < enough; ++i) {
    const Piece& p = list[i];
    const int32_t word_id = word >= 0 ? word : static_cast<int32_t>(i);
    if (!p.is_open()) {
      const Span span = pieces.origin(p.begin, p.end);
      const uint32_t begin = offset(span.begin);
      out.push_back({p.id, begin, offset(span.end), word_id, true});
      if (pieces.view(p) != added_.entry(p.id)->text) out.back().text = scratch.keep(pieces.view(p));
      continue;
    }
    find_tokens(pieces.view(p), scratch);
    for (const ModelToken& t : scratch.model_tokens) {
      Span span = pieces.origin(p.begin + (t.begin < t.end ? t.begin : 0), p.begin + std::max(t.end, 1u));
      if (t.begin >= t.end) span = t.end == 0 ? Span{span.begin, span.begin} : Span{span.end, span.end};
      const uint32_t begin = offset(span.begin);
      out.push_back({t.id, begin, offset(span.end), word_id});
      if (t.id == verbatim) out.back().text = scratch.keep(pieces.view(p).substr(t.begin, t.end - t.begin));
    }
  }
}

Encoding Tokenizer::encode_one(const TextInput& input, const EncodeOptions& options, Scratch& scratch) const {
  Limits limits = resolve(options, input.pair.has_value());
  const bool is_truncated = limits.is_truncated;
  // which text of a pair loses tokens depends on how long both are, so neither may stop early
  if (input.pair && options.truncation == Truncation::LongestFirst) limits.is_truncated = false;
  scratch.clear();
  tokenize(input.text, options, limits, -1, scratch, scratch.tokens[0]);
  if (input.pair) tokenize(*input.pair, options, limits, -1, scratch, scratch.tokens[1]);
  limits.is_truncated = is_truncated;
  return assemble(options, limits, input.pair.has_value(), scratch);
}

Encoding Tokenizer::encode_one(const WordsInput& input, const EncodeOptions& options, Scratch& scratch) const {
  Limits limits = resolve(options, input.pair.has_value());
  const bool is_truncated = limits.is_truncated;
  limits.is_truncated = false;  // each word is short; the whole is cut below
  scratch.clear();
  for (size_t i = 0; i < input.words.size(); ++i)
    tokenize(input.words[i], options, limits, static_cast<int32_t>(i), scratch, scratch.tokens[0]);
  if (input.pair)
    for (size_t i = 0; i < input.pair->size(); ++i)
      tokenize((*input.pair)[i], options, limits, static_cast<int32_t>(i), scratch, scratch.tokens[1]);
  limits.is_truncated = is_truncated;
  return assemble(options, limits, input.pair.has_value(), scratch);
}

Encoding Tokenizer::prepare(std::span<const int32_t> ids, std::optional<std::span<const int32_t>> pair,
                            const EncodeOptions& options) const {
  const auto to_tokens = [](std::span<const int32_t> list, std::vector<Token>& out) {
    for (const int32_t id : list) out.push_back({id, 0, 0, -1});
  };
  std::vector<Encoding> out(1);
  {
    const Lease scratch(*this);
    (*scratch).clear();
    to_tokens(ids, (*scratch).tokens[0]);
    if (pair) to_tokens(*pair, (*scratch).tokens[1]);
    out[0] = assemble(options, resolve(options, pair.has_value()), pair.has_value(), *scratch, false);
  }
  pad(out, options);
  return std::move(out[0]);
}

std::vector<int32_t> Tokenizer::encode_plain(std::string_view text) const {
  const std::string valid = is_valid_utf8(text) ? std::string(text) : repair_utf8(text, nullptr);
  const Lease lease(*this);
  Scratch& scratch = *lease;
  std::vector<int32_t> ids;
  cut(valid, scratch.pieces);
  for (const Piece& p : scratch.pieces.list()) {
    find_tokens(scratch.pieces.view(p), scratch);
    for (const ModelToken& t : scratch.model_tokens) ids.push_back(t.id);
  }
  return ids;
}

template <class Input>
std::vector<Encoding> Tokenizer::encode_all(std::span<const Input> inputs, const EncodeOptions& options, int threads) const {
  // padding to the longest is for all together
  EncodeOptions single = options;
  single.padding = Padding::None;
  std::vector<Encoding> out(inputs.size());
  size_t bytes = 0;
  if constexpr (std::is_same_v<Input, TextInput>)
    for (const TextInput& input : inputs) bytes += input.text.size() + (input.pair ? input.pair->size() : 0);
  else
    for (const WordsInput& input : inputs) bytes += 8 * input.words.size();
  // below this, waking threads costs more than they give
  const bool is_small = bytes < (size_t{1} << 15);
  const int workers = is_small ? 1 : threads > 0 ? threads : get_num_threads();
  // texts differ in length: each thread takes a few, as soon as it is done with the last ones
  const auto n = static_cast<int64_t>(inputs.size()), few = std::max<int64_t>(1, n / (int64_t{64} * workers));
  std::atomic<int64_t> next{0};
  parallel_for(workers, std::min<int64_t>(workers, n), 1, [&](int64_t, int64_t) {
    const auto share = [&](auto&& encode) {
      for (int64_t at = next.fetch_add(few); at < n; at = next.fetch_add(few))
        for (int64_t i = at; i < std::min(at + few, n); ++i) encode(inputs[static_cast<size_t>(i)], out[static_cast<size_t>(i)]);
    };
    if constexpr (std::is_same_v<Input, TextInput>)
      if (options.ids_only && !options.return_overflowing) {
        IdEncoder encoder(*this, single);
        share([&](const Input& input, Encoding& to) { encoder.append(input, to.ids); });
        return;
      }
    const Lease scratch(*this);
    share([&](const Input& input, Encoding& to) { to = encode_one(input, single, *scratch); });
  });
  if (options.padding != Padding::None) pad(out, options);
  return out;
}

Encoding Tokenizer::encode(const TextInput& input, const EncodeOptions& options) const {
  return std::move(encode_all(std::span(&input, 1), options, 1)[0]);
}
Encoding Tokenizer::encode_words(const WordsInput& input, const EncodeOptions& options) const {
  return std::move(encode_all(std::span(&input, 1), options, 1)[0]);
}
std::vector<Encoding> Tokenizer::encode_batch(std::span<const TextInput> inputs, const EncodeOptions& options, int threads) const {
  return encode_all(inputs, options, threads);
}
std::vector<Encoding> Tokenizer::encode_batch(std::span<const WordsInput> inputs, const EncodeOptions& options, int threads) const {
  return encode_all(inputs, options, threads);
}

std::optional<std::string_view> Tokenizer::written(int32_t id, const DecodeOptions& options) const {
  const AddedTokens::Entry* entry = added_.entry(id);
  if (!entry && !model_->vocab().has(id)) {
    check(options.skip_unknown_ids, ErrorCode::Limit, "tokenizer", "decode: expected ids of the vocabulary (0 to ",
          std::max(model_->vocab().id_limit(), added_.entries().empty() ? 0 : int64_t{added_.entries().rbegin()->first} + 1) - 1, "), got ",
          id);
    return std::nullopt;
  }
  const std::string_view text = entry ? std::string_view(entry->text) : model_->vocab().token(id);
  if (options.skip_special_tokens && added_.is_special(text)) return std::nullopt;
  return text;
}

std::vector<std::string> Tokenizer::tokens(const Encoding& encoding) const {
  std::vector<std::string> out;
  out.reserve(encoding.size());
  for (const int32_t id : encoding.ids) out.push_back(id_to_token(id));
  for (const auto& [i, text] : encoding.texts) out[i] = text;
  return out;
}

std::vector<std::string> Tokenizer::to_strings(std::span<const int32_t> ids, const DecodeOptions& options) const {
  std::vector<std::string> tokens;
  tokens.reserve(ids.size());
  for (const int32_t id : ids)
    if (const std::optional<std::string_view> text = written(id, options)) tokens.emplace_back(*text);
  return tokens;
}

std::string Tokenizer::join(std::vector<std::string> tokens) const {
  std::string text;
  if (decoder_) {
    if (!tokens.empty()) decoder_->decode(tokens);
    for (const std::string& token : tokens) text += token;
  } else {
    for (size_t i = 0; i < tokens.size(); ++i) (text += i ? " " : "") += tokens[i];
  }
  return text;
}

std::string Tokenizer::decode(std::span<const int32_t> ids, const DecodeOptions& options) const {
  if (target_ && config_.file.is_object() && config_.file.value("separate_vocabs", false)) return target_->decode(ids, options);
  std::string text = join(to_strings(ids, options));
  if (!config_.word_end.empty()) {
    replace_all(text, config_.word_end, " ");
    text = std::string(trim_back(trim_front(text)));
  }
  if (cleans_up(options)) clean_up_spaces(text, false);
  return text;
}

bool Tokenizer::cleans_up(const DecodeOptions& options) const {
  // as Transformers 5: old configurations ask for it where it would eat the text's own spaces
  return options.clean_up.value_or(config_.clean_up_tokenization_spaces && model_type() != "BPE");
}

int32_t Tokenizer::token_to_id(std::string_view token) const {
  const int32_t id = added_.find(token);
  return id >= 0 ? id : model_->vocab().find(token);
}

std::string Tokenizer::id_to_token(int64_t id) const {
  const AddedTokens::Entry* entry = added_.entry(id);
  return entry ? entry->text : std::string(model_->vocab().token(id));
}

size_t Tokenizer::vocab_size(bool with_added) const {
  size_t n = model_->vocab().size();
  if (with_added)
    for (const auto& [id, entry] : added_.entries()) n += model_->vocab().find(entry.token.content) < 0;
  return n;
}

std::vector<std::pair<std::string, int32_t>> Tokenizer::vocab(bool with_added) const {
  const Vocab& vocab = model_->vocab();
  std::vector<std::pair<std::string, int32_t>> out;
  out.reserve(vocab.size());
  for (int64_t id = 0; id < vocab.id_limit(); ++id)
    if (vocab.has(id)) out.emplace_back(vocab.token(id), static_cast<int32_t>(id));
  if (with_added)
    for (const auto& [id, entry] : added_.entries())
      if (vocab.find(entry.token.content) < 0) out.emplace_back(entry.token.content, id);
  return out;
}

size_t Tokenizer::add_tokens(std::span<const AddedToken> tokens) { return added_.add(tokens, model_->vocab(), normalizer_.get()); }

void Tokenizer::set_role(Role role, const AddedToken& token) {
  AddedToken special = token;
  special.special = true;
  check(!special.content.empty(), ErrorCode::Limit, "tokenizer", kRoleNames[static_cast<size_t>(role)],
        ": expected a token, got an empty text");
  add_tokens(std::span(&special, 1));
  config_.roles[static_cast<size_t>(role)] = special.content;
}

void Tokenizer::set_bos_eos(bool add_bos, bool add_eos) {
  for (const auto& [is_wanted, wanted] : {std::pair(add_bos, Role::Bos), std::pair(add_eos, Role::Eos)})
    check(!is_wanted || role_id(wanted) >= 0, ErrorCode::Limit, "tokenizer", "add_", kRoleNames[static_cast<size_t>(wanted)],
          ": expected a tokenizer that has such a token");
  Json options;
  options.set("add_bos_token", add_bos);
  options.set("add_eos_token", add_eos);
  spec_.post_processor = describe_post_processor(FamilyKind::Other, options, *this);
  post_processor_ = make_post_processor(spec_.post_processor);
}

namespace {

const Languages* languages_of(const TokenizerConfig& config) {
  const Family* family = find_family(config.tokenizer_class);
  return family ? find_languages(family->kind, config.file.is_object() ? config.file : Json(Json::Object{})) : nullptr;
}

}  // namespace

void Tokenizer::set_language(std::string_view code) {
  const Languages* languages = languages_of(config_);
  check(languages != nullptr, ErrorCode::Format, "tokenizer", "language: expected a class that knows languages, got '",
        config_.tokenizer_class, "'");
  spec_.post_processor = describe_language(*languages, code, config_.file.is_object() ? config_.file : Json(Json::Object{}), *this);
  post_processor_ = make_post_processor(spec_.post_processor);
}

int32_t Tokenizer::language_id(std::string_view code) const {
  const Languages* languages = languages_of(config_);
  return languages ? token_to_id(languages->token(code)) : -1;
}

std::vector<std::string> Tokenizer::languages() const {
  const Languages* languages = languages_of(config_);
  return languages ? languages->list() : std::vector<std::string>();
}

namespace {

void put_prefix_space(Json& stage, bool add_prefix_space) {
  if (!stage.is_object()) return;
  const std::string type = stage.value("type", "");
  if (type == "ByteLevel") stage.set("add_prefix_space", add_prefix_space);
  if (type == "Metaspace")
    stage.set("prepend_scheme", !add_prefix_space ? "never" : stage.value("prepend_scheme", "") == "first" ? "first" : "always");
  if (type != "Sequence") return;
  for (auto& [key, value] : stage.object())
    if (value.is_array())
      for (Json& inner : value.array()) put_prefix_space(inner, add_prefix_space);
}

}  // namespace

void Tokenizer::set_add_prefix_space(bool add_prefix_space) {
  put_prefix_space(spec_.pre_tokenizer, add_prefix_space);
  set_pre_tokenizer(make_pre_tokenizer(spec_.pre_tokenizer));
}

std::vector<int32_t> Tokenizer::special_ids() const {
  std::vector<int32_t> ids;
  for (const auto& [id, entry] : added_.entries())
    if (entry.token.special) ids.push_back(id);
  return ids;
}

}  // namespace tenon::text
