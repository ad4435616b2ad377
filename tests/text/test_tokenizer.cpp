// Tokenizer: encoding, pairs, padding, truncation, decoding, added tokens, with a BERT tokenizer of a few words.
#include <thread>

#include "tenon/text/tokenizer.h"
#include "tiny.h"

using namespace tenon;
using namespace tenon::text;
using namespace tenon::text::testing;

TEST_CASE("encode: words, pieces, specials, offsets in characters") {
  const Tokenizer t = bert();
  const Encoding e = t.encode("Unwanted, running");
  CHECK(e.ids == Ids{2, 6, 7, 8, 11, 9, 10, 3});
  CHECK(e.type_ids == Ids{0, 0, 0, 0, 0, 0, 0, 0});
  CHECK(e.attention_mask == Ids{1, 1, 1, 1, 1, 1, 1, 1});
  CHECK(e.special_tokens_mask == Ids{1, 0, 0, 0, 0, 0, 0, 1});
  CHECK(e.offsets == Offsets{{0, 0}, {0, 2}, {2, 6}, {6, 8}, {8, 9}, {10, 14}, {14, 17}, {0, 0}});
  CHECK(e.word_ids == Ids{-1, 0, 0, 0, 1, 2, 2, -1});
  CHECK(e.sequence_ids == Ids{-1, 0, 0, 0, 0, 0, 0, -1});
  EncodeOptions plain;
  plain.add_special_tokens = false;
  CHECK(t.encode("Unwanted", plain).ids == Ids{6, 7, 8});
  CHECK(t.encode("", plain).ids.empty());
  CHECK(t.encode("").ids == Ids{2, 3});
}

TEST_CASE("encode: characters that normalisation moves keep their places") {
  const Tokenizer t = bert();
  // "CAFE" + U+0301, then "naive" with a diaeresis in one character, then two ideographs
  const Encoding e = t.encode("CAFE\xCC\x81 na\xC3\xAFve \xE4\xBD\xA0\xE5\xA5\xBD");
  CHECK(e.ids == Ids{2, 13, 14, 15, 16, 3});
  CHECK(e.offsets == Offsets{{0, 0}, {0, 4}, {6, 11}, {12, 13}, {13, 14}, {0, 0}});
  EncodeOptions bytes;
  bytes.byte_offsets = true;
  CHECK(t.encode("CAFE\xCC\x81 na\xC3\xAFve \xE4\xBD\xA0", bytes).offsets == Offsets{{0, 0}, {0, 4}, {7, 13}, {14, 17}, {0, 0}});
}

TEST_CASE("encode: unknown and overlong words, control characters") {
  const Tokenizer t = bert();
  CHECK(t.encode("wanting xyz").ids == Ids{2, 12, 10, 1, 3});
  CHECK(t.encode("wantx").ids == Ids{2, 1, 3});
  CHECK(t.encode(std::string(20, 'a')).ids == Ids{2, 1, 3});
  CHECK(t.encode(std::string(21, 'a')).ids == Ids{2, 1, 3});
  const Encoding e = t.encode(std::string("t\0he\x07", 5) + "\xE2\x80\x8B the");
  CHECK(e.ids == Ids{2, 5, 5, 3});
  CHECK(e.offsets == Offsets{{0, 0}, {0, 4}, {7, 10}, {0, 0}});
}

TEST_CASE("encode: pairs") {
  const Encoding e = bert().encode("the", "unwanted");
  CHECK(e.ids == Ids{2, 5, 3, 6, 7, 8, 3});
  CHECK(e.type_ids == Ids{0, 0, 0, 1, 1, 1, 1});
  CHECK(e.sequence_ids == Ids{-1, 0, -1, 1, 1, 1, -1});
  CHECK(e.char_to_token(3, 1) == 4);
  CHECK(e.char_to_token(0, 0) == 1);
  CHECK(e.char_to_token(9, 1) == -1);
  CHECK(e.word_to_tokens(0, 1) == std::pair<int64_t, int64_t>{3, 6});
  CHECK(e.word_to_chars(0, 1) == std::pair<uint32_t, uint32_t>{0, 8});
  CHECK(e.char_to_word(4, 1) == 0);
}

TEST_CASE("padding: longest, to a length, to a multiple, on either side") {
  const Tokenizer t = bert();
  const TextInput inputs[] = {{"the"}, {"unwanted"}};
  EncodeOptions o;
  o.padding = Padding::Longest;
  auto batch = t.encode_batch(inputs, o);
  CHECK(batch[0].ids == Ids{2, 5, 3, 0, 0});
  CHECK(batch[0].attention_mask == Ids{1, 1, 1, 0, 0});
  CHECK(batch[0].special_tokens_mask == Ids{1, 0, 1, 1, 1});
  CHECK(batch[0].word_ids == Ids{-1, 0, -1, -1, -1});
  CHECK(batch[1].ids == Ids{2, 6, 7, 8, 3});
  o.padding_side = Side::Left;
  o.pad_to_multiple_of = 4;
  batch = t.encode_batch(inputs, o);
  CHECK(batch[0].ids == Ids{0, 0, 0, 0, 0, 2, 5, 3});
  CHECK(batch[1].ids == Ids{0, 0, 0, 2, 6, 7, 8, 3});
  CHECK(batch[1].offsets[4] == std::pair<uint32_t, uint32_t>{0, 2});
  EncodeOptions fixed;
  fixed.padding = Padding::MaxLength;
  fixed.max_length = 6;
  CHECK(t.encode("the", fixed).ids == Ids{2, 5, 3, 0, 0, 0});
  fixed.max_length = -1;  // the tokenizer has no limit either: nothing to pad to
  CHECK(t.encode("the", fixed).ids == Ids{2, 5, 3});
}

TEST_CASE("truncation: strategies and sides") {
  const Tokenizer t = bert();
  EncodeOptions o;
  o.truncation = Truncation::LongestFirst;
  o.max_length = 5;
  CHECK(t.encode("a b c the want", o).ids == Ids{2, 20, 21, 22, 3});
  o.truncation_side = Side::Left;
  CHECK(t.encode("a b c the want", o).ids == Ids{2, 22, 5, 12, 3});
  o.truncation_side = Side::Right;
  o.max_length = 8;
  CHECK(t.encode("a b c the", "c b a the", o).ids == Ids{2, 20, 21, 3, 22, 21, 20, 3});
  CHECK(t.encode("a b c the", "c", o).ids == Ids{2, 20, 21, 22, 5, 3, 22, 3});
  // both are longer than the limit: the odd token goes to the text that was longer
  CHECK(t.encode("a b c the want a b c the a", "c b a the a c a", o).ids == Ids{2, 20, 21, 22, 3, 22, 21, 3});
  CHECK(t.encode("a b c the want a b", "c b a the a c a b c a", o).ids == Ids{2, 20, 21, 3, 22, 21, 20, 3});
  o.truncation = Truncation::OnlyFirst;
  CHECK(t.encode("a b c the", "c b a", o).ids == Ids{2, 20, 21, 3, 22, 21, 20, 3});
  o.truncation = Truncation::OnlySecond;
  CHECK(t.encode("a b c", "c b a the", o).ids == Ids{2, 20, 21, 22, 3, 22, 21, 3});
  o.max_length = 2;
  o.truncation = Truncation::LongestFirst;
  CHECK(t.encode("a b", o).ids == Ids{2, 3});
}

TEST_CASE("truncation: windows with a stride") {
  const Tokenizer t = bert();
  EncodeOptions o;
  o.truncation = Truncation::LongestFirst;
  o.max_length = 5;
  o.stride = 1;
  o.return_overflowing = true;
  Encoding e = t.encode("a b c the want", o);
  CHECK(e.ids == Ids{2, 20, 21, 22, 3});
  REQUIRE(e.overflowing.size() == 1);
  CHECK(e.overflowing[0].ids == Ids{2, 22, 5, 12, 3});
  CHECK(e.overflowing[0].offsets == Offsets{{0, 0}, {4, 5}, {6, 9}, {10, 14}, {0, 0}});
  o.truncation = Truncation::OnlySecond;
  o.max_length = 6;
  o.stride = 0;
  e = t.encode("the", "a b c want", o);
  CHECK(e.ids == Ids{2, 5, 3, 20, 21, 3});
  REQUIRE(e.overflowing.size() == 1);
  CHECK(e.overflowing[0].ids == Ids{2, 5, 3, 22, 12, 3});
  CHECK(e.overflowing[0].type_ids == Ids{0, 0, 0, 1, 1, 1});
  o.truncation_side = Side::Left;
  e = t.encode("the", "a b c want", o);
  CHECK(e.ids == Ids{2, 5, 3, 22, 12, 3});
  CHECK(e.overflowing[0].ids == Ids{2, 5, 3, 20, 21, 3});
}

TEST_CASE("words that are cut already") {
  const Encoding e = bert().encode_words({{"unwanted", "the,", ""}, std::vector<std::string_view>{"a"}});
  CHECK(e.ids == Ids{2, 6, 7, 8, 5, 11, 3, 20, 3});
  CHECK(e.word_ids == Ids{-1, 0, 0, 0, 1, 1, -1, 0, -1});
  CHECK(e.offsets == Offsets{{0, 0}, {0, 2}, {2, 6}, {6, 8}, {0, 3}, {3, 4}, {0, 0}, {0, 1}, {0, 0}});
}

TEST_CASE("decode") {
  const Tokenizer t = bert();
  DecodeOptions skip;
  skip.skip_special_tokens = true;
  CHECK(t.decode(Ids{2, 6, 7, 8, 11, 9, 10, 17, 3}, skip) == "unwanted, running?");
  CHECK(t.decode(Ids{2, 5, 3}) == "[CLS] the [SEP]");
  CHECK(t.decode(Ids{}) == "");
  CHECK(t.decode(Ids{20, 19, 18}) == "a ' s");
  DecodeOptions clean;
  clean.clean_up = true;
  CHECK(t.decode(Ids{20, 19, 18}, clean) == "a's");
  CHECK(contains(error_of([&] { t.decode(Ids{5, 999}); }, ErrorCode::Limit), "999"));
  CHECK(contains(error_of([&] { t.decode(Ids{-100}); }, ErrorCode::Limit), "-100"));
  DecodeOptions lenient;
  lenient.skip_unknown_ids = true;
  CHECK(t.decode(Ids{5, 999, 20}, lenient) == "the a");
}

TEST_CASE("added tokens: options") {
  BertParts parts;
  parts.added = ", " + added_token(23, "<w>", R"("single_word": true, "normalized": false)") + ", " +
                added_token(24, "<l>", R"("lstrip": true, "normalized": false)") + ", " +
                added_token(25, "<r>", R"("rstrip": true, "normalized": false)") + ", " + added_token(26, "Foo", R"("normalized": true)");
  const Tokenizer t = bert(parts);
  EncodeOptions o;
  o.add_special_tokens = false;
  CHECK(t.encode("the <w> a", o).ids == Ids{5, 23, 20});
  CHECK(t.encode("the<w>a", o).ids == Ids{5, 1, 1, 1, 20});
  CHECK(t.encode("the  <l> a", o).offsets == Offsets{{0, 3}, {3, 8}, {9, 10}});
  CHECK(t.encode("the <r>  a", o).offsets == Offsets{{0, 3}, {4, 9}, {9, 10}});
  CHECK(t.encode("FOO the foo", o).ids == Ids{26, 5, 26});
  CHECK(t.encode("the [SEP] a", o).ids == Ids{5, 3, 20});
  o.split_special_tokens = true;
  CHECK(t.encode("the [SEP] a", o).ids == Ids{5, 1, 1, 1, 20});
  CHECK(t.vocab_size(false) == 23);
  CHECK(t.vocab_size() == 27);
}

TEST_CASE("tokens can be added, roles given") {
  Tokenizer t = bert();
  const AddedToken tokens[] = {{"<new>"}, {"the"}, {"<new>"}};
  CHECK(t.add_tokens(tokens) == 2);
  CHECK(t.token_to_id("<new>") == 23);
  CHECK(t.token_to_id("the") == 5);
  CHECK(t.token_to_id("nothing") == -1);
  CHECK(t.encode("a<new>b").ids == Ids{2, 20, 23, 21, 3});
  t.set_role(Role::Eos, {"<eos>"});
  CHECK(t.role_id(Role::Eos) == 24);
  CHECK(t.role_id(Role::Bos) == -1);
  DecodeOptions skip;
  skip.skip_special_tokens = true;
  CHECK(t.decode(Ids{5, 24, 23}, skip) == "the <new>");
  CHECK(t.id_to_token(24) == "<eos>");
  CHECK(t.id_to_token(99) == "");
  CHECK_FALSE(t.has_id(99));
  const Tokenizer again = Tokenizer::from_json(t.to_json());
  CHECK(again.encode("a<new>b<eos>").ids == t.encode("a<new>b<eos>").ids);
}

TEST_CASE("one tokenizer serves several threads") {
  const Tokenizer t = bert();
  const Encoding expected = t.encode("Unwanted, running caf\xC3\xA9");
  std::vector<std::thread> threads;
  std::vector<int> wrong(4, 0);
  for (size_t k = 0; k < wrong.size(); ++k)
    threads.emplace_back([&, k] {
      for (int i = 0; i < 200; ++i) wrong[k] += t.encode("Unwanted, running caf\xC3\xA9").ids != expected.ids;
    });
  for (auto& thread : threads) thread.join();
  CHECK(wrong == std::vector<int>(4, 0));
  std::vector<TextInput> inputs(3000, TextInput{"Unwanted, running caf\xC3\xA9"});
  for (const Encoding& e : t.encode_batch(inputs, {}, 4)) REQUIRE(e.ids == expected.ids);
}
