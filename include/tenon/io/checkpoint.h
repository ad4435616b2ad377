// A checkpoint as Hugging Face publishes it: a folder with config.json and weights, in one file or in shards.
#pragma once

#include <memory>
#include <span>
#include <string>
#include <string_view>
#include <vector>

#include "tenon/core/json.h"
#include "tenon/io/safetensors.h"

namespace tenon::io {

/// Reads config.json of a checkpoint folder; weights are not looked at.
/// Errors: Error(File) if there is no such folder (with a hint if the text looks like a hub name), or no config.json in it (naming
/// what is there); Error(Format) or Error(Limit) for a damaged or oversized file; Error(Type) if it holds no JSON object.
Json read_config(const std::string& folder);

/// An open checkpoint: its config and its tensors, which stay on the disk until they are read. Copies share the mappings. Weights stored
/// without their zeros (io/sparse_weights.h) are there under their own names, and are put together whenever they are read.
class Checkpoint {
 public:
  /// Opens a folder (model.safetensors, else model.safetensors.index.json and its shards, else the same of pytorch_model.bin), or
  /// one .safetensors or .bin file; beside a file, config.json is read if it is there.
  /// Errors: as read_config; Error(File) if the folder has no weights or an index names a shard that is not there; Error(Format) for
  /// an index that leaves the folder or names a tensor that its shard lacks, and for damaged weights (see SafeTensors::open).
  static Checkpoint open(const std::string& path);

  const std::string& folder() const { return folder_; }
  /// The content of config.json; null if a single file was opened that has none beside it.
  const Json& config() const { return config_; }
  size_t size() const { return entries_.size(); }
  /// In the order of the files.
  std::vector<std::string> names() const;
  bool has(std::string_view name) const { return entry(name) != nullptr; }
  /// Dtype and shape. Errors: Error(Format) naming tensor and folder if there is no such tensor.
  const TensorInfo& info(std::string_view name) const;
  /// The tensor over its mapped file, read-only. Errors: Error(Format) naming tensor and folder if there is no such tensor.
  Tensor get(std::string_view name) const;
  /// get(), or an undefined tensor if there is none of that name.
  Tensor find(std::string_view name) const { return has(name) ? get(name) : Tensor(); }
  /// The metadata of the first weights file, often {"format": "pt"}.
  const Metadata& metadata() const { return metadata_; }

 private:
  struct Entry {
    std::string name;
    TensorInfo info;
    std::shared_ptr<const SafeTensors> file;  // or, for torch files, nullptr and the tensor itself
    Tensor tensor;
    Tensor sparse_shape = {}, sparse_places = {};  // of a weight without its zeros, whose elements the tensor then holds
    bool two_four = false;
  };
  void add_file(const std::string& path);
  void add_shards(const std::string& index_path);
  void sort_names();
  void join_sparse_weights();
  Tensor tensor_of(const Entry& e) const;
  const Entry* entry(std::string_view name) const;
  const Entry& at(std::string_view name) const;

  std::string folder_;
  Json config_;
  std::vector<Entry> entries_;
  std::vector<uint32_t> by_name_;  // indices of entries_, sorted by name
  Metadata metadata_;
};

/// Writes config.json and model.safetensors, or shards of at most max_shard_bytes (one tensor never being split) with their index,
/// so that Transformers opens the folder; makes the folder if needed. All files are written beside the old ones and then renamed;
/// weights of an earlier save that would be read instead, and its left-over shards, are removed last.
/// Errors: as write_safetensors; Error(Limit) if max_shard_bytes is 0.
void save_checkpoint(const std::string& folder, const Json& config, std::span<const NamedTensor> tensors,
                     uint64_t max_shard_bytes = 5'000'000'000);

}  // namespace tenon::io
