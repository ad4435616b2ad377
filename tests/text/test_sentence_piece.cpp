// SentencePiece models made up for the test; what is expected was recorded from the library sentencepiece 0.2.3.
#include <bit>

#include "charsmap.h"
#include "tiny.h"

using namespace tenon;
using namespace tenon::text;
using namespace tenon::text::testing;

namespace {

const std::string kMark = "\xE2\x96\x81";

struct Piece {
  std::string text;
  float score;
  int type;
};
struct Options {
  int model_type = 1;
  bool byte_fallback = false, whitespace_as_suffix = false, add_dummy_prefix = true, remove_extra_whitespaces = true,
       escape_whitespaces = true;
  std::string charsmap = {};
};

// The wire format of protobuf, as far as a model needs it.
std::string varint(uint64_t value) {
  std::string out;
  for (; value >= 0x80; value >>= 7) out += static_cast<char>(value | 0x80);
  return out + static_cast<char>(value);
}
std::string number(int field, uint64_t value) { return varint(static_cast<uint64_t>(field) << 3) + varint(value); }
std::string bytes(int field, const std::string& value) {
  return varint(static_cast<uint64_t>(field) << 3 | 2) + varint(value.size()) + value;
}
std::string real(int field, float value) {
  std::string out = varint(static_cast<uint64_t>(field) << 3 | 5);
  for (int i = 0; i < 4; ++i) out += static_cast<char>(std::bit_cast<uint32_t>(value) >> (8 * i) & 0xFF);
  return out;
}

std::string model(std::vector<Piece> pieces, const Options& o = {}) {
  if (o.byte_fallback) {
    for (int b = 0; b < 256; ++b) {
      char name[8];
      std::snprintf(name, sizeof(name), "<0x%02X>", static_cast<unsigned>(b));
      pieces.push_back({name, 0, 6});
    }
  }
  std::string out;
  for (const Piece& p : pieces) out += bytes(1, bytes(1, p.text) + real(2, p.score) + number(3, static_cast<uint64_t>(p.type)));
  out += bytes(2, number(3, static_cast<uint64_t>(o.model_type)) + number(24, o.whitespace_as_suffix) + number(35, o.byte_fallback));
  return out + bytes(3, bytes(1, "x") + bytes(2, o.charsmap) + number(3, o.add_dummy_prefix) + number(4, o.remove_extra_whitespaces) +
                            number(5, o.escape_whitespaces));
}

const std::vector<Piece> kUnigram = {{"<unk>", 0, 2}, {"<s>", 0, 3},   {"</s>", 0, 3},   {kMark, -1.5f, 1},
                                     {"a", -2, 1},    {"b", -2.5f, 1}, {"ab", -4.5f, 1}, {kMark + "ab", -3.25f, 1},
                                     {"<sep>", 0, 4}, {"aa", -1, 5},   {"y", -3, 1},     {"fi", -3, 1}};
const std::vector<Piece> kBpe = {{"<unk>", 0, 2},       {"<s>", 0, 3}, {"</s>", 0, 3}, {kMark + "a", -1, 1}, {"ab", -2, 1},
                                 {kMark + "ab", -3, 1}, {"bb", -4, 1}, {"abb", -5, 5}, {"bc", -6, 4},        {kMark, -10, 1},
                                 {"a", -10, 1},         {"b", -10, 1}, {"c", -10, 1}};

struct Row {
  const char* text;
  Ids ids;
  Offsets offsets;
  const char* decoded;
};

Tokenizer load(const std::string& name, const std::string& content) {
  const TempFolder temp("spm_" + name);
  temp.write("a.model", content);
  return Tokenizer::from_file(temp.path() + "/a.model");
}

void check_rows(const Tokenizer& tokenizer, const std::vector<Row>& rows) {
  for (const Row& row : rows) {
    CAPTURE(row.text);
    const Encoding e = tokenizer.encode(row.text);
    CHECK(e.ids == row.ids);
    CHECK(e.offsets == row.offsets);
    CHECK(tokenizer.decode(e.ids) == row.decoded);
  }
}

}  // namespace

TEST_CASE("sentencepiece: unigram") {
  const Tokenizer t = load("unigram", model(kUnigram, {.charsmap = make_charsmap(kRules)}));
  check_rows(t, {{"ab  aab", {7, 3, 4, 6}, {{0, 2}, {2, 4}, {4, 5}, {5, 7}}, "ab aab"},
                 {" Ab\x01 <sep>b ", {7, 3, 8, 5}, {{1, 4}, {4, 5}, {5, 10}, {10, 11}}, "ab <sep>b"},
                 {"x\xEF\xAC\x81y", {3, 10, 10, 11, 10}, {{0, 0}, {0, 0}, {0, 1}, {1, 2}, {2, 3}}, "yyfiy"},
                 {"zz ab", {3, 0, 7}, {{0, 0}, {0, 2}, {2, 5}}, " \xE2\x81\x87  ab"},
                 {"<s>ab</s>", {3, 0, 6, 0}, {{0, 0}, {0, 3}, {3, 5}, {5, 9}}, " \xE2\x81\x87 ab \xE2\x81\x87 "},
                 {"\xE3\x80\x80", {}, {}, ""},
                 {"aab\xC3\xA9"
                  "b",
                  {3, 4, 6, 0, 5},
                  {{0, 0}, {0, 1}, {1, 3}, {3, 4}, {4, 5}},
                  "aab \xE2\x81\x87 b"}});
}

TEST_CASE("sentencepiece: bytes for unknown characters, spaces kept") {
  const Tokenizer t =
      load("bytes", model(kUnigram, {.byte_fallback = true, .remove_extra_whitespaces = false, .charsmap = make_charsmap(kRules)}));
  check_rows(t, {{"ab  aab", {7, 3, 3, 4, 6}, {{0, 2}, {2, 3}, {3, 4}, {4, 5}, {5, 7}}, "ab  aab"},
                 {"zz ab", {3, 134, 134, 7}, {{0, 0}, {0, 1}, {1, 2}, {2, 5}}, "zz ab"},
                 {" ", {3, 3}, {{0, 0}, {0, 1}}, " "},
                 {"aab\xC3\xA9"
                  "b",
                  {3, 4, 6, 207, 181, 5},
                  {{0, 0}, {0, 1}, {1, 3}, {3, 3}, {3, 4}, {4, 5}},
                  "aab\xC3\xA9"
                  "b"}});
  // a byte that belongs to no character
  CHECK(t.decode(Ids{4, 207, 4}) ==
        "a\xEF\xBF\xBD"
        "a");
}

TEST_CASE("sentencepiece: bpe with users' and unused pieces") {
  const Tokenizer t = load("bpe", model(kBpe, {.model_type = 2}));
  check_rows(t, {{"ab  aab", {5, 3, 4}, {{0, 2}, {2, 5}, {5, 7}}, "ab aab"},
                 {"zz ab", {9, 0, 5}, {{0, 0}, {0, 2}, {2, 5}}, " \xE2\x81\x87  ab"},
                 {"abbcabb bab", {5, 8, 4, 11, 9, 11, 4}, {{0, 2}, {2, 4}, {4, 6}, {6, 7}, {7, 8}, {8, 9}, {9, 11}}, "abbcabb bab"}});
  const Tokenizer suffix = load("suffix", model(kBpe, {.model_type = 2, .whitespace_as_suffix = true, .escape_whitespaces = false}));
  check_rows(suffix, {{"ab  aab", {4, 0, 10, 4, 0}, {{0, 2}, {2, 4}, {4, 5}, {5, 7}, {7, 7}}, "ab \xE2\x81\x87 aab \xE2\x81\x87 "}});
}

TEST_CASE("sentencepiece: words and characters") {
  check_rows(load("word", model(kBpe, {.model_type = 3})), {{"ab  aab", {5, 0}, {{0, 2}, {2, 7}}, "ab \xE2\x81\x87 "},
                                                            {"zz ab", {0, 5}, {{0, 2}, {2, 5}}, " \xE2\x81\x87  ab"},
                                                            {" ", {}, {}, ""}});
  check_rows(load("char", model(kBpe, {.model_type = 4, .add_dummy_prefix = false})),
             {{"ab  aab", {10, 11, 9, 10, 10, 11}, {{0, 1}, {1, 2}, {2, 4}, {4, 5}, {5, 6}, {6, 7}}, "ab aab"},
              {"zz ab", {0, 9, 10, 11}, {{0, 2}, {2, 3}, {3, 4}, {4, 5}}, " \xE2\x81\x87  ab"}});
}

TEST_CASE("sentencepiece: saved as tokenizer.json") {
  const Tokenizer t = load("saved", model(kUnigram, {.byte_fallback = true, .charsmap = make_charsmap(kRules)}));
  const Tokenizer again = Tokenizer::from_json(t.to_json());
  for (const char* text : {"ab  ab", "zz ab", "Ab b"}) CHECK(again.encode(text).ids == t.encode(text).ids);
  const Tokenizer bpe = load("saved", model(kBpe, {.model_type = 2}));
  CHECK(Tokenizer::from_json(bpe.to_json()).encode("ab  aab").ids == bpe.encode("ab  aab").ids);
}

TEST_CASE("sentencepiece: damaged models") {
  const auto error = [](const std::string& content) { return error_of([&] { load("damaged", content); }, ErrorCode::Format); };
  const std::string good = model(kUnigram);
  for (const size_t size : {5u, 20u, 100u}) error(good.substr(0, size));
  for (const size_t size : {good.size() - 1, good.size() - 5}) CHECK(contains(error(good.substr(0, size)), "too early"));
  CHECK(contains(error(model({{"a", 0, 1}})), "unknown"));
  CHECK(contains(error(model({{"<unk>", 0, 2}, {"a", 0, 1}, {"a", 0, 1}})), "again"));
  CHECK(contains(error(model({{"<unk>", 0, 2}, {"a", 0, 9}})), "type"));
  CHECK(contains(error(model({{"<unk>", 0, 2}, {"<0x00>", 0, 6}})), "byte pieces"));
  CHECK(contains(error(model({{"<unk>", 0, 2}, {"\xFF", 0, 1}})), "UTF-8"));
  CHECK(contains(error(model(kUnigram, {.charsmap = "damaged"})), "charsmap"));
  CHECK(contains(error(model(kUnigram, {.model_type = 9})), "model_type"));
}

TEST_CASE("sentencepiece: folders") {
  const TempFolder temp("spm_folder");
  temp.write("tokenizer.model", model(kBpe, {.model_type = 2, .byte_fallback = true}));
  temp.write("tokenizer_config.json", R"({"tokenizer_class": "LlamaTokenizer"})");
  const Tokenizer llama = Tokenizer::from_folder(temp.path());
  CHECK(llama.encode("<s>ab</s>").ids == Ids{1, 1, 4, 2});
  CHECK(llama.decode(llama.encode("ab ab").ids, {.skip_special_tokens = true}) == "ab ab");
  temp.write("other.model", "");
  CHECK(Tokenizer::from_folder(temp.path()).encode("ab").ids == llama.encode("ab").ids);
  std::filesystem::rename(temp.path() + "/tokenizer.model", temp.path() + "/first.model");
  CHECK(contains(error_of([&] { Tokenizer::from_folder(temp.path()); }, ErrorCode::File), "one file"));
}

TEST_CASE("tiktoken: damaged files") {
  const TempFolder temp("tiktoken");
  const auto error = [&](const std::string& content) {
    temp.write("a.tiktoken", content);
    return error_of([&] { Tokenizer::from_file(temp.path() + "/a.tiktoken"); }, ErrorCode::Format);
  };
  CHECK(contains(error("YQ== 0\nYg== 1\n"), "published"));
  CHECK(contains(error("YQ== 0\nYg==\n"), "line 2"));
  CHECK(contains(error("YQ== 0\nY!== 1\n"), "line 2"));
  CHECK(contains(error("YQ== 0\nYg== -1\n"), "line 2"));
  CHECK(contains(error("YQ== 0\nYg== 99999999999999999999\n"), "line 2"));
  CHECK(contains(error("hello"), "JSON"));
}
