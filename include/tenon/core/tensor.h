// A dense array: a handle to shared memory with a shape and an element type. Always contiguous, row-major.
#pragma once

#include <cstring>
#include <memory>
#include <span>
#include <type_traits>
#include <utility>
#include <vector>

#include "tenon/core/device.h"
#include "tenon/core/dtype.h"
#include "tenon/core/shape.h"

namespace tenon {

/// A block of memory and whoever keeps it alive: the heap, a Pool, a mapped file, a NumPy array.
struct Storage {
  void* data = nullptr;
  size_t bytes = 0;
  Device device;
  bool read_only = false;       // mapped checkpoints: writing through them is an error
  uint32_t version = 0;         // how often it was changed in place since somebody counts (Python's graph of gradients)
  std::shared_ptr<void> owner;  // its deleter gives the memory back
};

/// The dtype that holds C++ type `Value`.
template <class Value>
constexpr DType dtype_of() {
  using V = std::remove_cv_t<Value>;
  if constexpr (std::is_same_v<V, double>) return DType::F64;
  else if constexpr (std::is_same_v<V, float>) return DType::F32;
  else if constexpr (std::is_same_v<V, float16>) return DType::F16;
  else if constexpr (std::is_same_v<V, bfloat16>) return DType::BF16;
  else if constexpr (std::is_same_v<V, int64_t>) return DType::I64;
  else if constexpr (std::is_same_v<V, int32_t>) return DType::I32;
  else if constexpr (std::is_same_v<V, int16_t>) return DType::I16;
  else if constexpr (std::is_same_v<V, int8_t>) return DType::I8;
  else if constexpr (std::is_same_v<V, uint64_t>) return DType::U64;
  else if constexpr (std::is_same_v<V, uint32_t>) return DType::U32;
  else if constexpr (std::is_same_v<V, uint16_t>) return DType::U16;
  else if constexpr (std::is_same_v<V, uint8_t>) return DType::U8;
  else {
    static_assert(std::is_same_v<V, bool>, "no dtype for this C++ type");
    return DType::Bool;
  }
}

/// Copying a Tensor copies the handle, not the elements; clone() copies the elements.
class Tensor {
 public:
  Tensor() = default;

  /// Uninitialised memory, aligned to 64 bytes. Errors: Error(Memory) if it cannot be had.
  static Tensor empty(const Shape& shape, DType dtype);
  static Tensor zeros(const Shape& shape, DType dtype);
  /// The same on a device: memory of its allocator, ordered by the calling thread's stream. Errors: Error(Device), Error(Memory).
  static Tensor empty(const Shape& shape, DType dtype, Device device);
  static Tensor zeros(const Shape& shape, DType dtype, Device device);
  /// A tensor over memory that `storage` keeps alive. Errors: Error(Limit) if it does not fit in there.
  static Tensor over(std::shared_ptr<Storage> storage, size_t byte_offset, const Shape& shape, DType dtype);
  /// A tensor with a copy of `values`. Errors: Error(Shape) if their number differs.
  template <class Value>
  static Tensor from(std::span<const Value> values, const Shape& shape) {
    check(shape.numel() == static_cast<int64_t>(values.size()), ErrorCode::Shape, "tensor", "expected ", shape.numel(), " values for ",
          shape, ", got ", values.size());
    Tensor t = empty(shape, dtype_of<Value>());
    if (!values.empty()) std::memcpy(t.raw(), values.data(), t.nbytes());
    return t;
  }
  template <class Value>
  static Tensor from(const std::vector<Value>& values, const Shape& shape) {
    return from(std::span<const Value>(values), shape);
  }

  bool defined() const { return storage_ != nullptr; }
  explicit operator bool() const { return defined(); }
  const Shape& shape() const { return shape_; }
  int rank() const { return shape_.rank(); }
  int64_t size(int i) const { return shape_[i]; }
  int64_t numel() const { return numel_; }
  DType dtype() const { return dtype_; }
  size_t nbytes() const { return static_cast<size_t>(numel_) * size_of(dtype_); }
  Device device() const { return storage_ ? storage_->device : Device{}; }
  bool read_only() const { return storage_ && storage_->read_only; }
  /// Names this tensor for a Recorder: copies of the handle share it, views and clones have their own.
  uint64_t id() const { return id_; }
  const std::shared_ptr<Storage>& storage() const { return storage_; }

  /// The elements, to be read or written here. Errors: Error(Device) if they lie on a device; Error(Type) if the dtype is another, and
  /// for writing to a read-only tensor from a non-const handle.
  template <class Value>
  const Value* data() const {
    check_host("data");
    return ptr<Value>();
  }
  template <class Value>
  Value* data() {
    check_host("data");
    return ptr<Value>();
  }
  template <class Value>
  std::span<const Value> values() const {
    return {data<Value>(), static_cast<size_t>(numel_)};
  }
  /// The same without a type. Errors: Error(Device).
  const void* raw() const {
    check_host("raw");
    return address();
  }
  void* raw() {
    check_host("raw");
    return address();
  }
  /// Where the elements begin on whichever device they lie: for its kernels, which must have been asked whether they are meant.
  const void* address() const { return storage_ ? static_cast<const char*>(storage_->data) + offset_ : nullptr; }
  void* address() {
    check(!read_only(), ErrorCode::Type, "tensor", "cannot write: the memory is read-only (a mapped file)");
    return storage_ ? static_cast<char*>(storage_->data) + offset_ : nullptr;
  }
  template <class Value>
  const Value* ptr() const {
    check(dtype_of<Value>() == dtype_, ErrorCode::Type, "tensor", "expected ", name_of(dtype_of<Value>()), ", got ", name_of(dtype_));
    return static_cast<const Value*>(address());
  }
  template <class Value>
  Value* ptr() {
    check(dtype_of<Value>() == dtype_, ErrorCode::Type, "tensor", "expected ", name_of(dtype_of<Value>()), ", got ", name_of(dtype_));
    return static_cast<Value*>(address());
  }

  /// The same elements under another shape, sharing memory. One size may be -1 through Shape built by the caller.
  /// Errors: Error(Shape) if the number of elements differs.
  Tensor view(const Shape& shape) const;
  /// Elements [begin, end) of the first dimension, sharing memory. Errors: Error(Limit).
  Tensor rows(int64_t begin, int64_t end) const;
  Tensor clone() const;
  /// Elements converted to `dtype` (rounded to nearest even; integers saturate not). Returns *this if nothing changes.
  /// Errors: Error(Type) for a conversion to an 8-bit float, and on a device between others than float32, bfloat16 and float16.
  Tensor to(DType dtype) const;
  /// The same elements on another device; *this if they lie there. In the order of the calling thread's stream; copies to the host
  /// are complete when it returns.
  /// Errors: Error(Device), Error(Memory).
  Tensor to(Device device) const;
  /// The one element as double, copied from its device. Errors: Error(Shape) if there is not exactly one.
  double item() const;
  /// "tensor (2, 3) float32 cpu"
  std::string describe() const;
  /// Errors: Error(Device) naming `what` was to be done, unless the elements lie in the host's memory.
  void check_host(const char* what) const {
    if (storage_ && !storage_->device.is_cpu()) [[unlikely]]
      fail_on_device(what);
  }

 private:
  [[noreturn]] void fail_on_device(const char* what) const;
  std::shared_ptr<Storage> storage_;
  size_t offset_ = 0;
  Shape shape_;
  int64_t numel_ = 0;
  DType dtype_ = DType::F32;
  uint64_t id_ = 0;
};

}  // namespace tenon
