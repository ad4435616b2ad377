// Adapters on disk: PEFT's adapter_config.json and adapter_model.safetensors.
#include <set>
#include <string_view>

#include "adapter_names.h"
#include "tenon/io/checkpoint.h"
#include "tenon/io/files.h"
#include "tenon/models/adapters.h"
#include "tenon/nn/linear.h"

namespace tenon::models {
namespace {

using io::Printable;

constexpr std::string_view kPrefix = "base_model.model.";

/// Without a part of the path, "x.base_layer.bias" to "x.bias".
std::string without(std::string name, const std::string& part) {
  for (size_t at; (at = name.find(part)) != std::string::npos;) name.erase(at, part.size() - 1);
  return name;
}

void expect_shape(const std::string& name, const Tensor& t, const Shape& shape) {
  check(is_float(t.dtype()), ErrorCode::Format, "adapter", Printable{name}, ": expected floating point numbers, got ", name_of(t.dtype()));
  check(t.shape() == shape, ErrorCode::Format, "adapter", Printable{name}, ": expected ", shape, ", got ", t.shape());
}

Tensor own(const Tensor& t) { return t.dtype() == DType::F32 ? t.clone() : t.to(DType::F32); }

}  // namespace

void Adapters::read(Adapter& adapter, const std::string& full, const Tensor& t, std::map<std::string, int>& seen) const {
  std::string name = full.starts_with(kPrefix) ? full.substr(kPrefix.size()) : full;
  check(name.find("lora_embedding_") == std::string::npos && name.find("lora_magnitude_vector") == std::string::npos, ErrorCode::Format,
        "adapter", Printable{full}, ": adapters of embeddings and DoRA are not supported");
  for (const bool is_a : {true, false}) {
    const std::string mark = is_a ? ".lora_A." : ".lora_B.";
    const size_t at = name.rfind(mark);
    if (at == std::string::npos) continue;
    const std::string module = name.substr(0, at);
    const Layer* l = layer(module);
    check(l && name.ends_with(".weight"), ErrorCode::Format, "adapter", Printable{full}, ": ", model_.class_name(), " has no layer ",
          Printable{module}, "; the adapter is for another architecture");
    nn::Lora& lora = adapter.factors[module];
    const int64_t r = adapter.config.rank_of(module);
    expect_shape(full, t, is_a ? Shape{r, l->linear->in_features()} : Shape{l->linear->out_features(), r});
    (is_a ? lora.a : lora.b) = own(t).to(model_.device());
    lora.scaling = adapter.config.scaling_of(module);
    lora.dropout = static_cast<float>(adapter.config.lora_dropout);
    seen[module] |= is_a ? 1 : 2;
    return;
  }
  name = without(without(name, ".base_layer."), ".modules_to_save.");
  check(slot_of_.contains(name), ErrorCode::Format, "adapter", Printable{full}, ": ", model_.class_name(), " has no parameter ",
        Printable{name}, "; the adapter is for another architecture");
  expect_shape(full, t, base(name).shape());
  adapter.saved[name] = own(t).to(model_.device());
  seen[name] = 3;
}

std::vector<std::string> Adapters::load(const std::string& name, const std::string& folder) {
  check(!name.empty() && name.find('.') == std::string::npos, ErrorCode::Format, "adapter", "name: expected one without a dot, got ",
        Printable{name});
  check(!adapters_.contains(name), ErrorCode::Format, "adapter", "there is already one named ", Printable{name});
  std::string weights = io::join_path(folder, "adapter_model.safetensors");
  if (!io::is_file(weights) && io::is_file(io::join_path(folder, "adapter_model.bin")))
    weights = io::join_path(folder, "adapter_model.bin");
  check(io::is_file(weights), ErrorCode::File, folder, "expected adapter_config.json and adapter_model.safetensors, got no such file");
  const io::Checkpoint file = io::Checkpoint::open(weights);
  Json json = Json::parse_file(io::join_path(folder, "adapter_config.json"));
  json.as_object("adapter_config.json");
  std::vector<io::NamedTensor> tensors;
  for (const std::string& tensor : file.names()) tensors.emplace_back(tensor, file.get(tensor));
  split_experts(json, tensors, layers(), [&](const std::string& n) { return layer(n) ? layer(n)->linear : nullptr; });
  std::set<std::string> given;
  for (const auto& [tensor, value] : tensors)
    if (const size_t at = std::min(tensor.rfind(".lora_A."), tensor.rfind(".lora_B.")); at != std::string::npos && at > kPrefix.size())
      given.insert(tensor.substr(kPrefix.size(), at - kPrefix.size()));
  Adapter adapter = make(json, 0, given);
  std::map<std::string, int> seen;
  for (const auto& [tensor, value] : tensors) read(adapter, tensor, value, seen);
  std::vector<std::string> missing;
  for (const auto& [module, lora] : adapter.factors) {
    const int parts = seen[module];
    if (!(parts & 1)) missing.push_back(module + ".lora_A.weight");
    if (!(parts & 2)) missing.push_back(module + ".lora_B.weight");
    check(lora.a.defined() && lora.b.defined(), ErrorCode::Format, "adapter", Printable{module},
          ": expected lora_A and lora_B, got one of them");
  }
  for (const auto& [parameter, value] : adapter.saved)
    if (!seen.contains(parameter)) missing.push_back(parameter);
  adapters_.emplace(name, std::move(adapter));
  order_.push_back(name);
  return missing;
}

void Adapters::save(const std::string& name, const std::string& folder) const {
  Json json = find(name).json;
  json.set("peft_type", "LORA");
  std::vector<io::NamedTensor> tensors;
  for (const Parameter& p : parameters(name)) tensors.emplace_back(p.name_on_disk(), p.value.to(Device{}));
  join_experts(json, tensors, layers(), [&](const std::string& n) { return layer(n) ? layer(n)->linear : nullptr; });
  io::make_folders(folder);
  io::AtomicFile weights(io::join_path(folder, "adapter_model.safetensors")), config(io::join_path(folder, "adapter_config.json"));
  io::write_safetensors(weights, tensors, {{"format", "pt"}});
  config.write(json.dump(2) + "\n");
  weights.finish(), config.finish();
  weights.commit(), config.commit();
}

}  // namespace tenon::models
