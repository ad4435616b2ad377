// Normalizers, pre-tokenizers, post-processors and decoders one by one; expected values are the reference library's.
#include "tenon/text/byte_level.h"
#include "tiny.h"

using namespace tenon;
using namespace tenon::text;
using namespace tenon::text::testing;

namespace {

std::string normalized(const std::string& normalizer, const std::string& text) { return cut(bytes_json(normalizer, "null"), text); }
std::string pieces(const std::string& pre_tokenizer, const std::string& text) { return cut(bytes_json("null", pre_tokenizer), text); }
Offsets normalized_offsets(const std::string& normalizer, const std::string& text) {
  Offsets out;
  for (const auto& o : bytes_json(normalizer, "null").encode(text).offsets)
    if (out.empty() || out.back() != o) out.push_back(o);
  return out;
}

std::string decoded(const std::string& decoder, const std::vector<std::string>& tokens) {
  return bytes_json("null", "null", "null", decoder).join(tokens);
}

}  // namespace

TEST_CASE("normalizers") {
  CHECK(normalized(R"({"type": "NFC"})", "e\xCC\x81\xE1\x84\x80\xE1\x85\xA1x") == "\xC3\xA9\xEA\xB0\x80x");
  CHECK(normalized(R"({"type": "NFD"})", "\xC3\xA9\xEA\xB0\x80") == "e\xCC\x81\xE1\x84\x80\xE1\x85\xA1");
  CHECK(normalized(R"({"type": "NFKC"})", "\xEF\xAC\x81\xEF\xBC\xA1") == "fiA");
  CHECK(normalized(R"({"type": "NFKD"})", "\xC2\xBD") ==
        "1\xE2\x81\x84"
        "2");
  // marks come in canonical order: U+0323 (220) before U+0301 (230)
  CHECK(normalized(R"({"type": "NFD"})", "\xC3\xA9\xCC\xA3") == "e\xCC\xA3\xCC\x81");
  CHECK(normalized(R"({"type": "Lowercase"})",
                   "\xC3\x89\xC4\xB0"
                   "ABC") ==
        "\xC3\xA9i\xCC\x87"
        "abc");
  CHECK(normalized(R"({"type": "StripAccents"})", "e\xCC\x81\xC3\xA9") == "e\xC3\xA9");
  CHECK(normalized(R"({"type": "Strip", "strip_left": true, "strip_right": false})", " \xE3\x80\x80 a ") == "a ");
  CHECK(normalized(R"({"type": "Strip", "strip_left": true, "strip_right": true})", "   ") == "");
  CHECK(normalized(R"({"type": "Replace", "pattern": {"Regex": "\\s+"}, "content": "_"})", "a \n b") == "a_b");
  CHECK(normalized(R"({"type": "Replace", "pattern": {"String": "aa"}, "content": ""})", "aaab") == "ab");
  CHECK(normalized(R"({"type": "Prepend", "prepend": "_"})", "ab") == "_ab");
  CHECK(normalized(R"({"type": "Prepend", "prepend": "_"})", "") == "");
  CHECK(normalized(R"({"type": "Nmt"})",
                   "a\x07\xE2\x80\x8B"
                   "b") == "a b");
  CHECK(normalized(R"({"type": "ByteLevel"})", " a") ==
        "\xC4\xA0"
        "a");
  CHECK(normalized(R"({"type": "Sequence", "normalizers": [{"type": "NFD"}, {"type": "StripAccents"}, {"type": "Lowercase"}]})",
                   "\xC3\x89T") == "et");
  CHECK(normalized(
            R"({"type": "BertNormalizer", "clean_text": false, "handle_chinese_chars": true, "strip_accents": false, "lowercase": false})",
            "A\xE4\xBD\xA0") == "A \xE4\xBD\xA0 ");
  // a compatibility ideograph is set apart and then decomposed
  CHECK(normalized(R"({"type": "BertNormalizer"})", "\xEF\xA7\xA9") == " \xE9\x87\x8C ");
}

TEST_CASE("normalizers keep track of where characters came from") {
  CHECK(normalized_offsets(R"({"type": "NFC"})", "xe\xCC\x81y") == Offsets{{0, 1}, {1, 2}, {3, 4}});
  CHECK(normalized_offsets(R"({"type": "NFD"})", "x\xC3\xA9y") == Offsets{{0, 1}, {1, 2}, {2, 3}});
  CHECK(normalized_offsets(R"({"type": "Replace", "pattern": {"String": "bc"}, "content": "XYZ"})", "abcd") ==
        Offsets{{0, 1}, {2, 3}, {3, 4}});
  CHECK(normalized_offsets(R"({"type": "Strip"})", "  ab ") == Offsets{{2, 3}, {3, 4}});
}

TEST_CASE("pre-tokenizers") {
  CHECK(pieces(R"({"type": "BertPreTokenizer"})", "don't  stop\xE3\x80\x82now") == "don|'|t|stop|\xE3\x80\x82|now");
  CHECK(pieces(R"({"type": "Whitespace"})", "a_1 b--c\t!") == "a_1|b|--|c|!");
  CHECK(pieces(R"({"type": "WhitespaceSplit"})",
               " a-b\xC2\xA0"
               "c ") == "a-b|c");
  CHECK(pieces(R"({"type": "Punctuation"})", "a,,b") == "a|,|,|b");
  CHECK(pieces(R"({"type": "Digits", "individual_digits": true})", "a12b") == "a|1|2|b");
  CHECK(pieces(R"({"type": "Digits", "individual_digits": false})", "a12b") == "a|12|b");
  CHECK(pieces(R"({"type": "CharDelimiterSplit", "delimiter": "-"})", "a--b") == "a|b");
  CHECK(pieces(R"({"type": "FixedLength", "length": 2})", "abcde") == "ab|cd|e");
  CHECK(pieces(R"({"type": "Metaspace", "replacement": "_", "prepend_scheme": "always", "split": true})", "a b") == "_a|_b");
  CHECK(pieces(R"({"type": "Metaspace", "replacement": "_", "prepend_scheme": "never", "split": false})", "a b") == "a_b");
  CHECK(pieces(R"({"type": "ByteLevel", "add_prefix_space": true, "use_regex": true})", "a\xC3\xA9 'll 12!") ==
        "\xC4\xA0"
        "a\xC3\x83\xC2\xA9|\xC4\xA0'|ll|\xC4\xA0"
        "12|!");
  CHECK(pieces(R"({"type": "ByteLevel", "add_prefix_space": false, "use_regex": true})", "I'll  a\n") ==
        "I|'ll|\xC4\xA0|\xC4\xA0"
        "a|\xC4\x8A");
  CHECK(pieces(R"({"type": "Sequence", "pretokenizers": [{"type": "WhitespaceSplit"}, {"type": "Digits", "individual_digits": true}]})",
               "a1 2") == "a|1|2");
}

TEST_CASE("Split: every behaviour") {
  const auto split = [](const char* behavior, bool invert) {
    return pieces(std::string(R"({"type": "Split", "pattern": {"String": "-"}, "behavior": ")") + behavior + R"(", "invert": )" +
                      (invert ? "true}" : "false}"),
                  "the-final--countdown");
  };
  CHECK(split("Removed", false) == "the|final|countdown");
  CHECK(split("Isolated", false) == "the|-|final|-|-|countdown");
  CHECK(split("MergedWithPrevious", false) == "the-|final-|-|countdown");
  CHECK(split("MergedWithNext", false) == "the|-final|-|-countdown");
  CHECK(split("Contiguous", false) == "the|-|final|--|countdown");
  CHECK(split("Removed", true) == "-|-|-");
}

TEST_CASE("patterns mean what they mean in Oniguruma") {
  const auto words = [](const std::string& regex, const std::string& text) {
    return pieces(R"({"type": "Split", "pattern": {"Regex": )" + quoted(regex) + R"(}, "behavior": "Removed", "invert": true})", text);
  };
  CHECK(words(R"(\w+)", "ae\xCC\x81_1 b") == "ae\xCC\x81_1|b");  // marks are word characters
  CHECK(words(R"(\s)", "a\xE1\xA0\x8E b") == " ");               // U+180E is no space
  CHECK(words(R"([^\S\n]+)", "a \t\n b") == " \t| ");
  CHECK(words(R"(\p{Han}+)",
              "\xE4\xBD\xA0\xE3\x80\x82"
              "a") == "\xE4\xBD\xA0");  // script, not script extensions
  CHECK(words(R"((?i:'S)|\p{L}+)", "it's") == "it|'s");
  CHECK(words(R"(^b)", "a\nb") == "b");
  CHECK(contains(error_of([&] { words("(", "a"); }, ErrorCode::Format), "regular expression"));
  CHECK(words(R"([a&&b]|b)", "ab") == "b");
}

TEST_CASE("post-processors: ByteLevel takes spaces out of the offsets") {
  const auto offsets = [&](const std::string& post) {
    std::string vocab = R"("a": 0, "\u0120b": 1)";
    return Tokenizer::from_json(R"({"pre_tokenizer": {"type": "ByteLevel", "add_prefix_space": false}, "post_processor": )" + post +
                                R"(, "model": {"type": "WordLevel", "unk_token": "a", "vocab": {)" + vocab + "}}}")
        .encode("a b")
        .offsets;
  };
  CHECK(offsets("null") == Offsets{{0, 1}, {1, 3}});
  CHECK(offsets(R"({"type": "ByteLevel", "trim_offsets": true, "add_prefix_space": true})") == Offsets{{0, 1}, {2, 3}});
  CHECK(offsets(R"({"type": "RobertaProcessing", "sep": ["b", 1], "cls": ["a", 0], "trim_offsets": true, "add_prefix_space": false})") ==
        Offsets{{0, 0}, {0, 1}, {2, 3}, {0, 0}});
  CHECK(offsets(R"({"type": "Sequence", "processors": [{"type": "ByteLevel", "trim_offsets": true, "add_prefix_space": false},
      {"type": "BertProcessing", "sep": ["b", 1], "cls": ["a", 0]}]})") == Offsets{{0, 0}, {0, 1}, {2, 3}, {0, 0}});
}

TEST_CASE("decoders") {
  CHECK(decoded("null", {"a", "b"}) == "a b");
  CHECK(decoded(R"({"type": "Fuse"})", {"a", "b"}) == "ab");
  CHECK(decoded(R"({"type": "WordPiece", "prefix": "##", "cleanup": true})", {"do", "##n", "'", "t", "."}) == "don ' t.");
  CHECK(decoded(R"({"type": "ByteLevel"})", {"\xC4\xA0"
                                             "a",
                                             "\xC3\x83", "\xC2\xA9", "\xE4\xBD\xA0"}) == " a\xC3\xA9\xE4\xBD\xA0");
  CHECK(decoded(R"({"type": "ByteLevel"})", {"\xC3\x83"}) == "\xEF\xBF\xBD");
  CHECK(decoded(R"({"type": "Sequence", "decoders": [{"type": "ByteFallback"}, {"type": "Fuse"}]})", {"<0xC3>", "<0xA9>", "x", "<0xFF>"}) ==
        "\xC3\xA9x\xEF\xBF\xBD");
  CHECK(decoded(R"({"type": "Sequence", "decoders": [{"type": "Strip", "content": "_", "start": 1, "stop": 2}, {"type": "Fuse"}]})",
                {"__a___", "_"}) == "_a_");
  CHECK(decoded(R"({"type": "Sequence", "decoders": [{"type": "Replace", "pattern": {"String": "_"}, "content": " "}, {"type": "Fuse"}]})",
                {"a_", "_b"}) == "a  b");
  CHECK(decoded(R"({"type": "Metaspace", "replacement": "_", "prepend_scheme": "always"})", {"_a", "_b"}) == "a b");
  CHECK(decoded(R"({"type": "BPEDecoder", "suffix": "</w>"})", {"a</w>", "b</w>"}) == "a b");
  CHECK(decoded(R"({"type": "CTC"})", {"<pad>", "a", "a", "<pad>", "a", "|", "b"}) == "aa b");
}

TEST_CASE("the byte alphabet is one to one") {
  for (int b = 0; b < 256; ++b) CHECK(byte_of(kByteAlphabet.to_char[static_cast<size_t>(b)]) == b);
  CHECK(kByteAlphabet.to_char[' '] == 0x120);
  CHECK(byte_of(0x144) == -1);
  CHECK(byte_of(' ') == -1);
}
