// Binds core: element types, tensors, threads, and what the machine offers.
#include <pybind11/stl.h>

#include <vector>

#include "bindings.h"
#include "tenon/core/cuda.h"
#include "tenon/core/kernels.h"
#include "tenon/core/parallel.h"

namespace tenon::python {
namespace {

py::tuple shape_tuple(const Shape& shape) {
  py::tuple t(static_cast<size_t>(shape.rank()));
  for (int i = 0; i < shape.rank(); ++i) t[i] = py::int_(shape[i]);
  return t;
}

Shape shape_of(const std::vector<int64_t>& dims) { return Shape(dims.begin(), dims.end()); }

/// The struct module's character for an element type. Errors: Error(Type) for types that Python has no character for.
const char* format_of(DType t) {
  switch (t) {
    case DType::F64: return "d";
    case DType::F32: return "f";
    case DType::F16: return "e";
    case DType::I64: return "q";
    case DType::I32: return "i";
    case DType::I16: return "h";
    case DType::I8: return "b";
    case DType::U64: return "Q";
    case DType::U32: return "I";
    case DType::U16: return "H";
    case DType::U8: return "B";
    case DType::Bool: return "?";
    case DType::BF16:
    case DType::F8E4M3:
    case DType::F8E5M2:
    case DType::F8E8M0: break;
  }
  fail(ErrorCode::Type, "buffer", name_of(t), " has no buffer format; convert with .float() or .numpy()");
}

py::buffer_info buffer_of(Tensor& t) {
  const auto item = static_cast<py::ssize_t>(size_of(t.dtype()));
  std::vector<py::ssize_t> shape(t.shape().begin(), t.shape().end()), strides(shape.size());
  py::ssize_t stride = item;
  for (int i = t.rank() - 1; i >= 0; --i) strides[i] = stride, stride *= shape[i];
  t.check_host("buffer");
  void* data = const_cast<void*>(static_cast<const Tensor&>(t).raw());
  return py::buffer_info(data, item, format_of(t.dtype()), t.rank(), shape, strides, t.read_only());
}

py::object element(const Tensor& t, int64_t i) {
  switch (t.dtype()) {
    case DType::F64: return py::float_(t.data<double>()[i]);
    case DType::F32: return py::float_(static_cast<double>(t.data<float>()[i]));
    case DType::F16: return py::float_(static_cast<double>(t.data<float16>()[i]));
    case DType::BF16: return py::float_(static_cast<double>(t.data<bfloat16>()[i]));
    case DType::F8E4M3: return py::float_(f8e4m3_to_float(static_cast<const uint8_t*>(t.raw())[i]));
    case DType::F8E5M2: return py::float_(f8e5m2_to_float(static_cast<const uint8_t*>(t.raw())[i]));
    case DType::F8E8M0: return py::float_(f8e8m0_to_float(static_cast<const uint8_t*>(t.raw())[i]));
    case DType::I64: return py::int_(t.data<int64_t>()[i]);
    case DType::I32: return py::int_(t.data<int32_t>()[i]);
    case DType::I16: return py::int_(t.data<int16_t>()[i]);
    case DType::I8: return py::int_(t.data<int8_t>()[i]);
    case DType::U64: return py::int_(t.data<uint64_t>()[i]);
    case DType::U32: return py::int_(t.data<uint32_t>()[i]);
    case DType::U16: return py::int_(t.data<uint16_t>()[i]);
    case DType::U8: return py::int_(t.data<uint8_t>()[i]);
    case DType::Bool: return py::bool_(static_cast<const uint8_t*>(t.raw())[i] != 0);
  }
  return py::none();
}

py::object nested(const Tensor& t, int dim, int64_t& next) {
  if (dim == t.rank()) return element(t, next++);
  py::list list(static_cast<size_t>(t.size(dim)));
  for (int64_t i = 0; i < t.size(dim); ++i) list[static_cast<size_t>(i)] = nested(t, dim + 1, next);
  return list;
}

void bind_dtype(py::module_& m) {
  py::enum_<DType> e(m, "dtype", "The type of a tensor's elements.");
  for (int i = 0; i <= static_cast<int>(DType::Bool); ++i) e.value(name_of(static_cast<DType>(i)).data(), static_cast<DType>(i));
  e.def_property_readonly("itemsize", [](DType t) { return size_of(t); }, "Bytes per element.");
  e.def_property_readonly("is_floating_point", [](DType t) { return is_float(t); });
  const auto text = [](DType t) { return "tenon." + std::string(name_of(t)); };
  e.attr("__repr__") = py::cpp_function(text, py::name("__repr__"), py::is_method(e));
  e.attr("__str__") = py::cpp_function(text, py::name("__str__"), py::is_method(e));
  py::class_<ProductType>(m, "ProductType", "What matrices are multiplied as where a model trains.")
      .def(py::init([](DType type, bool whole) { return ProductType{type, whole ? Fp8Scaling::Tensor : Fp8Scaling::Block}; }), py::arg("dtype"),
           py::arg("whole_scale") = false, "whole_scale: factors in float8 have one scale each, not one for each block.")
      .def_readonly("dtype", &ProductType::type)
      .def_property_readonly("whole_scale", [](const ProductType& p) { return p.scaling == Fp8Scaling::Tensor; });
  py::implicitly_convertible<DType, ProductType>();
}

void bind_tensor(py::module_& m) {
  py::class_<Tensor>(m, "Tensor", py::buffer_protocol(), py::dynamic_attr(),
                     "A dense array, contiguous and row-major. NumPy and DLPack share its memory; the methods are PyTorch's.")
      .def_buffer(&buffer_of)
      .def_property_readonly("shape", [](const Tensor& t) { return shape_tuple(t.shape()); }, "The sizes of the dimensions, a tuple.")
      .def_property_readonly("ndim", &Tensor::rank)
      .def_property_readonly("dtype", &Tensor::dtype)
      .def_property_readonly("nbytes", &Tensor::nbytes)
      .def_property_readonly("read_only", &Tensor::read_only, "True for a checkpoint's mapped weights; clone() gives a writable copy.")
      .def_property_readonly("_device", [](const Tensor& t) { return t.device().str(); })
      .def_property_readonly("_id", &Tensor::id)
      .def("numel", &Tensor::numel, "The number of elements.")
      .def("data_ptr", [](const Tensor& t) { return reinterpret_cast<uintptr_t>(t.address()); }, "The address of the first element.")
      .def_property_readonly("_version", [](const Tensor& t) { return t.storage() ? t.storage()->version : 0; })
      .def("_changed", [](const Tensor& t) { if (t.storage()) ++t.storage()->version; }, "Counts a change in place.")
      .def("_rebind", [](Tensor& t, const Tensor& other) { t = other; }, "Becomes another handle of `other`'s elements; views stay as they are.")
      .def("_handle", [](const Tensor& t) { return t; }, "Another object for the same tensor.")
      .def("_clone", &Tensor::clone, "A copy in memory of its own.")
      .def("_view", [](const Tensor& t, const std::vector<int64_t>& dims) { return t.view(shape_of(dims)); })
      .def("_rows", &Tensor::rows)
      .def("_to", [](const Tensor& t, DType dtype) { return t.to(dtype); }, py::call_guard<py::gil_scoped_release>())
      .def("_to_device", [](const Tensor& t, const std::string& device) { return t.to(parse_device(device)); },
           py::call_guard<py::gil_scoped_release>())
      .def("_assign", [](Tensor& t, const Tensor& source) {
        check(t.shape() == source.shape() && t.dtype() == source.dtype(), ErrorCode::Shape, "copy_", "expected ", t.describe(), ", got ",
              source.describe());
        cuda::copy(t.address(), t.device(), source.address(), source.device(), t.nbytes());
      }, "Copies the elements of another tensor of this shape and type, wherever the two lie.")
      .def("_reinterpret", [](const Tensor& t, DType dtype) {
        const auto offset = static_cast<const char*>(t.address()) - static_cast<const char*>(t.storage()->data);
        return Tensor::over(t.storage(), static_cast<size_t>(offset), t.shape(), dtype);
      }, "The same bytes as elements of another type of the same size.")
      .def("item", [](const Tensor& t) { t.item(); return element(t.to(Device{}), 0); },
           "The one element as a Python number; ValueError if there are more.")
      .def("tolist", [](const Tensor& t) { int64_t next = 0; return nested(t.to(Device{}), 0, next); },
           "The elements as nested lists of numbers.")
      .def("_to_dlpack", &to_dlpack);
  m.def("empty", [](const std::vector<int64_t>& dims, DType dtype) { return Tensor::empty(shape_of(dims), dtype); });
  m.def("zeros", [](const std::vector<int64_t>& dims, DType dtype) { return Tensor::zeros(shape_of(dims), dtype); });
  m.def("from_buffer", &from_buffer);
  m.def("from_dlpack", &from_dlpack);
}

}  // namespace

void bind_core(py::module_& m) {
  bind_dtype(m);
  bind_tensor(m);
  m.def("set_num_threads", &set_num_threads, py::arg("n"), "Threads for all later computations; 0 takes what the machine grants.");
  m.def("get_num_threads", &get_num_threads, "Threads that computations use.");
  m.def("available_threads", &available_threads, "Threads that affinity, cgroup quota and OMP_NUM_THREADS grant.");
  m.def("kernels_name", [] { return std::string(cpu_kernels().name); }, "The table of kernels in use: ref, avx2, avx512, neon.");
  m.def("has_bfloat16", [] { return cpu_kernels().fast_bf16; }, "True if the processor multiplies bfloat16 matrices.");
  m.def("_parse_device", [](const std::string& text) { return parse_device(text).str(); });
}

}  // namespace tenon::python
