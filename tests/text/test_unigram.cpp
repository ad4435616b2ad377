// Unigram, Precompiled and UnicodeScripts on small made-up tokenizers; what is expected was recorded from the reference library.
#include <algorithm>
#include <random>

#include "charsmap.h"
#include "tenon/text/byte_trie.h"
#include "tenon/text/grapheme.h"
#include "tiny.h"

using namespace tenon;
using namespace tenon::text;
using namespace tenon::text::testing;

namespace {

struct Row {
  const char* text;
  Ids ids;
  Offsets offsets;
};

void check_rows(const Tokenizer& tokenizer, const std::vector<Row>& rows) {
  for (const Row& row : rows) {
    CAPTURE(row.text);
    const Encoding e = tokenizer.encode(row.text);
    CHECK(e.ids == row.ids);
    CHECK(e.offsets == row.offsets);
  }
}

Tokenizer unigram(const std::string& vocab, const std::string& fields, const std::string& normalizer = "null",
                  const std::string& pre_tokenizer = "null") {
  return Tokenizer::from_json(R"({"normalizer": )" + normalizer + R"(, "pre_tokenizer": )" + pre_tokenizer + R"(, "model": {)" + fields +
                              R"(, "vocab": [)" + vocab + "]}}");
}

const char* const kVocab = R"(["<unk>", 0], ["a", -2], ["b", -2.5], ["ab", -4.5], ["abc", -3], ["\u2581", -1.5], ["\u2581a", -3.5],
    ["cd", -1], ["<0x63>", -5], ["<0x64>", -5], ["\u00e9\u00e8", -50])";
const char* const kMetaspace = R"({"type": "Metaspace", "replacement": "\u2581", "prepend_scheme": "always", "split": true})";

}  // namespace

TEST_CASE("unigram: the best sum wins, the first of equal ones stays") {
  const Tokenizer t = unigram(kVocab, R"("type": "Unigram", "unk_id": 0, "byte_fallback": false)", "null", kMetaspace);
  check_rows(t, {{"ab abc", {5, 3, 5, 4}, {{0, 1}, {0, 2}, {2, 3}, {3, 6}}},
                 {"aab", {6, 3}, {{0, 1}, {1, 3}}},
                 {"acdb", {6, 7, 2}, {{0, 1}, {1, 3}, {3, 4}}},
                 {"abababab", {5, 3, 3, 3, 3}, {{0, 1}, {0, 2}, {2, 4}, {4, 6}, {6, 8}}}});
  // what is cut once is remembered: the answer must not change
  CHECK(t.encode("ab abc ab abc").ids == Ids{5, 3, 5, 4, 5, 3, 5, 4});
}

TEST_CASE("unigram: unknown characters") {
  const std::string fields = R"("type": "Unigram", "unk_id": 0, "byte_fallback": )";
  const Tokenizer plain = unigram(kVocab, fields + "false", "null", kMetaspace);
  check_rows(plain, {{"cc d", {5, 0, 5, 0}, {{0, 1}, {0, 2}, {2, 3}, {3, 4}}},
                     {"xyz a", {5, 0, 6}, {{0, 1}, {0, 3}, {3, 5}}},
                     // two unknown characters that together are a token
                     {"a\xC3\xA9\xC3\xA8"
                      "b",
                      {6, 10, 2},
                      {{0, 1}, {1, 3}, {3, 4}}}});
  const Tokenizer bytes = unigram(kVocab, fields + "true", "null", kMetaspace);
  check_rows(bytes, {{"cc d", {5, 8, 8, 5, 9}, {{0, 1}, {0, 2}, {0, 2}, {2, 3}, {3, 4}}},
                     {"cc d", {5, 8, 8, 5, 9}, {{0, 1}, {0, 2}, {0, 2}, {2, 3}, {3, 4}}},
                     {"xyz a", {5, 0, 6}, {{0, 1}, {0, 3}, {3, 5}}}});
  const Tokenizer without = unigram(R"(["a", -1])", R"("type": "Unigram", "unk_id": null)");
  CHECK(without.encode("aa").ids == Ids{0, 0});
  CHECK(contains(error_of([&] { without.encode("ab"); }, ErrorCode::Format), "unk_id"));
}

TEST_CASE("unigram: old files, saving, damaged files") {
  const Tokenizer old = unigram(kVocab, R"("unk_id": 0)", "null", kMetaspace);
  CHECK(old.encode("acdb").ids == Ids{6, 7, 2});
  const Tokenizer again = Tokenizer::from_json(old.to_json());
  CHECK(again.encode("acdb abab").ids == old.encode("acdb abab").ids);
  CHECK(again.to_json() == old.to_json());
  const std::string fields = R"("type": "Unigram", "unk_id": 0)";
  CHECK(contains(error_of([&] { unigram(R"(["a"])", fields); }, ErrorCode::Format), "score"));
  CHECK(contains(error_of([&] { unigram(R"({"a": 1})", fields); }, ErrorCode::Format), "score"));
  CHECK(contains(error_of([&] { unigram("", fields); }, ErrorCode::Format), "unk_id"));
  CHECK(contains(error_of([&] { unigram(R"(["a", 1])", R"("type": "Unigram", "unk_id": 7)"); }, ErrorCode::Format), "unk_id"));
}

TEST_CASE("unigram: long lines without a space take time in proportion") {
  const Tokenizer t = unigram(kVocab, R"("type": "Unigram", "unk_id": 0)");
  std::string text;
  while (text.size() < 300000) text += "abcabab";
  const Encoding e = t.encode(text);
  CHECK(e.offsets.back().second == text.size());
  CHECK(t.encode(std::string(100000, 'z')).ids == Ids{0});
}

TEST_CASE("precompiled: whole clusters by their shortest rule, with the reference's alignment") {
  const std::string normalizer = R"({"type": "Precompiled", "precompiled_charsmap": ")" + base64(make_charsmap(kRules)) + "\"}";
  const Tokenizer t = unigram(R"(["<unk>", 0], ["a", -1], ["b", -1], ["c", -1], ["e", -1], ["f", -1], ["i", -1], ["y", -1], [" ", -1],
      ["\u00e9", -1], ["z", -1], ["\u030a", -1])",
                              R"("type": "Unigram", "unk_id": 0)", normalizer);
  check_rows(t, {{"bAb", {2, 1, 2}, {{0, 1}, {1, 2}, {2, 3}}},
                 {"A\xCC\x8A"
                  "b",
                  {1, 2},
                  {{0, 1}, {2, 3}}},
                 {"A\xCC\x81"
                  "b",
                  {1, 2},
                  {{0, 1}, {2, 3}}},
                 {"a\x01"
                  "b",
                  {1, 2},
                  {{0, 1}, {2, 3}}},
                 {"e\xCC\x81\xCC\x8A", {9}, {{0, 1}}},
                 {"z\xEF\xAC\x81z", {10, 5, 6, 10}, {{0, 1}, {1, 2}, {1, 2}, {2, 3}}},
                 {"\xE3\x80\x80\xC3\x85", {8, 1}, {{0, 1}, {1, 2}}},
                 {"c\r\nA", {3, 0, 1}, {{0, 1}, {1, 3}, {3, 4}}}});
  SUBCASE("what vanishes at the start shifts the rest; what vanishes behind an inserted character makes it a replacement") {
    check_rows(t, {{"\x01"
                    "ab",
                    {1, 2},
                    {{0, 1}, {1, 2}}},
                   {"\x01\x01xb", {7, 7, 2}, {{0, 1}, {0, 1}, {1, 2}}},
                   {"x\x01"
                    "b",
                    {7, 7, 2},
                    {{0, 1}, {1, 2}, {2, 3}}},
                   {"xA\x01\x01"
                    "b",
                    {7, 7, 1, 2},
                    {{0, 1}, {0, 1}, {1, 2}, {4, 5}}}});
  }
}

TEST_CASE("precompiled: damaged data") {
  const auto load = [](const std::string& data) {
    return [data] { unigram(R"(["a", 0])", R"("unk_id": 0)", R"({"type": "Precompiled", "precompiled_charsmap": ")" + data + "\"}"); };
  };
  CHECK(contains(error_of(load("!!!"), ErrorCode::Format), "base64"));
  CHECK(contains(error_of(load(""), ErrorCode::Format), "precompiled_charsmap"));
  CHECK(contains(error_of(load(base64(std::string("\xFF\xFF\xFF\x7F") + "abcdefgh")), ErrorCode::Format), "trie"));
  // units that point anywhere: no rule, but nothing outside is read
  const std::string good = make_charsmap(kRules);
  std::minstd_rand random(1);
  for (int round = 0; round < 50; ++round) {
    std::string bad = good;
    for (int i = 0; i < 200; ++i) bad[4 + random() % (bad.size() - 4)] = static_cast<char>(random());
    try {
      const Tokenizer t =
          unigram(R"(["a", 0])", R"("unk_id": 0)", R"({"type": "Precompiled", "precompiled_charsmap": ")" + base64(bad) + "\"}");
      const std::string text = "xA\x01 e\xCC\x81 \xEF\xAC\x81 plain text \xC3\x85";
      for (const auto& [begin, end] : t.encode(text).offsets) CHECK(end <= text.size());
    } catch (const Error& e) {
      CHECK(e.code() == ErrorCode::Format);
    }
  }
}

TEST_CASE("unicode scripts") {
  const Tokenizer t = bytes_json("null", R"({"type": "UnicodeScripts"})");
  CHECK(cut(t,
            "abc\xE4\xBD\xA0\xE5\xA5\xBD\xE3\x81\x82\xE3\x82\xA2\xE3\x83\xBC"
            "de f, g") == "abc|\xE4\xBD\xA0\xE5\xA5\xBD\xE3\x81\x82\xE3\x82\xA2\xE3\x83\xBC|de f|, |g");
  CHECK(cut(t, " a \xD0\x91") == "a |\xD0\x91");
  CHECK(cut(t, "\xD9\x85 1!") == "\xD9\x85 |1!");
  CHECK(cut(t, "  ").empty());
}

TEST_CASE("grapheme clusters") {
  const auto clusters = [](std::string_view text) {
    std::vector<size_t> out;
    for (; !text.empty(); text.remove_prefix(out.back())) out.push_back(grapheme_length(text));
    return out;
  };
  using Lengths = std::vector<size_t>;
  CHECK(clusters("ab\r\n\n") == Lengths{1, 1, 2, 1});
  CHECK(clusters("e\xCC\x81x") == Lengths{3, 1});                                        // a mark
  CHECK(clusters("\xE1\x84\x80\xE1\x85\xA1\xE1\x86\xA8") == Lengths{9});                 // a Hangul syllable
  CHECK(clusters("\xF0\x9F\x87\xA6\xF0\x9F\x87\xA7\xF0\x9F\x87\xA8") == Lengths{8, 4});  // three flag letters
  CHECK(clusters("\xF0\x9F\x91\xA9\xE2\x80\x8D\xF0\x9F\x92\xBB!") == Lengths{11, 1});    // joined pictures
  CHECK(clusters("\xE0\xA4\x95\xE0\xA5\x8D\xE0\xA4\x95\xE0\xA4\x95") == Lengths{9, 3});  // an Indic conjunct
  CHECK(clusters("\n\xCC\x81") == Lengths{1, 2});                                        // nothing joins a control
}

TEST_CASE("byte trie: all keys that start a text") {
  const std::string nul("\0a", 2);
  const ByteTrie trie({{"a", 1}, {"ab", 2}, {"abc", 3}, {"b", 4}, {"a", 5}, {nul, 6}, {"\xFF\xFE", 7}});
  const auto found = [&](std::string_view text) {
    std::vector<int32_t> out;
    trie.for_each_prefix(text.data(), text.data() + text.size(), [&](size_t, int32_t value) { out.push_back(value); });
    return out;
  };
  CHECK(found("abcd") == std::vector<int32_t>{5, 2, 3});
  CHECK(found(nul) == std::vector<int32_t>{6});
  CHECK(found(std::string("b\0a", 3)) == std::vector<int32_t>{4});
  CHECK(found("\xFF\xFE") == std::vector<int32_t>{7});
  CHECK(found("").empty());
  CHECK(trie.longest_prefix("abx") == std::pair<size_t, int32_t>{2, 2});
  CHECK(ByteTrie().longest_prefix("a").first == 0);

  // many keys of few letters fill the blocks densely
  std::minstd_rand random(7);
  std::vector<std::string> keys;
  for (int i = 0; i < 3000; ++i) {
    std::string key;
    for (unsigned n = 1 + random() % 6; n > 0; --n) key += static_cast<char>(random() % 3 == 0 ? random() % 256 : 'a' + random() % 4);
    keys.push_back(std::move(key));
  }
  std::sort(keys.begin(), keys.end());
  keys.erase(std::unique(keys.begin(), keys.end()), keys.end());
  std::vector<std::pair<std::string_view, int32_t>> numbered;
  for (size_t i = 0; i < keys.size(); ++i) numbered.emplace_back(keys[i], static_cast<int32_t>(i));
  const ByteTrie dense(numbered);
  for (size_t i = 0; i < keys.size(); ++i) {
    REQUIRE(dense.longest_prefix(keys[i]) == std::pair(keys[i].size(), static_cast<int32_t>(i)));
    const std::string other = keys[i] + static_cast<char>(random());
    const auto [length, value] = dense.longest_prefix(other);
    REQUIRE(keys[static_cast<size_t>(value)] == other.substr(0, length));
  }
}
