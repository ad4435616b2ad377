// JSON values as Python objects and back, without going through text.
#include "bindings.h"

namespace tenon::python {

py::object to_python(const Json& json) {
  if (json.is_null()) return py::none();
  if (json.is_bool()) return py::bool_(json.as_bool());
  if (json.is_int()) return py::int_(json.as_int());
  if (json.is_number()) return py::float_(json.as_number());
  if (json.is_string()) return py::str(json.as_string());
  if (json.is_array()) {
    py::list list;
    for (const Json& item : json.as_array()) list.append(to_python(item));
    return list;
  }
  py::dict dict;
  for (const auto& [key, value] : json.as_object()) dict[py::str(key)] = to_python(value);
  return dict;
}

Json to_json(py::handle object, int depth) {
  check(depth <= 512, ErrorCode::Limit, "config", "nested deeper than 512");
  if (object.is_none()) return Json();
  if (py::isinstance<py::bool_>(object)) return Json(object.cast<bool>());
  if (py::isinstance<py::int_>(object)) {
    int overflow = 0;
    const int64_t value = PyLong_AsLongLongAndOverflow(object.ptr(), &overflow);
    check(overflow == 0, ErrorCode::Limit, "config", "expected integers of at most 64 bits, got a larger one");
    return Json(value);
  }
  if (py::isinstance<py::float_>(object)) return Json(object.cast<double>());
  if (py::isinstance<py::str>(object)) return Json(object.cast<std::string>());
  if (py::isinstance<py::dict>(object)) {
    Json::Object members;
    for (const auto& [key, value] : py::reinterpret_borrow<py::dict>(object))
      members.emplace_back(py::str(key).cast<std::string>(), to_json(value, depth + 1));
    return Json(std::move(members));
  }
  if (py::isinstance<py::list>(object) || py::isinstance<py::tuple>(object)) {
    Json::Array items;
    for (const py::handle item : object) items.push_back(to_json(item, depth + 1));
    return Json(std::move(items));
  }
  fail(ErrorCode::Type, "config", "expected a value that JSON has, got ", py::str(py::type::handle_of(object)).cast<std::string>());
}

}  // namespace tenon::python
