// Binds io: JSON files, checkpoint configurations and safetensors files.
#include <pybind11/stl.h>

#include <string>
#include <vector>

#include "bindings.h"
#include "tenon/io/checkpoint.h"
#include "tenon/io/files.h"
#include "tenon/io/safetensors.h"
#include "tenon/io/torch_file.h"

namespace tenon::python {
namespace {

py::dict load_file(const std::string& path) {
  const io::SafeTensors file = io::SafeTensors::open(path);
  py::dict d;
  for (const std::string& name : file.names()) d[py::str(name)] = file.tensor(name);
  return d;
}

void save_file(const std::vector<std::pair<std::string, Tensor>>& tensors, const std::string& path, const io::Metadata& metadata) {
  std::vector<io::NamedTensor> named;
  for (const auto& [name, t] : tensors) named.push_back({name, t});
  py::gil_scoped_release release;
  io::write_safetensors(path, named, metadata);
}

}  // namespace

void bind_io(py::module_& m) {
  m.def("read_json", [](const std::string& path) { return to_python(Json::parse_file(path)); }, py::arg("path"));
  m.def("write_json", [](const py::object& value, const std::string& path) { io::write_file_atomic(path, to_json(value).dump(2) + "\n"); },
        py::arg("value"), py::arg("path"));
  m.def("dump_json", [](const py::object& value) { return to_json(value).dump(2); }, py::arg("value"));
  m.def("read_config", [](const std::string& folder) { return to_python(io::read_config(folder)); }, py::arg("folder"));
  m.def("make_folders", &io::make_folders, py::arg("path"));
  m.def("load_file", &load_file, py::arg("path"), "The tensors of a safetensors file by name, over its mapped memory.");
  m.def("load_torch_file", [](const std::string& path) { return io::read_torch_file(path); }, py::arg("path"),
        "The tensors of a file that torch.save wrote, in its order, over its mapped memory.");
  m.def("save_file", &save_file, py::arg("tensors"), py::arg("path"), py::arg("metadata"));
  m.def("safetensors_metadata", [](const std::string& path) { return io::SafeTensors::open(path).metadata(); }, py::arg("path"));
}

}  // namespace tenon::python
