// Training of tokenizers: merges as Hugging Face's trainer gives them, Unigram by what it must keep and win, errors.
#include "tenon/text/train_tokenizer.h"

#include <algorithm>

#include "tiny.h"

using namespace tenon;
using namespace tenon::text;
using namespace tenon::text::testing;

namespace {

const std::vector<std::string_view> kTexts = {
    "Shall I compare thee to a summer's day? Thou art more lovely and more temperate:",
    "Rough winds do shake the darling buds of May, And summer's lease hath all too short a date;",
    "So long as men can breathe or eyes can see, So long lives this, and this gives life to thee.",
    "aaaa aaa aaaaaaa banana bananas",
};

Tokenizer pipeline(const std::string& model, const std::string& post_processor = "null") {
  return Tokenizer::from_json(R"({"added_tokens": [], "normalizer": null, "pre_tokenizer": {"type": "Whitespace"}, "post_processor": )" +
                              post_processor + R"(, "decoder": null, "model": )" + model + "}");
}
const char* const kBpe = R"({"type": "BPE", "vocab": {}, "merges": []})";

WordCounts counted(const Tokenizer& stages, int threads = 1) {
  WordCounts words(stages, threads);
  words.add(kTexts);
  return words;
}

TrainOptions options(size_t vocab_size, int64_t min_frequency = 2, std::vector<std::string> specials = {"<s>"}) {
  TrainOptions out;
  out.vocab_size = vocab_size;
  out.min_frequency = min_frequency;
  for (const std::string& token : specials) out.special_tokens.push_back({token, false, false, false, false, true});
  return out;
}

std::string merges_of(const Tokenizer& t) {
  const Json json = Json::parse(t.to_json());
  std::string out;
  for (const Json& merge : json.at("model").at("merges").as_array())
    out += (out.empty() ? "" : "|") + merge.as_array()[0].as_string() + ' ' + merge.as_array()[1].as_string();
  return out;
}

std::string vocab_of(const Tokenizer& t) {
  std::string out;
  for (const auto& [token, id] : t.vocab(false)) out += (out.empty() ? "" : "|") + token;
  return out;
}

}  // namespace

// Recorded from tokenizers 0.23.3.
TEST_CASE("train_bpe: merges and ids of the reference") {
  const Tokenizer stages = pipeline(kBpe);
  const Tokenizer t = train_bpe(stages, counted(stages), options(75));
  CHECK(merges_of(t) ==
        "a a|a n|t h|o r|th e|a r|a s|e r|e s|h a|l i|l o|n g|t e|t o|aa aa|S o|a y|a te|b an|c an|d s|i s|l l|m m|m p|m or|o u|s u|v es|"
        "aa a|an d|th is|the e|lo ng|ban an|mm er|mor e|su mmer");
  CHECK(vocab_of(t) ==
        "<s>|'|,|.|:|;|?|A|I|M|R|S|T|a|b|c|d|e|f|g|h|i|k|l|m|n|o|p|r|s|t|u|v|w|y|aa|an|th|or|the|ar|as|er|es|ha|li|lo|ng|te|to|aaaa|So|ay|ate|"
        "ban|can|ds|is|ll|mm|mp|mor|ou|su|ves|aaa|and|this|thee|long|banan|mmer|more|summer");
  CHECK(t.encode("summer lovely").ids == Ids{73, 46, 32, 17, 23, 34});
  // "an" is a special token and a merge
  CHECK(merges_of(train_bpe(stages, counted(stages), options(75, 2, {"an", "<s>"}))) ==
        "a a|a n|t h|o r|th e|a r|a s|e r|e s|h a|l i|l o|n g|t e|t o|aa aa|an an|an d|S o|a y|a te|b anan|c an|d s|i s|l l|m m|m p|m or|"
        "o u|s u|v es|aa a|th is|the e|lo ng|mm er|mor e|su mmer");
  TrainOptions four = options(80, 0);
  four.max_token_length = 4;
  CHECK(merges_of(train_bpe(stages, counted(stages), four)) ==
        "a a|a n|t h|o r|th e|a r|a s|e r|e s|h a|l i|l o|n g|t e|t o|S o|a y|a te|b an|c an|d s|i s|l l|m m|m p|m or|o u|s u|v es|aa a|"
        "an d|A n|M ay|R ou|S ha|T h|a ll|b r|b u|c o|d o|d ar|d ay|e a|e e");
}

TEST_CASE("train_bpe: threads, affixes, a smaller alphabet, added characters") {
  const Tokenizer stages = pipeline(kBpe);
  CHECK(merges_of(train_bpe(stages, counted(stages, 3), options(75))) == merges_of(train_bpe(stages, counted(stages), options(75))));
  TrainOptions ends = options(150);
  ends.end_of_word_suffix = "</w>";
  const Tokenizer t = train_bpe(stages, counted(stages), ends);
  CHECK(t.token_to_id("summer</w>") >= 0);
  CHECK(Json::parse(t.to_json()).at("model").at("end_of_word_suffix").as_string() == "</w>");
  CHECK(t.encode("summer").ids == Ids{t.token_to_id("summer</w>")});
  TrainOptions few = options(30);
  few.limit_alphabet = 10;
  few.initial_alphabet = {U'\u4E00'};
  const Tokenizer small = train_bpe(stages, counted(stages), few);
  CHECK(small.token_to_id("\xE4\xB8\x80") >= 0);
  CHECK(small.token_to_id("R") == -1);
  CHECK(small.encode("Raa").ids == Ids{small.token_to_id("aa")});
}

TEST_CASE("train_bpe: bytes") {
  const Tokenizer stages = training_pipeline("bpe");
  WordCounts words(stages);
  const std::vector<std::string_view> texts = {"\xE4\xBD\xA0\xE5\xA5\xBD \xE4\xBD\xA0\xE5\xA5\xBD", "a\xFFz"};
  words.add(texts);
  const Tokenizer t = train_bpe(stages, words, options(40, 2));
  CHECK(t.encode("\xE4\xBD\xA0\xE5\xA5\xBD").size() == 1);
  CHECK(t.decode(t.encode(" \xE4\xBD\xA0\xE5\xA5\xBD").ids) == " \xE4\xBD\xA0\xE5\xA5\xBD");
}

TEST_CASE("train_wordpiece") {
  const Tokenizer stages = training_pipeline("wordpiece", false, true);
  const Tokenizer t = train_wordpiece(stages, counted(stages), options(150, 2, {"[PAD]", "[UNK]"}));
  CHECK(t.encode("Summer").ids == Ids{t.token_to_id("summer")});
  CHECK(t.token_to_id("##e") >= 0);
  CHECK(t.encode("\xE4\xBD\xA0").ids == Ids{1});
  CHECK(t.decode(t.encode("bananas and more").ids) == "bananas and more");
}

TEST_CASE("train_unigram: every character, the pieces that pay") {
  const Tokenizer stages = training_pipeline("unigram");
  const Tokenizer t = train_unigram(stages, counted(stages), options(80, 0, {"<unk>", "</s>"}));
  CHECK(t.vocab_size() <= 80);
  CHECK(t.encode("thee").size() <= 2);
  for (const char c : std::string("ShalIcompretsumdyTvRgwkbfM"))
    CHECK_MESSAGE(t.token_to_id(std::string(1, c)) >= 0, "character ", c);
  CHECK(t.decode(t.encode("more lovely and more").ids) == "more lovely and more");
  CHECK(t.encode("\xE4\xBD\xA0").ids.back() == 0);
  // the same whatever the number of threads
  TrainOptions two = options(80, 0, {"<unk>", "</s>"});
  two.threads = 2;
  CHECK(train_unigram(stages, counted(stages, 2), two).to_json() == t.to_json());
}

TEST_CASE("train_unigram: words longer than a double's range") {
  const Tokenizer stages = pipeline(R"({"type": "Unigram", "unk_id": null, "vocab": []})");
  WordCounts words(stages);
  std::string line;
  for (int i = 0; i < 4000; ++i) line += "abcdefgh"[(i * i + i / 3) % 8];
  words.add_word(line);
  words.add_word("abc", 3);
  const Tokenizer t = train_unigram(stages, words, options(60, 0, {"<unk>"}));
  CHECK(t.vocab_size() > 9);
  CHECK(t.encode(line).size() < 4000);
}

TEST_CASE("train_word_level") {
  const Tokenizer stages = pipeline(R"({"type": "WordLevel", "unk_token": "<unk>", "vocab": {}})");
  const Tokenizer t = train_word_level(stages, counted(stages), options(6, 0, {"<unk>"}));
  CHECK(vocab_of(t) == "<unk>|,|'|So|a|and");
}

TEST_CASE("training: the stages stay, special tokens have their new ids and names") {
  const Tokenizer stages = pipeline(kBpe, R"({"type": "BertProcessing", "sep": ["[SEP]", 9], "cls": ["[CLS]", 8]})");
  TrainOptions two = options(80, 2, {"[CLS]", "</s>"});
  two.renamed = {{"[SEP]", "</s>"}};
  const Tokenizer t = train_bpe(stages, counted(stages), two);
  CHECK(t.encode("thee").ids == Ids{0, t.token_to_id("thee"), 1});
  CHECK(t.added_tokens().is_special("</s>"));
  const std::string error = error_of([&] { train_bpe(stages, counted(stages), options(80)); }, ErrorCode::Format);
  CHECK(contains(error, "[SEP]"));
}

TEST_CASE("training: errors and progress") {
  const Tokenizer stages = pipeline(kBpe);
  CHECK(contains(error_of([&] { train_bpe(stages, WordCounts(stages), options(80)); }, ErrorCode::Limit), "got none"));
  CHECK(contains(error_of([&] { train_bpe(stages, counted(stages), options(20)); }, ErrorCode::Limit), "vocab_size"));
  CHECK(contains(error_of([&] { train_unigram(stages, counted(stages), options(20)); }, ErrorCode::Limit), "vocab_size"));
  TrainOptions odd = options(80);
  odd.shrinking_factor = 1;
  CHECK(contains(error_of([&] { train_unigram(stages, counted(stages), odd); }, ErrorCode::Limit), "shrinking_factor"));
  CHECK(contains(error_of([&] { training_pipeline("words"); }, ErrorCode::Format), "unigram"));
  WordCounts words(stages);
  CHECK(contains(error_of([&] { words.add_word("\xFF"); }, ErrorCode::Format), "UTF-8"));
  TrainOptions watched = options(75);
  size_t last = 0;
  watched.progress = [&](std::string_view, size_t done, size_t total) {
    CHECK(done <= total);
    last = done;
  };
  train_bpe(stages, counted(stages), watched);
  CHECK(last > 0);
  watched.progress = [](std::string_view, size_t, size_t) { fail(ErrorCode::Limit, "test", "stopped"); };
  CHECK_THROWS_AS(train_bpe(stages, counted(stages), watched), Error);
}
