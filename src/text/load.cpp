// Reading tokenizer.json, vocab.txt, vocab.json and merges.txt.
#include <charconv>
#include <cmath>

#include "readers.h"
#include "sentence_piece_stages.h"
#include "tenon/core/error.h"
#include "tenon/text/models/sentence_piece.h"
#include "tenon/text/unicode.h"
#include "tenon/text/utf8.h"
#include "tiktoken.h"

namespace tenon::text {
namespace {

using simdjson::dom::element;

void read_vocab(element vocab, std::string_view where, ModelData& data) {
  simdjson::dom::object object;
  check(vocab.get(object) == simdjson::SUCCESS, ErrorCode::Type, where, "model.vocab: expected an object of tokens and ids");
  data.vocab.reserve(object.size());
  for (auto [token, value] : object) {
    int64_t id = 0;
    check(value.get(id) == simdjson::SUCCESS, ErrorCode::Type, where, "model.vocab '", token, "': expected an id");
    data.vocab.emplace_back(token, id);
  }
}

// A score as the reference library reads it: digits as an integer, rounded, then scaled by a power of ten, rounded again. The last bit
// of the result can differ from the number's own, and decides which of two cuts with the same score is taken.
double twice_rounded(double score) {
  char text[32];
  const auto [stop, error] = std::to_chars(text, text + sizeof(text), std::abs(score), std::chars_format::scientific);
  if (error != std::errc() || !std::isfinite(score)) return score;
  uint64_t digits = 0;
  int exponent = 0;
  const char* p = text;
  for (bool is_fraction = false; p != stop && *p != 'e'; ++p) {
    if (*p == '.') {
      is_fraction = true;
      continue;
    }
    digits = digits * 10 + static_cast<uint64_t>(*p - '0');
    exponent -= is_fraction;
  }
  int written = 0;
  if (p != stop) std::from_chars(p[1] == '+' ? p + 2 : p + 1, stop, written);
  exponent += written;
  if (exponent < -300 || exponent > 300) return score;
  const double power = std::pow(10.0, std::abs(exponent));
  const double out = exponent < 0 ? static_cast<double>(digits) / power : static_cast<double>(digits) * power;
  return score < 0 ? -out : out;
}

// Unigram: pairs of token and score, ids by position.
void read_scored_vocab(element vocab, std::string_view where, ModelData& data) {
  simdjson::dom::array array;
  check(vocab.get(array) == simdjson::SUCCESS, ErrorCode::Type, where, "model.vocab: expected an array of tokens and scores");
  data.vocab.reserve(array.size());
  data.scores.reserve(array.size());
  for (element entry : array) {
    simdjson::dom::array pair;
    std::string_view token;
    double score = 0;
    const bool is_pair = entry.get(pair) == simdjson::SUCCESS && pair.size() == 2 && pair.at(0).get(token) == simdjson::SUCCESS &&
                         pair.at(1).get(score) == simdjson::SUCCESS;
    check(is_pair, ErrorCode::Format, where, "model.vocab: expected [token, score] for id ", data.vocab.size());
    data.vocab.emplace_back(token, static_cast<int64_t>(data.vocab.size()));
    data.scores.push_back(twice_rounded(score));
  }
}

// "a b", or ["a", "b"] where tokens may hold spaces.
void read_merges(element merges, std::string_view where, ModelData& data) {
  simdjson::dom::array array;
  check(merges.get(array) == simdjson::SUCCESS, ErrorCode::Type, where, "model.merges: expected an array");
  for (element merge : array) {
    std::string_view text, left, right;
    if (merge.get(text) == simdjson::SUCCESS) {
      if (text.starts_with("#version")) continue;
      const size_t space = text.find(' ');
      const bool is_pair = space != std::string_view::npos && text.find(' ', space + 1) == std::string_view::npos;
      check(is_pair, ErrorCode::Format, where, "model.merges: expected two tokens, got '", text, "'");
      data.merges.emplace_back(text.substr(0, space), text.substr(space + 1));
      continue;
    }
    simdjson::dom::array pair;
    const bool is_pair = merge.get(pair) == simdjson::SUCCESS && pair.size() == 2 && pair.at(0).get(left) == simdjson::SUCCESS &&
                         pair.at(1).get(right) == simdjson::SUCCESS;
    check(is_pair, ErrorCode::Format, where, "model.merges: expected pairs of tokens");
    data.merges.emplace_back(left, right);
  }
}

// Files older than the field "type" are told apart by their other fields.
std::string guess_type(const Json& model, const ModelData& data, bool is_scored) {
  if (is_scored) return "Unigram";
  if (!data.merges.empty() || model.find("end_of_word_suffix")) return "BPE";
  if (model.find("max_input_chars_per_word")) return "WordPiece";
  return "WordLevel";
}

void read_model(element model, std::string_view where, TokenizerSpec& spec) {
  simdjson::dom::object object;
  check(model.get(object) == simdjson::SUCCESS, ErrorCode::Type, where, "model: expected an object");
  Json fields{Json::Object{}};
  element vocab;
  bool has_vocab = false;
  for (auto [key, value] : object) {
    if (key == "vocab") {
      vocab = value;
      has_vocab = true;
    } else if (key == "merges") {
      read_merges(value, where, spec.data);
    } else {
      fields.object().emplace_back(std::string(key), dom_value(value, 1));
    }
  }
  const bool is_scored = has_vocab && vocab.type() == simdjson::dom::element_type::ARRAY;
  const bool is_guessed = !fields.has("type");
  if (is_guessed) {
    Json::Object typed{{"type", Json(guess_type(fields, spec.data, is_scored))}};
    for (auto& field : fields.object()) typed.push_back(std::move(field));
    fields = Json(std::move(typed));
  }
  spec.model = std::move(fields);
  check(has_vocab, ErrorCode::Format, where, "model.vocab: expected one, got none");
  if (spec.model.value("type", "") == "Unigram") return read_scored_vocab(vocab, where, spec.data);
  // the vocabulary of a type that is unknown may have another form; make_model() says which type it is
  if (is_scored) make_model(spec.model, {});
  read_vocab(vocab, where, spec.data);
}

template <class Line>
void for_each_line(std::string_view text, Line&& line) {
  for (size_t number = 0; !text.empty(); ++number) {
    const size_t end = std::min(text.find('\n'), text.size());
    line(number, text.substr(0, end));
    text.remove_prefix(std::min(end + 1, text.size()));
  }
}

// Without whitespace at the end, as the reference library reads vocab.txt.
std::string_view trim_end(std::string_view line) {
  while (!line.empty() && (char_flags(last_char(line)) & kSpace)) {
    do line.remove_suffix(1);
    while (is_continuation(line.data()[line.size()]));
  }
  return line;
}

}  // namespace

AddedToken read_added_token(const Json& spec, bool is_special) {
  AddedToken token;
  token.special = is_special;
  if (spec.is_string()) {
    token.content = spec.as_string();
    token.normalized = !is_special;
    return token;
  }
  token.content = spec.at("content").as_string("content");
  token.single_word = spec.value("single_word", false);
  token.lstrip = spec.value("lstrip", false);
  token.rstrip = spec.value("rstrip", false);
  token.special = is_special || spec.value("special", false);
  token.normalized = spec.value("normalized", !token.special);
  return token;
}

void read_vocab_txt(std::string_view text, std::string_view where, ModelData& data) {
  check(is_valid_utf8(text), ErrorCode::Format, where, "expected UTF-8, got damaged text");
  for_each_line(text, [&](size_t number, std::string_view line) { data.vocab.emplace_back(trim_end(line), static_cast<int64_t>(number)); });
}

void read_merges_txt(std::string_view text, std::string_view where, ModelData& data) {
  check(is_valid_utf8(text), ErrorCode::Format, where, "expected UTF-8, got damaged text");
  for_each_line(text, [&](size_t number, std::string_view line) {
    if (line.ends_with('\r')) line.remove_suffix(1);
    if (line.empty() || line.starts_with("#version")) return;
    const size_t space = line.find(' ');
    const bool is_pair = space != std::string_view::npos && line.find(' ', space + 1) == std::string_view::npos;
    check(is_pair, ErrorCode::Format, where, "line ", number + 1, ": expected two tokens, got '", line, "'");
    data.merges.emplace_back(line.substr(0, space), line.substr(space + 1));
  });
}

void read_vocab_json(simdjson::dom::parser& parser, std::string_view json, std::string_view where, ModelData& data) {
  read_vocab(parse_dom(parser, json, where), where, data);
}

void read_tokenizer_json(simdjson::dom::parser& parser, std::string_view json, std::string_view where, TokenizerSpec& spec) {
  const element root = parse_dom(parser, json, where);
  simdjson::dom::object object;
  check(root.get(object) == simdjson::SUCCESS, ErrorCode::Type, where, "expected an object");
  bool has_model = false;
  for (auto [key, value] : object) {
    if (key == "normalizer") spec.normalizer = dom_value(value);
    if (key == "pre_tokenizer") spec.pre_tokenizer = dom_value(value);
    if (key == "post_processor") spec.post_processor = dom_value(value);
    if (key == "decoder") spec.decoder = dom_value(value);
    if (key == "truncation") spec.truncation = dom_value(value);
    if (key == "padding") spec.padding = dom_value(value);
    if (key == "added_tokens") {
      const Json tokens = dom_value(value);
      if (tokens.is_null()) continue;
      for (const Json& token : tokens.as_array("added_tokens")) spec.added_tokens.push_back(read_added_token(token, false));
    }
    if (key == "model") {
      read_model(value, where, spec);
      has_model = true;
    }
  }
  check(has_model, ErrorCode::Format, where, "model: expected one, got none");
}

Tokenizer Tokenizer::from_json(std::string_view json, std::string_view where) {
  simdjson::dom::parser parser;
  TokenizerSpec spec;
  read_tokenizer_json(parser, json, where, spec);
  return Tokenizer(spec);
}

namespace {

// What the model's own library gives. What to_json() writes is the nearest that a tokenizer.json can say.
Tokenizer from_sentence_piece(const SentencePieceFile& file) {
  TokenizerSpec spec;
  const bool has_stages = file.kind == SentencePieceFile::Kind::Unigram || file.kind == SentencePieceFile::Kind::Bpe;
  std::deque<std::string> texts;
  if (has_stages) describe_sentence_piece(file, FamilyKind::Other, Json(Json::Object{}), texts, spec);
  return Tokenizer(spec, std::make_unique<SentencePiece>(file), std::make_unique<SentencePieceDecoder>(file));
}

}  // namespace

Tokenizer Tokenizer::from_file(const std::string& path) {
  const std::string text = read_file(path);
  if (SentencePieceFile::is_one(text)) return from_sentence_piece(SentencePieceFile(text, path));
  if (!is_tiktoken(text)) return from_json(text, path);
  TiktokenTexts texts;
  TokenizerSpec spec;
  read_tiktoken(text, path, {}, texts, spec);
  Tokenizer out(spec);
  // as tiktoken does unless it is told which special tokens a text may have
  out.config_.split_special_tokens = true;
  return out;
}

}  // namespace tenon::text
