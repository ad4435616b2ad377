// Streaming decode: what comes out piece by piece is what decode() gives at once, and no piece has half a character.
#include <random>

#include "tenon/text/decode_stream.h"
#include "tenon/text/utf8.h"
#include "tiny.h"

using namespace tenon;
using namespace tenon::text;
using namespace tenon::text::testing;

namespace {

// Tokens that decoders trip over, in every kind's own writing.
Tokenizer odd_tokens(const std::string& decoder) {
  const char* const tokens[] = {"a",
                                " b",
                                "##c",
                                "d</w>",
                                "</w>",
                                "</w>e</w>",
                                "\xE2\x96\x81",
                                "\xE2\x96\x81x\xE2\x96\x81",
                                " ",
                                "  ",
                                "\xC4\xA0",
                                "\xC4\xA0m",
                                "\xC3\xA2\xC4\xA4\xC2\xAC",
                                "\xC3\xA2",
                                "\xC4\xA4",
                                "\xC2\xAC",
                                "<0xE2>",
                                "<0x82>",
                                "<0xAC>",
                                "<0x41>",
                                "<0x20>",
                                "<0xFF>",
                                "'",
                                " '",
                                "s",
                                "m",
                                " n't",
                                " do not",
                                ".",
                                " .",
                                "|",
                                "<pad>",
                                "\xF0\x9F\x98\x80",
                                "?",
                                "!"};
  std::string vocab;
  int id = 0;
  for (const char* token : tokens) {
    vocab += (id ? ", " : "") + quoted(token) + ": " + std::to_string(id);
    ++id;
  }
  const std::string added = added_token(id, "<s>") + ", " + added_token(id + 1, "<x>", R"("special": false)");
  return Tokenizer::from_json(R"({"added_tokens": [)" + added +
                              R"(], "normalizer": null, "pre_tokenizer": null, "post_processor": null, "decoder": )" + decoder +
                              R"(, "model": {"type": "WordLevel", "unk_token": "?", "vocab": {)" + vocab + "}}}");
}

std::string streamed(const Tokenizer& t, const Ids& ids, const DecodeOptions& options) {
  DecodeStream stream(t, options);
  std::string all;
  for (const int32_t id : ids) {
    const std::string_view text = stream.push(id);
    CHECK(is_valid_utf8(text));
    all += text;
  }
  return all += stream.finish();
}

// A run of byte tokens that is damaged behind complete characters: the documented difference.
bool has_damaged_run(const Tokenizer& t, const Ids& ids) {
  std::string bytes;
  for (size_t i = 0; i <= ids.size(); ++i) {
    const std::string token = i < ids.size() ? t.id_to_token(ids[i]) : "";
    if (token.starts_with("<0x")) {
      bytes += static_cast<char>(std::stoi(token.substr(3, 2), nullptr, 16));
      continue;
    }
    if (!is_valid_utf8(bytes)) return true;
    bytes.clear();
  }
  return false;
}

}  // namespace

TEST_CASE("decode stream: every decoder gives the same text piece by piece") {
  const char* const decoders[] = {
      "null",
      R"({"type": "ByteLevel"})",
      R"({"type": "WordPiece", "prefix": "##", "cleanup": true})",
      R"({"type": "WordPiece", "prefix": "##", "cleanup": false})",
      R"({"type": "Metaspace", "replacement": "\u2581", "prepend_scheme": "always"})",
      R"({"type": "Metaspace", "replacement": "\u2581", "prepend_scheme": "never"})",
      R"({"type": "BPEDecoder", "suffix": "</w>"})",
      R"({"type": "CTC", "pad_token": "<pad>", "word_delimiter_token": "|", "cleanup": true})",
      R"({"type": "Fuse"})",
      R"({"type": "ByteFallback"})",
      R"({"type": "Strip", "content": " ", "start": 1, "stop": 1})",
      R"({"type": "Replace", "pattern": {"String": "\u2581"}, "content": " "})",
      R"({"type": "Replace", "pattern": {"Regex": "[a-c]+"}, "content": "<>"})",
      R"({"type": "Sequence", "decoders": [{"type": "Replace", "pattern": {"String": "\u2581"}, "content": " "}, {"type": "ByteFallback"}, {"type": "Fuse"},
          {"type": "Strip", "content": " ", "start": 1, "stop": 0}]})",
      R"({"type": "Sequence", "decoders": [{"type": "Fuse"}, {"type": "Strip", "content": " ", "start": 2, "stop": 2}]})",
      R"({"type": "Sequence", "decoders": [{"type": "Fuse"}, {"type": "Replace", "pattern": {"String": "</w>"}, "content": "_"}]})",
      R"({"type": "Sequence", "decoders": [{"type": "Fuse"}, {"type": "Replace", "pattern": {"Regex": "a+b?"}, "content": "_"}]})",
      R"({"type": "Sequence", "decoders": [{"type": "Fuse"}, {"type": "BPEDecoder", "suffix": "</w>"}]})",
      R"({"type": "Sequence", "decoders": [{"type": "ByteLevel"}, {"type": "Metaspace", "replacement": "\u2581", "prepend_scheme": "always"}]})",
      R"({"type": "Sequence", "decoders": [{"type": "ByteFallback"}, {"type": "Strip", "content": " ", "start": 1, "stop": 1}, {"type": "WordPiece"}]})",
      R"({"type": "Sequence", "decoders": [{"type": "CTC"}, {"type": "BPEDecoder"}]})",
  };
  std::mt19937 random(1);
  for (const char* decoder : decoders) {
    CAPTURE(decoder);
    const bool has_bytes = contains(decoder, "ByteFallback");
    Tokenizer t = odd_tokens(decoder);
    const auto size = static_cast<uint32_t>(t.vocab_size());
    for (int round = 0; round < 1500; ++round) {
      Ids ids(random() % 12);
      for (int32_t& id : ids) id = static_cast<int32_t>(random() % size);
      if (has_bytes && has_damaged_run(t, ids)) continue;
      t.config().word_end = round % 5 == 4 ? "</w>" : "";
      const DecodeOptions options{.skip_special_tokens = round % 2 == 0, .clean_up = round % 3 == 0};
      CAPTURE(ids);
      REQUIRE(streamed(t, ids, options) == t.decode(ids, options));
    }
  }
}

TEST_CASE("decode stream: text comes as soon as it can no longer change") {
  const Tokenizer bytes = odd_tokens(R"({"type": "ByteLevel"})");
  DecodeStream a(bytes);
  // the three bytes of the euro sign, one token each
  CHECK(a.push(13) == "");
  CHECK(a.push(14) == "");
  CHECK(a.push(15) == "\xE2\x82\xAC");
  CHECK(a.push(0) == "a");
  CHECK(a.push(13) == "");
  CHECK(a.push(0) ==
        "\xEF\xBF\xBD"
        "a");
  CHECK(a.push(13) == "");
  CHECK(a.finish() == "\xEF\xBF\xBD");
  CHECK(a.push(Ids{13, 14, 15, 0}) ==
        "\xE2\x82\xAC"
        "a");

  const Tokenizer fallback = odd_tokens(
      R"({"type": "Sequence", "decoders": [{"type": "ByteFallback"}, {"type": "Fuse"}, {"type": "Strip", "content": " ", "start": 1, "stop": 0}]})");
  DecodeStream b(fallback);
  CHECK(b.push(8) == "");
  CHECK(b.push(16) == "");
  CHECK(b.push(17) == "");
  CHECK(b.push(18) == "\xE2\x82\xAC");
  CHECK(b.push(21) == "\xEF\xBF\xBD");  // the characters before the damage stay
  CHECK(b.push(19) == "\xEF\xBF\xBD");
  CHECK(b.push(8) == " ");
  CHECK(b.finish() == "");
}

TEST_CASE("decode stream: bad ids change nothing; streams move") {
  const Tokenizer t = odd_tokens(R"({"type": "ByteLevel"})");
  DecodeStream first(t);
  CHECK(first.push(13) == "");
  CHECK(contains(error_of([&] { first.push(Ids{14, 1000}); }, ErrorCode::Limit), "1000"));
  CHECK(contains(error_of([&] { first.push(-1); }, ErrorCode::Limit), "-1"));
  DecodeStream second = std::move(first);
  CHECK(second.push(Ids{14, 15}) == "\xE2\x82\xAC");
  DecodeStream lenient(t, {.skip_special_tokens = true, .clean_up = {}, .skip_unknown_ids = true});
  CHECK(lenient.push(Ids{1000, 0}) == "a");
}
