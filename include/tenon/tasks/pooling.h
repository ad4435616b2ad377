// One vector from the vectors of a text's tokens, in the ways that sentence encoders are trained with.
#pragma once

#include <algorithm>
#include <cmath>
#include <string>
#include <vector>

#include "tenon/core/json.h"
#include "tenon/io/files.h"

namespace tenon {

/// How the vectors x_t of a text's real tokens t = 1..n become one.
enum class Pooling {
  Mean,          // sum x_t / n
  Cls,           // x_1
  Max,           // the largest value of each component
  MeanSqrtLen,   // sum x_t / sqrt(n)
  WeightedMean,  // sum t x_t / sum t
  LastToken,     // x_n
  Pooler,        // the model's own: a trained layer over x_1
};

/// What the files of a sentence encoder say.
struct EmbeddingConfig {
  std::vector<Pooling> pooling = {Pooling::Mean};  // several are laid one behind the other
  bool normalize = false;                          // to unit length
  int64_t max_length = 0;                          // tokens; 0: what tokenizer and model take
  bool lower_case = false;                         // texts, before the tokenizer sees them
};

}  // namespace tenon

namespace tenon::tasks {

/// Reads the pooling of 1_Pooling/config.json: flags as they were always written, or the name in "pooling_mode".
/// Errors: Error(Format) for none or for a name that is not known; Error(Type).
inline std::vector<Pooling> read_pooling(const Json& config, const std::string& where) {
  struct Mode {
    const char *flag, *name;
    Pooling pooling;
  };
  constexpr Mode kModes[] = {{"pooling_mode_cls_token", "cls", Pooling::Cls},
                             {"pooling_mode_max_tokens", "max", Pooling::Max},
                             {"pooling_mode_mean_tokens", "mean", Pooling::Mean},
                             {"pooling_mode_mean_sqrt_len_tokens", "mean_sqrt_len_tokens", Pooling::MeanSqrtLen},
                             {"pooling_mode_weightedmean_tokens", "weightedmean", Pooling::WeightedMean},
                             {"pooling_mode_lasttoken", "lasttoken", Pooling::LastToken}};
  std::vector<Pooling> chosen;
  const std::string named = config.value("pooling_mode", "");
  for (const Mode& mode : kModes)
    if (config.value(mode.flag, false) || named == mode.name) chosen.push_back(mode.pooling);
  check(!chosen.empty(), ErrorCode::Format, where,
        "expected one of the poolings cls, max, mean, mean_sqrt_len_tokens, weightedmean, lasttoken",
        named.empty() ? "" : ", got \"" + named + "\"");
  return chosen;
}

/// Reads modules.json and what it refers to. A folder without it is an encoder whose vectors are averaged.
/// Errors: Error(Format) naming a module that is neither an encoder, nor Pooling, nor Normalize; as read_pooling().
/// Source: the folder layout of sentence-transformers.
inline EmbeddingConfig read_embedding_config(const std::string& folder) {
  EmbeddingConfig result;
  const std::string path = io::join_path(folder, "modules.json");
  if (!io::is_file(path)) return result;
  const Json modules = Json::parse_file(path);
  for (const Json& module : modules.as_array("modules.json")) {
    const std::string type = module.value("type", ""), name = type.substr(type.rfind('.') + 1);
    if (name == "Pooling") {
      const std::string config = io::join_path(io::join_path(folder, module.value("path", "")), "config.json");
      result.pooling = read_pooling(Json::parse_file(config), config);
    } else if (name == "Normalize") {
      result.normalize = true;
    } else {
      check(name == "Transformer", ErrorCode::Format, path, "expected the modules Transformer, Pooling and Normalize, got \"", type, "\"");
    }
  }
  if (const std::string sizes = io::join_path(folder, "sentence_bert_config.json"); io::is_file(sizes)) {
    const Json options = Json::parse_file(sizes);
    result.max_length = options.value("max_seq_length", 0);
    result.lower_case = options.value("do_lower_case", false);
  }
  return result;
}

/// Pools x (T,C) under mask (T) into y (C). Rows with mask 0 do not count.
inline void pool(float* y, const float* x, const int32_t* mask, int64_t T, int64_t C, Pooling pooling) {
  std::fill(y, y + C, pooling == Pooling::Max ? -1e9f : 0.0f);
  int64_t first = -1, last = -1;
  float n = 0, weights = 0;
  for (int64_t t = 0; t < T; ++t) {
    if (!mask[t]) continue;
    if (first < 0) first = t;
    last = t;
    // sentence-transformers weighs by position in the padded batch, which is this where padding is on the right
    const float w = pooling == Pooling::WeightedMean ? static_cast<float>(t + 1) : 1.0f;
    n += 1;
    weights += w;
    if (pooling == Pooling::Max) {
      for (int64_t c = 0; c < C; ++c) y[c] = std::max(y[c], x[t * C + c]);
    } else if (pooling != Pooling::Cls && pooling != Pooling::LastToken) {
      for (int64_t c = 0; c < C; ++c) y[c] += w * x[t * C + c];
    }
  }
  if (first < 0) return;
  if (pooling == Pooling::Cls) std::copy_n(x + first * C, C, y);
  if (pooling == Pooling::LastToken) std::copy_n(x + last * C, C, y);
  const float divisor = pooling == Pooling::MeanSqrtLen ? std::sqrt(n) : weights;
  if (pooling == Pooling::Mean || pooling == Pooling::MeanSqrtLen || pooling == Pooling::WeightedMean)
    for (int64_t c = 0; c < C; ++c) y[c] /= divisor;
}

}  // namespace tenon::tasks
