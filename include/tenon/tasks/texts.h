// Texts as a model's inputs: tokenized in batches, with the limits of tokenizer and model.
#pragma once

#include <algorithm>
#include <span>
#include <string>
#include <vector>

#include "tenon/tasks/runner.h"
#include "tenon/text/tokenizer.h"

namespace tenon::tasks {

/// The most tokens that tokenizer and model take, specials included. RoBERTa's first positions belong to padding.
inline int64_t token_limit(const text::Tokenizer& tokenizer, const Json& config) {
  const Json* text_part = config.get("text_config");
  const Json& c = text_part ? *text_part : config;
  int64_t positions = c.value("max_position_embeddings", int64_t{text::kNoLimit});
  if (c.value("model_type", "").find("roberta") != std::string::npos) positions -= c.value("pad_token_id", 1) + 1;
  return std::max<int64_t>(1, std::min(positions, tokenizer.config().model_max_length));
}

/// Options that cut texts after `max_length` tokens, or after what tokenizer and model take if it is 0 or more than that.
inline text::EncodeOptions truncating(const text::Tokenizer& tokenizer, const Json& config, int64_t max_length) {
  const int64_t limit = token_limit(tokenizer, config);
  text::EncodeOptions options;
  options.truncation = text::Truncation::LongestFirst;
  options.max_length = max_length > 0 ? std::min(max_length, limit) : limit;
  return options;
}

/// Encodings as ids, masks and, where the tokenizer has them, token types; padded on the tokenizer's side.
/// Shapes: -> (B,T) int32, T the longest.
inline models::Inputs collate(const text::Tokenizer& tokenizer, std::vector<text::Encoding> encodings) {
  if (tokenizer.role_id(text::Role::Pad) >= 0) {
    text::EncodeOptions padding;
    padding.padding = text::Padding::Longest;
    tokenizer.pad(encodings, padding);
  }
  size_t longest = 0;
  for (const text::Encoding& e : encodings) longest = std::max(longest, e.size());
  const Shape shape{static_cast<int64_t>(encodings.size()), static_cast<int64_t>(longest)};
  models::Inputs inputs;
  const auto fill = [&](Tensor& t, const std::vector<int32_t> text::Encoding::*values) {
    t = Tensor::zeros(shape, DType::I32);
    for (size_t i = 0; i < encodings.size(); ++i)
      std::copy((encodings[i].*values).begin(), (encodings[i].*values).end(), t.data<int32_t>() + i * longest);
  };
  const auto& names = tokenizer.config().model_input_names;
  fill(inputs.input_ids, &text::Encoding::ids);
  fill(inputs.attention_mask, &text::Encoding::attention_mask);
  if (std::find(names.begin(), names.end(), "token_type_ids") != names.end()) fill(inputs.token_type_ids, &text::Encoding::type_ids);
  return inputs;
}

/// The most positions of a forward pass where nothing else bounds them: 32 texts of 512 tokens.
inline constexpr int64_t kMaxPositions = 16384;

/// Encodes texts and calls f(order, batch) for groups of at most batch_size: batch holds the texts of the indices `order`. Texts of
/// like length go together, so that little of a (B,T,...) output is padding, and B * T stays within `positions` (a longer text comes
/// alone). Only some batches' encodings are held at a time, however many texts there are.
template <class F>
void in_text_batches(const Runner& runner, const text::Tokenizer& tokenizer, std::span<const text::TextInput> inputs,
                     const text::EncodeOptions& options, int64_t positions, F&& f) {
  const size_t most = static_cast<size_t>(runner.batch_size()), window = most * 32;
  std::vector<size_t> order;
  for (size_t from = 0; from < inputs.size(); from += window) {
    const std::span<const text::TextInput> part = inputs.subspan(from, std::min(window, inputs.size() - from));
    std::vector<text::Encoding> encodings = tokenizer.encode_batch(part, options, runner.threads());
    order.resize(encodings.size());
    for (size_t i = 0; i < order.size(); ++i) order[i] = i;
    std::stable_sort(order.begin(), order.end(), [&](size_t a, size_t b) { return encodings[a].size() > encodings[b].size(); });
    for (size_t i = 0; i < order.size();) {
      const size_t longest = std::max<size_t>(1, encodings[order[i]].size());
      const size_t n = std::min({order.size() - i, most, std::max<size_t>(1, static_cast<size_t>(positions) / longest)});
      std::vector<text::Encoding> group;
      std::vector<size_t> places;
      for (size_t k = i; k < i + n; ++k) group.push_back(std::move(encodings[order[k]])), places.push_back(from + order[k]);
      f(std::span<const size_t>(places), collate(tokenizer, std::move(group)));
      i += n;
    }
  }
}

inline std::vector<text::TextInput> text_inputs(const std::vector<std::string>& texts) {
  std::vector<text::TextInput> inputs;
  inputs.reserve(texts.size());
  for (const std::string& t : texts) inputs.push_back({t, std::nullopt});
  return inputs;
}

}  // namespace tenon::tasks
