// Opening checkpoint folders.
#include "tenon/io/checkpoint.h"

#include <algorithm>
#include <map>
#include <numeric>

#include "tenon/io/files.h"
#include "tenon/io/sparse_weights.h"
#include "tenon/io/torch_file.h"

namespace tenon::io {
namespace {

constexpr uint64_t kMaxConfigBytes = uint64_t{16} << 20;
constexpr uint64_t kMaxIndexBytes = uint64_t{64} << 20;
const std::string kWeights[] = {"model.safetensors", "pytorch_model.bin"};  // the first that is there is read
constexpr const char* kIndexSuffix = ".index.json";

bool ends_with(std::string_view text, std::string_view end) {
  return text.size() >= end.size() && text.substr(text.size() - end.size()) == end;
}

/// "org/name" or "name" of letters, digits, '-', '_' and '.', as the hub allows; a relative path of two parts looks the same.
bool looks_like_hub_name(std::string_view text) {
  const auto plain = [](char c) {
    return (c >= 'a' && c <= 'z') || (c >= 'A' && c <= 'Z') || (c >= '0' && c <= '9') || c == '-' || c == '_' || c == '.';
  };
  const auto slashes = std::count(text.begin(), text.end(), '/');
  return !text.empty() && slashes <= 1 && text.front() != '/' && text.front() != '.' && text.back() != '/' &&
         std::all_of(text.begin(), text.end(), [&](char c) { return plain(c) || c == '/'; });
}

[[noreturn]] void no_such_folder(const std::string& path) {
  fail(ErrorCode::File, path, "no such folder or file",
       looks_like_hub_name(path) ? ". It looks like a hub name: the Python package resolves those; C++ needs the path of a local folder"
                                 : "");
}

std::string content_of(const std::string& folder) {
  constexpr size_t kMax = 12;
  const auto names = list_folder(folder);
  if (names.empty()) return "an empty folder";
  std::string text;
  for (size_t i = 0; i < std::min(names.size(), kMax); ++i) text += (i ? ", " : "") + names[i];
  return names.size() > kMax ? text + " and " + std::to_string(names.size() - kMax) + " more" : text;
}

Json read_object(const std::string& path, uint64_t max_bytes) {
  Json json = Json::parse(read_file(path, max_bytes), path);
  check(json.is_object(), ErrorCode::Type, path, "expected a JSON object");
  return json;
}

/// A shard is named by a plain file name: an index must not reach out of its folder.
void check_shard_name(const std::string& index_path, const std::string& shard) {
  const bool plain = !shard.empty() && shard != "." && shard != ".." && shard.find_first_of(std::string("/\\:\0", 4)) == std::string::npos;
  check(plain, ErrorCode::Format, index_path, "weight_map: expected the name of a file in this folder, got ", Printable{shard});
}

}  // namespace

Json read_config(const std::string& folder) {
  if (!is_folder(folder)) {
    check(!is_file(folder), ErrorCode::File, folder, "expected a checkpoint folder, got a file");
    no_such_folder(folder);
  }
  const std::string path = join_path(folder, "config.json");
  check(is_file(path), ErrorCode::File, folder, "expected config.json, found ", content_of(folder));
  return read_object(path, kMaxConfigBytes);
}

Checkpoint Checkpoint::open(const std::string& path) {
  Checkpoint out;
  if (is_file(path)) {
    check(ends_with(path, ".safetensors") || ends_with(path, ".bin"), ErrorCode::File, path,
          "expected a checkpoint folder, a .safetensors file or a PyTorch .bin file");
    out.folder_ = parent_folder(path);
    const std::string config = join_path(out.folder_, "config.json");
    if (is_file(config)) out.config_ = read_object(config, kMaxConfigBytes);
    out.add_file(path);
  } else {
    out.folder_ = path;
    out.config_ = read_config(path);
    const auto is_here = [&](std::string_view name) { return is_file(join_path(path, name)); };
    const auto base = std::find_if(std::begin(kWeights), std::end(kWeights),
                                   [&](const std::string& name) { return is_here(name) || is_here(name + kIndexSuffix); });
    check(base != std::end(kWeights), ErrorCode::File, path,
          "no weights: expected model.safetensors or model.safetensors.index.json, found ", content_of(path));
    if (is_here(*base))
      out.add_file(join_path(path, *base));
    else
      out.add_shards(join_path(path, *base + kIndexSuffix));
  }
  out.sort_names();
  out.join_sparse_weights();
  return out;
}

void Checkpoint::add_file(const std::string& path) {
  if (ends_with(path, ".bin")) {
    for (auto& [name, tensor] : read_torch_file(path)) entries_.push_back({name, {tensor.dtype(), tensor.shape()}, nullptr, tensor});
    return;
  }
  const auto file = std::make_shared<const SafeTensors>(SafeTensors::open(path));
  if (entries_.empty()) metadata_ = file->metadata();
  for (std::string& name : file->names()) {
    const TensorInfo& info = file->info(name);
    entries_.push_back({std::move(name), info, file, {}});
  }
}

void Checkpoint::add_shards(const std::string& index_path) {
  const Json index = read_object(index_path, kMaxIndexBytes);
  std::map<std::string, std::vector<std::string_view>> shards;  // file name -> tensors that the index expects there
  const Json* weight_map = index.find("weight_map");
  check(weight_map && weight_map->is_object(), ErrorCode::Format, index_path, "expected a weight_map, an object of file names");
  for (const auto& [name, shard] : weight_map->as_object()) {
    check(shard.is_string(), ErrorCode::Type, index_path, "weight_map: expected a file name for tensor ", Printable{name});
    check_shard_name(index_path, shard.as_string());
    shards[shard.as_string()].push_back(name);
  }
  check(!shards.empty(), ErrorCode::Format, index_path, "weight_map is empty");
  for (const auto& [shard, names] : shards) {
    const std::string path = join_path(folder_, shard);
    check(is_file(path), ErrorCode::File, index_path, "the shard ", Printable{shard}, " is missing; it should hold ", names.size(),
          " tensors, ", Printable{names.front()}, " among them");
    const size_t first = entries_.size();
    add_file(path);
    std::vector<std::string_view> present;
    for (size_t i = first; i < entries_.size(); ++i) present.push_back(entries_[i].name);
    std::sort(present.begin(), present.end());
    for (const std::string_view name : names)
      check(std::binary_search(present.begin(), present.end(), name), ErrorCode::Format, index_path, "tensor ", Printable{name},
            " is not in the shard ", Printable{shard}, " that the index names");
  }
}

void Checkpoint::sort_names() {
  by_name_.resize(entries_.size());
  std::iota(by_name_.begin(), by_name_.end(), 0u);
  const auto name = [&](uint32_t i) -> const std::string& { return entries_[i].name; };
  std::sort(by_name_.begin(), by_name_.end(), [&](uint32_t a, uint32_t b) { return name(a) < name(b); });
  for (size_t i = 1; i < by_name_.size(); ++i)
    check(name(by_name_[i - 1]) != name(by_name_[i]), ErrorCode::Format, folder_, "tensor ", Printable{name(by_name_[i])},
          " is there twice");
}

/// X.compressed, X.shape and X.bitmask or X.meta become X.weight.
void Checkpoint::join_sparse_weights() {
  std::vector<Entry> joined;
  std::vector<std::string> parts;
  for (const Entry& e : entries_) {
    const bool meta = ends_with(e.name, ".meta");
    if (!meta && !ends_with(e.name, ".bitmask")) continue;
    const std::string prefix = e.name.substr(0, e.name.rfind('.')), name = prefix + ".weight";
    const Entry *values = entry(prefix + ".compressed"), *shape = entry(prefix + ".shape");
    if (!values || !shape || has(name)) continue;  // something else of that name
    Entry weight{name, {}, nullptr, tensor_of(*values), tensor_of(*shape), tensor_of(e), meta};
    weight.info = {values->info.dtype, check_sparse(folder_ + ": " + name, weight.sparse_shape, weight.tensor, weight.sparse_places, meta)};
    joined.push_back(std::move(weight));
    for (const char* part : {".compressed", ".shape", ".row_offsets"}) parts.push_back(prefix + part);
    parts.push_back(e.name);
  }
  if (joined.empty()) return;
  std::sort(parts.begin(), parts.end());
  std::erase_if(entries_, [&](const Entry& e) { return std::binary_search(parts.begin(), parts.end(), e.name); });
  std::move(joined.begin(), joined.end(), std::back_inserter(entries_));
  sort_names();
}

std::vector<std::string> Checkpoint::names() const {
  std::vector<std::string> out;
  out.reserve(entries_.size());
  for (const Entry& e : entries_) out.push_back(e.name);
  return out;
}

const Checkpoint::Entry* Checkpoint::entry(std::string_view name) const {
  const auto it =
      std::lower_bound(by_name_.begin(), by_name_.end(), name, [&](uint32_t i, std::string_view n) { return entries_[i].name < n; });
  return it != by_name_.end() && entries_[*it].name == name ? &entries_[*it] : nullptr;
}

const Checkpoint::Entry& Checkpoint::at(std::string_view name) const {
  const Entry* e = entry(name);
  check(e != nullptr, ErrorCode::Format, folder_, "there is no tensor ", Printable{name}, " among its ", entries_.size(), " tensors");
  return *e;
}

const TensorInfo& Checkpoint::info(std::string_view name) const { return at(name).info; }

Tensor Checkpoint::get(std::string_view name) const { return tensor_of(at(name)); }

Tensor Checkpoint::tensor_of(const Entry& e) const {
  if (e.sparse_places.defined()) return dense_from(folder_ + ": " + e.name, e.sparse_shape, e.tensor, e.sparse_places, e.two_four);
  return e.file ? e.file->tensor(e.name) : e.tensor;
}

}  // namespace tenon::io
