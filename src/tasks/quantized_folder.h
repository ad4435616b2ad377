// The folder that quantisation writes: layers as they come, set aside on the disk, then the whole checkpoint with its configuration.
#pragma once

#include <map>
#include <string>
#include <vector>

#include "tenon/compress/block_quantizer.h"
#include "tenon/io/checkpoint.h"
#include "tenon/models/decoder.h"
#include "tenon/quant/checkpoint_format.h"

namespace tenon::tasks {

class QuantizedFolder {
 public:
  /// Errors: Error(Limit) for a format that the method has not, and for an output that is the folder itself; Error(Type) for a checkpoint
  /// that is quantised already; as io::Checkpoint::open.
  QuantizedFolder(const std::string& folder, const std::string& output, const compress::BlockOptions& options, const std::string& format);

  /// Stores a layer: parameters as they are now, in the types that they had in the mapped files, but quantised weights in the format's.
  void add_layer(Context& ctx, const std::vector<std::pair<std::string, Tensor>>& parameters, const std::map<std::string, Tensor>& mapped,
                 const std::vector<compress::QuantizedWeight>& weights);
  /// Writes weights, config.json and the files of tokenizer and generation.
  void finish(models::Decoder& model, const std::vector<compress::LayerReport>& layers, int64_t max_shard_bytes);

  int64_t bytes_before() const { return bytes_before_; }
  int64_t bytes_after() const { return bytes_after_; }

 private:
  quant::StoredTensors stored(Context& ctx, const compress::QuantizedWeight& w) const;
  Tensor in_type(const Tensor& t, DType type) const;

  std::string folder_, output_;
  io::Checkpoint from_;
  compress::BlockOptions options_;
  const quant::CheckpointFormat* format_ = nullptr;
  quant::StoredSettings settings_;
  std::vector<io::NamedTensor> tensors_;
  int64_t bytes_before_ = 0, bytes_after_ = 0;
};

}  // namespace tenon::tasks
