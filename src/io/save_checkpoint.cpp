// Writing checkpoint folders: shards, index, config, and clearing away what an earlier save left.
#include <algorithm>
#include <cstdio>

#include "tenon/io/checkpoint.h"
#include "tenon/io/files.h"

namespace tenon::io {
namespace {

/// Ranges [begin, end) of tensors, in their order, each at most max_bytes unless it is one tensor.
std::vector<std::pair<size_t, size_t>> split_shards(std::span<const NamedTensor> tensors, uint64_t max_bytes) {
  std::vector<std::pair<size_t, size_t>> shards;
  size_t begin = 0;
  uint64_t bytes = 0;
  for (size_t i = 0; i < tensors.size(); ++i) {
    const uint64_t n = tensors[i].second.nbytes();
    if (i > begin && (bytes > max_bytes || n > max_bytes - bytes)) {
      shards.emplace_back(begin, i);
      begin = i, bytes = 0;
    }
    bytes += n;
  }
  shards.emplace_back(begin, tensors.size());
  return shards;
}

std::string shard_name(size_t i, size_t count) {
  if (count == 1) return "model.safetensors";
  char name[64];
  std::snprintf(name, sizeof(name), "model-%05zu-of-%05zu.safetensors", i + 1, count);
  return name;
}

/// True for the names that shard_name gives: model-00001-of-00002.safetensors.
bool is_shard_name(std::string_view name) {
  constexpr std::string_view form = "model-#####-of-#####.safetensors";
  return name.size() == form.size() &&
         std::equal(form.begin(), form.end(), name.begin(), [](char f, char c) { return f == '#' ? c >= '0' && c <= '9' : f == c; });
}

}  // namespace

void save_checkpoint(const std::string& folder, const Json& config, std::span<const NamedTensor> tensors, uint64_t max_shard_bytes) {
  check(max_shard_bytes > 0, ErrorCode::Limit, folder, "max_shard_bytes: expected 1 or more, got 0");
  make_folders(folder);
  const auto shards = split_shards(tensors, max_shard_bytes);
  const bool sharded = shards.size() > 1;
  std::vector<AtomicFile> files;
  files.reserve(shards.size() + 2);
  std::vector<std::string> kept;
  std::vector<std::pair<std::string, Json>> weight_map;
  int64_t total = 0;
  for (size_t i = 0; i < shards.size(); ++i) {
    const auto [begin, end] = shards[i];
    kept.push_back(shard_name(i, shards.size()));
    files.emplace_back(join_path(folder, kept.back()));
    write_safetensors(files.back(), tensors.subspan(begin, end - begin), {{"format", "pt"}});
    files.back().finish();
    for (size_t t = begin; t < end; ++t) {
      weight_map.emplace_back(tensors[t].first, Json(kept.back()));
      total += static_cast<int64_t>(tensors[t].second.nbytes());
    }
  }
  std::sort(weight_map.begin(), weight_map.end(), [](const auto& a, const auto& b) { return a.first < b.first; });
  for (size_t i = 1; i < weight_map.size(); ++i)
    check(weight_map[i - 1].first != weight_map[i].first, ErrorCode::Format, folder, "tensor ", Printable{weight_map[i].first},
          " is given twice");
  const auto add_text = [&](const char* name, const Json& json) {
    files.emplace_back(join_path(folder, name));
    files.back().write(json.dump(2) + "\n");
    files.back().finish();
    kept.push_back(name);
  };
  if (sharded) {
    Json index;
    index.set("metadata", Json(Json::Object{{"total_size", Json(total)}}));
    index.set("weight_map", Json(std::move(weight_map)));
    add_text("model.safetensors.index.json", index);
  }
  add_text("config.json", config);
  for (AtomicFile& file : files) file.commit();
  for (const std::string& name : list_folder(folder)) {
    const bool weights = is_shard_name(name) || name == "model.safetensors" || name == "model.safetensors.index.json";
    if (weights && std::find(kept.begin(), kept.end(), name) == kept.end()) std::remove(join_path(folder, name).c_str());
  }
}

}  // namespace tenon::io
