// Names, types and configuration of a quantised checkpoint.
#include "tasks/quantized_folder.h"

#include <algorithm>
#include <cmath>
#include <cstdio>
#include <filesystem>
#include <set>

#include "tenon/io/files.h"

namespace tenon::tasks {
namespace {

using compress::Method;

constexpr std::string_view kWeight = ".weight";

const quant::CheckpointFormat* format_of(Method method, std::string name) {
  if (method == Method::Int8) return nullptr;  // compressed-tensors, int-quantized
  const std::string_view known = method == Method::Fp8 ? "fp8" : "awq, gptq, compressed-tensors";
  if (name.empty()) name = method == Method::Fp8 ? "fp8" : method == Method::Gptq ? "gptq" : "awq";
  for (const quant::CheckpointFormat& f : quant::kCheckpointFormats)
    if (f.method == name && known.find(name) != std::string_view::npos) return &f;
  fail(ErrorCode::Limit, "quantize", "format: expected ", known, " for ", compress::name_of(method), ", got '", name, "'");
}

/// Weights in int8 with a scale a row, activations in int8 with a scale a token: what vLLM calls W8A8.
Json int8_config(const std::vector<std::string>& ignore) {
  const Json weights(Json::Object{{"num_bits", 8}, {"type", "int"}, {"symmetric", true}, {"strategy", "channel"}, {"dynamic", false}});
  const Json inputs(Json::Object{{"num_bits", 8}, {"type", "int"}, {"symmetric", true}, {"strategy", "token"}, {"dynamic", true}});
  const Json group(Json::Object{
      {"targets", Json::Array{Json("Linear")}}, {"weights", weights}, {"input_activations", inputs}, {"output_activations", Json()}});
  Json c(Json::Object{{"quant_method", "compressed-tensors"}, {"format", "int-quantized"}, {"quantization_status", "compressed"}});
  c.set("config_groups", Json(Json::Object{{"group_0", group}}));
  c.set("ignore", quant::detail::names_json(ignore));
  return c;
}

/// Files that go along: those of tokenizer, chat template and generation, not weights and not what describes them.
bool goes_along(const std::string& name) {
  if (name == "config.json" || name.ends_with(".index.json") || name.starts_with(".")) return false;
  for (const char* end : {".json", ".txt", ".model", ".jinja", ".tiktoken", ".spm", ".md"})
    if (name.ends_with(end)) return name != "README.md";
  return false;
}

bool is_folder_itself(const std::string& a, const std::string& b) {
  std::error_code none;
  return a == b || std::filesystem::equivalent(a, b, none);
}

}  // namespace

QuantizedFolder::QuantizedFolder(const std::string& folder, const std::string& output, const compress::BlockOptions& options,
                                 const std::string& format)
    : folder_(folder), output_(output), from_(io::Checkpoint::open(folder)), options_(options), format_(format_of(options.method, format)) {
  check(!output.empty() && !is_folder_itself(folder, output), ErrorCode::Limit, "quantize", "expected an output folder beside ", folder);
  check(!from_.config().has("quantization_config"), ErrorCode::Type, "quantize", folder,
        ": expected plain weights, but it is quantised already");
  // compressed-tensors 0.20 refuses checkpoints whose groups are of columns in another order, which earlier versions wrote.
  check(!options.desc_act || !format_ || format_->method == "gptq", ErrorCode::Limit, "quantize",
        "desc_act: the format gptq keeps columns in another order; ", format_ ? format_->method : "", " keeps them in theirs");
  for (const std::string& name : from_.names()) bytes_before_ += static_cast<int64_t>(from_.get(name).nbytes());
  settings_.group = options.group, settings_.symmetric = options.symmetric, settings_.desc_act = options.desc_act;
  settings_.version = format_ && format_->method == "gptq" ? "gptq" : "gemm";
  if (options.method == Method::Fp8) settings_.block_rows = settings_.block_columns = options.group;
  io::make_folders(output);
}

quant::StoredTensors QuantizedFolder::stored(Context& ctx, const compress::QuantizedWeight& w) const {
  if (options_.method != Method::Int8) return format_->write(ctx, w.matrix, settings_);
  return {{"weight", w.int8.q}, {"weight_scale", w.int8.scale.view({w.int8.scale.numel(), 1})}};
}

/// 4-bit kernels elsewhere compute in 16 bits: what was float32 becomes float16 for them, if its range suffices.
Tensor QuantizedFolder::in_type(const Tensor& t, DType type) const {
  const bool int4 = options_.method != Method::Int8 && options_.method != Method::Fp8;
  if (type != DType::F32 || !int4) return t.dtype() == type ? t : t.to(type);
  const Tensor wide = t.to(DType::F32);
  for (const float v : std::as_const(wide).values<float>())
    if (!(std::fabs(v) < 65504)) return wide;
  return t.to(DType::F16);
}

void QuantizedFolder::add_layer(Context& ctx, const std::vector<std::pair<std::string, Tensor>>& parameters,
                                const std::map<std::string, Tensor>& mapped, const std::vector<compress::QuantizedWeight>& weights) {
  std::map<std::string, const compress::QuantizedWeight*> by_name;
  for (const compress::QuantizedWeight& w : weights) by_name[w.name] = &w;
  std::vector<io::NamedTensor> layer;
  for (const auto& [name, t] : parameters) {
    const auto it = name.ends_with(kWeight) ? by_name.find(name.substr(0, name.size() - kWeight.size())) : by_name.end();
    if (it == by_name.end()) {
      // Large weights are mapped in the types of their files; small ones were made float32.
      const DType type = from_.has(name) ? from_.info(name).dtype : mapped.count(name) ? mapped.at(name).dtype() : t.dtype();
      layer.emplace_back(name, in_type(t, is_float(type) ? type : DType::F32));
    } else {
      for (const auto& [suffix, part] : stored(ctx, *it->second)) layer.emplace_back(it->first + "." + suffix, part);
    }
  }
  // A file without a name: its pages go to the disk and come back when the checkpoint is written.
  const std::string path = io::join_path(output_, ".layer.safetensors");
  io::write_safetensors(path, layer);
  const io::SafeTensors file = io::SafeTensors::open(path);
  std::remove(path.c_str());
  for (const std::string& name : file.names()) tensors_.emplace_back(name, file.tensor(name));
}

void QuantizedFolder::finish(models::Decoder& model, const std::vector<compress::LayerReport>& layers, int64_t max_shard_bytes) {
  for (const compress::LayerReport& l : layers)
    if (!l.quantized) settings_.ignore.push_back(l.name);
  std::set<std::string> known;
  for (const compress::LayerReport& l : layers) known.insert(l.name);
  std::set<std::string> stored;
  for (const auto& [name, t] : tensors_) stored.insert(name);
  for (const auto& [name, t] : model.parameters()) {
    const bool of_layer = stored.count(name) || (name.ends_with(kWeight) && known.count(name.substr(0, name.size() - kWeight.size())));
    if (of_layer) continue;
    const DType type = from_.has(name) ? from_.info(name).dtype : t.dtype();
    tensors_.emplace_back(name, in_type(t, is_float(type) ? type : DType::F32));
    if (name == "lm_head.weight") settings_.ignore.push_back("lm_head");
  }
  for (const std::string& name : from_.names())
    if (model.superfluous(name)) {  // further layers that predict tokens; they stay as they are
      tensors_.emplace_back(name, from_.get(name));
      const size_t at = name.rfind(kWeight);
      if (from_.info(name).shape.rank() == 2 && at != std::string::npos) settings_.ignore.push_back(name.substr(0, at));
    }
  Json config = model.config();
  config.set("architectures", Json(Json::Array{Json(model.class_name())}));
  config.set("quantization_config", options_.method == Method::Int8 ? int8_config(settings_.ignore) : format_->config(settings_));
  for (const char* key : {"dtype", "torch_dtype"})
    if (config.value(key, "") == "float32" && options_.method != Method::Int8 && options_.method != Method::Fp8)
      config.set(key, Json("float16"));
  std::sort(tensors_.begin(), tensors_.end(), [](const auto& a, const auto& b) { return a.first < b.first; });
  for (const auto& [name, t] : tensors_) bytes_after_ += static_cast<int64_t>(t.nbytes());
  for (const std::string& name : io::list_folder(folder_)) {
    const std::string path = io::join_path(folder_, name);
    if (goes_along(name) && io::is_file(path)) io::write_file_atomic(io::join_path(output_, name), io::read_file(path));
  }
  io::save_checkpoint(output_, config, tensors_, static_cast<uint64_t>(max_shard_bytes));
}

}  // namespace tenon::tasks
