// The extension module tenon._core: registers each layer and turns tenon::Error into Python's built-in exceptions.
#include "bindings.h"

namespace tenon::python {

void bind_arrays(py::module_& m);  // bind_arrays.cpp
namespace {

PyObject* exception_of(ErrorCode code) {
  switch (code) {
    case ErrorCode::Type: return PyExc_TypeError;
    case ErrorCode::Device: return PyExc_RuntimeError;
    case ErrorCode::File: return PyExc_FileNotFoundError;
    case ErrorCode::Memory: return PyExc_MemoryError;
    case ErrorCode::Shape:
    case ErrorCode::Format:
    case ErrorCode::Limit: break;
  }
  return PyExc_ValueError;
}

void translate(std::exception_ptr p) {
  try {
    if (p) std::rethrow_exception(p);
  } catch (const Error& e) {
    PyErr_SetString(exception_of(e.code()), e.what());
  }
}

}  // namespace
}  // namespace tenon::python

PYBIND11_MODULE(_core, m) {
  m.doc() = "The compiled half of Tenon. Use the package `tenon`; this module is not an interface of its own.";
  m.attr("__version__") = TENON_VERSION;
  pybind11::register_local_exception_translator(tenon::python::translate);
  tenon::python::bind_core(m);
  tenon::python::bind_io(m);
  tenon::python::bind_text(m);
  tenon::python::bind_vision(m);
  tenon::python::bind_models(m);
  tenon::python::bind_adapters(m);
  tenon::python::bind_generation(m);
  tenon::python::bind_engine(m);
  tenon::python::bind_moe(m);
  tenon::python::bind_ops(m);
  tenon::python::bind_arrays(m);
  tenon::python::bind_training(m);
  tenon::python::bind_optim(m);
  tenon::python::bind_quantize(m);
  tenon::python::bind_sparse(m);
  tenon::python::bind_cuda(m);
}
