// Reading token ids from Python objects.
#include "ids.h"

#include <string>

namespace tenon::python {
namespace {

std::string type_name(py::handle object) { return Py_TYPE(object.ptr())->tp_name; }

// As Python writes it; it refuses to write very large ones in decimal.
std::string digits_of(const py::object& number) {
  const auto text = py::reinterpret_steal<py::object>(PyObject_Str(number.ptr()));
  if (text) return text.cast<std::string>();
  PyErr_Clear();
  return "a number of more than 4000 digits";
}

}  // namespace

std::vector<int64_t> ids_of(py::handle ids, const char* where, const char* what) {
  const bool is_text = PyUnicode_Check(ids.ptr()) || PyBytes_Check(ids.ptr());
  const auto items = py::reinterpret_steal<py::object>(is_text ? nullptr : PySequence_Fast(ids.ptr(), ""));
  if (!items) {
    if (PyErr_Occurred() && !PyErr_ExceptionMatches(PyExc_TypeError)) throw py::error_already_set();
    PyErr_Clear();
    fail(ErrorCode::Type, where, what, ": expected a list of ids, got ", type_name(ids));
  }
  std::vector<int64_t> out;
  out.reserve(static_cast<size_t>(PySequence_Fast_GET_SIZE(items.ptr())));
  for (Py_ssize_t i = 0; i < PySequence_Fast_GET_SIZE(items.ptr()); ++i) {
    const auto item = py::reinterpret_borrow<py::object>(PySequence_Fast_GET_ITEM(items.ptr(), i));
    const auto number = py::reinterpret_steal<py::object>(PyNumber_Index(item.ptr()));
    if (!number) {
      PyErr_Clear();
      fail(ErrorCode::Type, where, what, ": expected integers as ids, got ", type_name(item));
    }
    int overflow = 0;
    out.push_back(PyLong_AsLongLongAndOverflow(number.ptr(), &overflow));
    check(overflow == 0, ErrorCode::Limit, where, what, ": expected ids of the vocabulary, got ", overflow == 0 ? "" : digits_of(number));
  }
  return out;
}

}  // namespace tenon::python
