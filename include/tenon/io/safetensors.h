// The safetensors format: 8 bytes header length, a JSON header, then the elements of all tensors without gaps.
#pragma once

#include <cstdint>
#include <map>
#include <memory>
#include <span>
#include <string>
#include <string_view>
#include <utility>
#include <vector>

#include "tenon/core/tensor.h"

namespace tenon::io {

struct TensorInfo {
  DType dtype = DType::F32;
  Shape shape;
};

using NamedTensor = std::pair<std::string, Tensor>;

using Metadata = std::map<std::string, std::string>;

/// The name of a dtype in safetensors headers: "F32", "BF16", "F8_E4M3", ...
std::string_view safetensors_dtype(DType dtype);

/// An open file: its header, checked, over a read-only mapping. Copies share the mapping.
class SafeTensors {
 public:
  /// Opens and checks a file; no element is read.
  /// Errors: Error(File) if it cannot be opened; Error(Format) naming the tensor for every damage that a header can have: a length
  /// beyond the file or above 100 MB, no JSON, wrong types, unknown dtypes, names written twice, sizes that overflow or contradict
  /// the offsets, offsets that overlap, leave gaps or pass the end; Error(Limit) for more than 8 dimensions.
  /// Source: https://github.com/huggingface/safetensors, the format section of its README.
  static SafeTensors open(const std::string& path);
  /// The same over memory: `where` names it in messages.
  static SafeTensors over(std::shared_ptr<Storage> storage, std::string where);

  const std::string& path() const { return path_; }
  size_t size() const { return entries_.size(); }
  /// In the order of the header, which is the order in the file for those that the usual writers made.
  std::vector<std::string> names() const;
  bool has(std::string_view name) const { return find(name) != nullptr; }
  /// Errors: Error(Format) naming tensor and file if there is no such tensor.
  const TensorInfo& info(std::string_view name) const;
  /// The tensor over the mapping, read-only; a copy if its offset in the file is not a multiple of its element size.
  /// Errors: Error(Format) naming tensor and file if there is no such tensor.
  Tensor tensor(std::string_view name) const;
  /// The free text pairs of `__metadata__`, often {"format": "pt"}.
  const Metadata& metadata() const { return metadata_; }

 private:
  struct Entry {
    std::string name;
    TensorInfo info;
    size_t begin = 0;  // in the file
    size_t end = 0;
  };
  friend class HeaderReader;
  const Entry* find(std::string_view name) const;
  const Entry& at(std::string_view name) const;

  std::string path_;
  std::shared_ptr<Storage> storage_;
  std::vector<Entry> entries_;
  std::vector<uint32_t> by_name_;  // indices of entries_, sorted by name
  Metadata metadata_;
};

/// Writes a file that every safetensors reader opens, in place of what was there; tensors come sorted as the reference writer sorts
/// them (widest elements first, then by name).
/// Errors: Error(File) if it cannot be written; Error(Format) for a name used twice, not UTF-8, or "__metadata__"; Error(Type) for
/// an undefined tensor; Error(Device) for one that is not on the CPU. On error the path holds what it held before.
void write_safetensors(const std::string& path, std::span<const NamedTensor> tensors, const Metadata& metadata = {});

class AtomicFile;
/// The same into an open file, which the caller commits.
void write_safetensors(AtomicFile& file, std::span<const NamedTensor> tensors, const Metadata& metadata);

}  // namespace tenon::io
