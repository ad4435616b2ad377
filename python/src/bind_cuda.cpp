// Binds GPUs: what there is, their memory, and copies of tensors.
#include <pybind11/stl.h>

#include <memory>
#include <tuple>
#include <utility>
#include <vector>

#include "bindings.h"
#include "tenon/core/cuda.h"
#include "tenon/core/tensor_cores.h"

namespace tenon::python {
namespace {

/// Between enter() and exit() the calling thread's work goes to a stream. Used by one thread; entered again before it is left, as often.
class StreamScope {
 public:
  explicit StreamScope(cuda::Stream stream) : stream_(std::move(stream)) {}
  void enter() { entered_.push_back(std::make_unique<cuda::OnStream>(stream_)); }
  void exit() {
    check(!entered_.empty(), ErrorCode::Device, "stream", "left without having been entered");
    entered_.pop_back();
  }

 private:
  cuda::Stream stream_;
  std::vector<std::unique_ptr<cuda::OnStream>> entered_;
};

void bind_streams(py::module_& m, const py::call_guard<py::gil_scoped_release>& released) {
  py::class_<cuda::Stream>(m, "CudaStream", "A queue of a device's work.")
      .def(py::init<int>(), py::arg("device"))
      .def_static("default", &cuda::Stream::of_device, py::arg("device"))
      .def_static("current", &cuda::Stream::current, py::arg("device"))
      .def_property_readonly("device", &cuda::Stream::device)
      .def_property_readonly("handle", [](const cuda::Stream& s) { return reinterpret_cast<uintptr_t>(s.handle()); })
      .def("synchronize", &cuda::Stream::synchronize, released);
  py::class_<cuda::Event>(m, "CudaEvent", "A mark in a stream.")
      .def(py::init<int>(), py::arg("device"))
      .def("record", &cuda::Event::record, "Marks the calling thread's stream.")
      .def("wait", &cuda::Event::wait, py::arg("stream"))
      .def("reached", &cuda::Event::reached)
      .def("synchronize", &cuda::Event::synchronize, released)
      .def("milliseconds_to", &cuda::Event::milliseconds_to, py::arg("end"));
  py::class_<StreamScope>(m, "CudaStreamScope", "While it is entered, the thread's work goes to a stream.")
      .def(py::init<cuda::Stream>(), py::arg("stream"))
      .def("enter", &StreamScope::enter)
      .def("exit", &StreamScope::exit);
  m.def("_cuda_record_use", [](const Tensor& t, const cuda::Stream& stream) { cuda::record_use(t, stream); });
}

}  // namespace

void bind_cuda(py::module_& m) {
  const py::call_guard<py::gil_scoped_release> released;
  bind_streams(m, released);
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
