// What the binding files share: one registration function per layer, conversions between Python objects and core types, Contexts.
#pragma once

#include <pybind11/pybind11.h>

#include <string>

#include "tenon/core/context.h"
#include "tenon/core/json.h"
#include "tenon/core/tensor.h"
#include "tenon/models/model.h"

namespace tenon::python {

namespace py = pybind11;

void bind_core(py::module_& m);
void bind_io(py::module_& m);
void bind_text(py::module_& m);
void bind_vision(py::module_& m);
void bind_models(py::module_& m);
void bind_adapters(py::module_& m);
void bind_generation(py::module_& m);
void bind_engine(py::module_& m);
void bind_moe(py::module_& m);
void bind_ops(py::module_& m);
void bind_training(py::module_& m);
void bind_optim(py::module_& m);
void bind_quantize(py::module_& m);
void bind_sparse(py::module_& m);
void bind_cuda(py::module_& m);

/// JSON as dict, list, str, int, float, bool and None, and back. Keys that are no strings are written as str() of them.
/// Errors: Error(Type) naming the Python type for objects that JSON does not have; Error(Limit) for nesting deeper than 512.
py::object to_python(const Json& json);
Json to_json(py::handle object, int depth = 0);

/// A tensor over the memory of an object with the buffer protocol (a NumPy array, bytes, array.array), without copying where it is
/// contiguous and aligned. Errors: Error(Type) for an element type that Tenon lacks or a foreign byte order.
Tensor from_buffer(const py::buffer& object);
/// The same for an object with __dlpack__. Errors: Error(Device) unless it lies on the CPU; Error(Type).
Tensor from_dlpack(const py::object& object);
/// A DLPack capsule over the tensor's memory. Errors: Error(Type) if it is read-only and the consumer's version cannot say so.
py::capsule to_dlpack(const Tensor& t, bool versioned);

/// A model's arguments by name. Errors: Error(Type) for a name that no model takes.
models::Inputs inputs_of(const py::dict& given);
/// The outputs that are there, by name, in Transformers' order.
py::dict dict_of(models::Outputs& outputs);

/// What autocast asks for; a type alone stands for itself with scales of blocks.
struct ProductType {
  DType type = DType::F32;
  Fp8Scaling scaling = Fp8Scaling::Block;

  /// How training multiplies on a device: on the CPU bfloat16 stands for float16, which nothing multiplies there.
  TrainingMode on(Device device) const {
    return {.matmul = type == DType::F16 && device.is_cpu() ? DType::BF16 : type, .fp8_scaling = scaling};
  }
};

/// A Context of one's own for the time of one call. They are kept for the next calls, as many as were ever in use at once: threads
/// come and go in a server, and one Context per thread would keep the scratch memory of each. It computes on `device`.
class BorrowedContext {
 public:
  explicit BorrowedContext(Device device = {});
  ~BorrowedContext();
  BorrowedContext(const BorrowedContext&) = delete;
  BorrowedContext& operator=(const BorrowedContext&) = delete;
  Context& operator*() { return *context_; }

 private:
  std::unique_ptr<Context> context_;
};

}  // namespace tenon::python
