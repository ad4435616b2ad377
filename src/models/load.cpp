// Opening a Hugging Face folder as a model, making one from a configuration, and saving one.
#include <algorithm>
#include <cmath>
#include <cstring>
#include <map>
#include <optional>
#include <set>

#include "tenon/io/checkpoint.h"
#include "tenon/io/files.h"
#include "tenon/models/registry.h"
#include "tenon/nn/linear.h"

namespace tenon::models {
namespace {

bool starts_with(const std::string& s, const std::string& prefix) { return s.compare(0, prefix.size(), prefix) == 0; }
bool ends_with(const std::string& s, const std::string& suffix) {
  return s.size() >= suffix.size() && s.compare(s.size() - suffix.size(), suffix.size(), suffix) == 0;
}

bool is_buffer(const std::string& name) {
  for (const char* end : {"position_ids", ".attn.bias", ".attn.masked_bias", "rotary_emb.inv_freq"})
    if (ends_with(name, end)) return true;
  return false;
}

std::string list(std::vector<std::string> names, size_t most = 8) {
  std::string s;
  for (size_t i = 0; i < names.size() && i < most; ++i) s += (i ? ", " : "") + names[i];
  if (names.size() > most) s += ", and " + std::to_string(names.size() - most) + " more";
  return s;
}

Tensor initial(const Shape& shape, const nn::ParameterInfo& info, double range, Random& random) {
  Tensor t = Tensor::zeros(shape, DType::F32);
  float* x = t.data<float>();
  for (int64_t i = 0; i < t.numel(); ++i) {
    if (info.init == nn::Init::Ones) x[i] = static_cast<float>(info.scale);
    else if (info.init == nn::Init::Normal) x[i] = static_cast<float>(range) * random.normal();
  }
  return t;
}

/// Gives each parameter its tensor: from the checkpoint, from what it is tied to, or fresh.
class Loader final : public nn::Visitor {
 public:
  Loader(const io::Checkpoint* checkpoint, const Model& model, const LoadOptions& options)
      : checkpoint_(checkpoint),
        scheme_(checkpoint ? quant::Scheme::of_config(model.config()) : std::nullopt),
        model_(model),
        prefix_(model.base_prefix()),
        options_(options),
        tie_(model.config().value("tie_word_embeddings", true)),
        range_(model.config().value("initializer_range", model.config().value("init_std", 0.02))),
        random_(options.seed) {}

  void linear(const std::string& name, nn::Linear& layer) override {
    if (scheme_) take_quantized(name, layer);
    layer.visit(name, *this);
  }
  void packed_elsewhere(const std::string& name, nn::Linear& layer) override { linear(name, layer); }

  void parameter(const std::string& name, Tensor& t, const Shape& shape, const nn::ParameterInfo& info) override {
    if (info.stored >= 0) return;  // take_quantized gave it
    if (!info.tied.empty() && tie_) {
      if (const auto it = loaded_.find(info.tied); it != loaded_.end() && !holds_another(name, info.tied)) {
        t = it->second;
        return;
      }
    }
    std::string at = find(name);
    for (const std::string& alias : info.aliases)
      if (const std::string other = find(alias); at.empty()) at = other;
    if (!at.empty()) {
      t = take(checkpoint_->get(at), at, name, shape, info);
    } else if (const Tensor merged = from_merged(name); merged.defined()) {
      t = take(merged, name + " (of all experts in one tensor)", name, shape, info);
    } else {
      if (checkpoint_ && !info.optional) report.missing.push_back(name);
      t = initial(shape, info, range_, random_);
    }
    loaded_[name] = t;
  }

  /// Looks at what can be damaged in quantised layers without that headers show it.
  void check_quantized(Context& ctx) const {
    for (const auto& q : quantized_) q->prefetch_contents();
    ctx.over_rows(static_cast<int64_t>(quantized_.size()), 1 << 14, [&](int64_t begin, int64_t end) {
      for (int64_t i = begin; i < end; ++i) quantized_[static_cast<size_t>(i)]->check_contents();
    });
  }

  /// Names that no parameter asked for, buffers that old versions stored apart: positions, masks, frequencies.
  void finish() {
    if (!checkpoint_) return;
    for (const std::string& name : checkpoint_->names())
      if (!used_.count(name) && !is_buffer(name) && !model_.superfluous(name)) report.unexpected.push_back(name);
    check(report.missing.empty() || options_.allow_missing, ErrorCode::Format, "load", checkpoint_->folder(), ": ", report.missing.size(),
          " weights are missing: ", list(report.missing),
          report.unexpected.empty() ? "" : "; the checkpoint holds instead: ", list(report.unexpected));
  }
  /// Whether quantised weights were found whose products round activations to int8 (all but FP8).
  bool rounds_rows() const { return rounds_rows_; }
  LoadReport report;

 private:
  /// Gives the layer what the checkpoint holds of it, if that is quantised; whatever config.json lists as converted or not.
  void take_quantized(const std::string& name, nn::Linear& layer) {
    quant::StoredLayer stored{name, layer.out_features(), layer.in_features(), {}};
    bool quantized = false;
    size_t i = 0;
    for (const std::string_view suffix : scheme_->format->suffixes) {
      const bool telling = i++ < scheme_->format->telling;
      const std::string at = find(name + "." + std::string(suffix));
      if (at.empty()) continue;
      const Tensor t = checkpoint_->get(at);
      quantized |= telling || (suffix == "weight" && (t.dtype() == DType::I8 || t.dtype() == DType::F8E4M3 || t.dtype() == DType::F8E5M2));
      stored.tensors.emplace_back(suffix, t);
    }
    if (!quantized) return;
    rounds_rows_ = rounds_rows_ || !scheme_->format->method.ends_with("fp8");
    layer.quantized = std::make_shared<nn::QuantizedWeight>(*scheme_, std::move(stored), options_.exact_products);
    quantized_.push_back(layer.quantized);
    // AutoGPTQ writes biases of zeros beside layers that have none.
    const Tensor bias = layer.has_bias() ? Tensor() : checkpoint_->find(name + ".bias");
    if (bias.defined() && is_float(bias.dtype())) {
      const Tensor values = bias.to(DType::F32);
      if (std::ranges::all_of(values.values<float>(), [](float v) { return v == 0; })) used_.insert(name + ".bias");
    }
  }

  /// Whether the checkpoint holds `name` with values that are not those of `tied`, whatever config.json says of tying.
  bool holds_another(const std::string& name, const std::string& tied) {
    const std::string at = find(name), with = find(tied);  // a copy that the checkpoint holds is not superfluous
    if (at.empty() || with.empty() || at == with) return false;
    const Tensor a = checkpoint_->get(at), b = checkpoint_->get(with);
    return a.dtype() != b.dtype() || a.shape() != b.shape() ||
           std::memcmp(std::as_const(a).raw(), std::as_const(b).raw(), a.nbytes()) != 0;
  }

  /// The name under which the checkpoint holds `name`: as it is, with or without the base model's prefix, or in the
  /// spelling of TensorFlow days (gamma, beta). "" if it holds none.
  std::string find(const std::string& name) {
    if (!checkpoint_) return "";
    std::vector<std::string> candidates{name};
    if (!prefix_.empty()) {
      if (starts_with(name, prefix_ + ".")) candidates.push_back(name.substr(prefix_.size() + 1));
      else candidates.push_back(prefix_ + "." + name);
    }
    for (size_t i = 0, n = candidates.size(); i < n; ++i) {
      const std::string c = candidates[i];
      if (const size_t moe = c.find(".block_sparse_moe."); moe != std::string::npos)
        candidates.push_back(c.substr(0, moe) + ".mlp." + c.substr(moe + 18));
      if (ends_with(c, "LayerNorm.weight")) candidates.push_back(c.substr(0, c.size() - 6) + "gamma");
      if (ends_with(c, "LayerNorm.bias")) candidates.push_back(c.substr(0, c.size() - 4) + "beta");
    }
    for (const std::string& c : candidates)
      if (checkpoint_->has(c)) {
        used_.insert(c);
        return c;
      }
    return "";
  }

  /// The weight of one expert where the checkpoint holds those of all in one tensor, as Transformers 5 has them in memory: experts.3.up_proj.weight
  /// is the second half of block 3 of experts.gate_up_proj (E, 2F, C). Undefined if it is no such weight.
  Tensor from_merged(const std::string& name) {
    constexpr std::string_view kMark = ".experts.";
    const size_t mark = name.find(kMark);
    if (!checkpoint_ || mark == std::string::npos) return {};
    const size_t number = mark + kMark.size(), dot = name.find('.', number);
    if (dot == std::string::npos || dot == number || dot - number > 9 || name.find_first_not_of("0123456789", number) != dot) return {};
    const std::string part = name.substr(dot + 1);
    const bool gate = part == "gate_proj.weight" || part == "w1.weight", up = part == "up_proj.weight" || part == "w3.weight";
    const bool down = part == "down_proj.weight" || part == "w2.weight";
    if (!gate && !up && !down) return {};
    const std::string at = find(name.substr(0, number) + (down ? "down_proj" : "gate_up_proj"));
    if (at.empty()) return {};
    const Tensor all = checkpoint_->get(at);
    const int64_t expert = std::stoll(name.substr(number, dot - number));
    check(all.rank() == 3 && expert < all.size(0) && (down || all.size(1) % 2 == 0), ErrorCode::Format, "load", at,
          ": expected the weights of ", expert + 1, " experts or more, got ", all.shape());
    const Tensor one = all.rows(expert, expert + 1).view({all.size(1), all.size(2)});
    const int64_t half = all.size(1) / 2;
    return down ? one : gate ? one.rows(0, half) : one.rows(half, 2 * half);
  }

  Tensor take(Tensor t, const std::string& at, const std::string& name, const Shape& shape, const nn::ParameterInfo& info) {
    check(is_float(t.dtype()), ErrorCode::Format, "load", at, ": expected floating point weights, got ", name_of(t.dtype()));
    if (t.shape() != shape && t.numel() == 1 && shape.numel() == 1) t = t.view(shape);
    if (t.shape() != shape) {
      check(options_.ignore_mismatched_sizes, ErrorCode::Format, "load", at, ": expected shape ", shape, " by config.json, got ", t.shape(),
            " (ignore_mismatched_sizes initialises it anew)");
      report.mismatched.push_back(name);
      return initial(shape, info, range_, random_);
    }
    const bool mappable = t.dtype() == DType::F32 || t.dtype() == DType::BF16 || t.dtype() == DType::F16;
    const bool large = info.in_place || (shape.rank() == 2 && info.init == nn::Init::Normal) || shape.rank() == 4;
    if (options_.pack && mappable && large) return t;  // stays in the mapped file
    return t.dtype() == DType::F32 ? t.clone() : t.to(DType::F32);
  }

  const io::Checkpoint* checkpoint_;
  std::optional<quant::Scheme> scheme_;
  bool rounds_rows_ = false;
  std::vector<std::shared_ptr<const nn::QuantizedWeight>> quantized_;
  const Model& model_;
  std::string prefix_;
  const LoadOptions& options_;
  bool tie_;
  double range_;
  Random random_;
  std::map<std::string, Tensor> loaded_;
  std::set<std::string> used_;
};

/// What a model has, by name.
struct Giver final : nn::Visitor {
  void parameter(const std::string& name, Tensor& t, const Shape&, const nn::ParameterInfo&) override { tensors[name] = t; }
  void linear(const std::string& name, nn::Linear& layer) override {
    if (layer.quantized) quantized[name] = layer.quantized;
    layer.visit(name, *this);
  }
  void packed_elsewhere(const std::string& name, nn::Linear& layer) override { linear(name, layer); }
  std::map<std::string, Tensor> tensors;
  std::map<std::string, std::shared_ptr<nn::QuantizedWeight>> quantized;
};

/// Gives it to another model of the same configuration.
struct Taker final : nn::Visitor {
  explicit Taker(const Giver& g) : giver(g) {}
  void parameter(const std::string& name, Tensor& t, const Shape&, const nn::ParameterInfo& info) override {
    if (info.stored >= 0) return;
    const Tensor& from = giver.tensors.at(name);
    Tensor& mine = copies[from.id()];  // tied weights stay one
    if (!mine.defined()) mine = from.read_only() ? from : from.clone();
    t = mine;
  }
  void linear(const std::string& name, nn::Linear& layer) override {
    if (const auto it = giver.quantized.find(name); it != giver.quantized.end()) layer.quantized = it->second->again();
    layer.visit(name, *this);
  }
  void packed_elsewhere(const std::string& name, nn::Linear& layer) override { linear(name, layer); }
  const Giver& giver;
  std::map<uint64_t, Tensor> copies;
};

std::string known_classes(const std::string& model_type) {
  std::vector<std::string> names;
  for (const Entry& e : registry()) {
    const std::string name = model_type.empty() ? e.model_type : e.class_name;
    if ((model_type.empty() || model_type == e.model_type) && std::find(names.begin(), names.end(), name) == names.end()) names.push_back(name);
  }
  return list(names, 100);
}

/// CLIPTextModel and its kin open a whole CLIP checkpoint too.
bool same_family(const std::string& model_type, const Entry& e) {
  return model_type == e.model_type || (model_type == "clip" && starts_with(e.model_type, "clip"));
}

const Entry& choose(const Json& config, const std::string& wish) {
  std::string architecture;
  if (const Json* a = config.get("architectures"); a && a->is_array() && !a->as_array().empty()) architecture = a->as_array()[0].as_string("architectures");
  std::string type = config.value("model_type", "");
  if (type.empty())  // configs from before 2020 have none
    for (const Entry& e : registry())
      if (architecture == e.class_name || wish == e.class_name) type = e.model_type;
  const std::string target = !wish.empty() ? wish : architecture.empty() ? "AutoModel" : architecture;
  bool family = false;
  for (const Entry& e : registry()) family |= same_family(type, e);
  check(family, ErrorCode::Format, "load", "the architecture ", type.empty() ? "(config.json has no \"model_type\")" : "\"" + type + "\"",
        architecture.empty() ? "" : " (" + architecture + ")", " is not known; known are: ", known_classes(""));
  for (const Entry& e : registry())
    if ((type == e.model_type && target == e.auto_class) || (same_family(type, e) && target == e.class_name)) return e;
  if (wish.empty())
    for (const Entry& e : registry())
      if (type == e.model_type && std::string_view(e.auto_class) == "AutoModel") return e;
  fail(ErrorCode::Format, "load", target, " does not open a checkpoint of model_type \"", type, "\"; classes for it: ", known_classes(type));
}

std::unique_ptr<Model> make(const Json& config, const std::string& wish) {
  const Entry& e = choose(config, wish);
  return e.make(e.class_name, config);
}

Json merged(Json config, const Json& overrides) {
  if (overrides.is_null()) return config;
  for (const auto& [key, value] : overrides.as_object("config overrides")) {
    config.set(key, value);
    if (key == "id2label") config.set("num_labels", Json(static_cast<int64_t>(value.as_object("id2label").size())));
    if (key == "num_labels" && !overrides.has("id2label")) {
      const Json* labels = config.get("id2label");
      if (labels && static_cast<int64_t>(labels->as_object("id2label").size()) != value.as_int("num_labels")) {
        config.set("id2label", Json());
        config.set("label2id", Json());
      }
    }
  }
  return config;
}

/// config.json, with what older tools wrote beside it: AutoGPTQ's quantize_config.json, AutoAWQ's quant_config.json.
Json with_quantization(const io::Checkpoint& checkpoint) {
  Json config = checkpoint.config();
  if (config.get("quantization_config") || !config.is_object()) return config;
  for (const auto& [file, method] : {std::pair{"quantize_config.json", "gptq"}, std::pair{"quant_config.json", "awq"}}) {
    const std::string path = io::join_path(checkpoint.folder(), file);
    if (!io::is_file(path)) continue;
    Json settings = Json::parse_file(path);
    check(settings.is_object(), ErrorCode::Format, "load", path, ": expected a JSON object");
    if (!settings.has("quant_method")) settings.set("quant_method", method);
    config.set("quantization_config", settings);
    break;
  }
  return config;
}

Precision precision_of(const Json& config, const LoadOptions& options) {
  if (!options.automatic_precision) return options.precision;
  const std::string dtype = config.value("dtype", config.value("torch_dtype", "float32").c_str());
  return dtype == "bfloat16" ? Precision::BFloat16 : Precision::Float32;  // float16 has no arithmetic here
}

void set_fp8_rows(Model& model, const LoadOptions& options) {
  check(!options.fp8_rows || !options.exact_products, ErrorCode::Type, "load", "expected fp8_rows or exact_products, got both");
  model.set_fp8_rows(options.fp8_rows);
}

}  // namespace

std::unique_ptr<Model> load(Context& ctx, const std::string& folder, const LoadOptions& options, LoadReport* report) {
  const io::Checkpoint checkpoint = io::Checkpoint::open(folder);
  const Json config = merged(with_quantization(checkpoint), options.config_overrides);
  std::unique_ptr<Model> model = make(config, options.class_name);
  Loader loader(&checkpoint, *model, options);
  model->visit(loader);
  loader.finish();
  loader.check_quantized(ctx);
  if (report) *report = std::move(loader.report);
  const Precision precision = precision_of(config, options);
  check(!options.exact_products || (precision != Precision::Int8 && precision != Precision::Int4), ErrorCode::Type, "load",
        "exact products: expected float32, bfloat16 or fp8, since int8 and int4 of plain weights round activations to int8");
  model->set_int8_beside(!options.exact_products && loader.rounds_rows());
  set_fp8_rows(*model, options);
  if (options.pack && !options.mapped) model->pack(ctx, precision);
  else model->to(ctx);
  return model;
}

std::unique_ptr<Model> from_config(Context& ctx, const Json& config, const LoadOptions& options) {
  Json full = merged(config, options.config_overrides);
  if (full.has("quantization_config")) full.set("quantization_config", Json());  // fresh weights are plain
  std::unique_ptr<Model> model = make(full, options.class_name);
  Loader loader(nullptr, *model, options);
  model->visit(loader);
  set_fp8_rows(*model, options);
  if (options.pack) model->pack(ctx, precision_of(full, options));
  else model->to(ctx);
  return model;
}

std::unique_ptr<Model> copy(Context& ctx, const Model& model, const LoadOptions& options) {
  std::unique_ptr<Model> made = make(model.config(), model.class_name());
  Giver giver;
  const_cast<Model&>(model).visit(giver);  // it changes nothing
  Taker taker(giver);
  made->visit(taker);
  made->set_int8_beside(model.int8_beside());
  made->set_fp8_rows(model.fp8_rows());
  if (options.pack) made->pack(ctx, options.precision);
  else made->to(ctx);
  return made;
}

void save(const Model& model, const std::string& folder, int64_t max_shard_bytes) {
  Json config = model.config();
  config.set("architectures", Json(Json::Array{Json(model.class_name())}));
  check(max_shard_bytes > 0, ErrorCode::Limit, "save", "max_shard_bytes: expected a positive size, got ", max_shard_bytes);
  io::save_checkpoint(folder, config, model.parameters(), static_cast<uint64_t>(max_shard_bytes));
}

}  // namespace tenon::models
