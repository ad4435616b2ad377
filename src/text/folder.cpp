// Reading the tokenizer of a checkpoint's folder: which files there are, and what the configuration adds to the stages.
#include <algorithm>
#include <deque>
#include <filesystem>

#include "families.h"
#include "readers.h"
#include "sentence_piece_stages.h"
#include "tenon/core/error.h"
#include "tenon/text/models/mapped_pieces.h"
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
  const bool has_languages = find_languages(family->kind, options) != nullptr;
  token.lstrip = role == Role::Mask && (family->kind == FamilyKind::Roberta || has_languages);
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
  std::deque<std::string> more;
  TiktokenTexts tiktoken;
};

// What the stages come from.
enum class Source { Json, VocabTxt, VocabJson, SentencePiece, Tiktoken, Mapped };

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
  describe_sentence_piece(file, family ? family->kind : FamilyKind::Other, options, sources.more, spec);
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

// Whether the pieces of a folder's SentencePiece model have their ids from its vocab.json.
bool has_mapped_pieces(const std::string& folder, const Family* family) {
  const bool is_m2m100 = family && family->kind == FamilyKind::M2m100;
  const char* model = is_m2m100 ? "/sentencepiece.bpe.model" : "/source.spm";
  return !file_exists(folder + "/tokenizer.json") && file_exists(folder + model) && file_exists(folder + "/vocab.json");
}

}  // namespace

// What a folder says beside its model.
struct Tokenizer::FolderFiles {
  Json options, map, added;
  const Family* family;
  Source source;
};

// Roles, added tokens, and what frames a text.
void Tokenizer::configure(const FolderFiles& files) {
  const Family* family = files.family;
  read_config(files.options, family, spec_.pre_tokenizer, config_);
  add_tokens(listed_tokens(files.options, files.added));
  for (size_t i = 0; i < kRoleNames.size(); ++i) {
    const std::optional<AddedToken> token = role_token(static_cast<Role>(i), files.options, files.map, family);
    if (!token || token->content.empty()) continue;
    config_.roles[i] = token->content;
    if (added_.find(token->content) < 0) add_tokens(std::span(&*token, 1));
  }
  for (const AddedToken& token : extra_tokens(files.options, files.map)) {
    auto& extra = config_.extra_special_tokens;
    if (std::find(extra.begin(), extra.end(), token.content) != extra.end()) continue;
    extra.push_back(token.content);
    if (added_.find(token.content) < 0) add_tokens(std::span(&token, 1));
  }
  // classes that know languages frame texts in the one that their configuration names, whatever tokenizer.json has
  const bool has_language = family && find_languages(family->kind, files.options) && !class_of(files.options).empty();
  if (files.source != Source::Json || has_language) {
    const FamilyKind kind = files.source == Source::VocabTxt ? FamilyKind::Bert : family ? family->kind : FamilyKind::Other;
    spec_.post_processor = describe_post_processor(kind, files.options, *this);
    post_processor_ = make_post_processor(spec_.post_processor);
  }
  if (family && family->kind == FamilyKind::Clip) config_.word_end = spec_.model.value("end_of_word_suffix", "");
}

// One language's side of a translation: the pieces of its model, with the ids that its vocabulary has for them.
Tokenizer Tokenizer::from_pieces(const std::string& pieces_path, const std::string& vocab_path, const FolderFiles& files, Files& kept) {
  const auto read = [&](const std::string& path) -> const std::string& {
    const std::string name = std::filesystem::path(path).filename().string();
    for (const auto& [known, bytes] : kept)
      if (known == name) return bytes;
    return kept.emplace_back(name, read_file(path)).second;
  };
  const std::string pieces = read(pieces_path), vocab = read(vocab_path);
  const SentencePieceFile file(pieces, pieces_path);
  TokenizerSpec spec;
  simdjson::dom::parser parser;
  read_vocab_json(parser, vocab, vocab_path, spec.data);
  spec.model = Json(Json::Object{{"type", Json("SentencePiece")}});
  // for streaming, which has no other form of this decoder
  spec.decoder = Json::parse(R"({"type": "Metaspace", "replacement": "\u2581", "prepend_scheme": "always", "split": true})");
  const bool is_marian = files.family->kind == FamilyKind::Marian;
  const Languages* languages = find_languages(files.family->kind, files.options);
  std::vector<AddedToken> language_tokens;
  std::vector<std::string> specials;
  for (const std::string& token : languages ? languages->tokens() : std::vector<std::string>())
    language_tokens.push_back({token, false, false, false, false, true});
  for (size_t i = 0; i < kRoleNames.size(); ++i)
    if (const auto token = role_token(static_cast<Role>(i), files.options, files.map, files.family)) specials.push_back(token->content);
  for (const AddedToken& token : extra_tokens(files.options, files.map)) specials.push_back(token.content);
  for (const AddedToken& token : language_tokens) specials.push_back(token.content);
  const std::optional<AddedToken> unk = role_token(Role::Unk, files.options, files.map, files.family);
  Tokenizer out(spec, std::make_unique<MappedPieces>(file, spec.data, unk ? unk->content : "<unk>", is_marian),
                std::make_unique<MappedPiecesDecoder>(file, std::move(specials), is_marian ? " " : ""));
  out.add_tokens(language_tokens);
  out.configure(files);
  return out;
}

Tokenizer Tokenizer::from_folder(const std::string& path) {
  FolderFiles files{read_optional(path + "/tokenizer_config.json"), read_optional(path + "/special_tokens_map.json"),
                    read_optional(path + "/added_tokens.json"), nullptr, Source::Json};
  const Json& options = files.options;
  const Family*& family = files.family = find_family(class_of(options));
  if (class_of(options).empty()) family = find_family_of_model(read_optional(path + "/config.json").value("model_type", ""));
  const std::string chat = path + "/chat_template.jinja";

  if (has_mapped_pieces(path, family)) {
    if (!family) family = find_family("MarianTokenizer");
    files.source = Source::Mapped;
    const bool is_marian = family->kind == FamilyKind::Marian, is_apart = options.value("separate_vocabs", false);
    Files kept;
    Tokenizer out = from_pieces(path + (is_marian ? "/source.spm" : "/sentencepiece.bpe.model"), path + "/vocab.json", files, kept);
    if (is_marian)
      out.target_ = std::make_shared<Tokenizer>(
          from_pieces(path + "/target.spm", path + (is_apart ? "/target_vocab.json" : "/vocab.json"), files, kept));
    out.files_ = std::make_shared<const Files>(std::move(kept));
    if (file_exists(chat)) out.config_.chat_template = read_file(chat);
    return out;
  }
  Sources sources;
  TokenizerSpec spec;
  files.source = read_stages(path, family, options, sources, spec);
  const std::optional<AddedToken> unk = role_token(Role::Unk, options, files.map, family);
  if (files.source == Source::VocabTxt && unk) spec.model.set("unk_token", unk->content);

  Tokenizer out(spec);
  if (!family && !options.has("tokenizer_class")) family = recognise(out.added_, all_families());
  out.configure(files);
  if (file_exists(chat)) out.config_.chat_template = read_file(chat);
  return out;
}

}  // namespace tenon::text
