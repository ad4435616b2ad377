// What the tokenizer classes of Transformers take for granted: their special tokens, and their stages when no tokenizer.json says.
#pragma once

#include <array>
#include <span>
#include <string>
#include <string_view>
#include <vector>

#include "tenon/text/tokenizer.h"

namespace tenon::text {

enum class FamilyKind { Bert, Gpt2, Roberta, Clip, Qwen2, Llama, Gemma, T5, XlmRoberta, Marian, M2m100, Nllb, MBart, MBart50, Other };

/// The languages of a translation model. A text has a token for its language before it, or behind its end.
struct Languages {
  const char* codes;      // with a space between
  const char* mark;       // on both sides of a code where it is a token
  const char* usual;      // the language of texts unless it is said
  bool is_behind;
  std::string token(std::string_view code) const { return mark + std::string(code) + mark; }
  std::vector<std::string> list() const;    // of codes
  std::vector<std::string> tokens() const;  // of their tokens
};
/// Null for families that know none. `options` is tokenizer_config.json.
const Languages* find_languages(FamilyKind kind, const Json& options);


struct Family {
  const char* tokenizer_class;
  const char* model_types;  // of config.json, each between spaces
  FamilyKind kind;
  std::array<const char*, kRoleNames.size()> roles;  // bos eos unk sep pad cls mask
  bool has_type_ids;
};

/// The family of a class (without "Fast"), or of a model type; null if it is not known.
const Family* find_family(std::string_view tokenizer_class);
const Family* find_family_of_model(std::string_view model_type);
std::span<const Family> all_families();

/// The stages of a family that has vocab.txt (Bert) or vocab.json and merges.txt (GPT-2 and its kin). `options` is tokenizer_config.json.
/// The post-processor comes later: it needs the ids of the special tokens.
void describe_stages(FamilyKind kind, const Json& options, TokenizerSpec& spec);
/// Puts do_lower_case, strip_accents and tokenize_chinese_chars into a BertNormalizer; leaves others alone.
void override_bert(Json& normalizer, const Json& options);
/// What frames a text in a language, named by its code. Errors: Error(Limit) if the tokenizer has no token for it.
Json describe_language(const Languages& languages, std::string_view code, const Json& options, const Tokenizer& tokenizer);
Json describe_post_processor(FamilyKind kind, const Json& options, const Tokenizer& tokenizer);

}  // namespace tenon::text
