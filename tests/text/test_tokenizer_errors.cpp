// Damaged text, files and options: clear errors or U+FFFD, never a crash.
#include "tiny.h"

using namespace tenon;
using namespace tenon::text;
using namespace tenon::text::testing;

TEST_CASE("damaged UTF-8 counts as U+FFFD and offsets stay inside the text") {
  const Tokenizer t = bytes_json("null", "null");
  const Encoding e = t.encode(
      "a\xC3"
      "b\xE4\xBD");
  CHECK(e.ids == Ids{'a', 0xEF, 0xBF, 0xBD, 'b', 0xEF, 0xBF, 0xBD});
  CHECK(e.offsets.back() == std::pair<uint32_t, uint32_t>{3, 4});
  EncodeOptions bytes;
  bytes.byte_offsets = true;
  const Encoding b = t.encode(
      "a\xC3"
      "b\xE4\xBD",
      bytes);
  CHECK(b.offsets[1] == std::pair<uint32_t, uint32_t>{1, 2});
  CHECK(b.offsets.back() == std::pair<uint32_t, uint32_t>{3, 5});
  CHECK(bert().encode("the \xFF\xFE the\xED\xA0\x80").ids == Ids{2, 5, 5, 3});  // BERT drops U+FFFD
}

TEST_CASE("contradictory options") {
  const Tokenizer t = bert();
  EncodeOptions o;
  o.truncation = Truncation::LongestFirst;
  o.max_length = 1;
  CHECK(contains(error_of([&] { t.encode("a", o); }, ErrorCode::Limit), "max_length"));
  o.max_length = 4;
  o.stride = 2;
  CHECK(contains(error_of([&] { t.encode("a b c", o); }, ErrorCode::Limit), "stride"));
  o.stride = -1;
  CHECK(contains(error_of([&] { t.encode("a", o); }, ErrorCode::Limit), "stride"));
  o.stride = 0;
  o.max_length = -5;
  CHECK(contains(error_of([&] { t.encode("a", o); }, ErrorCode::Limit), "max_length"));
  o.max_length = 4;
  o.truncation = Truncation::OnlySecond;
  CHECK(contains(error_of([&] { t.encode("a b c", o); }, ErrorCode::Limit), "second text"));
  CHECK(contains(error_of([&] { t.encode("a b c", "a", o); }, ErrorCode::Limit), "only_second"));
  o = {};
  o.padding = Padding::Longest;
  o.pad_to_multiple_of = 8;
  o.truncation = Truncation::LongestFirst;
  o.max_length = 12;
  CHECK(contains(error_of([&] { t.encode("a", o); }, ErrorCode::Limit), "pad_to_multiple_of"));
  o = {};
  o.padding = Padding::Longest;
  CHECK(contains(error_of([&] { Tokenizer::from_json(bert_json()).encode("a", o); }, ErrorCode::Limit), "pad_token"));
}

TEST_CASE("windows that would fill the memory") {
  const Tokenizer t = bert();
  std::string text;
  for (int i = 0; i < 60000; ++i) text += "a ";
  EncodeOptions o;
  o.truncation = Truncation::LongestFirst;
  o.max_length = 7;
  o.return_overflowing = true;
  CHECK(contains(error_of([&] { t.encode(text, text, o); }, ErrorCode::Memory), "overflowing"));
  CHECK(t.encode(text, o).overflowing.size() == 11999);
}

TEST_CASE("unknown stages are named with the known ones") {
  const auto load = [](const std::string& fields) {
    return [fields] { Tokenizer::from_json("{" + fields + R"(, "model": {"type": "WordLevel", "vocab": {}}})"); };
  };
  const std::string message = error_of(load(R"("normalizer": {"type": "Nope"})"), ErrorCode::Format);
  CHECK(contains(message, "Nope"));
  CHECK(contains(message, "BertNormalizer"));
  CHECK(
      contains(error_of(load(R"("pre_tokenizer": {"type": "Sequence", "pretokenizers": [{"type": "Nope"}]})"), ErrorCode::Format), "Nope"));
  CHECK(contains(error_of(load(R"("post_processor": {"type": "Nope"})"), ErrorCode::Format), "TemplateProcessing"));
  CHECK(contains(error_of(load(R"("decoder": {"type": "Nope"})"), ErrorCode::Format), "ByteFallback"));
  CHECK(contains(error_of([] { Tokenizer::from_json(R"({"model": {"type": "Bigram", "vocab": [["a", 0.0]]}})"); }, ErrorCode::Format),
                 "WordPiece"));
  CHECK(contains(error_of(load(R"("decoder": {"type": 5})"), ErrorCode::Type), "type"));
  CHECK(contains(error_of(load(R"("decoder": [])"), ErrorCode::Type), "decoder"));
}

TEST_CASE("damaged tokenizer.json") {
  const std::string good = bert_json();
  for (size_t n = 0; n < good.size(); n += 37) CHECK_THROWS_AS(Tokenizer::from_json(good.substr(0, n)), Error);
  const auto code = [](const std::string& json, ErrorCode expected) { return error_of([&] { Tokenizer::from_json(json); }, expected); };
  code("[]", ErrorCode::Type);
  code("{}", ErrorCode::Format);
  code(R"({"model": 5})", ErrorCode::Type);
  code(R"({"model": {"type": "WordPiece"}})", ErrorCode::Format);
  code(R"({"model": {"type": "WordPiece", "vocab": {"a": "b"}}})", ErrorCode::Type);
  code(R"({"model": {"type": "WordPiece", "vocab": {"a": -1}}})", ErrorCode::Limit);
  code(R"({"model": {"type": "WordPiece", "vocab": {"a": 4000000000}}})", ErrorCode::Limit);
  code(R"({"model": {"type": "WordPiece", "vocab": {"a": 2000000000}}})", ErrorCode::Limit);
  code(R"({"model": {"type": "WordPiece", "unk_token": 7, "vocab": {"a": 1}}})", ErrorCode::Type);
  code(R"({"model": {"type": "BPE", "vocab": {"a": 0}, "merges": ["a b"]}})", ErrorCode::Format);
  code(R"({"model": {"type": "BPE", "vocab": {"a": 0}, "merges": ["a"]}})", ErrorCode::Format);
  code(R"({"model": {"type": "BPE", "vocab": {"a": 0}, "merges": [["a"]]}})", ErrorCode::Format);
  code(R"({"model": {"type": "BPE", "vocab": {"a": 0}, "merges": 3}})", ErrorCode::Type);
  code(R"({"added_tokens": [{"id": 0}], "model": {"type": "WordLevel", "vocab": {}}})", ErrorCode::Format);
  code(R"({"added_tokens": {}, "model": {"type": "WordLevel", "vocab": {}}})", ErrorCode::Type);
  code(R"({"post_processor": {"type": "TemplateProcessing", "single": [{"SpecialToken": {"id": "[X]", "type_id": 0}}], "pair": [],
       "special_tokens": {}}, "model": {"type": "WordLevel", "vocab": {}}})",
       ErrorCode::Format);
  code(R"({"post_processor": {"type": "TemplateProcessing", "single": [{"Sequence": {"id": "B", "type_id": 0}}], "pair": []},
       "model": {"type": "WordLevel", "vocab": {}}})",
       ErrorCode::Format);
  code(R"({"post_processor": {"type": "BertProcessing", "sep": ["a", -4], "cls": ["b", 1]}, "model": {"type": "WordLevel", "vocab": {}}})",
       ErrorCode::Format);
  std::string deep = R"({"model": {"type": "WordLevel", "vocab": {}}, "normalizer": )";
  for (int i = 0; i < 300; ++i) deep += R"({"type": "Sequence", "normalizers": [)";
  for (int i = 0; i < 300; ++i) deep += "]}";
  code(deep + "}", ErrorCode::Format);
}

TEST_CASE("an empty vocabulary can be opened") {
  const Tokenizer t = Tokenizer::from_json(R"({"model": {"type": "BPE", "vocab": {}, "merges": []}})");
  CHECK(t.encode("abc").ids.empty());
  CHECK(t.vocab_size() == 0);
  CHECK(t.token_to_id("a") == -1);
}

TEST_CASE("folders: what is missing or contradicts") {
  CHECK(contains(error_of([] { Tokenizer::from_file("/no/such/tokenizer.json"); }, ErrorCode::File), "/no/such"));
  const TempFolder empty("empty");
  CHECK(contains(error_of([&] { Tokenizer::from_folder(empty.path()); }, ErrorCode::File), "vocab.txt"));
  const TempFolder t("contradiction");
  t.write("vocab.json", R"({"a": 0})");
  t.write("merges.txt", "#version: 0.2\n");
  t.write("tokenizer_config.json", R"({"tokenizer_class": "StrangeTokenizer"})");
  CHECK(contains(error_of([&] { Tokenizer::from_folder(t.path()); }, ErrorCode::Format), "StrangeTokenizer"));
  t.write("tokenizer_config.json", R"({"padding_side": "middle"})");
  CHECK(contains(error_of([&] { Tokenizer::from_folder(t.path()); }, ErrorCode::Format), "middle"));
  t.write("tokenizer_config.json", R"({"pad_token": 5})");
  CHECK(contains(error_of([&] { Tokenizer::from_folder(t.path()); }, ErrorCode::Type), "pad_token"));
  t.write("tokenizer_config.json", "[]");
  error_of([&] { Tokenizer::from_folder(t.path()); }, ErrorCode::Type);
  t.write("tokenizer_config.json", "{}");
  t.write("merges.txt", "a b c\n");
  CHECK(contains(error_of([&] { Tokenizer::from_folder(t.path()); }, ErrorCode::Format), "line 1"));
}

TEST_CASE("folders: vocab.txt with a configuration") {
  const TempFolder t("vocab_txt");
  t.write("vocab.txt", "[PAD]\r\n[UNK]\n[CLS]\n[SEP]\n[MASK]\nThe\nthe\n##n");
  t.write(
      "tokenizer_config.json",
      R"({"do_lower_case": false, "model_max_length": 1000000000000000019884624838656, "mask_token": {"content": "[MASK]", "lstrip": true},
              "additional_special_tokens": ["<x>"], "padding_side": "left"})");
  const Tokenizer cased = Tokenizer::from_folder(t.path());
  CHECK(cased.encode("The then <x>").ids == Ids{2, 5, 6, 7, 8, 3});
  CHECK(cased.config().model_max_length == kNoLimit);
  CHECK(cased.config().padding_side == Side::Left);
  CHECK(cased.added_tokens().entry(4)->token.lstrip);
  CHECK(cased.special_ids() == Ids{0, 1, 2, 3, 4, 8});
  t.write("tokenizer_config.json", R"({"unk_token": "the", "model_max_length": 4})");
  EncodeOptions o;
  o.truncation = Truncation::LongestFirst;
  CHECK(Tokenizer::from_folder(t.path()).encode("The xyz the the", o).ids == Ids{2, 6, 6, 3});
}
