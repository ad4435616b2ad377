// libFuzzer: the input up to its first 0xFF byte is a tokenizer.json, the rest a text for it (or, without a 0xFF, for a small one).
#include <cstddef>
#include <cstdint>
#include <cstdlib>
#include <string_view>

#include "tenon/text/tokenizer.h"

namespace {

constexpr const char* kSmall = R"({
  "normalizer": {"type": "BertNormalizer", "clean_text": true, "handle_chinese_chars": true, "strip_accents": null, "lowercase": true},
  "pre_tokenizer": {"type": "BertPreTokenizer"}, "decoder": {"type": "WordPiece"},
  "added_tokens": [{"id": 0, "content": "[UNK]", "special": true}, {"id": 4, "content": "<m>", "lstrip": true, "normalized": true}],
  "model": {"type": "WordPiece", "unk_token": "[UNK]", "vocab": {"[UNK]": 0, "a": 1, "##b": 2, "\u00e9": 3}}})";

// What must hold for any text: equal lengths, ids that decode, offsets inside the text.
void encode(const tenon::text::Tokenizer& tokenizer, std::string_view text) {
  tenon::text::EncodeOptions options;
  options.byte_offsets = true;
  const tenon::text::Encoding e = tokenizer.encode(text, options);
  if (e.offsets.size() != e.ids.size() || e.word_ids.size() != e.ids.size()) std::abort();
  for (const auto& [begin, end] : e.offsets)
    if (begin > end || end > text.size()) std::abort();
  tenon::text::DecodeOptions lenient;  // a file's post-processor may name ids that the vocabulary lacks
  lenient.skip_unknown_ids = true;
  tokenizer.decode(e.ids, lenient);
  options.truncation = tenon::text::Truncation::LongestFirst;
  options.max_length = 8;
  options.stride = 1;
  options.return_overflowing = text.size() < 200;
  tokenizer.encode(text, text, options);
}

}  // namespace

extern "C" int LLVMFuzzerTestOneInput(const uint8_t* data, size_t size) {
  static const tenon::text::Tokenizer small = tenon::text::Tokenizer::from_json(kSmall);
  const std::string_view input(reinterpret_cast<const char*>(data), size);
  const size_t cut = input.find('\xFF');
  try {
    if (cut == std::string_view::npos) {
      encode(small, input);
    } else {
      const auto tokenizer = tenon::text::Tokenizer::from_json(input.substr(0, cut));
      tokenizer.to_json();
      encode(tokenizer, input.substr(cut + 1));
    }
  } catch (const tenon::Error&) {
  }
  return 0;
}
