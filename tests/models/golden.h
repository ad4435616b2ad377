// Opens the golden cases: tiny checkpoints with what Transformers computes from them in float32.
#pragma once

#include <doctest/doctest.h>

#include <cmath>
#include <filesystem>
#include <map>
#include <string>
#include <vector>

#include "tenon/io/safetensors.h"
#include "tenon/models/registry.h"

namespace tenon::test {

/// The folder of a case, in the repository or in the reference data beside it; "" if neither has it.
inline std::string golden_folder(const std::string& name) {
  for (const std::string& root : {std::string(TENON_TEST_DIR) + "/golden/", std::string(TENON_SHARED_DIR) + "/golden/cases/"})
    if (std::filesystem::exists(root + name + "/model.safetensors")) return root + name;
  return "";
}

/// All tensors of a safetensors file by name; empty if there is no such file.
inline std::map<std::string, Tensor> read_all(const std::string& path) {
  std::map<std::string, Tensor> all;
  if (!std::filesystem::exists(path)) return all;
  const io::SafeTensors file = io::SafeTensors::open(path);
  for (const auto& name : file.names()) all[std::string(name)] = file.tensor(name);
  return all;
}

/// Sets the members of `in` that the map has.
inline void assign(models::Inputs& in, const std::map<std::string, Tensor>& values) {
  in.visit([&](const char* name, Tensor& t) {
    if (const auto it = values.find(name); it != values.end()) t = it->second;
  });
}

/// Outputs under Transformers' names, lists as "name.i".
inline std::map<std::string, Tensor> flatten(models::Outputs out) {
  std::map<std::string, Tensor> all;
  out.visit([&](const char* name, auto& value) {
    if constexpr (std::is_same_v<std::decay_t<decltype(value)>, Tensor>) {
      if (value.defined()) all[name] = value;
    } else {
      for (size_t i = 0; i < value.size(); ++i) all[std::string(name) + "." + std::to_string(i)] = value[i];
    }
  });
  return all;
}

/// max |a - b| / max |b|, over the rows that the mask keeps where a is (B,T,...); 0 for two empty tensors.
inline double relative_error(const Tensor& a, const Tensor& b, const Tensor& mask = {}) {
  REQUIRE(a.numel() == b.numel());
  const Tensor x = a.to(Device{}).to(DType::F32), y = b.to(DType::F32);
  std::vector<int64_t> keep;
  int64_t rows = 0;
  const bool by_position = mask.defined() && ((a.rank() == 3 && a.size(0) == mask.size(0) && a.size(1) == mask.size(1)) ||
                                              (a.rank() == 2 && a.size(0) == mask.numel()));
  if (by_position) {
    const Tensor m = mask.to(DType::I64);
    keep.assign(m.data<int64_t>(), m.data<int64_t>() + m.numel());
    rows = mask.numel();
  }
  double worst = 0, largest = 0;
  for (int64_t i = 0; i < x.numel(); ++i) {
    if (rows && !keep[i / (x.numel() / rows)]) continue;
    const double d = std::abs(static_cast<double>(x.data<float>()[i]) - y.data<float>()[i]);
    worst = std::isnan(d) ? INFINITY : std::max(worst, d);
    largest = std::max(largest, std::abs(static_cast<double>(y.data<float>()[i])));
  }
  return largest > 0 ? worst / largest : worst;
}

/// The cases with outputs of a forward pass.
inline constexpr const char* kGoldenCases[] = {"bert", "bert-mlm", "distilbert", "roberta", "vit", "vit-pooler", "clip", "gpt2", "llama",
                                               "llama-tied-rope3", "mistral-window", "qwen2", "qwen3", "mixtral-16", "olmoe", "qwen3-moe",
                                               "deepseek-v2-lite", "deepseek-v2", "deepseek-v3", "marian", "m2m100", "t5"};

struct GoldenCase {
  std::string folder;
  models::Inputs inputs, with_labels;
  std::map<std::string, Tensor> outputs, grads;
  double loss = 0;
};

inline GoldenCase open_case(const std::string& name) {
  GoldenCase c{.folder = golden_folder(name), .inputs = {}, .with_labels = {}, .outputs = {}, .grads = {}};
  if (c.folder.empty()) {
    MESSAGE("skipped: no golden case ", name);
    return c;
  }
  assign(c.inputs, read_all(c.folder + "/inputs.safetensors"));
  c.inputs.output_hidden_states = true;
  c.with_labels = c.inputs;
  assign(c.with_labels, read_all(c.folder + "/loss_inputs.safetensors"));
  const Json meta = Json::parse_file(c.folder + "/meta.json");
  if (const Json* call = meta.get("loss_call")) c.with_labels.return_loss = call->value("return_loss", false);
  if (const Json* call = meta.get("call"))
    c.inputs.output_router_logits = c.with_labels.output_router_logits = call->value("output_router_logits", false);
  c.loss = meta.value("loss", 0.0);
  c.outputs = read_all(c.folder + "/outputs.safetensors");
  c.grads = read_all(c.folder + "/grads.safetensors");
  return c;
}

}  // namespace tenon::test
