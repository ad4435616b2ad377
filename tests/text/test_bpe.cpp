// BPE and WordLevel: merging, affixes, unknown characters, bytes.
#include <algorithm>

#include "tenon/text/byte_level.h"
#include "tenon/text/models/bpe.h"
#include "tiny.h"

using namespace tenon;
using namespace tenon::text;
using namespace tenon::text::testing;

namespace {

Tokenizer bpe(const std::string& fields, const std::string& pre_tokenizer = "null") {
  return Tokenizer::from_json(R"({"pre_tokenizer": )" + pre_tokenizer + R"(, "model": {"type": "BPE", )" + fields + "}}");
}

}  // namespace

TEST_CASE("merges by rank, leftmost first, as strings or pairs") {
  const std::string vocab = R"("vocab": {"a": 0, "b": 1, "c": 2, "ab": 3, "bc": 4, "abc": 5, "aa": 6}, )";
  CHECK(bpe(vocab + R"("merges": ["a b", "ab c", "b c"])").encode("abcbcab").ids == Ids{5, 4, 3});
  CHECK(bpe(vocab + R"("merges": [["b", "c"], ["a", "b"]])").encode("abcab").ids == Ids{0, 4, 3});
  CHECK(bpe(vocab + R"("merges": ["a a"])").encode("aaaaa").ids == Ids{6, 6, 0});
  const Encoding e = bpe(vocab + R"("merges": ["a b", "ab c"])").encode("abca");
  CHECK(e.offsets == Offsets{{0, 3}, {3, 4}});
}

TEST_CASE("short and long words merge alike") {
  // pairs of every length up to a power of two, so that order matters
  std::string vocab = R"("x": 0)", merges, token = "x";
  for (int i = 1; i <= 8; ++i) {
    merges += (i > 1 ? ", " : "") + std::string("\"") + token + " " + token + "\"";
    token += token;
    vocab += ", \"" + token + "\": " + std::to_string(i);
  }
  const Tokenizer t = bpe(R"("vocab": {)" + vocab + R"(}, "merges": [)" + merges + "]");
  for (size_t n = 1; n < 600; n += n < 40 ? 1 : 37) {
    Ids expected;
    for (size_t left = n; left >= 256; left -= 256) expected.push_back(8);
    for (int i = 7; i >= 0; --i)
      if (n % 256 & (size_t{1} << i)) expected.push_back(i);
    CAPTURE(n);
    CHECK(t.encode(std::string(n, 'x')).ids == expected);
    CHECK(t.encode(std::string(n, 'x')).ids == expected);  // remembered
  }
}

TEST_CASE("affixes") {
  const Tokenizer suffix =
      bpe(R"("end_of_word_suffix": "</w>", "vocab": {"a": 0, "b</w>": 1, "ab</w>": 2, "a</w>": 3}, "merges": ["a b</w>"])");
  CHECK(suffix.encode("ab").ids == Ids{2});
  CHECK(suffix.encode("aa").ids == Ids{0, 3});
  const Tokenizer prefix = bpe(R"("continuing_subword_prefix": "##", "vocab": {"a": 0, "##b": 1, "ab": 2, "##c": 3}, "merges": ["a ##b"])");
  CHECK(prefix.encode("abc").ids == Ids{2, 3});
}

TEST_CASE("unknown characters: dropped, marked, fused, as bytes") {
  const std::string vocab = R"("vocab": {"a": 0, "u": 1}, "merges": [])";
  CHECK(bpe(vocab).encode("azza").ids == Ids{0, 0});
  CHECK(bpe(R"("unk_token": "u", )" + vocab).encode("azza").ids == Ids{0, 1, 1, 0});
  const Encoding fused = bpe(R"("unk_token": "u", "fuse_unk": true, )" + vocab).encode("azza");
  CHECK(fused.ids == Ids{0, 1, 0});
  CHECK(fused.offsets == Offsets{{0, 1}, {1, 3}, {3, 4}});
  CHECK(bytes_json("null", "null").encode("\xC3\xA9").ids == Ids{0xC3, 0xA9});
  CHECK(bpe(R"("ignore_merges": true, "vocab": {"a": 0, "b": 1, "ab": 2}, "merges": [])").encode("ab").ids == Ids{2});
}

TEST_CASE("long words take near-linear time") {
  const Tokenizer t = bpe(R"("vocab": {"a": 0, "b": 1, "ab": 2, "abab": 3, "ba": 4}, "merges": ["a b", "ab ab", "b a"])");
  std::string text;
  for (int i = 0; i < 500000; ++i) text += "ab";
  CHECK(t.encode(text).ids.size() == 250000);
  CHECK(bert().encode(std::string(2000000, 'a')).ids == Ids{2, 1, 3});
}

TEST_CASE("what a long word costs grows with its length, not with its square") {
  ModelData data;
  data.vocab = {{"a", 0}, {"b", 1}, {"ab", 2}, {"abab", 3}, {"ba", 4}};
  data.merges = {{"a", "b"}, {"ab", "ab"}, {"b", "a"}};
  const Bpe model(Json::parse("{}"), data);
  const auto lookups = [&](size_t n) {
    std::string word;
    for (size_t i = 0; i < n; ++i) word += i % 7 == 3 ? "ba" : "ab";
    const auto memory = model.make_memory();
    std::vector<ModelToken> tokens, bytes;
    model.tokenize(word, tokens, memory.get());
    const uint64_t count = Bpe::lookups(*memory);
    model.tokenize_bytes(word, bytes, memory.get());
    CHECK(bytes.size() == tokens.size());
    CHECK(tokens.back().end == word.size());
    return static_cast<double>(count) / static_cast<double>(word.size());
  };
  const double few = lookups(1000), many = lookups(100000);
  CHECK(many < 1.1 * few);
  CHECK(many < 6);
}

TEST_CASE("words as bytes and in the byte alphabet have the same tokens") {
  const std::string stage = R"({"type": "ByteLevel", "add_prefix_space": false, "use_regex": false})";
  const std::string model = R"("vocab": {"a": 0, "\u00c3": 1, "\u00a9": 2, "\u00c3\u00a9": 3, "?": 4, "\u0120": 5, "\u0120a": 6},
      "merges": ["\u00c3 \u00a9", "\u0120 a"], "unk_token": "?")";
  // the stage that is not the last writes the alphabet, where the model sees it
  const Tokenizer bytes = bpe(model, stage);
  const Tokenizer alphabet = bpe(model, R"({"type": "Sequence", "pretokenizers": [)" + stage + R"(, {"type": "Digits"}]})");
  for (const char* text : {"a a", "\xC3\xA9 a", "a\xC3\xA8", "\xC3\xA8", "zza\xE4\xBD\xA0", "\xC3\xA9\xC3\xA9"}) {
    CAPTURE(text);
    for (int i = 0; i < 2; ++i) CHECK(bytes.encode(text).ids == alphabet.encode(text).ids);
    CHECK(bytes.encode(text).offsets == alphabet.encode(text).offsets);
  }
  CHECK(bytes.encode("\xC3\xA9 a").ids == Ids{3, 6});
  CHECK(bytes.encode("\xC3\xA8").ids == Ids{1, 4});
  EncodeOptions only;
  only.ids_only = true;
  const Encoding e = bytes.encode("a a", only);
  CHECK(e.ids == Ids{0, 6});
  CHECK(e.offsets.empty());
  CHECK(e.char_to_token(0) == -1);
}

TEST_CASE("WordLevel") {
  const std::string model =
      R"({"pre_tokenizer": {"type": "WhitespaceSplit"}, "model": {"type": "WordLevel", "unk_token": "?", "vocab": {"a": 0)";
  CHECK(Tokenizer::from_json(model + R"(, "?": 1}}})").encode("a b a").ids == Ids{0, 1, 0});
  CHECK(contains(error_of([&] { Tokenizer::from_json(model + "}}}").encode("a b"); }, ErrorCode::Format), "unk_token"));
}

TEST_CASE("bpe: dropout") {
  const auto tokenizer = [](const std::string& dropout) {
    return Tokenizer::from_json(R"({"model": {"type": "BPE", "dropout": )" + dropout +
                                R"(, "vocab": {"a": 0, "b": 1, "ab": 2, "abab": 3}, "merges": ["a b", "ab ab"]}})");
  };
  CHECK(tokenizer("null").encode("abab").ids == Ids{3});
  CHECK(tokenizer("0.0").encode("abab").ids == Ids{3});
  CHECK(tokenizer("1.0").encode("abab").ids == Ids{0, 1, 0, 1});
  CHECK(contains(error_of([&] { tokenizer("1.5"); }, ErrorCode::Format), "dropout"));

  const Tokenizer half = tokenizer("0.5");
  const auto draw = [&] {
    std::vector<Ids> out;
    for (int i = 0; i < 200; ++i) out.push_back(half.encode("abab").ids);
    return out;
  };
  Bpe::seed(1);
  const std::vector<Ids> first = draw();
  for (const Ids& ids : {Ids{3}, Ids{2, 2}, Ids{2, 0, 1}, Ids{0, 1, 2}, Ids{0, 1, 0, 1}})
    CHECK(std::find(first.begin(), first.end(), ids) != first.end());
  Bpe::seed(1);
  CHECK(draw() == first);
  Bpe::seed(2);
  CHECK(draw() != first);
  CHECK(half.encode(std::string(200000, 'a')).size() == 200000);
}

namespace {

// A byte-level tokenizer of all bytes and these merges, given in bytes.
Tokenizer of_bytes(const std::vector<std::pair<std::string, std::string>>& merges) {
  const auto written = [](const std::string& bytes) {
    std::string out;
    for (const char c : bytes) append(out, kByteAlphabet.to_char[static_cast<unsigned char>(c)]);
    return out;
  };
  std::string vocab, list;
  for (int b = 0; b < 256; ++b) vocab += (b ? ", " : "") + quoted(written(std::string(1, static_cast<char>(b)))) + ": " + std::to_string(b);
  for (size_t i = 0; i < merges.size(); ++i) {
    vocab += ", " + quoted(written(merges[i].first + merges[i].second)) + ": " + std::to_string(256 + i);
    list += (i ? ", [" : "[") + quoted(written(merges[i].first)) + ", " + quoted(written(merges[i].second)) + "]";
  }
  return Tokenizer::from_json(R"({"added_tokens": [], "normalizer": null, "pre_tokenizer": {"type": "ByteLevel", "add_prefix_space": false,
      "use_regex": false}, "post_processor": null, "decoder": {"type": "ByteLevel"}, "model": {"type": "BPE", "vocab": {)" +
                              vocab + R"(}, "merges": [)" + list + "]}}");
}

}  // namespace

TEST_CASE("bpe: characters of three bytes, with and without merges that come before their own") {
  const std::string ni = "\xE4\xBD\xA0", hao = "\xE5\xA5\xBD";
  const std::pair<std::string, std::string> a{"\xE4", "\xBD"}, b{"\xE4\xBD", "\xA0"}, c{"\xA5", "\xBD"}, d{"\xE5", "\xA5\xBD"},
      across{"\xA0", "\xE5"}, both{ni, hao}, ascii{"x", "\xE4"};
  CHECK(of_bytes({a, b, c, d}).encode(ni + hao + ni).ids == Ids{257, 259, 257});
  CHECK(of_bytes({a, b, c, d, both}).encode(ni + hao + ni).ids == Ids{260, 257});
  CHECK(of_bytes({a, b, c, d, across}).encode(ni + hao).ids == Ids{257, 259});
  CHECK(of_bytes({a, b, c, across, d}).encode(ni + hao).ids == Ids{257, 260});
  CHECK(of_bytes({across, a, b, c, d}).encode(ni + hao).ids == Ids{257, 256, 259});
  CHECK(of_bytes({a, across, b, c, d}).encode(ni + hao).ids == Ids{256, 257, 259});
  CHECK(of_bytes({ascii, a, b, c, d}).encode("x" + ni + ni).ids == Ids{256, 0xBD, 0xA0, 258});
  CHECK(of_bytes({a, b, c, d, ascii}).encode("x" + ni + "y" + hao).ids == Ids{'x', 257, 'y', 259});
  CHECK(of_bytes({a, b, c, d}).encode(ni + "\xE4\xB8\x96" + hao + "\xF0\x9F\x98\x80").ids ==
        Ids{257, 0xE4, 0xB8, 0x96, 259, 0xF0, 0x9F, 0x98, 0x80});
}
