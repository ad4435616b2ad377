// Small tokenizers for tests, written as tokenizer.json texts, and short names for what they give.
#pragma once

#include <doctest/doctest.h>

#include <cstdlib>
#include <filesystem>
#include <fstream>
#include <string>
#include <vector>

#include "tenon/text/tokenizer.h"

namespace tenon::text::testing {

using Ids = std::vector<int32_t>;
using Offsets = std::vector<std::pair<uint32_t, uint32_t>>;

// Ids: [PAD] 0, [UNK] 1, [CLS] 2, [SEP] 3, [MASK] 4, then the words from 5 on.
inline const char* const kWords[] = {"the",   "un",           "##want",       "##ed", "runn", "##ing", ",", "want", "cafe",
                                     "naive", "\xE4\xBD\xA0", "\xE5\xA5\xBD", "?",    "s",    "'",     "a", "b",    "c"};

inline std::string quoted(const std::string& text) { return Json(text).dump(); }

inline std::string added_token(int id, const std::string& content, const std::string& extra = R"("normalized": false, "special": true)") {
  return R"({"id": )" + std::to_string(id) + R"(, "content": )" + quoted(content) + ", " + extra + "}";
}

struct BertParts {
  std::string normalizer =
      R"({"type": "BertNormalizer", "clean_text": true, "handle_chinese_chars": true, "strip_accents": null, "lowercase": true})";
  std::string added;  // further added tokens, each with a comma before it
  std::string model = R"("unk_token": "[UNK]", "continuing_subword_prefix": "##", "max_input_chars_per_word": 20)";
  std::string decoder = R"({"type": "WordPiece", "prefix": "##", "cleanup": true})";
};

inline std::string bert_json(const BertParts& parts = {}) {
  std::string vocab, added;
  int id = 0;
  for (const char* special : {"[PAD]", "[UNK]", "[CLS]", "[SEP]", "[MASK]"}) {
    vocab += (id ? ", " : "") + quoted(special) + ": " + std::to_string(id);
    added += (id ? ", " : "") + added_token(id, special);
    ++id;
  }
  for (const char* word : kWords) vocab += ", " + quoted(word) + ": " + std::to_string(id++);
  return R"({"version": "1.0", "truncation": null, "padding": null, "added_tokens": [)" + added + parts.added + R"(], "normalizer": )" +
         parts.normalizer + R"(, "pre_tokenizer": {"type": "BertPreTokenizer"}, "decoder": )" + parts.decoder +
         R"(, "post_processor": {"type": "TemplateProcessing",
         "single": [{"SpecialToken": {"id": "[CLS]", "type_id": 0}}, {"Sequence": {"id": "A", "type_id": 0}}, {"SpecialToken": {"id": "[SEP]", "type_id": 0}}],
         "pair": [{"SpecialToken": {"id": "[CLS]", "type_id": 0}}, {"Sequence": {"id": "A", "type_id": 0}}, {"SpecialToken": {"id": "[SEP]", "type_id": 0}},
                  {"Sequence": {"id": "B", "type_id": 1}}, {"SpecialToken": {"id": "[SEP]", "type_id": 1}}],
         "special_tokens": {"[CLS]": {"id": "[CLS]", "ids": [2], "tokens": ["[CLS]"]}, "[SEP]": {"id": "[SEP]", "ids": [3], "tokens": ["[SEP]"]}}},
         "model": {"type": "WordPiece", )" +
         parts.model + R"(, "vocab": {)" + vocab + "}}}";
}

inline Tokenizer bert(const BertParts& parts = {}) {
  Tokenizer tokenizer = Tokenizer::from_json(bert_json(parts));
  tokenizer.config().roles[static_cast<size_t>(Role::Pad)] = "[PAD]";
  return tokenizer;
}

// A tokenizer whose model has one token per byte, so that ids show the text: stage objects are put in as they are.
inline Tokenizer bytes_json(const std::string& normalizer, const std::string& pre_tokenizer, const std::string& post_processor = "null",
                            const std::string& decoder = "null", const std::string& added = "") {
  std::string vocab;
  for (int b = 0; b < 256; ++b) {
    char name[8];
    std::snprintf(name, sizeof(name), "<0x%02X>", b);
    vocab += (b ? ", " : "") + quoted(name) + ": " + std::to_string(b);
  }
  return Tokenizer::from_json(R"({"added_tokens": [)" + added + R"(], "normalizer": )" + normalizer + R"(, "pre_tokenizer": )" +
                              pre_tokenizer + R"(, "post_processor": )" + post_processor + R"(, "decoder": )" + decoder +
                              R"(, "model": {"type": "BPE", "byte_fallback": true, "merges": [], "vocab": {)" + vocab + "}}}");
}

// The words that such a tokenizer cuts a text into, joined by '|'.
inline std::string cut(const Tokenizer& tokenizer, const std::string& text) {
  const Encoding e = tokenizer.encode(text);
  std::string out;
  for (size_t i = 0; i < e.size(); ++i) {
    if (i > 0 && e.word_ids[i] != e.word_ids[i - 1]) out += '|';
    out += static_cast<char>(e.ids[i]);
  }
  return out;
}

inline std::filesystem::path shared_dir() {
  if (const char* dir = std::getenv("TENON_SHARED")) return dir;
#ifdef TENON_SHARED_DIR
  return TENON_SHARED_DIR;
#else
  return "../shared";
#endif
}

// A folder that goes away with the test.
class TempFolder {
 public:
  explicit TempFolder(const std::string& name) : path_(std::filesystem::temp_directory_path() / ("tenon_text_" + name)) {
    std::filesystem::remove_all(path_);
    std::filesystem::create_directories(path_);
  }
  ~TempFolder() {
    std::error_code ec;
    std::filesystem::remove_all(path_, ec);
  }
  std::string path() const { return path_.string(); }
  void write(const std::string& name, const std::string& text) const { std::ofstream(path_ / name, std::ios::binary) << text; }

 private:
  std::filesystem::path path_;
};

template <class Call>
std::string error_of(Call&& call, ErrorCode code) {
  try {
    call();
  } catch (const Error& e) {
    CHECK(e.code() == code);
    return e.what();
  }
  FAIL_CHECK("expected an Error");
  return {};
}

inline bool contains(const std::string& text, const std::string& part) { return text.find(part) != std::string::npos; }

}  // namespace tenon::text::testing
