// Writing tokenizer.json and tokenizer_config.json.
#include <filesystem>

#include "families.h"
#include "json_dom.h"
#include "tenon/core/error.h"

namespace tenon::text {
namespace {

// As tokenizer.json has it; without the id it is an entry of added_tokens_decoder.
Json added_token_json(const int32_t* id, const AddedToken& token) {
  Json out;
  if (id) out.set("id", int64_t{*id});
  out.set("content", token.content);
  out.set("single_word", token.single_word);
  out.set("lstrip", token.lstrip);
  out.set("rstrip", token.rstrip);
  out.set("normalized", token.normalized);
  out.set("special", token.special);
  return out;
}

const char* side_name(Side side) { return side == Side::Left ? "left" : "right"; }

}  // namespace

std::string Tokenizer::to_json() const {
  check(!files_, ErrorCode::Format, "tokenizer", "to_json: expected a model that tokenizer.json knows, got ", model_type(),
        "; save() writes its own files");
  Json::Array added;
  for (const auto& [id, entry] : added_.entries()) added.push_back(added_token_json(&id, entry.token));

  const Vocab& vocab = model_->vocab();
  Json::Object tokens;
  tokens.reserve(vocab.size());
  Json::Array scored;
  const std::span<const double> scores = model_->scores();
  for (int64_t id = 0; id < vocab.id_limit(); ++id) {
    if (!scores.empty())
      scored.push_back(Json::Array{Json(std::string(vocab.token(id))), Json(scores[static_cast<size_t>(id)])});
    else if (vocab.has(id))
      tokens.emplace_back(std::string(vocab.token(id)), Json(id));
  }
  Json model = spec_.model;
  model.object().emplace_back("vocab", scores.empty() ? Json(std::move(tokens)) : Json(std::move(scored)));
  if (model.value("type", "") == "BPE") {
    Json::Array merges;
    for (const auto& [left, right] : model_->merges())
      merges.push_back(Json::Array{Json(std::string(vocab.token(left))), Json(std::string(vocab.token(right)))});
    model.object().emplace_back("merges", std::move(merges));
  }

  Json out;
  out.set("version", "1.0");
  out.set("truncation", spec_.truncation);
  out.set("padding", spec_.padding);
  out.set("added_tokens", std::move(added));
  out.set("normalizer", spec_.normalizer);
  out.set("pre_tokenizer", spec_.pre_tokenizer);
  out.set("post_processor", spec_.post_processor);
  out.set("decoder", spec_.decoder);
  out.set("model", std::move(model));
  return out.dump(2);
}

Json Tokenizer::config_json() const {
  Json out = config_.file.is_object() ? config_.file : Json(Json::Object{});
  for (size_t i = 0; i < kRoleNames.size(); ++i) {
    const Json* written = out.get(kRoleNames[i]);
    const bool is_same = written && written->is_object() && written->value("content", "") == config_.roles[i];
    if (!is_same && (written || !config_.roles[i].empty())) out.set(kRoleNames[i], config_.roles[i].empty() ? Json() : Json(config_.roles[i]));
  }
  Json::Object added;
  for (const auto& [id, entry] : added_.entries()) added.emplace_back(std::to_string(id), added_token_json(nullptr, entry.token));
  out.set("added_tokens_decoder", std::move(added));
  if (!config_.extra_special_tokens.empty() && !out.has("extra_special_tokens")) {
    Json::Array extra;
    for (const std::string& token : config_.extra_special_tokens) extra.push_back(Json(token));
    out.set("additional_special_tokens", std::move(extra));
  }
  if (config_.model_max_length != kNoLimit) out.set("model_max_length", config_.model_max_length);
  out.set("padding_side", side_name(config_.padding_side));
  out.set("truncation_side", side_name(config_.truncation_side));
  out.set("clean_up_tokenization_spaces", config_.clean_up_tokenization_spaces);
  out.set("tokenizer_class", config_.tokenizer_class.empty() ? std::string("PreTrainedTokenizerFast") : config_.tokenizer_class);
  // Transformers builds a BERT normalizer from these rather than from tokenizer.json
  if (spec_.normalizer.is_object() && spec_.normalizer.value("type", "") == "BertNormalizer") {
    const Json* strip = spec_.normalizer.find("strip_accents");
    out.set("do_lower_case", spec_.normalizer.value("lowercase", true));
    out.set("tokenize_chinese_chars", spec_.normalizer.value("handle_chinese_chars", true));
    if (strip) out.set("strip_accents", *strip);
  }
  if (out.has("chat_template")) out.set("chat_template", config_.chat_template.empty() ? Json() : Json(config_.chat_template));
  return out;
}

std::vector<std::string> Tokenizer::file_names() const {
  if (!files_) return {"tokenizer.json"};
  std::vector<std::string> out;
  for (const auto& [name, bytes] : *files_) out.push_back(name);
  return out;
}

void Tokenizer::save(const std::string& folder) const {
  std::error_code ec;
  std::filesystem::create_directories(folder, ec);
  check(std::filesystem::is_directory(folder, ec), ErrorCode::File, folder, "cannot be made a folder");
  if (files_)
    for (const auto& [name, bytes] : *files_) write_file(folder + '/' + name, bytes);
  else
    write_file(folder + "/tokenizer.json", to_json());
  write_file(folder + "/tokenizer_config.json", config_json().dump(2));
  if (!config_.chat_template.empty()) write_file(folder + "/chat_template.jinja", config_.chat_template);
}

}  // namespace tenon::text
