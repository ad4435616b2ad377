// A SentencePiece model as the stages that Transformers makes of it: by family, or by the model's own settings.
#include "sentence_piece_stages.h"

#include <algorithm>
#include <deque>
#include <tuple>

#include "tenon/core/error.h"
#include "tenon/text/utf8.h"

namespace tenon::text {
namespace {

using File = SentencePieceFile;

std::string encode_base64(std::string_view bytes) {
  constexpr std::string_view kAlphabet = "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/";
  std::string out;
  for (size_t i = 0; i < bytes.size(); i += 3) {
    uint32_t bits = 0;
    for (size_t k = 0; k < 3; ++k) bits = bits << 8 | (i + k < bytes.size() ? static_cast<unsigned char>(bytes[i + k]) : 0);
    for (size_t k = 0; k < 4; ++k) out += i + k > bytes.size() ? '=' : kAlphabet[bits >> (18 - 6 * k) & 63];
  }
  return out;
}

Json stage(const char* type) {
  Json out;
  out.set("type", type);
  return out;
}

Json replace_stage(const char* kind, const std::string& pattern, const char* content) {
  Json what, out = stage("Replace");
  what.set(kind, pattern);
  out.set("pattern", std::move(what));
  out.set("content", content);
  return out;
}

Json metaspace(const char* scheme, bool split) {
  Json out = stage("Metaspace");
  out.set("replacement", std::string(kSpaceMark));
  out.set("prepend_scheme", scheme);
  out.set("split", split);
  return out;
}

Json sequence(const char* key, Json::Array stages) {
  if (stages.empty()) return Json();
  Json out = stage("Sequence");
  out.set(key, std::move(stages));
  return out;
}

Json precompiled(const File& file) {
  if (file.charsmap.empty()) return Json();
  Json out = stage("Precompiled");
  out.set("precompiled_charsmap", encode_base64(file.charsmap));
  return out;
}

Json byte_decoder(bool has_bytes, bool strips) {
  Json::Array stages{replace_stage("String", std::string(kSpaceMark), " ")};
  if (has_bytes) stages.push_back(stage("ByteFallback"));
  if (has_bytes || strips) stages.push_back(stage("Fuse"));
  if (strips) {
    Json strip = stage("Strip");
    strip.set("content", " ");
    strip.set("start", 1);
    strip.set("stop", 0);
    stages.push_back(std::move(strip));
  }
  return sequence("decoders", std::move(stages));
}

// All pairs of pieces that make a piece. Ranked by id, or by score among the normal pieces alone.
void add_merges(const File& file, bool by_score, ModelData& data) {
  Vocab pieces;
  for (size_t id = 0; id < file.pieces.size(); ++id) pieces.add(file.pieces[id].text, static_cast<int64_t>(id));
  using Key = std::tuple<float, int64_t, size_t, size_t>;
  std::vector<std::pair<Key, std::pair<std::string_view, std::string_view>>> found;
  const auto is_merged = [&](int32_t id) {
    return id >= 0 && (!by_score || file.pieces[static_cast<size_t>(id)].type == File::Type::Normal);
  };
  for (const auto& [piece, id] : data.vocab) {
    if (!is_merged(static_cast<int32_t>(id))) continue;
    for (size_t i = char_length(piece[0]); i < piece.size(); i += char_length(piece[i])) {
      const std::string_view left = piece.substr(0, i), right = piece.substr(i);
      if (!is_merged(pieces.find(left)) || !is_merged(pieces.find(right))) continue;
      const float score = by_score ? -file.pieces[static_cast<size_t>(id)].score : 0;
      found.push_back({{score, id, count_chars(left), count_chars(right)}, {left, right}});
    }
  }
  std::stable_sort(found.begin(), found.end(), [](const auto& a, const auto& b) { return a.first < b.first; });
  for (const auto& [key, merge] : found) data.merges.push_back(merge);
}

void describe_model(const File& file, bool by_score, TokenizerSpec& spec) {
  for (const File::Piece& piece : file.pieces) spec.data.vocab.emplace_back(piece.text, static_cast<int64_t>(spec.data.vocab.size()));
  if (file.kind == File::Kind::Unigram) {
    for (const File::Piece& piece : file.pieces) spec.data.scores.push_back(static_cast<double>(piece.score));
    spec.model = stage("Unigram");
    spec.model.set("unk_id", int64_t{file.unk_id});
    spec.model.set("byte_fallback", file.byte_fallback);
    return;
  }
  add_merges(file, by_score, spec.data);
  spec.model = Json::parse(R"({"type": "BPE", "dropout": null, "unk_token": null, "continuing_subword_prefix": null,
      "end_of_word_suffix": null, "fuse_unk": true, "byte_fallback": false, "ignore_merges": false})");
  spec.model.set("unk_token", std::string(file.pieces[static_cast<size_t>(file.unk_id)].text));
  spec.model.set("byte_fallback", file.byte_fallback);
}

// The literal texts as one pattern, longer ones first.
std::string any_of(std::vector<std::string_view> texts) {
  std::stable_sort(texts.begin(), texts.end(), [](std::string_view a, std::string_view b) { return a.size() > b.size(); });
  std::string out;
  for (const std::string_view text : texts) {
    if (!out.empty()) out += '|';
    for (const char c : text) {
      const bool is_plain =
          static_cast<unsigned char>(c) >= 128 || c == '_' || (c >= '0' && c <= '9') || ((c | 32) >= 'a' && (c | 32) <= 'z');
      if (!is_plain) out += '\\';
      out += c;
    }
  }
  return out;
}

void describe_by_settings(const File& file, TokenizerSpec& spec) {
  describe_model(file, true, spec);
  Json::Array normalizers, pre_tokenizers;
  if (Json map = precompiled(file); !map.is_null()) normalizers.push_back(std::move(map));
  if (file.remove_extra_whitespaces) {
    normalizers.push_back(replace_stage("Regex", R"(\A +| +\z)", ""));
    normalizers.push_back(replace_stage("Regex", " {2,}", " "));
  }
  if (file.escape_whitespaces) normalizers.push_back(replace_stage("String", " ", kSpaceMark.data()));
  if (file.add_dummy_prefix) {
    // Metaspace adds no mark where the text has one
    normalizers.push_back(replace_stage("Regex", R"(\A)" + std::string(kSpaceMark), "\xE2\x96\x81\xE2\x96\x81"));
    pre_tokenizers.push_back(metaspace("always", false));
  }
  std::vector<std::string_view> user;
  for (const File::Piece& piece : file.pieces)
    if (piece.type == File::Type::UserDefined) user.push_back(piece.text);
  if (!user.empty()) {
    Json split = stage("Split"), pattern;
    pattern.set("Regex", any_of(std::move(user)));
    split.set("pattern", std::move(pattern));
    split.set("behavior", "Isolated");
    split.set("invert", false);
    pre_tokenizers.push_back(std::move(split));
    if (file.kind == File::Kind::Bpe) spec.model.set("ignore_merges", true);
  }
  spec.normalizer = sequence("normalizers", std::move(normalizers));
  spec.pre_tokenizer = sequence("pretokenizers", std::move(pre_tokenizers));
  spec.decoder = byte_decoder(file.byte_fallback, file.add_dummy_prefix);
}

void describe_llama(const File& file, const Json& options, TokenizerSpec& spec) {
  describe_model(file, false, spec);
  spec.model.set("byte_fallback", true);
  const bool has_prefix = options.value("add_prefix_space", true);
  spec.pre_tokenizer = metaspace(!has_prefix ? "never" : options.value("legacy", false) ? "always" : "first", false);
  spec.decoder = byte_decoder(true, has_prefix);
}

void describe_gemma(const File& file, TokenizerSpec& spec) {
  describe_model(file, false, spec);
  spec.model.set("byte_fallback", true);
  spec.normalizer = replace_stage("String", " ", kSpaceMark.data());
  spec.pre_tokenizer = Json::parse(R"({"type": "Split", "pattern": {"String": " "}, "behavior": "MergedWithPrevious", "invert": false})");
  spec.decoder = byte_decoder(true, false);
}

void describe_words(const File& file, const Json& options, TokenizerSpec& spec) {
  describe_model(file, true, spec);
  spec.normalizer = precompiled(file);
  const char* scheme = options.value("add_prefix_space", true) ? "always" : "never";
  spec.pre_tokenizer = sequence("pretokenizers", Json::Array{stage("WhitespaceSplit"), metaspace(scheme, true)});
  spec.decoder = metaspace(scheme, true);
}

// fairseq's dictionary starts with four tokens of its own in the place of the model's three, and ends with the languages and the mask.
void shift_to_fairseq(const Languages* languages, std::deque<std::string>& texts, TokenizerSpec& spec) {
  ModelData shifted;
  for (const char* special : {"<s>", "<pad>", "</s>", "<unk>"}) {
    shifted.vocab.emplace_back(special, static_cast<int64_t>(shifted.vocab.size()));
    shifted.scores.push_back(0);
  }
  for (size_t id = 3; id < spec.data.vocab.size(); ++id) {
    shifted.vocab.emplace_back(spec.data.vocab[id].first, static_cast<int64_t>(shifted.vocab.size()));
    if (!spec.data.scores.empty()) shifted.scores.push_back(spec.data.scores[id]);
  }
  std::vector<std::string> last = languages ? languages->tokens() : std::vector<std::string>();
  last.push_back("<mask>");
  for (std::string& token : last) {
    if (languages && token != "<mask>") spec.added_tokens.push_back({token, false, false, false, false, true});
    shifted.vocab.emplace_back(texts.emplace_back(std::move(token)), static_cast<int64_t>(shifted.vocab.size()));
    shifted.scores.push_back(0);
  }
  shifted.merges = std::move(spec.data.merges);
  if (spec.data.scores.empty()) shifted.scores.clear();
  spec.data = std::move(shifted);
  if (spec.model.value("type", "") == "Unigram") spec.model.set("unk_id", 3);
}

// As Transformers reads NLLB's and MBart-50's: spaces at the ends count.
void describe_nllb(const File& file, bool is_nllb, TokenizerSpec& spec) {
  describe_model(file, true, spec);
  Json map = precompiled(file);
  Json::Array normalizers;
  const bool has_map = !map.is_null();
  if (has_map) normalizers.push_back(std::move(map));
  if (has_map || !is_nllb) normalizers.push_back(replace_stage("Regex", " {2,}", " "));
  spec.normalizer = sequence("normalizers", std::move(normalizers));
  spec.pre_tokenizer = metaspace("always", true);
  spec.decoder = metaspace("always", true);
}

void add_listed_pieces(const File& file, TokenizerSpec& spec) {
  for (const File::Piece& piece : file.pieces)
    if (piece.type == File::Type::Control || piece.type == File::Type::UserDefined)
      spec.added_tokens.push_back({std::string(piece.text), false, false, false, false, piece.type == File::Type::Control});
}

}  // namespace

void describe_sentence_piece(const SentencePieceFile& file, FamilyKind kind, const Json& options, std::deque<std::string>& texts,
                             TokenizerSpec& spec) {
  const Languages* languages = kind == FamilyKind::M2m100 ? nullptr : find_languages(kind, options);
  const bool is_fairseq = languages || kind == FamilyKind::XlmRoberta;
  check(file.kind == File::Kind::Unigram || file.kind == File::Kind::Bpe, ErrorCode::Format, "SentencePiece",
        "model_type in a checkpoint's folder: expected unigram or bpe, got ", file.kind == File::Kind::Word ? "word" : "char",
        " (from_file() reads it)");
  const bool is_unigram = file.kind == File::Kind::Unigram;
  if (!is_unigram && kind == FamilyKind::Llama) {
    describe_llama(file, options, spec);
  } else if (!is_unigram && kind == FamilyKind::Gemma) {
    describe_gemma(file, spec);
  } else if (is_unigram && kind == FamilyKind::T5) {
    describe_words(file, options, spec);
    for (int64_t i = options.value("extra_ids", 100); i-- > 0;)
      spec.added_tokens.push_back({"<extra_id_" + std::to_string(i) + ">", false, false, false, false, true});
  } else if (is_unigram && kind == FamilyKind::XlmRoberta) {
    describe_words(file, options, spec);
    shift_to_fairseq(nullptr, texts, spec);
  } else if (languages) {
    if (kind == FamilyKind::MBart)
      describe_words(file, options, spec);
    else
      describe_nllb(file, kind == FamilyKind::Nllb, spec);
    shift_to_fairseq(languages, texts, spec);
  } else {
    describe_by_settings(file, spec);
  }
  if (!is_fairseq) add_listed_pieces(file, spec);
}

}  // namespace tenon::text
