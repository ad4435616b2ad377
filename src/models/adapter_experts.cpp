// Adapters of experts that share one tensor, split into one adapter for each expert's layer.
#include <algorithm>
#include <cmath>
#include <cstring>
#include <map>

#include "adapter_names.h"
#include "tenon/io/files.h"

namespace tenon::models {
namespace {

using io::Printable;

/// The layers of a bank, by what they do: "w1" or "gate_proj", and so on, and its number of experts.
struct Bank {
  std::string name, gate, up, down;  // name: "model.layers.0.block_sparse_moe.experts"
  int64_t experts = 0, width = 0, inner = 0;
};

Bank bank_of(const std::string& name, const std::vector<std::string>& layers,
             const std::function<const nn::Linear*(const std::string&)>& layer) {
  Bank bank{name, {}, {}, {}, 0, 0, 0};
  const std::string first = name + ".0.";
  for (const std::string& l : layers) {
    if (!l.starts_with(first)) continue;
    const std::string part = l.substr(first.size());
    (bank.gate.empty() ? bank.gate : bank.up.empty() ? bank.up : bank.down) = part;
  }
  if (bank.down.empty()) return bank;
  const nn::Linear* gate = layer(first + bank.gate);
  bank.width = gate->in_features(), bank.inner = gate->out_features();
  while (layer(name + "." + std::to_string(bank.experts) + "." + bank.gate)) ++bank.experts;
  return bank;
}

/// Expert e's factors: rows [e r, (e + 1) r) of a, and of b (out, r * E) every E-th column from e on, rows [begin, begin + out).
Tensor factor_a(const Tensor& a, int64_t e, int64_t r) { return a.rows(e * r, (e + 1) * r); }
Tensor factor_b(const Tensor& b, int64_t e, int64_t E, int64_t r, int64_t begin, int64_t out) {
  Tensor t = Tensor::empty({out, r}, DType::F32);
  const float* from = std::as_const(b).data<float>();
  for (int64_t o = 0; o < out; ++o)
    for (int64_t i = 0; i < r; ++i) t.data<float>()[o * r + i] = from[(begin + o) * r * E + i * E + e];
  return t;
}

/// A layer's name as Transformers 5 has it.
std::string renamed(std::string name) {
  if (const size_t at = name.find(".block_sparse_moe."); at != std::string::npos) name.replace(at, 18, ".mlp.");
  return name;
}

void set_pattern(Json& config, const char* key, const std::string& name, const Json& value) {
  Json patterns = config.has(key) ? config.at(key) : Json(Json::Object{});
  patterns.set(name, value);
  config.set(key, patterns);
}

void add_target(Json& config, const std::string& name) {
  const Json* given = config.get("target_modules");
  if (given && given->is_string()) return;  // a pattern: the layers come from the tensors
  Json::Array names = given ? given->as_array("target_modules") : Json::Array();
  for (const Json& n : names)
    if (n.is_string() && n.as_string() == name) return;
  names.emplace_back(name);
  config.set("target_modules", names);
}

}  // namespace

void split_experts(Json& config, std::vector<io::NamedTensor>& tensors, const std::vector<std::string>& layers,
                   const std::function<const nn::Linear*(const std::string&)>& layer) {
  std::map<std::string, std::pair<Tensor, Tensor>> pairs;  // by path below which lora_A and lora_B lie
  std::vector<io::NamedTensor> rest;
  const std::string prefix = "base_model.model.";
  for (auto& [full, t] : tensors) {
    std::string name = full.starts_with(prefix) ? full.substr(prefix.size()) : full;
    const size_t mark = std::min(name.rfind(".lora_A."), name.rfind(".lora_B."));
    if (mark != std::string::npos) {
      const auto known = [&](const std::string& module) { return layer(module) || !bank_of(module, layers, layer).down.empty(); };
      std::string module = name.substr(0, mark);
      const std::string bare = module.ends_with(".base_layer") ? module.substr(0, module.size() - 11) : module;
      const size_t mlp = name.find(".mlp.");
      if (!known(bare) && mlp < mark) {
        const std::string other = module.substr(0, mlp) + ".block_sparse_moe." + module.substr(mlp + 5);
        const std::string other_bare = bare.substr(0, mlp) + ".block_sparse_moe." + bare.substr(mlp + 5);
        if (known(other_bare)) name = other + name.substr(mark), module = other;
      }
      if (module.ends_with(".experts") || module.ends_with(".experts.base_layer")) {
        (name.find(".lora_A.", module.size()) != std::string::npos ? pairs[module].first : pairs[module].second) = t;
        continue;
      }
    }
    rest.emplace_back(prefix + name, t);
  }
  tensors = std::move(rest);
  if (const Json* parameters = config.get("target_parameters")) {
    for (const Json& p : parameters->as_array("target_parameters"))
      if (const std::string& name = p.as_string("target_parameters"); name == "gate.weight" || name.ends_with(".gate.weight"))
        add_target(config, "gate");
    config.set("target_parameters", Json());
  }
  if (pairs.empty()) return;
  const LoraConfig before = LoraConfig::from_json(config);
  for (const auto& [path, pair] : pairs) {
    const std::string name = path.ends_with(".base_layer") ? path.substr(0, path.size() - 11) : path;
    const Bank bank = bank_of(name, layers, layer);
    check(!bank.down.empty(), ErrorCode::Format, "adapter", Printable{path},
          ": this model has no such experts; the adapter is for another architecture");
    check(pair.first.defined() && pair.second.defined() && pair.first.rank() == 2 && pair.second.rank() == 2 &&
              is_float(pair.first.dtype()) && is_float(pair.second.dtype()),
          ErrorCode::Format, "adapter", Printable{path}, ": expected matrices lora_A and lora_B");
    const Tensor a = pair.first.to(DType::F32), b = pair.second.to(DType::F32);
    const bool both = a.size(1) == bank.width && b.size(0) == 2 * bank.inner, down = a.size(1) == bank.inner && b.size(0) == bank.width;
    check((both || down) && a.size(0) == b.size(1) && a.size(0) > 0 && a.size(0) % bank.experts == 0, ErrorCode::Format, "adapter",
          Printable{path}, ": expected factors of ", bank.experts, " experts of ", bank.width, " by ", bank.inner, ", got ", a.shape(),
          " and ", b.shape());
    const int64_t E = bank.experts, r = a.size(0) / E;
    const std::string whole = name + (both ? ".gate_up_proj" : ".down_proj");
    check(r == before.rank_of(whole), ErrorCode::Format, "adapter", Printable{path}, ": expected rank ", before.rank_of(whole), ", got ",
          r);
    const auto rank = static_cast<double>(r);
    const double alpha = before.scaling_of(whole) * (before.use_rslora ? std::sqrt(rank) : rank);
    const std::vector<std::string> parts = both ? std::vector{bank.gate, bank.up} : std::vector{bank.down};
    for (size_t p = 0; p < parts.size(); ++p) {
      add_target(config, parts[p]);
      if (r != before.r) set_pattern(config, "rank_pattern", parts[p], Json(r));
      if (alpha != before.lora_alpha) set_pattern(config, "alpha_pattern", parts[p], Json(alpha));
      for (int64_t e = 0; e < E; ++e) {
        const std::string at = prefix + name + "." + std::to_string(e) + "." + parts[p];
        tensors.emplace_back(at + ".lora_A.weight", factor_a(a, e, r));
        tensors.emplace_back(at + ".lora_B.weight",
                             factor_b(b, e, E, r, static_cast<int64_t>(p) * bank.inner, both ? bank.inner : bank.width));
      }
    }
  }
}

void join_experts(Json& config, std::vector<io::NamedTensor>& tensors, const std::vector<std::string>& layers,
                  const std::function<const nn::Linear*(const std::string&)>& layer) {
  const LoraConfig before = LoraConfig::from_json(config);
  const std::string prefix = "base_model.model.", mark = ".experts.0.";
  std::map<std::string, Bank> banks;
  for (const std::string& l : layers)
    if (const size_t at = l.find(mark); at != std::string::npos)
      banks.try_emplace(l.substr(0, at + 8), bank_of(l.substr(0, at + 8), layers, layer));
  std::map<std::string, Tensor> by_name(tensors.begin(), tensors.end());
  const auto factor = [&](const Bank& bank, int64_t e, const std::string& part, const char* which) {
    const auto it = by_name.find(prefix + bank.name + "." + std::to_string(e) + "." + part + which);
    return it == by_name.end() ? Tensor() : it->second;
  };
  std::erase_if(banks, [&](const auto& entry) {  // those without an adapter
    return std::none_of(tensors.begin(), tensors.end(),
                        [&](const io::NamedTensor& t) { return t.first.starts_with(prefix + entry.first + "."); });
  });
  // Only what the plain form cannot say: gate and up have another rank than the rest, as split_experts() gives them.
  const auto joined = [&](const auto& entry) {
    const Bank& b = entry.second;
    for (int64_t e = 0; e < b.experts; ++e)
      for (const std::string& part : {b.gate, b.up, b.down})
        if (!factor(b, e, part, ".lora_A.weight").defined()) return false;
    return b.experts > 0 && before.rank_of(b.name + ".0." + b.gate) != before.r &&
           before.rank_of(b.name + ".0." + b.gate) == before.rank_of(b.name + ".0." + b.up);
  };
  if (banks.empty() || !before.target_modules.pattern.empty() || before.all_linear || !std::all_of(banks.begin(), banks.end(), joined))
    return;
  std::vector<io::NamedTensor> all;
  for (const auto& [name, bank] : banks) {
    const int64_t r = before.rank_of(name + ".0." + bank.gate), down_r = before.rank_of(name + ".0." + bank.down), E = bank.experts;
    bool shared = true;  // gate and up read through the same A
    for (int64_t e = 0; e < E; ++e) {
      const Tensor a = factor(bank, e, bank.gate, ".lora_A.weight"), b = factor(bank, e, bank.up, ".lora_A.weight");
      shared &= std::memcmp(std::as_const(a).raw(), std::as_const(b).raw(), a.nbytes()) == 0;
    }
    const int64_t R = shared ? r : 2 * r, F = bank.inner, C = bank.width;
    Tensor a = Tensor::zeros({E * R, C}, DType::F32), b = Tensor::zeros({2 * F, R * E}, DType::F32);
    Tensor down_a = Tensor::zeros({E * down_r, F}, DType::F32), down_b = Tensor::zeros({C, down_r * E}, DType::F32);
    const auto put = [&](Tensor& to_a, Tensor& to_b, const std::string& part, int64_t e, int64_t rank, int64_t row, int64_t first) {
      const Tensor from_a = factor(bank, e, part, ".lora_A.weight"), from_b = factor(bank, e, part, ".lora_B.weight");
      const int64_t n = from_a.size(0), columns = to_b.size(1);
      std::memcpy(to_a.data<float>() + (e * rank + first) * to_a.size(1), std::as_const(from_a).raw(), from_a.nbytes());
      for (int64_t o = 0; o < from_b.size(0); ++o)
        for (int64_t i = 0; i < n; ++i)
          to_b.data<float>()[(row + o) * columns + (first + i) * E + e] = std::as_const(from_b).data<float>()[o * n + i];
    };
    for (int64_t e = 0; e < E; ++e) {
      put(a, b, bank.gate, e, R, 0, 0);
      put(a, b, bank.up, e, R, F, shared ? 0 : r);
      put(down_a, down_b, bank.down, e, down_r, 0, 0);
      for (const std::string& part : {bank.gate, bank.up, bank.down})
        for (const char* which : {".lora_A.weight", ".lora_B.weight"})
          by_name.erase(prefix + name + "." + std::to_string(e) + "." + part + which);
    }
    const std::string at = prefix + renamed(name);
    all.insert(all.end(), {{at + ".base_layer.lora_A.weight", a},
                           {at + ".base_layer.lora_B.weight", b},
                           {at + ".lora_A.weight", down_a},
                           {at + ".lora_B.weight", down_b}});
    const auto rank = static_cast<double>(R);
    set_pattern(config, "rank_pattern", ".*\\.gate_up_proj", Json(R));
    set_pattern(config, "alpha_pattern", ".*\\.gate_up_proj",
                Json(before.scaling_of(name + ".0." + bank.gate) * (before.use_rslora ? std::sqrt(rank) : rank)));
  }
  const Bank& one = banks.begin()->second;
  Json::Array targets, parameters{Json("down_proj"), Json("gate_up_proj")};
  for (const std::string& target : before.target_modules.endings) {
    if (target == "gate")
      parameters.insert(parameters.begin() + 1, Json("gate.weight"));
    else if (target != one.gate && target != one.up && target != one.down)
      targets.emplace_back(target);
  }
  for (const auto& [name, t] : by_name) all.emplace_back(prefix + renamed(name.substr(prefix.size())), t);
  for (const char* key : {"rank_pattern", "alpha_pattern"}) {
    if (!config.has(key)) continue;
    Json kept = Json(Json::Object{});
    for (const auto& [pattern, value] : config.at(key).as_object(key))
      if (pattern != one.gate && pattern != one.up) kept.set(pattern, value);
    config.set(key, kept);
  }
  config.set("target_modules", targets);
  config.set("target_parameters", parameters);
  tensors = std::move(all);
}

}  // namespace tenon::models
