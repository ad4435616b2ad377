// Tensor memory, views and conversions between element types.
#include "tenon/core/tensor.h"

#include "core/cuda_allocator.h"
#include "core/memory.h"

#include <atomic>
#include <cstdlib>
#include <new>

namespace tenon {
namespace {

uint64_t next_id() {
  static std::atomic<uint64_t> counter{0};
  return ++counter;
}

double load_element(const void* p, DType t, int64_t i) {
  switch (t) {
    case DType::F64: return static_cast<const double*>(p)[i];
    case DType::F32: return static_cast<const float*>(p)[i];
    case DType::F16: return static_cast<const float16*>(p)[i];
    case DType::BF16: return static_cast<const bfloat16*>(p)[i];
    case DType::F8E4M3: return f8e4m3_to_float(static_cast<const uint8_t*>(p)[i]);
    case DType::F8E5M2: return f8e5m2_to_float(static_cast<const uint8_t*>(p)[i]);
    case DType::F8E8M0: return f8e8m0_to_float(static_cast<const uint8_t*>(p)[i]);
    case DType::I64: return static_cast<double>(static_cast<const int64_t*>(p)[i]);
    case DType::I32: return static_cast<const int32_t*>(p)[i];
    case DType::I16: return static_cast<const int16_t*>(p)[i];
    case DType::I8: return static_cast<const int8_t*>(p)[i];
    case DType::U64: return static_cast<double>(static_cast<const uint64_t*>(p)[i]);
    case DType::U32: return static_cast<const uint32_t*>(p)[i];
    case DType::U16: return static_cast<const uint16_t*>(p)[i];
    case DType::U8: return static_cast<const uint8_t*>(p)[i];
    case DType::Bool: return static_cast<const uint8_t*>(p)[i] != 0;
  }
  return 0;
}

/// Calls body with a null pointer of the C++ type that holds dtype t; 8-bit floats go as bytes.
template <class Body>
void with_type(DType t, Body&& body) {
  switch (t) {
    case DType::F64: return body(static_cast<double*>(nullptr));
    case DType::F32: return body(static_cast<float*>(nullptr));
    case DType::F16: return body(static_cast<float16*>(nullptr));
    case DType::BF16: return body(static_cast<bfloat16*>(nullptr));
    case DType::I64: return body(static_cast<int64_t*>(nullptr));
    case DType::I32: return body(static_cast<int32_t*>(nullptr));
    case DType::I16: return body(static_cast<int16_t*>(nullptr));
    case DType::I8: return body(static_cast<int8_t*>(nullptr));
    case DType::U64: return body(static_cast<uint64_t*>(nullptr));
    case DType::U32: return body(static_cast<uint32_t*>(nullptr));
    case DType::U16: return body(static_cast<uint16_t*>(nullptr));
    default: return body(static_cast<uint8_t*>(nullptr));
  }
}

constexpr bool is_8_bit_float(DType t) { return is_float(t) && size_of(t) == 1; }

template <class To, class From>
To convert_one(From v) {
  if constexpr (std::is_same_v<To, bfloat16> || std::is_same_v<To, float16>) return To::from(static_cast<float>(v));
  else if constexpr (std::is_same_v<From, bfloat16> || std::is_same_v<From, float16>) return static_cast<To>(static_cast<float>(v));
  else return static_cast<To>(v);
}

std::shared_ptr<Storage> allocate(size_t bytes) {
  void* p = detail::allocate_aligned(bytes);
  check(p != nullptr, ErrorCode::Memory, "tensor", "cannot allocate ", bytes, " bytes");
  auto storage = std::make_shared<Storage>();
  storage->data = p;
  storage->bytes = bytes;
  storage->owner = std::shared_ptr<void>(p, [](void* q) { std::free(q); });
  return storage;
}

size_t bytes_of(const Shape& shape, DType dtype) {
  int64_t bytes;  // signed, so that rounding up cannot wrap around
  check(!__builtin_mul_overflow(shape.numel(), static_cast<int64_t>(size_of(dtype)), &bytes), ErrorCode::Limit, "tensor", "too large: ",
        shape);
  return static_cast<size_t>(bytes);
}

}  // namespace

Tensor Tensor::empty(const Shape& shape, DType dtype) { return over(allocate(bytes_of(shape, dtype)), 0, shape, dtype); }

Tensor Tensor::zeros(const Shape& shape, DType dtype) {
  Tensor t = empty(shape, dtype);
  if (t.nbytes()) std::memset(t.raw(), 0, t.nbytes());
  return t;
}

Tensor Tensor::empty(const Shape& shape, DType dtype, Device device) {
  if (device.is_cpu()) return empty(shape, dtype);
  return over(cuda::detail::allocator(device.index).allocate(bytes_of(shape, dtype)), 0, shape, dtype);
}

Tensor Tensor::zeros(const Shape& shape, DType dtype, Device device) {
  if (device.is_cpu()) return zeros(shape, dtype);
  Tensor t = empty(shape, dtype, device);
  cuda::zero(t.address(), device, t.nbytes());
  return t;
}

Tensor Tensor::over(std::shared_ptr<Storage> storage, size_t byte_offset, const Shape& shape, DType dtype) {
  const size_t bytes = bytes_of(shape, dtype);
  check(storage && byte_offset <= storage->bytes && bytes <= storage->bytes - byte_offset, ErrorCode::Limit, "tensor", shape, " ",
        name_of(dtype), " at byte ", byte_offset, " does not fit into its memory");
  Tensor t;
  t.storage_ = std::move(storage);
  t.offset_ = byte_offset;
  t.shape_ = shape;
  t.numel_ = shape.numel();
  t.dtype_ = dtype;
  t.id_ = next_id();
  return t;
}

Tensor Tensor::view(const Shape& shape) const {
  check(defined() && shape.numel() == numel_, ErrorCode::Shape, "view", "expected ", numel_, " elements as in ", shape_, ", got ", shape);
  return over(storage_, offset_, shape, dtype_);
}

Tensor Tensor::rows(int64_t begin, int64_t end) const {
  check(rank() > 0 && begin >= 0 && begin <= end && end <= size(0), ErrorCode::Limit, "rows", "[", begin, ", ", end, ") of ", shape_);
  const int64_t per_row = size(0) ? numel_ / size(0) : 0;
  Shape shape;
  shape.append(end - begin);
  for (int i = 1; i < rank(); ++i) shape.append(size(i));
  return over(storage_, offset_ + static_cast<size_t>(begin * per_row) * size_of(dtype_), shape, dtype_);
}

Tensor Tensor::clone() const {
  if (!defined()) return {};
  Tensor t = empty(shape_, dtype_, device());
  cuda::copy(t.address(), device(), address(), device(), nbytes());
  return t;
}

Tensor Tensor::to(DType dtype) const {
  if (!defined() || dtype == dtype_) return *this;
  check(!is_8_bit_float(dtype), ErrorCode::Type, "to", "cannot convert to ", name_of(dtype));
  if (!device().is_cpu()) {
    const auto floating = [](DType d) { return d == DType::F32 || d == DType::BF16 || d == DType::F16; };
    const auto counted = [](DType d) { return d == DType::I64 || d == DType::Bool; };
    check((floating(dtype_) || counted(dtype_)) && (floating(dtype) || counted(dtype)), ErrorCode::Type, "to", "on ", device(),
          ": expected float32, bfloat16, float16, int64 or bool, got ", name_of(dtype_), " to ", name_of(dtype), "; convert it on the cpu");
    if (counted(dtype) && floating(dtype_) && dtype_ != DType::F32) return to(DType::F32).to(dtype);
    if (counted(dtype_) && floating(dtype) && dtype != DType::F32) return to(DType::F32).to(dtype);
    Tensor t = empty(shape_, dtype, device());
    const Kernels& kernels = cuda::kernels(device().index);
    if (numel_ == 0) return t;
    if (floating(dtype_) && floating(dtype)) {
      kernels.cast(t.address(), dtype, address(), dtype_, numel_);
      return t;
    }
    ElementwiseCall c{.y = t.address(), .x = {address()}, .op = Elementwise::Copy, .type = dtype_, .y_type = dtype, .rank = 1};
    c.size[0] = numel_, c.stride[0][0] = 1;
    kernels.elementwise(c);
    return t;
  }
  Tensor t = empty(shape_, dtype);
  const void* from = raw();
  void* to = t.raw();
  with_type(dtype, [&](auto* to_type) {
    using To = std::remove_pointer_t<decltype(to_type)>;
    if (is_8_bit_float(dtype_) || dtype_ == DType::Bool || dtype == DType::Bool) {
      for (int64_t i = 0; i < numel_; ++i) {
        const double v = load_element(from, dtype_, i);
        if (dtype == DType::Bool) static_cast<uint8_t*>(to)[i] = v != 0;
        else static_cast<To*>(to)[i] = convert_one<To>(v);
      }
      return;
    }
    with_type(dtype_, [&](auto* from_type) {
      using From = std::remove_pointer_t<decltype(from_type)>;
      for (int64_t i = 0; i < numel_; ++i) static_cast<To*>(to)[i] = convert_one<To>(static_cast<const From*>(from)[i]);
    });
  });
  return t;
}

Tensor Tensor::to(Device target) const {
  if (!defined() || target == device()) return *this;
  Tensor t = empty(shape_, dtype_, target);
  cuda::copy(t.address(), target, address(), device(), nbytes());
  return t;
}

void Tensor::fail_on_device(const char* what) const {
  fail(ErrorCode::Device, what, "the elements lie on ", device(), ", not in the host's memory; copy them with to(\"cpu\")");
}

double Tensor::item() const {
  check(defined() && numel_ == 1, ErrorCode::Shape, "item", "expected one element, got ", defined() ? shape_.str() : "no tensor");
  if (!device().is_cpu()) return to(Device{}).item();
  return load_element(raw(), dtype_, 0);
}

std::string Tensor::describe() const {
  if (!defined()) return "tensor (undefined)";
  return "tensor " + shape_.str() + " " + std::string(name_of(dtype_)) + " " + device().str();
}

}  // namespace tenon
