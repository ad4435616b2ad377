// The table of tokenizer classes and the stages that stand behind them.
#include "families.h"

#include <string>

#include "tenon/core/error.h"

namespace tenon::text {
namespace {

constexpr std::array<const char*, 7> kBertRoles = {"", "", "[UNK]", "[SEP]", "[PAD]", "[CLS]", "[MASK]"};
constexpr std::array<const char*, 7> kRobertaRoles = {"<s>", "</s>", "<unk>", "</s>", "<pad>", "<s>", "<mask>"};
constexpr std::array<const char*, 7> kClipRoles = {"<|startoftext|>", "<|endoftext|>", "<|endoftext|>", "", "<|endoftext|>", "", ""};
constexpr std::array<const char*, 7> kGpt2Roles = {"<|endoftext|>", "<|endoftext|>", "<|endoftext|>", "", "", "", ""};
constexpr std::array<const char*, 7> kQwen2Roles = {"", "<|endoftext|>", "<|endoftext|>", "", "<|endoftext|>", "", ""};
constexpr std::array<const char*, 7> kLlamaRoles = {"<s>", "</s>", "<unk>", "", "", "", ""};
constexpr std::array<const char*, 7> kGemmaRoles = {"<bos>", "<eos>", "<unk>", "", "<pad>", "", "<mask>"};
constexpr std::array<const char*, 7> kT5Roles = {"", "</s>", "<unk>", "", "<pad>", "", ""};
constexpr std::array<const char*, 7> kMpnetRoles = {"<s>", "</s>", "[UNK]", "</s>", "<pad>", "<s>", "<mask>"};
constexpr std::array<const char*, 7> kMarianRoles = {"", "</s>", "<unk>", "", "<pad>", "", ""};
constexpr std::array<const char*, 7> kM2m100Roles = {"<s>", "</s>", "<unk>", "</s>", "<pad>", "", ""};

constexpr Family kFamilies[] = {
    {"BertTokenizer", " bert ", FamilyKind::Bert, kBertRoles, true},
    {"DistilBertTokenizer", " distilbert ", FamilyKind::Bert, kBertRoles, false},
    {"ElectraTokenizer", " electra ", FamilyKind::Bert, kBertRoles, true},
    {"MobileBertTokenizer", " mobilebert ", FamilyKind::Bert, kBertRoles, true},
    {"MPNetTokenizer", " mpnet ", FamilyKind::Bert, kMpnetRoles, false},
    {"RobertaTokenizer", " roberta ", FamilyKind::Roberta, kRobertaRoles, false},
    {"XLMRobertaTokenizer", " xlm-roberta ", FamilyKind::XlmRoberta, kRobertaRoles, false},
    {"CLIPTokenizer", " clip clip_text_model ", FamilyKind::Clip, kClipRoles, false},
    {"GPT2Tokenizer", " gpt2 ", FamilyKind::Gpt2, kGpt2Roles, false},
    {"Qwen2Tokenizer", " qwen2 qwen2_moe qwen3 ", FamilyKind::Qwen2, kQwen2Roles, false},
    {"LlamaTokenizer", " llama mistral mixtral ", FamilyKind::Llama, kLlamaRoles, false},
    {"GemmaTokenizer", " gemma gemma2 gemma3 gemma3_text ", FamilyKind::Gemma, kGemmaRoles, false},
    {"MarianTokenizer", " marian ", FamilyKind::Marian, kMarianRoles, false},
    {"M2M100Tokenizer", " m2m_100 ", FamilyKind::M2m100, kM2m100Roles, false},
    {"NllbTokenizer", "", FamilyKind::Nllb, kRobertaRoles, false},
    {"MBartTokenizer", " mbart ", FamilyKind::MBart, kRobertaRoles, false},
    {"MBart50Tokenizer", "", FamilyKind::MBart50, kRobertaRoles, false},
    {"T5Tokenizer", " t5 mt5 umt5 ", FamilyKind::T5, kT5Roles, false},
};

constexpr const char* kBertStages = R"json({
  "normalizer": {"type": "BertNormalizer", "clean_text": true, "handle_chinese_chars": true, "strip_accents": null, "lowercase": true},
  "pre_tokenizer": {"type": "BertPreTokenizer"},
  "decoder": {"type": "WordPiece", "prefix": "##", "cleanup": true},
  "model": {"type": "WordPiece", "unk_token": "[UNK]", "continuing_subword_prefix": "##", "max_input_chars_per_word": 100}
})json";

constexpr const char* kGpt2Stages = R"json({
  "pre_tokenizer": {"type": "ByteLevel", "add_prefix_space": false, "trim_offsets": true, "use_regex": true},
  "decoder": {"type": "ByteLevel", "add_prefix_space": true, "trim_offsets": true, "use_regex": true},
  "model": {"type": "BPE", "dropout": null, "unk_token": null, "continuing_subword_prefix": "", "end_of_word_suffix": "",
            "fuse_unk": false, "byte_fallback": false, "ignore_merges": false}
})json";

constexpr const char* kClipStages = R"json({
  "normalizer": {"type": "Sequence", "normalizers": [{"type": "NFC"},
      {"type": "Replace", "pattern": {"Regex": "\\s+"}, "content": " "}, {"type": "Lowercase"}]},
  "pre_tokenizer": {"type": "Sequence", "pretokenizers": [
      {"type": "Split", "behavior": "Removed", "invert": true, "pattern": {"Regex":
       "<\\|startoftext\\|>|<\\|endoftext\\|>|'s|'t|'re|'ve|'m|'ll|'d|[\\p{L}]+|[\\p{N}]|[^\\s\\p{L}\\p{N}]+"}},
      {"type": "ByteLevel", "add_prefix_space": false, "trim_offsets": true, "use_regex": true}]},
  "decoder": {"type": "ByteLevel", "add_prefix_space": true, "trim_offsets": true, "use_regex": true},
  "model": {"type": "BPE", "dropout": null, "unk_token": "<|endoftext|>", "continuing_subword_prefix": "", "end_of_word_suffix": "</w>",
            "fuse_unk": false, "byte_fallback": false, "ignore_merges": false}
})json";

constexpr const char* kQwen2Stages = R"json({
  "normalizer": {"type": "NFC"},
  "pre_tokenizer": {"type": "Sequence", "pretokenizers": [
      {"type": "Split", "behavior": "Isolated", "invert": false, "pattern": {"Regex":
       "(?i:'s|'t|'re|'ve|'m|'ll|'d)|[^\\r\\n\\p{L}\\p{N}]?\\p{L}+|\\p{N}| ?[^\\s\\p{L}\\p{N}]+[\\r\\n]*|\\s*[\\r\\n]+|\\s+(?!\\S)|\\s+"}},
      {"type": "ByteLevel", "add_prefix_space": false, "trim_offsets": true, "use_regex": false}]},
  "decoder": {"type": "ByteLevel", "add_prefix_space": true, "trim_offsets": true, "use_regex": true},
  "model": {"type": "BPE", "dropout": null, "unk_token": null, "continuing_subword_prefix": "", "end_of_word_suffix": "",
            "fuse_unk": false, "byte_fallback": false, "ignore_merges": false}
})json";

const char* stages_of(FamilyKind kind) {
  switch (kind) {
    case FamilyKind::Bert:
      return kBertStages;
    case FamilyKind::Clip:
      return kClipStages;
    case FamilyKind::Qwen2:
      return kQwen2Stages;
    default:
      return kGpt2Stages;
  }
}

// A stage's own fields where tokenizer_config.json has them under another name.
void take_option(Json& stage, const char* field, const Json& options, const char* option) {
  if (const Json* value = options.get(option)) stage.set(field, *value);
}

// Builds the templates of TemplateProcessing.
class TemplateWriter {
 public:
  void text(Json::Array& list, const char* id, int type_id) { list.push_back(piece("Sequence", id, type_id)); }
  void special(Json::Array& list, const Tokenizer& tokenizer, Role role, int type_id) {
    special(list, tokenizer.role(role), tokenizer.role_id(role), type_id);
  }
  void special(Json::Array& list, const std::string& token, int32_t token_id, int type_id) {
    list.push_back(piece("SpecialToken", token, type_id));
    Json entry;
    entry.set("id", token);
    entry.set("ids", Json::Array{Json(int64_t{token_id})});
    entry.set("tokens", Json::Array{Json(token)});
    specials_.set(token, std::move(entry));
  }
  Json finish(Json::Array single, Json::Array pair) {
    Json out;
    out.set("type", "TemplateProcessing");
    out.set("single", std::move(single));
    out.set("pair", std::move(pair));
    out.set("special_tokens", std::move(specials_));
    return out;
  }

 private:
  static Json piece(const char* kind, const std::string& id, int type_id) {
    Json fields, out;
    fields.set("id", id);
    fields.set("type_id", type_id);
    out.set(kind, std::move(fields));
    return out;
  }
  Json specials_{Json::Object{}};
};

// [CLS] A [SEP], [CLS] A [SEP] B [SEP].
Json bert_template(const Tokenizer& tokenizer) {
  TemplateWriter writer;
  Json::Array single;
  writer.special(single, tokenizer, Role::Cls, 0);
  writer.text(single, "A", 0);
  writer.special(single, tokenizer, Role::Sep, 0);
  Json::Array pair = single;
  writer.text(pair, "B", 1);
  writer.special(pair, tokenizer, Role::Sep, 1);
  return writer.finish(std::move(single), std::move(pair));
}

// [bos] A [eos], and for a pair [bos] A [eos] [bos] B [eos], as add_bos_token and add_eos_token ask.
Json bos_eos_template(const Json& options, const Tokenizer& tokenizer, bool adds_bos = false, bool adds_eos = false) {
  const bool has_bos = options.value("add_bos_token", adds_bos) && !tokenizer.role(Role::Bos).empty();
  const bool has_eos = options.value("add_eos_token", adds_eos) && !tokenizer.role(Role::Eos).empty();
  TemplateWriter writer;
  Json::Array single, pair;
  for (const int type : {0, 1}) {
    if (has_bos) writer.special(pair, tokenizer, Role::Bos, type);
    writer.text(pair, type ? "B" : "A", type);
    if (has_eos) writer.special(pair, tokenizer, Role::Eos, type);
    if (type == 0) single = pair;
  }
  return writer.finish(std::move(single), std::move(pair));
}

// <s> A </s>, <s> A </s> </s> B </s>, all of type 0.
Json xlm_roberta_template(const Tokenizer& tokenizer) {
  TemplateWriter writer;
  Json::Array single;
  writer.special(single, tokenizer, Role::Cls, 0);
  writer.text(single, "A", 0);
  writer.special(single, tokenizer, Role::Sep, 0);
  Json::Array pair = single;
  writer.special(pair, tokenizer, Role::Sep, 0);
  writer.text(pair, "B", 0);
  writer.special(pair, tokenizer, Role::Sep, 0);
  return writer.finish(std::move(single), std::move(pair));
}

// A B </s>, as translation models take a pair.
Json joined_template(const Tokenizer& tokenizer) {
  TemplateWriter writer;
  Json::Array single, pair;
  writer.text(single, "A", 0);
  writer.text(pair, "A", 0);
  writer.text(pair, "B", 0);
  for (Json::Array* list : {&single, &pair}) writer.special(*list, tokenizer, Role::Eos, 0);
  return writer.finish(std::move(single), std::move(pair));
}

// A </s>, A </s> B </s>, all of type 0.
Json t5_template(const Tokenizer& tokenizer) {
  TemplateWriter writer;
  Json::Array single;
  writer.text(single, "A", 0);
  writer.special(single, tokenizer, Role::Eos, 0);
  Json::Array pair = single;
  writer.text(pair, "B", 0);
  writer.special(pair, tokenizer, Role::Eos, 0);
  return writer.finish(std::move(single), std::move(pair));
}

Json roberta_processing(const Tokenizer& tokenizer, Role cls, Role sep, bool trim_offsets, bool add_prefix_space) {
  Json out;
  out.set("type", "RobertaProcessing");
  out.set("sep", Json::Array{Json(tokenizer.role(sep)), Json(int64_t{tokenizer.role_id(sep)})});
  out.set("cls", Json::Array{Json(tokenizer.role(cls)), Json(int64_t{tokenizer.role_id(cls)})});
  out.set("trim_offsets", trim_offsets);
  out.set("add_prefix_space", add_prefix_space);
  return out;
}

}  // namespace

std::span<const Family> all_families() { return kFamilies; }

const Family* find_family(std::string_view tokenizer_class) {
  for (const Family& family : kFamilies)
    if (tokenizer_class == family.tokenizer_class) return &family;
  return nullptr;
}

const Family* find_family_of_model(std::string_view model_type) {
  if (model_type.empty()) return nullptr;
  const std::string key = ' ' + std::string(model_type) + ' ';
  for (const Family& family : kFamilies)
    if (std::string_view(family.model_types).find(key) != std::string_view::npos) return &family;
  return nullptr;
}

void describe_stages(FamilyKind kind, const Json& options, TokenizerSpec& spec) {
  const Json stages = Json::parse(stages_of(kind), "stages");
  if (const Json* normalizer = stages.get("normalizer")) spec.normalizer = *normalizer;
  spec.pre_tokenizer = stages.at("pre_tokenizer");
  spec.decoder = stages.at("decoder");
  spec.model = stages.at("model");
  if (kind == FamilyKind::Bert) override_bert(spec.normalizer, options);
  if (kind == FamilyKind::Gpt2 || kind == FamilyKind::Roberta)
    take_option(spec.pre_tokenizer, "add_prefix_space", options, "add_prefix_space");
}

void override_bert(Json& normalizer, const Json& options) {
  if (!normalizer.is_object() || normalizer.value("type", "") != "BertNormalizer") return;
  take_option(normalizer, "lowercase", options, "do_lower_case");
  take_option(normalizer, "strip_accents", options, "strip_accents");
  take_option(normalizer, "handle_chinese_chars", options, "tokenize_chinese_chars");
}

Json describe_language(const Languages& languages, std::string_view code, const Json& options, const Tokenizer& tokenizer) {
  const std::string token = languages.token(code);
  const int32_t id = tokenizer.token_to_id(token);
  check(id >= 0, ErrorCode::Limit, "tokenizer", "language: expected one of ", languages.codes, ", got '", code, "'");
  check(tokenizer.role_id(Role::Eos) >= 0, ErrorCode::Format, "tokenizer", "eos_token: expected one, got none");
  const bool is_behind = languages.is_behind || options.value("legacy_behaviour", false);
  TemplateWriter writer;
  Json::Array single, pair;
  for (Json::Array* list : {&single, &pair}) {
    if (!is_behind) writer.special(*list, token, id, 0);
    writer.text(*list, "A", 0);
    if (list == &pair) writer.text(*list, "B", 0);
    writer.special(*list, tokenizer, Role::Eos, 0);
    if (is_behind) writer.special(*list, token, id, 0);
  }
  return writer.finish(std::move(single), std::move(pair));
}

Json describe_post_processor(FamilyKind kind, const Json& options, const Tokenizer& tokenizer) {
  const auto has = [&](Role role) { return tokenizer.role_id(role) >= 0; };
  switch (kind) {
    case FamilyKind::Bert:
      return has(Role::Cls) && has(Role::Sep) ? bert_template(tokenizer) : bos_eos_template(options, tokenizer);
    case FamilyKind::Roberta:
      if (!has(Role::Cls) || !has(Role::Sep)) break;
      return roberta_processing(tokenizer, Role::Cls, Role::Sep, options.value("trim_offsets", true),
                                options.value("add_prefix_space", false));
    case FamilyKind::Clip:
      if (!has(Role::Bos) || !has(Role::Eos)) break;
      return roberta_processing(tokenizer, Role::Bos, Role::Eos, false, false);
    case FamilyKind::Llama:
    case FamilyKind::Gemma:
      return bos_eos_template(options, tokenizer, true);
    case FamilyKind::T5:
      if (!has(Role::Eos)) break;
      return t5_template(tokenizer);
    case FamilyKind::Marian:
      if (!has(Role::Eos)) break;
      return joined_template(tokenizer);
    case FamilyKind::M2m100:
    case FamilyKind::Nllb:
    case FamilyKind::MBart:
    case FamilyKind::MBart50: {
      const Languages& languages = *find_languages(kind, options);
      return describe_language(languages, options.value("src_lang", languages.usual), options, tokenizer);
    }
    case FamilyKind::XlmRoberta:
      if (!has(Role::Cls) || !has(Role::Sep)) break;
      return xlm_roberta_template(tokenizer);
    default:
      break;
  }
  return bos_eos_template(options, tokenizer);
}

}  // namespace tenon::text
