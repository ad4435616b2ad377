// Reading the tokenizer of a checkpoint's folder: which files there are, and what the configuration adds to the stages.
#include <algorithm>
#include <filesystem>

#include "families.h"
#include "readers.h"
#include "sentence_piece_stages.h"
#include "tenon/core/error.h"
#include "tiktoken.h"

namespace tenon::text {
namespace {

Json read_optional(const std::string& path) {
  if (!file_exists(path)) return Json(Json::Object{});
  Json value = Json::parse_file(path);
  value.as_object(path);
  return value;
}

std::string class_of(const Json& options) {
  std::string name = options.value("tokenizer_class", "");
  if (name.ends_with("Fast")) name.resize(name.size() - 4);
  return name;
}

Side parse_side(const Json& options, const char* key) {
  const std::string side = options.value(key, "right");
  check(side == "right" || side == "left", ErrorCode::Format, "tokenizer_config.json", key, ": expected right or left, got '", side, "'");
  return side == "left" ? Side::Left : Side::Right;
}

int64_t parse_max_length(const Json& options) {
  const Json* value = options.get("model_max_length");
  if (!value) return kNoLimit;
  const double length = value->as_number("model_max_length");
  check(length >= 0, ErrorCode::Format, "tokenizer_config.json", "model_max_length: expected at least 0, got ", length);
  return length > 1e15 ? kNoLimit : static_cast<int64_t>(length);
}

// The token of a role: a file's word (null means none) or what the family takes for granted.
std::optional<AddedToken> role_token(Role role, const Json& options, const Json& map, const Family* family) {
  const size_t index = static_cast<size_t>(role);
  const char* key = kRoleNames[index];
  for (const Json* file : {&options, &map}) {
    const Json* value = file->find(key);
    if (!value) continue;
    if (value->is_null()) return std::nullopt;
    check(value->is_string() || value->is_object(), ErrorCode::Type, "tokenizer_config.json", key, ": expected a token, got ",
          value->dump());
    return read_added_token(*value, true);
  }
  if (!family || !*family->roles[index]) return std::nullopt;
  AddedToken token = read_added_token(Json(family->roles[index]), true);
  token.lstrip = role == Role::Mask && family->kind == FamilyKind::Roberta;
  return token;
}

// Without any configuration: the first family all of whose special tokens the file has.
const Family* recognise(const AddedTokens& added, std::span<const Family> families) {
  for (const Family& family : families) {
    const bool has_all = std::all_of(family.roles.begin(), family.roles.end(), [&](const char* token) {
      const AddedTokens::Entry* entry = *token ? added.entry(added.find(token)) : nullptr;
      return !*token || (entry && entry->token.special);
    });
    if (has_all) return &family;
  }
  return nullptr;
}

// Files that call themselves Llama's and are byte-level (DeepSeek, Llama 3) have none of that class's habits in Transformers 5.
bool has_byte_level(const Json& pre_tokenizer) {
  return pre_tokenizer.is_object() && pre_tokenizer.dump().find("\"ByteLevel\"") != std::string::npos;
}

void read_config(const Json& options, const Family* family, const Json& pre_tokenizer, TokenizerConfig& config) {
  config.file = options;
  config.tokenizer_class = class_of(options);
  if (config.tokenizer_class.empty() && family) config.tokenizer_class = family->tokenizer_class;
  config.model_max_length = parse_max_length(options);
  config.padding_side = parse_side(options, "padding_side");
  const bool pads_left =
      family && (family->kind == FamilyKind::Gemma || (family->kind == FamilyKind::Llama && !has_byte_level(pre_tokenizer)));
  if (pads_left && !options.has("padding_side")) config.padding_side = Side::Left;
  config.truncation_side = parse_side(options, "truncation_side");
  config.clean_up_tokenization_spaces = options.value("clean_up_tokenization_spaces", false);
  config.split_special_tokens = options.value("split_special_tokens", false);
  config.pad_token_type_id = static_cast<int32_t>(options.value("pad_token_type_id", 0));
  if (family && family->has_type_ids) config.model_input_names = {"input_ids", "token_type_ids", "attention_mask"};
  if (const Json* names = options.get("model_input_names")) {
    config.model_input_names.clear();
    for (const Json& name : names->as_array("model_input_names")) config.model_input_names.push_back(name.as_string("model_input_names"));
  }
  if (const Json* chat = options.get("chat_template"); chat && chat->is_string()) config.chat_template = chat->as_string();
}

std::vector<AddedToken> extra_tokens(const Json& options, const Json& map) {
  std::vector<AddedToken> out;
  for (const Json* file : {&options, &map}) {
    for (const char* key : {"additional_special_tokens", "extra_special_tokens"}) {
      const Json* list = file->get(key);
      if (!list) continue;
      if (list->is_object())
        for (const auto& [name, token] : list->as_object()) out.push_back(read_added_token(token, true));
      else
        for (const Json& token : list->as_array(key)) out.push_back(read_added_token(token, true));
    }
  }
  return out;
}

int64_t parse_id(const std::string& id) {
  const bool is_id = !id.empty() && id.size() < 10 && id.find_first_not_of("0123456789") == std::string::npos;
  check(is_id, ErrorCode::Format, "tokenizer_config.json", "added_tokens_decoder: expected ids, got '", id, "'");
  return std::stoll(id);
}

// Tokens by id, from added_tokens_decoder {"5": {...}} and added_tokens.json {"token": 5}.
std::vector<AddedToken> listed_tokens(const Json& options, const Json& added_file) {
  std::vector<std::pair<int64_t, AddedToken>> tokens;
  if (const Json* decoder = options.get("added_tokens_decoder")) {
    for (const auto& [id, token] : decoder->as_object("added_tokens_decoder")) {
      tokens.emplace_back(parse_id(id), read_added_token(token, false));
    }
  } else {
    for (const auto& [content, id] : added_file.as_object("added_tokens.json"))
      tokens.emplace_back(id.as_int(content), AddedToken{content, false, false, false, false, false});
  }
  std::stable_sort(tokens.begin(), tokens.end(), [](const auto& a, const auto& b) { return a.first < b.first; });
  std::vector<AddedToken> out;
  for (auto& [id, token] : tokens) out.push_back(std::move(token));
  return out;
}

// The texts that the views of a TokenizerSpec point into.
struct Sources {
  simdjson::dom::parser parser;
  std::string text, merges;
  TiktokenTexts tiktoken;
};

// What the stages come from.
enum class Source { Json, VocabTxt, VocabJson, SentencePiece, Tiktoken };

// The model file of a folder without tokenizer.json: one of the usual names, or the only one of its kind. Empty if there is none.
std::string find_model_file(const std::string& folder) {
  for (const char* name : {"tokenizer.model", "spiece.model", "sentencepiece.bpe.model", "sentencepiece.model", "tiktoken.model"})
    if (const std::string path = folder + '/' + name; file_exists(path)) return path;
  std::string found;
  std::error_code error;
  for (const auto& entry : std::filesystem::directory_iterator(folder, error)) {
    const std::string extension = entry.path().extension().string();
    if (extension != ".tiktoken" && extension != ".model") continue;
    check(found.empty(), ErrorCode::File, folder, "tokenizer model: expected one file, got ", found, " and ", entry.path().string());
    found = entry.path().string();
  }
  return found;
}

std::vector<std::pair<std::string, int64_t>> listed_ids(const Json& options) {
  std::vector<std::pair<std::string, int64_t>> out;
  if (const Json* decoder = options.get("added_tokens_decoder"))
    for (const auto& [id, token] : decoder->as_object("added_tokens_decoder"))
      out.emplace_back(read_added_token(token, false).content, parse_id(id));
  return out;
}

// Without any configuration, by the pieces that the families put first.
const Family* recognise(const SentencePieceFile& file) {
  const auto starts_with = [&](std::initializer_list<const char*> pieces) {
    return file.pieces.size() >= pieces.size() &&
           std::equal(pieces.begin(), pieces.end(), file.pieces.begin(), [](const char* a, const auto& b) { return a == b.text; });
  };
  const bool is_bpe = file.kind == SentencePieceFile::Kind::Bpe;
  if (is_bpe && file.byte_fallback && starts_with({"<unk>", "<s>", "</s>", "<0x00>"})) return find_family("LlamaTokenizer");
  if (is_bpe && file.byte_fallback && starts_with({"<pad>", "<eos>", "<bos>", "<unk>"})) return find_family("GemmaTokenizer");
  return !is_bpe && starts_with({"<pad>", "</s>", "<unk>"}) ? find_family("T5Tokenizer") : nullptr;
}

Source read_model_file(const std::string& path, const Family*& family, const Json& options, Sources& sources, TokenizerSpec& spec) {
  sources.text = read_file(path);
  if (is_tiktoken(sources.text)) {
    read_tiktoken(sources.text, path, listed_ids(options), sources.tiktoken, spec);
    return Source::Tiktoken;
  }
  const SentencePieceFile file(sources.text, path);
  if (!family && class_of(options).empty()) family = recognise(file);
  describe_sentence_piece(file, family ? family->kind : FamilyKind::Other, options, spec);
  return Source::SentencePiece;
}

// Fills the spec from the files that the folder has; may find out the family.
Source read_stages(const std::string& folder, const Family*& family, const Json& options, Sources& sources, TokenizerSpec& spec) {
  const std::string json = folder + "/tokenizer.json", txt = folder + "/vocab.txt", vocab = folder + "/vocab.json",
                    merges = folder + "/merges.txt";
  const FamilyKind kind = family ? family->kind : FamilyKind::Other;
  if (file_exists(json)) {
    sources.text = read_file(json);
    read_tokenizer_json(sources.parser, sources.text, json, spec);
    if (kind == FamilyKind::Bert) override_bert(spec.normalizer, options);
    return Source::Json;
  }
  if (file_exists(txt)) {
    sources.text = read_file(txt);
    read_vocab_txt(sources.text, txt, spec.data);
    describe_stages(FamilyKind::Bert, options, spec);
    if (!family) family = find_family("BertTokenizer");
    return Source::VocabTxt;
  }
  const bool has_vocab = file_exists(vocab) && file_exists(merges);
  if (!has_vocab)
    if (const std::string model = find_model_file(folder); !model.empty()) return read_model_file(model, family, options, sources, spec);
  check(has_vocab, ErrorCode::File, folder,
        "expected tokenizer.json, vocab.txt, vocab.json with merges.txt, a SentencePiece .model or a .tiktoken file, got none of them");
  const std::string name = class_of(options);
  const bool is_byte_level =
      kind == FamilyKind::Gpt2 || kind == FamilyKind::Roberta || kind == FamilyKind::Clip || kind == FamilyKind::Qwen2;
  check(is_byte_level || (!family && name.empty()), ErrorCode::Format, folder,
        "tokenizer_class with vocab.json and merges.txt: expected GPT2Tokenizer, RobertaTokenizer, CLIPTokenizer or Qwen2Tokenizer, got '",
        name, "'");
  sources.text = read_file(vocab);
  read_vocab_json(sources.parser, sources.text, vocab, spec.data);
  sources.merges = read_file(merges);
  read_merges_txt(sources.merges, merges, spec.data);
  if (!family) family = find_family("GPT2Tokenizer");
  describe_stages(family->kind, options, spec);
  return Source::VocabJson;
}

}  // namespace

Tokenizer Tokenizer::from_folder(const std::string& path) {
  const Json options = read_optional(path + "/tokenizer_config.json");
  const Json map = read_optional(path + "/special_tokens_map.json");
  const Json added_file = read_optional(path + "/added_tokens.json");
  const Family* family = find_family(class_of(options));
  if (class_of(options).empty()) family = find_family_of_model(read_optional(path + "/config.json").value("model_type", ""));

  Sources sources;
  TokenizerSpec spec;
  const Source source = read_stages(path, family, options, sources, spec);
  const std::optional<AddedToken> unk = role_token(Role::Unk, options, map, family);
  if (source == Source::VocabTxt && unk) spec.model.set("unk_token", unk->content);

  Tokenizer out(spec);
  if (!family && !options.has("tokenizer_class")) family = recognise(out.added_, all_families());
  read_config(options, family, out.spec_.pre_tokenizer, out.config_);
  out.add_tokens(listed_tokens(options, added_file));
  for (size_t i = 0; i < kRoleNames.size(); ++i) {
    const std::optional<AddedToken> token = role_token(static_cast<Role>(i), options, map, family);
    if (!token || token->content.empty()) continue;
    out.config_.roles[i] = token->content;
    if (out.added_.find(token->content) < 0) out.add_tokens(std::span(&*token, 1));
  }
  for (const AddedToken& token : extra_tokens(options, map)) {
    auto& extra = out.config_.extra_special_tokens;
    if (std::find(extra.begin(), extra.end(), token.content) != extra.end()) continue;
    extra.push_back(token.content);
    if (out.added_.find(token.content) < 0) out.add_tokens(std::span(&token, 1));
  }
  if (source != Source::Json) {
    const FamilyKind kind = source == Source::VocabTxt ? FamilyKind::Bert : family ? family->kind : FamilyKind::Other;
    out.spec_.post_processor = describe_post_processor(kind, options, out);
    out.post_processor_ = make_post_processor(out.spec_.post_processor);
  }
  if (family && family->kind == FamilyKind::Clip) out.config_.word_end = out.spec_.model.value("end_of_word_suffix", "");
  if (const std::string chat = path + "/chat_template.jinja"; file_exists(chat)) out.config_.chat_template = read_file(chat);
  return out;
}

}  // namespace tenon::text
