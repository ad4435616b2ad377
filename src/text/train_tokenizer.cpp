// From a trained model to a tokenizer: the stages of the pipeline around it.
#include <algorithm>

#include "tenon/core/error.h"
#include "train.h"

namespace tenon::text {
namespace {

constexpr const char* kByteLevelStages = R"json({"added_tokens": [], "normalizer": null,
  "pre_tokenizer": {"type": "ByteLevel", "add_prefix_space": false, "trim_offsets": true, "use_regex": true},
  "post_processor": {"type": "ByteLevel", "add_prefix_space": true, "trim_offsets": false, "use_regex": true},
  "decoder": {"type": "ByteLevel", "add_prefix_space": true, "trim_offsets": true, "use_regex": true},
  "model": {"type": "BPE", "dropout": null, "unk_token": null, "continuing_subword_prefix": null, "end_of_word_suffix": null,
            "fuse_unk": false, "byte_fallback": false, "ignore_merges": false, "vocab": {}, "merges": []}})json";

constexpr const char* kCharacterStages = R"json({"added_tokens": [], "normalizer": {"type": "NFKC"},
  "pre_tokenizer": {"type": "Metaspace", "replacement": "\u2581", "prepend_scheme": "always", "split": true},
  "post_processor": null,
  "decoder": {"type": "Metaspace", "replacement": "\u2581", "prepend_scheme": "always", "split": true},
  "model": {"type": "BPE", "dropout": null, "unk_token": "<unk>", "continuing_subword_prefix": null, "end_of_word_suffix": null,
            "fuse_unk": true, "byte_fallback": false, "ignore_merges": false, "vocab": {}, "merges": []}})json";

constexpr const char* kWordPieceStages = R"json({"added_tokens": [],
  "normalizer": {"type": "BertNormalizer", "clean_text": true, "handle_chinese_chars": true, "strip_accents": null, "lowercase": false},
  "pre_tokenizer": {"type": "BertPreTokenizer"}, "post_processor": null,
  "decoder": {"type": "WordPiece", "prefix": "##", "cleanup": true},
  "model": {"type": "WordPiece", "unk_token": "[UNK]", "continuing_subword_prefix": "##", "max_input_chars_per_word": 100, "vocab": {}}})json";

constexpr const char* kUnigramStages = R"json({"added_tokens": [],
  "normalizer": {"type": "Sequence", "normalizers": [{"type": "NFKC"}, {"type": "Replace", "pattern": {"Regex": " {2,}"}, "content": " "}]},
  "pre_tokenizer": {"type": "Metaspace", "replacement": "\u2581", "prepend_scheme": "always", "split": true},
  "post_processor": null,
  "decoder": {"type": "Metaspace", "replacement": "\u2581", "prepend_scheme": "always", "split": true},
  "model": {"type": "Unigram", "unk_id": null, "byte_fallback": false, "vocab": []}})json";

void rename(Json& token, const std::map<std::string, std::string>& renamed) {
  if (!token.is_string()) return;
  if (const auto at = renamed.find(token.as_string()); at != renamed.end()) token = Json(at->second);
}

// The special tokens that a post-processor names, under the names and with the ids that they have now.
void adapt(Json& stage, const Tokenizer& tokenizer, const std::map<std::string, std::string>& renamed) {
  if (!stage.is_object()) return;
  const auto id_of = [&](const Json& token) {
    const int32_t id = tokenizer.token_to_id(token.as_string("post_processor"));
    check(id >= 0, ErrorCode::Format, "train_tokenizer", "special_tokens: expected '", token.as_string(),
          "', which the post-processor names");
    return Json(int64_t{id});
  };
  for (auto& [key, value] : stage.object()) {
    if (key == "processors" && value.is_array())
      for (Json& inner : value.array()) adapt(inner, tokenizer, renamed);
    if ((key == "cls" || key == "sep") && value.is_array() && value.array().size() == 2) {
      rename(value.array()[0], renamed);
      value.array()[1] = id_of(value.array()[0]);
    }
    if (key != "special_tokens" || !value.is_object()) continue;
    for (auto& [name, entry] : value.object()) {
      Json tokens = entry.at("tokens"), ids = Json::Array{};
      for (Json& token : tokens.array()) {
        rename(token, renamed);
        ids.array().push_back(id_of(token));
      }
      entry.set("ids", std::move(ids));
      entry.set("tokens", std::move(tokens));
    }
  }
}

WordList words_of(const WordCounts& counts) {
  WordList words = counts.list();
  check(!words.empty(), ErrorCode::Limit, "train_tokenizer", "texts: expected some with words, got none");
  return words;
}

Json renamed_unknown(Json model, const TrainOptions& options) {
  if (const Json* unk = model.get("unk_token")) {
    Json token = *unk;
    rename(token, options.renamed);
    model.set("unk_token", std::move(token));
  }
  return model;
}

ModelData data_of(const TrainedModel& trained) {
  ModelData data;
  for (size_t i = 0; i < trained.tokens.size(); ++i) data.vocab.emplace_back(trained.tokens[i], static_cast<int64_t>(i));
  data.scores = trained.scores;
  for (const auto& [left, right] : trained.merges) data.merges.emplace_back(left, right);
  return data;
}

Json affix(const std::string& text) { return text.empty() ? Json() : Json(text); }

}  // namespace

Tokenizer Tokenizer::with_model(const Json& model, const ModelData& data, std::span<const AddedToken> special_tokens,
                                const std::map<std::string, std::string>& renamed) const {
  TokenizerSpec spec = spec_;
  spec.model = model;
  spec.data = data;
  spec.post_processor = Json();
  spec.added_tokens.assign(special_tokens.begin(), special_tokens.end());
  for (AddedToken& token : spec.added_tokens) token.special = true;
  Tokenizer out(spec);
  out.config_ = config_;
  for (std::string& role : out.config_.roles)
    if (const auto at = renamed.find(role); at != renamed.end()) role = at->second;
  if (out.config_.file.is_object())
    std::erase_if(out.config_.file.object(), [](const auto& field) { return field.first == "added_tokens_decoder"; });
  out.spec_.post_processor = spec_.post_processor;
  adapt(out.spec_.post_processor, out, renamed);
  out.post_processor_ = make_post_processor(out.spec_.post_processor);
  return out;
}

void Tokenizer::cut(std::string_view text, Pieces& pieces) const {
  check(text.size() < std::numeric_limits<uint32_t>::max() / 4, ErrorCode::Limit, "tokenizer", "text: expected less than 1 GiB, got ",
        text.size(), " bytes");
  pieces.assign(text);
  if (normalizer_) normalizer_->normalize(pieces);
  if (pre_tokenizer_) pre_tokenizer_->cut(pieces);
}

Tokenizer training_pipeline(std::string_view kind, bool byte_level, bool lowercase) {
  const char* stages = kind == "bpe"         ? (byte_level ? kByteLevelStages : kCharacterStages)
                       : kind == "wordpiece" ? kWordPieceStages
                       : kind == "unigram"   ? kUnigramStages
                                             : nullptr;
  check(stages != nullptr, ErrorCode::Format, "training_pipeline", "kind: expected bpe, wordpiece or unigram, got '", kind, "'");
  if (!lowercase) return Tokenizer::from_json(stages);
  Json spec = Json::parse(stages);
  Json normalizer = spec.at("normalizer");
  if (kind == "wordpiece") {
    normalizer.set("lowercase", true);
  } else {
    Json lower, sequence;
    lower.set("type", "Lowercase");
    sequence.set("type", "Sequence");
    sequence.set("normalizers",
                 normalizer.is_null() ? Json::Array{std::move(lower)} : Json::Array{std::move(normalizer), std::move(lower)});
    normalizer = std::move(sequence);
  }
  spec.set("normalizer", std::move(normalizer));
  return Tokenizer::from_json(spec.dump());
}

Tokenizer train_bpe(const Tokenizer& pipeline, const WordCounts& words, const TrainOptions& options) {
  const TrainedModel trained = learn_merges(words_of(words), options);
  Json model = renamed_unknown(pipeline.stages().model, options);
  model.set("continuing_subword_prefix", affix(options.continuing_subword_prefix));
  model.set("end_of_word_suffix", affix(options.end_of_word_suffix));
  return pipeline.with_model(model, data_of(trained), options.special_tokens, options.renamed);
}

Tokenizer train_wordpiece(const Tokenizer& pipeline, const WordCounts& words, const TrainOptions& given) {
  TrainOptions options = given;
  if (options.continuing_subword_prefix.empty()) options.continuing_subword_prefix = "##";
  const TrainedModel trained = learn_merges(words_of(words), options);
  Json model = renamed_unknown(pipeline.stages().model, options);
  model.set("continuing_subword_prefix", options.continuing_subword_prefix);
  ModelData data = data_of(trained);
  data.merges.clear();
  return pipeline.with_model(model, data, options.special_tokens, options.renamed);
}

Tokenizer train_unigram(const Tokenizer& pipeline, const WordCounts& words, const TrainOptions& options) {
  const TrainedModel trained = learn_pieces(words_of(words), options);
  Json model = pipeline.stages().model;
  model.set("unk_id", trained.unk_id < 0 ? Json() : Json(int64_t{trained.unk_id}));
  return pipeline.with_model(model, data_of(trained), options.special_tokens, options.renamed);
}

Tokenizer train_word_level(const Tokenizer& pipeline, const WordCounts& words, const TrainOptions& options) {
  WordList list = words_of(words);
  std::stable_sort(list.begin(), list.end(), [](const auto& a, const auto& b) { return a.second > b.second; });
  check(options.vocab_size >= options.special_tokens.size(), ErrorCode::Limit, "train_word_level", "vocab_size: expected at least ",
        options.special_tokens.size(), " for the special tokens, got ", options.vocab_size);
  TrainedModel trained;
  std::map<std::string, int> known;
  const auto add = [&](const std::string& token) {
    if (trained.tokens.size() < options.vocab_size && known.emplace(token, 0).second) trained.tokens.push_back(token);
  };
  for (const AddedToken& token : options.special_tokens) add(token.content);
  for (const auto& [word, count] : list)
    if (static_cast<int64_t>(count) >= options.min_frequency) add(word);
  return pipeline.with_model(renamed_unknown(pipeline.stages().model, options), data_of(trained), options.special_tokens, options.renamed);
}

Tokenizer train_tokenizer(const Tokenizer& pipeline, const WordCounts& words, const TrainOptions& options) {
  const std::string type = pipeline.model_type();
  if (type == "BPE") return train_bpe(pipeline, words, options);
  if (type == "WordPiece") return train_wordpiece(pipeline, words, options);
  if (type == "Unigram") return train_unigram(pipeline, words, options);
  check(type == "WordLevel", ErrorCode::Format, "train_tokenizer", "model: expected BPE, WordPiece, Unigram or WordLevel, got '", type,
        "'");
  return train_word_level(pipeline, words, options);
}

}  // namespace tenon::text
