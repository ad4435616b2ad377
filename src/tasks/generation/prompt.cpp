// Prompts from a model's inputs: padding, tokens to start with.
#include "prompt.h"

#include <algorithm>

#include "tenon/models/past.h"

namespace tenon::generation {
namespace {

constexpr const char* kWhere = "generate";

std::vector<Ids> rows_of(const Tensor& t, const char* name) {
  check(t.rank() == 2 && t.size(0) > 0, ErrorCode::Shape, kWhere, name, ": expected (batch, tokens), got ", t.shape());
  if (t.size(1) == 0) return std::vector<Ids>(static_cast<size_t>(t.size(0)));  // an empty list has no type that says anything
  check(t.dtype() == DType::I64 || t.dtype() == DType::I32, ErrorCode::Type, kWhere, name, ": expected int64 or int32, got ",
        name_of(t.dtype()));
  const Tensor wide = t.to(Device{}).to(DType::I64);
  const auto values = wide.values<int64_t>();
  std::vector<Ids> rows;
  for (int64_t i = 0; i < t.size(0); ++i) {
    const auto row = values.subspan(static_cast<size_t>(i * t.size(1)), static_cast<size_t>(t.size(1)));
    rows.emplace_back(row.begin(), row.end());
  }
  return rows;
}

Tensor as_mask(const Tensor& mask) { return mask.dtype() == DType::I64 || mask.dtype() == DType::I32 ? mask : mask.to(DType::I64); }

/// Where there is no mask: the padding token tells, unless it also ends texts.
bool infers_mask(const GenerationConfig& c, const Tensor& mask) {
  if (mask.defined() || !c.pad_token_id) return false;
  return std::find(c.eos_token_id.begin(), c.eos_token_id.end(), *c.pad_token_id) == c.eos_token_id.end();
}

/// Takes out what `past` holds. The ids are a whole text, or what is new in it: then the mask is longer than they are.
void leave_held(Prompt& prompt, const models::PastKeyValues& past, const models::Inputs& inputs, bool infers, int64_t pad) {
  const Tensor& mask = inputs.attention_mask;
  const auto B = static_cast<int64_t>(prompt.sequences.size()), length = static_cast<int64_t>(prompt.sequences.front().size()),
             columns = past.columns();
  check(past.size() == B, ErrorCode::Shape, kWhere, "past_key_values: expected ", B, " sequences, got ", past.size());
  prompt.shows_held = !mask.defined() || mask.rank() != 2 || mask.size(1) == length;
  const int64_t first = prompt.shows_held ? columns : 0, fresh = length - first;
  check(fresh > 0, ErrorCode::Limit, kWhere, "input_ids: expected more than the ", columns, " columns that past_key_values hold, got ", length,
        "; new tokens alone need an attention_mask for all");
  const std::vector<uint8_t> shown = models::mask_of_new(mask, B, fresh, past, kWhere);
  for (int64_t i = 0; i < B; ++i) {
    const auto row = static_cast<size_t>(i);
    Ids& tokens = prompt.tokens[row];
    tokens.clear();
    for (int64_t t = 0; t < fresh; ++t) {
      const int64_t id = prompt.sequences[row][static_cast<size_t>(first + t)];
      if (shown[static_cast<size_t>(i * fresh + t)] && !(infers && id == pad)) tokens.push_back(id);
    }
    prompt.held.push_back(past.session().length(i));
  }
}

Prompt decoder_prompt(const models::Inputs& inputs, const GenerationConfig& c) {
  Prompt prompt;
  if (!inputs.input_ids.defined()) {
    check(c.bos_token_id.has_value(), ErrorCode::Limit, kWhere, "expected input_ids, since there is no bos_token_id to start with");
    prompt.sequences = prompt.tokens = {{*c.bos_token_id}};
    return prompt;
  }
  prompt.sequences = rows_of(inputs.input_ids, "input_ids");
  const bool infers = infers_mask(c, inputs.attention_mask);
  if (inputs.past_key_values && inputs.past_key_values->columns() > 0) {
    prompt.tokens.resize(prompt.sequences.size());
    leave_held(prompt, *inputs.past_key_values, inputs, infers, c.pad_token_id.value_or(0));
    return prompt;
  }
  prompt.tokens = unpadded(inputs.input_ids, inputs.attention_mask, "input_ids");
  if (infers)
    for (Ids& row : prompt.tokens) std::erase(row, *c.pad_token_id);
  for (size_t i = 0; i < prompt.tokens.size(); ++i) check(!prompt.tokens[i].empty(), ErrorCode::Limit, kWhere, "prompt ", i, " is empty");
  return prompt;
}

Prompt encoder_decoder_prompt(const models::Inputs& inputs, const GenerationConfig& c, const GenerateHooks& hooks) {
  const Tensor& encoded = inputs.encoder_outputs;
  check(inputs.input_ids.defined() || (encoded.defined() && encoded.rank() == 3 && encoded.size(0) > 0), ErrorCode::Limit, kWhere,
        "expected input_ids for the encoder, or encoder_outputs (batch, length, width)");
  Prompt prompt;
  prompt.encoder_decoder = true;
  check(!inputs.past_key_values, ErrorCode::Type, kWhere, "past_key_values: expected a decoder; an encoder-decoder's answers start anew");
  if (inputs.input_ids.defined()) prompt.encoder_ids = rows_of(inputs.input_ids, "input_ids");
  else prompt.encoder_ids.resize(static_cast<size_t>(encoded.size(0)));
  const std::optional<int64_t> start = c.decoder_start_token_id ? c.decoder_start_token_id : c.bos_token_id;
  check(start.has_value(), ErrorCode::Limit, kWhere,
        "expected decoder_start_token_id or bos_token_id, from which an encoder-decoder starts");
  prompt.sequences.assign(prompt.encoder_ids.size(), {*start});
  if (hooks.decoder_input_ids.defined()) {
    const std::vector<Ids> given = rows_of(hooks.decoder_input_ids, "decoder_input_ids");
    check(given.size() == prompt.encoder_ids.size() && !given.front().empty(), ErrorCode::Shape, kWhere,
          "decoder_input_ids: expected a row for each of the ", prompt.encoder_ids.size(), " texts, got ", hooks.decoder_input_ids.shape());
    const bool started = std::any_of(given.begin(), given.end(), [&](const Ids& row) { return row.front() == *start; });
    for (size_t i = 0; i < given.size(); ++i) {
      if (started) prompt.sequences[i].clear();
      prompt.sequences[i].insert(prompt.sequences[i].end(), given[i].begin(), given[i].end());
    }
  }
  prompt.tokens = prompt.sequences;
  return prompt;
}

}  // namespace

std::vector<Ids> unpadded(const Tensor& ids, const Tensor& mask, const char* name) {
  std::vector<Ids> rows = rows_of(ids, name);
  if (!mask.defined()) return rows;
  check(mask.shape() == ids.shape(), ErrorCode::Shape, kWhere, "attention_mask: expected ", ids.shape(), " as ", name, " have, got ",
        mask.shape());
  const std::vector<Ids> kept = rows_of(as_mask(mask), "attention_mask");
  for (size_t i = 0; i < rows.size(); ++i) {
    Ids tokens;
    for (size_t t = 0; t < rows[i].size(); ++t)
      if (kept[i][t] != 0) tokens.push_back(rows[i][t]);
    rows[i] = std::move(tokens);
  }
  return rows;
}

Prompt make_prompt(const Json& model_config, const models::Inputs& inputs, const GenerationConfig& config, const GenerateHooks& hooks) {
  check(!inputs.inputs_embeds.defined(), ErrorCode::Type, kWhere, "expected input_ids; inputs_embeds cannot be generated from");
  return model_config.value("is_encoder_decoder", false) ? encoder_decoder_prompt(inputs, config, hooks) : decoder_prompt(inputs, config);
}

}  // namespace tenon::generation
