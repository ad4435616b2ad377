// Token ids and indices on their way from Python, whose integers have no largest one.
#pragma once

#include <cstdint>
#include <limits>
#include <vector>

#include "bindings.h"

namespace tenon::python {

/// An argument that may be out of range: what 64 bits do not hold counts as their largest or smallest number, which no list reaches.
struct Index {
  int64_t value = 0;
};

/// The integers of a list, tuple, array or other iterable. `what` names it in errors.
/// Errors: Error(Type) for what is no such thing or holds something else; Error(Limit) naming one that 64 bits do not hold.
std::vector<int64_t> ids_of(py::handle ids, const char* where, const char* what);

}  // namespace tenon::python

namespace pybind11::detail {

template <>
struct type_caster<tenon::python::Index> {
  PYBIND11_TYPE_CASTER(tenon::python::Index, const_name("int"));
  bool load(handle source, bool) {
    const auto number = reinterpret_steal<object>(PyNumber_Index(source.ptr()));
    if (!number) {
      PyErr_Clear();
      return false;
    }
    int overflow = 0;
    value.value = PyLong_AsLongLongAndOverflow(number.ptr(), &overflow);
    if (overflow != 0) value.value = overflow < 0 ? std::numeric_limits<int64_t>::min() : std::numeric_limits<int64_t>::max();
    return true;
  }
};

}  // namespace pybind11::detail
