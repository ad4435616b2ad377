// Binds GPUs: what there is, their memory, and copies of tensors.
#include <pybind11/stl.h>

#include <tuple>

#include "bindings.h"
#include "tenon/core/cuda.h"
#include "tenon/core/tensor_cores.h"

namespace tenon::python {

void bind_cuda(py::module_& m) {
  const py::call_guard<py::gil_scoped_release> released;
  m.def("_cuda_why_not", [] { return cuda::why_not(); }, released);
  m.def("_cuda_library", [] { return cuda::library_path(); }, released);
  m.def("_cuda_device_count", &cuda::device_count, released);
  m.def("_cuda_properties", [](int device) {
    const cuda::Properties p = cuda::properties(device);
    return std::make_tuple(p.name, p.major, p.minor, p.multiprocessors, p.total_bytes);
  });
  m.def("_cuda_tensor_cores", &cuda::tensor_cores, released);
  m.def("_cuda_memory", [](int device) {
    const cuda::Memory memory = cuda::memory(device);
    return std::make_tuple(memory.in_use, memory.held, memory.peak_in_use, memory.peak_held);
  });
  m.def("_cuda_reset_peak", &cuda::reset_peak_memory);
  m.def("_cuda_set_limit", &cuda::set_memory_limit);
  m.def("_cuda_empty_cache", &cuda::empty_cache, released);
  m.def("_cuda_synchronize", &cuda::synchronize, released);
}

}  // namespace tenon::python
