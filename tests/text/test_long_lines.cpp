// Long lines without a place to cut them: every model finishes, and its tokens cover the line. None of this measures time: work that
// grew with the square of a line would take minutes for each.
#include <array>

#include "tiny.h"

using namespace tenon;
using namespace tenon::text;
using namespace tenon::text::testing;

namespace {

constexpr size_t kBytes = 400000;

std::string repeated(const std::string& part) {
  std::string out;
  while (out.size() < kBytes) out += part;
  return out;
}

// One letter, two by turns, ideographs, spaces, marks that must be put in order, emoji with joiners, an added token and what only begins
// like one, damaged bytes.
const std::array<std::string, 9> kLines = {repeated("a"),
                                           repeated("abbab"),
                                           repeated("\xE4\xBD\xA0\xE5\xA5\xBD"),
                                           repeated(" "),
                                           "e" + repeated("\xCC\x81\xCC\xA3\xCC\xA7"),
                                           repeated("\xF0\x9F\x91\xA8\xE2\x80\x8D"),
                                           repeated("[MASK]"),
                                           repeated("[MASK"),
                                           repeated("\xFF\xE4\xBD")};

void check_lines(const Tokenizer& tokenizer) {
  for (const std::string& line : kLines) {
    CAPTURE(line.substr(0, 12));
    const Encoding e = tokenizer.encode(line, {.add_special_tokens = false, .byte_offsets = true});
    uint32_t covered = 0;
    bool is_in_order = true;
    for (const auto& [begin, end] : e.offsets) {
      is_in_order = is_in_order && begin <= covered && begin <= end;
      covered = std::max(covered, end);
    }
    CHECK(is_in_order);
    CHECK(covered == line.size());
    EncodeOptions ids_only{.add_special_tokens = false};
    ids_only.ids_only = true;
    CHECK(tokenizer.encode(line, ids_only).ids == e.ids);
  }
}

std::string with_model(const std::string& model, const std::string& normalizer = "null", const std::string& pre_tokenizer = "null") {
  return R"({"added_tokens": [)" + added_token(0, "[MASK]") + R"(], "normalizer": )" + normalizer + R"(, "pre_tokenizer": )" +
         pre_tokenizer + R"(, "model": )" + model + "}";
}

}  // namespace

TEST_CASE("long lines: WordPiece, words of any length") {
  check_lines(Tokenizer::from_json(with_model(R"({"type": "WordPiece", "unk_token": "[UNK]", "continuing_subword_prefix": "##",
      "max_input_chars_per_word": 100000000, "vocab": {"[MASK]": 0, "[UNK]": 1, "a": 2, "##a": 3, "##aaaa": 4, "##b": 5, "##ab": 6}})")));
}

TEST_CASE("long lines: BPE with bytes, with unknown characters, in normal form") {
  check_lines(bytes_json("null", "null", "null", "null", added_token(256, "[MASK]")));
  check_lines(Tokenizer::from_json(with_model(R"({"type": "BPE", "unk_token": "[UNK]", "fuse_unk": true,
      "vocab": {"[MASK]": 0, "[UNK]": 1, "a": 2, "b": 3, "aa": 4, "aaaa": 5, "ab": 6, "bab": 7}, "merges": ["a a", "aa aa", "a b", "b ab"]})",
                                              R"({"type": "NFC"})")));
}

TEST_CASE("long lines: Unigram and WordLevel") {
  check_lines(
      Tokenizer::from_json(with_model(R"({"type": "Unigram", "unk_id": 1, "vocab": [["[MASK]", 0], ["[UNK]", 0], ["a", -2], ["b", -2.5],
      ["aa", -3], ["aaaa", -5], ["ab", -4.5], ["bba", -4], ["\u4f60\u597d", -6]]})",
                                      R"({"type": "NFKD"})")));
  check_lines(
      Tokenizer::from_json(with_model(R"({"type": "WordLevel", "unk_token": "[UNK]", "vocab": {"[MASK]": 0, "[UNK]": 1, "a": 2}})")));
}

TEST_CASE("long lines: white space that is an added token and takes white space along") {
  for (const char* side : {"lstrip", "rstrip"}) {
    const std::string added = added_token(256, " ", R"("normalized": false, "special": false, ")" + std::string(side) + R"(": true)");
    const Tokenizer tokenizer = bytes_json("null", "null", "null", "null", added);
    EncodeOptions options{.add_special_tokens = false};
    options.ids_only = true;
    const std::vector<TextInput> texts{{kLines[3]}};
    const std::vector<Encoding> encodings = tokenizer.encode_batch(std::span<const TextInput>(texts), options);
    CHECK(encodings[0].ids == Ids(kBytes, 256));
  }
}
