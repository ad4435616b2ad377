// LoRA adapters on a model: which layers they change, and how they come and go.
#include "tenon/models/adapters.h"

#include <algorithm>
#include <cmath>
#include <set>

#include "adapter_names.h"
#include "tenon/io/files.h"
#include "tenon/nn/linear.h"
#include "tenon/ops/matmul.h"

namespace tenon::models {
namespace {

using io::Printable;

/// Calls f(layer name, layer) and g(parameter name, tensor).
template <class F, class G>
class Lister final : public nn::Visitor {
 public:
  Lister(F f, G g) : f_(f), g_(g) {}
  void parameter(const std::string& name, Tensor& t, const Shape&, const nn::ParameterInfo&) override { g_(name, t); }
  void linear(const std::string& name, nn::Linear& layer) override { f_(name, layer), layer.visit(name, *this); }
  void packed_elsewhere(const std::string& name, nn::Linear& layer) override { linear(name, layer); }

 private:
  F f_;
  G g_;
};

/// Packs the layers whose weights or biases changed, and what is packed together with them.
class Repacker final : public nn::Visitor {
 public:
  Repacker(Context& ctx, const Model& model, const std::set<std::string>& changed)
      : ctx_(ctx), format_(format_of(model.precision()), model.fp8_rows()), head_(format_of(model.precision(), true)), changed_(changed) {}
  void parameter(const std::string&, Tensor&, const Shape&, const nn::ParameterInfo&) override {}
  void linear(const std::string& name, nn::Linear& layer) override {
    if (note(name)) layer.pack(ctx_, layer.precise() ? quant::Packing(WeightFormat::F32) : layer.tied_weight.empty() ? format_ : head_);
  }
  void fused(std::span<const std::string> names, std::span<nn::Linear* const> layers, nn::FusedLinear& fused) override {
    if (std::any_of(names.begin(), names.end(), [&](const std::string& n) { return note(n); })) fused.pack(ctx_, layers, format_);
  }
  void packed_elsewhere(const std::string& name, nn::Linear&) override { note(name); }
  /// What a part packs was listed before it; that more may have been listed costs time, not truth.
  void packable(nn::Packable& part) override {
    if (pending_) part.pack(ctx_, format_);
    pending_ = false;
  }

 private:
  bool note(const std::string& name) {
    const bool is = changed_.contains(name);
    pending_ |= is;
    return is;
  }

  Context& ctx_;
  quant::Packing format_, head_;
  const std::set<std::string>& changed_;
  bool pending_ = false;
};

bool contains(const std::vector<std::string>& all, const std::string& one) { return std::find(all.begin(), all.end(), one) != all.end(); }

void fill_uniform(Tensor& t, Random& random, float bound) {
  for (float& v : std::span(t.data<float>(), static_cast<size_t>(t.numel()))) v = bound * (2 * random.uniform() - 1);
}

nn::Lora fresh(const LoraConfig& config, const std::string& name, const nn::Linear& layer, Random random) {
  const int64_t r = config.rank_of(name);
  // A wish for memory that no file backs is bounded by what the layer itself could need.
  check(r <= std::max<int64_t>(1024, 4 * std::max(layer.in_features(), layer.out_features())), ErrorCode::Format, "adapter", "rank of ",
        name, ": expected one within the layer's (", layer.out_features(), ", ", layer.in_features(), "), got ", r);
  nn::Lora l;
  l.a = Tensor::zeros({r, layer.in_features()}, DType::F32);
  l.b = Tensor::zeros({layer.out_features(), r}, DType::F32);
  l.scaling = config.scaling_of(name);
  l.dropout = static_cast<float>(config.lora_dropout);
  if (config.init_lora_weights == LoraConfig::Init::Gaussian) {
    for (float& v : std::span(l.a.data<float>(), static_cast<size_t>(l.a.numel()))) v = random.normal() / static_cast<float>(r);
  } else {  // Kaiming's uniform with a = sqrt(5)
    fill_uniform(l.a, random, 1 / std::sqrt(static_cast<float>(std::max<int64_t>(1, layer.in_features()))));
  }
  if (config.init_lora_weights == LoraConfig::Init::Random) fill_uniform(l.b, random, 1 / std::sqrt(static_cast<float>(r)));
  return l;
}

}  // namespace

Adapters::Adapters(Model& model) : model_(model) {
  Lister lister(
      [&](const std::string& name, nn::Linear& l) {
        layers_.push_back({name, &l, !l.tied_weight.empty()});
      },
      [&](const std::string& name, Tensor& t) { slots_.emplace_back(name, &t); });
  model.visit(lister);
  for (size_t i = 0; i < layers_.size(); ++i) by_name_[layers_[i].name] = i;
  for (size_t i = 0; i < slots_.size(); ++i) slot_of_[slots_[i].first] = i;
}

const Adapters::Adapter& Adapters::find(const std::string& name) const {
  const auto it = adapters_.find(name);
  check(it != adapters_.end(), ErrorCode::Format, "adapter", "there is none named ", Printable{name});
  return it->second;
}

Adapters::Adapter& Adapters::find(const std::string& name) { return const_cast<Adapter&>(std::as_const(*this).find(name)); }

const Adapters::Layer* Adapters::layer(const std::string& name) const {
  const auto it = by_name_.find(name);
  return it == by_name_.end() ? nullptr : &layers_[it->second];
}

const Tensor& Adapters::base(const std::string& parameter) const {
  const auto it = base_.find(parameter);
  return it != base_.end() ? it->second : *slots_[slot_of_.at(parameter)].second;
}

std::vector<std::string> Adapters::targets_of(const LoraConfig& given) const {
  LoraConfig config = given;
  const std::string type = model_.config().value("model_type", "");
  if (config.target_modules.empty() && !config.all_linear) config.target_modules.endings = default_target_modules(type);
  check(!config.target_modules.empty() || config.all_linear, ErrorCode::Format, "adapter",
        "target_modules: expected names of layers, got none (model_type ", Printable{type}, " has no usual ones)");
  std::vector<std::string> names;
  for (const Layer& l : layers_) {
    if (!saved_module(config, l.name + ".weight").empty() || (!l.linear->quantized && l.linear->weight.rank() != 2)) continue;
    const bool head = l.output || (config.task_type == "SEQ_CLS" && (l.name == "classifier" || l.name == "score"));
    if (config.all_linear ? !head && !config.excludes(l.name) : config.targets(l.name)) names.push_back(l.name);
  }
  for (const auto& [name, slot] : slots_) {
    const std::string module = name.substr(0, std::max<size_t>(name.rfind('.'), 1));
    const bool chosen =
        config.target_modules.pattern.empty() && !layer(module) && saved_module(config, name).empty() && config.targets(module);
    check(!chosen, ErrorCode::Format, "adapter", "target_modules: ", Printable{module},
          " is no linear layer; it can be trained whole (modules_to_save)");
  }
  check(!names.empty(), ErrorCode::Format, "adapter", "target_modules: ", model_.class_name(), " has no layer ",
        config.all_linear                       ? "all-linear"
        : config.target_modules.pattern.empty() ? config.target_modules.endings[0]
                                                : config.target_modules.pattern,
        layers_.empty() ? "" : ", but for example ", layers_.empty() ? "" : layers_[0].name);
  return names;
}

Adapters::Adapter Adapters::make(const Json& json, uint64_t seed, const std::set<std::string>& given) const {
  Adapter adapter{LoraConfig::from_json(json), json, {}, {}};
  const LoraConfig& config = adapter.config;
  uint64_t stream = 0;
  for (const std::string& name : targets_of(config)) {
    ++stream;
    if (given.contains(name)) {
      adapter.factors[name] = nn::Lora();
      continue;
    }
    nn::Lora& lora = adapter.factors[name] = fresh(config, name, *layer(name)->linear, Random(seed, stream));
    lora.a = lora.a.to(model_.device()), lora.b = lora.b.to(model_.device());
  }
  for (const auto& [name, slot] : slots_) {
    const bool bias = name == "bias" || name.ends_with(".bias");
    const bool own =
        bias && (config.bias == "all" || (config.bias == "lora_only" && adapter.factors.contains(name.substr(0, name.size() - 5))));
    if (!own && saved_module(config, name).empty()) continue;
    const Layer* of = layer(name.substr(0, name.rfind('.')));
    check(!of || !of->linear->quantized || bias, ErrorCode::Format, "adapter", Printable{name}, ": a quantised weight cannot be trained");
    const Tensor from = base(name);
    adapter.saved[name] = (from.dtype() == DType::F32 ? from.clone() : from.to(DType::F32)).to(model_.device());
  }
  return adapter;
}

void Adapters::add(const std::string& name, const Json& config, uint64_t seed) {
  check(!name.empty() && name.find('.') == std::string::npos, ErrorCode::Format, "adapter", "name: expected one without a dot, got ",
        Printable{name});
  check(!adapters_.contains(name), ErrorCode::Format, "adapter", "there is already one named ", Printable{name});
  adapters_.emplace(name, make(config, seed, {}));
  order_.push_back(name);
}

void Adapters::remove(Context& ctx, const std::string& name) {
  find(name);
  if (contains(merged_, name)) {
    std::vector<std::string> others = merged_;
    std::erase(others, name);
    unmerge(ctx);
    merge(ctx, others);
  }
  std::erase(active_, name);
  apply(ctx);
  std::erase(order_, name);
  adapters_.erase(name);
}

void Adapters::activate(Context& ctx, const std::vector<std::string>& names) {
  for (const std::string& name : names) find(name);
  active_.clear();
  for (const std::string& name : names)
    if (!contains(active_, name)) active_.push_back(name);
  apply(ctx);
}

void Adapters::merge(Context& ctx, const std::vector<std::string>& names) {
  for (const std::string& name : names) find(name);
  std::map<std::string, Tensor> sums;
  std::vector<std::string> all = merged_;
  for (const std::string& name : names) {
    if (contains(all, name)) continue;
    all.push_back(name);
    for (const auto& [module, lora] : find(name).factors) {
      check(!layer(module)->linear->quantized, ErrorCode::Type, "adapter", Printable{module},
            ": an adapter cannot be merged into a quantised weight");
      const std::string weight = module + ".weight";
      const auto before = sums.find(weight);
      const auto earlier = summed_.find(weight);
      const Tensor from = before != sums.end() ? before->second : earlier != summed_.end() ? earlier->second : base(weight).to(DType::F32).to(ctx.device());
      Tensor product = ops::scale(ctx, ops::matmul(ctx, lora.b, lora.a), lora.scaling);
      if (layer(module)->linear->in_out()) product = ops::transpose(ctx, product);
      sums[weight] = ops::add(ctx, from, product);
    }
  }
  for (auto& [weight, sum] : sums) summed_[weight] = std::move(sum);
  merged_ = std::move(all);
  apply(ctx);
}

void Adapters::unmerge(Context& ctx) {
  summed_.clear();
  merged_.clear();
  apply(ctx);
}

void Adapters::forget(Context& ctx) {
  for (auto& [name, adapter] : adapters_) adapter.factors.clear();
  apply(ctx);
  base_.clear(), summed_.clear(), adapters_.clear();
  order_.clear(), active_.clear(), merged_.clear();
}

void Adapters::to(Context& ctx) {
  if (ctx.device() == model_.device()) return;
  std::map<std::string, Adapter> there = adapters_;  // everything that takes memory, before anything changes
  std::map<std::string, Tensor> sums = summed_;
  for (auto& [name, adapter] : there) {
    for (auto& [module, lora] : adapter.factors) lora.unpack(), lora.a = lora.a.to(ctx.device()), lora.b = lora.b.to(ctx.device());
    for (auto& [parameter, value] : adapter.saved) value = value.to(ctx.device());
  }
  for (auto& [weight, sum] : sums) sum = sum.to(ctx.device());
  const std::vector<std::string> active = std::exchange(active_, {}), merged = std::exchange(merged_, {});
  std::map<std::string, Tensor> before = std::exchange(summed_, {});
  Context here(model_.device());
  const auto act = [&](Context& c, std::map<std::string, Tensor>& weights) {
    active_ = active, merged_ = merged, summed_ = weights;
    apply(c);
  };
  apply(here);
  try {
    model_.to(ctx);
  } catch (...) {
    act(here, before);
    throw;
  }
  adapters_ = std::move(there);
  act(ctx, sums);
}

void Adapters::apply(Context& ctx) {
  const bool packed = std::any_of(layers_.begin(), layers_.end(), [](const Layer& l) { return l.linear->packed.defined(); });
  std::map<std::string, Tensor> wanted = summed_;
  for (const std::string& name : order_)
    if (contains(merged_, name) && !contains(active_, name))
      for (const auto& [parameter, value] : find(name).saved) wanted[parameter] = value;
  for (const std::string& name : active_)
    for (const auto& [parameter, value] : find(name).saved) wanted[parameter] = value;
  std::set<std::string> changed;
  for (auto& [name, slot] : slots_) {
    const auto own = wanted.find(name);
    const auto former = base_.find(name);
    if (own == wanted.end() && former == base_.end()) continue;
    Tensor next = own != wanted.end() ? own->second : former->second;
    if (next.id() == slot->id()) continue;
    if (own == wanted.end()) {
      if (!packed && (next.dtype() != DType::F32 || next.read_only()))
        next = next.dtype() == DType::F32 ? next.clone() : next.to(DType::F32);
      if (!packed) next = next.to(model_.device());  // it may have lain packed there, and here as the file has it
      base_.erase(former);
    } else if (former == base_.end()) {
      base_[name] = *slot;
    }
    *slot = std::move(next);
    changed.insert(name.substr(0, name.rfind('.')));
  }
  const WeightFormat format = format_of(model_.precision());
  model_.touch();
  for (const Layer& l : layers_) {
    l.linear->lora.clear();
    for (const std::string& name : active_) {
      const auto& factors = find(name).factors;
      if (const auto it = factors.find(l.name); it != factors.end() && !contains(merged_, name)) l.linear->lora.push_back(it->second);
    }
    if (packed) l.linear->pack_adapters(ctx, l.linear->precise() ? WeightFormat::F32 : format);
  }
  if (!packed || changed.empty()) return;
  Repacker repacker(ctx, model_, changed);
  model_.visit(repacker);
}

std::vector<std::string> Adapters::names() const { return order_; }

std::vector<Adapters::Parameter> Adapters::parameters(const std::string& name) const {
  const Adapter& adapter = find(name);
  std::vector<Parameter> all;
  for (const Layer& l : layers_)
    if (const auto it = adapter.factors.find(l.name); it != adapter.factors.end()) {
      all.push_back({l.name, "lora_A.weight", false, it->second.a});
      all.push_back({l.name, "lora_B.weight", false, it->second.b});
    }
  for (const auto& [parameter, slot] : slots_) {
    const auto it = adapter.saved.find(parameter);
    if (it == adapter.saved.end()) continue;
    std::string module = saved_module(adapter.config, parameter);
    if (module.empty()) module = parameter.substr(0, parameter.rfind('.'));
    const std::string part = parameter.substr(module.size() + 1);
    all.push_back({module, adapter.factors.contains(module) ? "base_layer." + part : part, true, it->second});
  }
  return all;
}

std::vector<std::pair<std::string, float>> Adapters::scalings(const std::string& name) const {
  const Adapter& adapter = find(name);
  std::vector<std::pair<std::string, float>> all;
  for (const Layer& l : layers_)
    if (const auto it = adapter.factors.find(l.name); it != adapter.factors.end()) all.emplace_back(l.name, it->second.scaling);
  return all;
}

std::vector<std::string> Adapters::layers() const {
  std::vector<std::string> names;
  for (const Layer& l : layers_) names.push_back(l.name);
  return names;
}

}  // namespace tenon::models
