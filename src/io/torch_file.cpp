// From a torch archive to tensors over its mapping.
#include "tenon/io/torch_file.h"

#include <simdjson.h>

#include <algorithm>
#include <cstring>
#include <map>

#include "io/torch_pickle.h"
#include "io/zip.h"
#include "tenon/io/files.h"
#include "tenon/io/mapped_file.h"

namespace tenon::io {
namespace {

using Entries = std::map<std::string, ZipEntry, std::less<>>;

class TorchReader {
 public:
  TorchReader(std::shared_ptr<Storage> storage, const std::string& where)
      : storage_(std::move(storage)), archive_(static_cast<const char*>(storage_->data), storage_->bytes), where_(where) {}

  std::vector<NamedTensor> read() {
    check(archive_.substr(0, 4) == std::string_view("PK\3\4"), ErrorCode::Format, where_,
          "no zip archive: PyTorch before 1.6 wrote another format, which is not read; save it again with a later version");
    entries_ = read_zip(archive_, where_);
    find_pickle();
    check_byte_order();
    const ZipEntry code = entries_.at(prefix_ + "data.pkl");
    pickle::Machine machine(archive_.substr(code.begin, code.bytes), where_);
    const pickle::Value root = machine.run();
    const auto* dict = std::get_if<pickle::Dict*>(&root);
    check(dict != nullptr, ErrorCode::Format, where_, "expected a dictionary of tensors");
    std::vector<NamedTensor> out;
    for (const auto& [key, value] : (*dict)->items) {
      const auto* name = std::get_if<std::string_view>(&key);
      const auto* ref = std::get_if<pickle::TensorRef>(&value);
      if (!name || !ref) continue;
      check(simdjson::validate_utf8(*name), ErrorCode::Format, where_, "the name of a tensor is not UTF-8");
      out.emplace_back(*name, tensor(*name, *ref));
    }
    return out;
  }

 private:
  /// All entries lie in one folder, which torch names after the file.
  void find_pickle() {
    for (const auto& [name, entry] : entries_) {
      const size_t slash = name.find('/');
      if (slash != std::string::npos && std::string_view(name).substr(slash + 1) == "data.pkl") {
        prefix_ = name.substr(0, slash + 1);
        return;
      }
    }
    fail(ErrorCode::Format, where_, "a zip archive, but not of torch.save: it has no data.pkl");
  }

  void check_byte_order() const {
    const auto it = entries_.find(prefix_ + "byteorder");
    if (it == entries_.end()) return;
    const std::string_view order = archive_.substr(it->second.begin, it->second.bytes);
    check(order == "little", ErrorCode::Format, where_, "expected the byte order \"little\", got ", Printable{order});
  }

  ZipEntry block_of(std::string_view name, const pickle::StorageRef& s) const {
    const auto it = entries_.find(prefix_ + "data/" + std::string(s.key));
    check(it != entries_.end(), ErrorCode::Format, where_, "tensor ", Printable{name}, ": its storage ", Printable{s.key}, " is missing");
    const uint64_t fits = it->second.bytes / size_of(s.dtype);
    check(s.numel >= 0 && static_cast<uint64_t>(s.numel) <= fits, ErrorCode::Format, where_, "tensor ", Printable{name}, ": storage ",
          Printable{s.key}, ": expected ", s.numel, " elements, got ", fits);
    return it->second;
  }

  int64_t number(std::string_view name, const pickle::Value& v) const {
    const auto* n = std::get_if<int64_t>(&v);
    check(n != nullptr && *n >= 0, ErrorCode::Format, where_, "tensor ", Printable{name},
          ": sizes, strides and offsets must be numbers of 0 or more");
    return *n;
  }

  Tensor tensor(std::string_view name, const pickle::TensorRef& ref) {
    const auto &sizes = ref.size->items, &strides = ref.stride->items;
    check(sizes.size() == strides.size(), ErrorCode::Format, where_, "tensor ", Printable{name}, ": ", sizes.size(), " sizes, but ",
          strides.size(), " strides");
    check(sizes.size() <= Shape::kMaxRank, ErrorCode::Limit, where_, "tensor ", Printable{name}, ": expected at most ", Shape::kMaxRank,
          " dimensions, got ", sizes.size());
    Shape shape, stride;
    for (const pickle::Value& v : sizes) shape.append(number(name, v));
    for (const pickle::Value& v : strides) stride.append(number(name, v));
    const int64_t offset = number(name, pickle::Value(ref.offset));
    const ZipEntry block = block_of(name, ref.storage);
    const bool contiguous = check_inside(name, shape, stride, offset, ref.storage.numel);
    const size_t begin = block.begin + static_cast<size_t>(offset) * size_of(ref.storage.dtype);
    if (contiguous && reinterpret_cast<uintptr_t>(archive_.data() + begin) % size_of(ref.storage.dtype) == 0)
      return Tensor::over(storage_, begin, shape, ref.storage.dtype);
    return gather(name, shape, stride, begin, ref.storage.dtype);
  }

  /// Refuses views that leave their storage; true if the elements lie in row-major order without gaps.
  bool check_inside(std::string_view name, const Shape& shape, const Shape& stride, int64_t offset, int64_t storage_numel) const {
    int64_t last = offset, numel = 1, dense = 1;
    bool fits = offset <= storage_numel, contiguous = true;
    for (int i = shape.rank(); i-- > 0;) {
      const int64_t steps = std::max<int64_t>(shape[i] - 1, 0);
      int64_t reach = 0;
      fits = fits && !__builtin_mul_overflow(steps, stride[i], &reach) && !__builtin_add_overflow(last, reach, &last) &&
             !__builtin_mul_overflow(numel, shape[i], &numel);
      contiguous = contiguous && (shape[i] <= 1 || stride[i] == dense);
      dense = numel;
    }
    // numel > storage_numel: elements that share memory (expand), whose copy could be of any size
    check(fits && numel <= storage_numel && (numel == 0 || last < storage_numel), ErrorCode::Format, where_, "tensor ", Printable{name},
          ": ", shape, " with strides ", stride, " at ", offset, " does not fit into its storage of ", storage_numel, " elements");
    return contiguous || numel == 0;
  }

  Tensor gather(std::string_view name, const Shape& shape, const Shape& stride, size_t begin, DType dtype) {
    Tensor out = Tensor::empty(shape, dtype);
    copied_ += out.nbytes();
    check(copied_ <= archive_.size(), ErrorCode::Limit, where_, "tensor ", Printable{name},
          ": the file's views would take more memory than the file");
    const size_t width = size_of(dtype);
    auto* to = static_cast<char*>(out.raw());
    int64_t index[Shape::kMaxRank] = {};
    for (int64_t n = 0; n < out.numel(); ++n, to += width) {
      int64_t at = 0;
      for (int i = 0; i < shape.rank(); ++i) at += index[i] * stride[i];
      std::memcpy(to, archive_.data() + begin + static_cast<size_t>(at) * width, width);
      for (int i = shape.rank(); i-- > 0;) {
        if (++index[i] < shape[i]) break;
        index[i] = 0;
      }
    }
    return out;
  }

  std::shared_ptr<Storage> storage_;
  std::string_view archive_;
  const std::string& where_;
  Entries entries_;
  std::string prefix_;
  size_t copied_ = 0;
};

}  // namespace

std::vector<NamedTensor> read_torch_file(const std::string& path) { return read_torch_file(map_file(path), path); }

std::vector<NamedTensor> read_torch_file(std::shared_ptr<Storage> storage, const std::string& where) {
  return TorchReader(std::move(storage), where).read();
}

}  // namespace tenon::io
