// Devices, memory, streams, events and graphs: what the library asks of CUDA, and the one symbol that it finds here.
#include <cuda_runtime.h>

#include <cstdio>
#include <cstring>
#include <string>

#include "core/cuda_backend.h"
#include "device/launch.cuh"
#include "fillers.h"
#include "hopper.h"

namespace tenon::cuda {
namespace {

thread_local cudaStream_t selected_stream = nullptr;
thread_local std::string failure;

Status status_of(cudaError_t error) {
  if (error == cudaSuccess) [[likely]]
    return Status::Ok;
  failure = std::string(cudaGetErrorString(error)) + " (" + cudaGetErrorName(error) + ")";
  cudaGetLastError();  // forgets it, unless it is one that stays
  if (cudaPeekAtLastError() != cudaSuccess) failure += "; the device is lost for this process, which must be started again";
  return error == cudaErrorMemoryAllocation ? Status::OutOfMemory : error == cudaErrorNotReady ? Status::NotReady : Status::Failed;
}

/// Sets the device for a call and puts the thread's own back.
class OnDevice {
 public:
  explicit OnDevice(int device) {
    cudaGetDevice(&before_);
    if (device != before_) error_ = cudaSetDevice(device);
    changed_ = device != before_;
  }
  ~OnDevice() {
    if (changed_) cudaSetDevice(before_);
  }
  OnDevice(const OnDevice&) = delete;
  OnDevice& operator=(const OnDevice&) = delete;
  template <class Call>
  Status operator()(Call&& call) const {
    return status_of(error_ == cudaSuccess ? call() : error_);
  }

 private:
  int before_ = 0;
  bool changed_ = false;
  cudaError_t error_ = cudaSuccess;
};

cudaStream_t stream_of(void* s) { return static_cast<cudaStream_t>(s); }
cudaEvent_t event_of(void* e) { return static_cast<cudaEvent_t>(e); }

std::string version_text(int version) { return std::to_string(version / 1000) + "." + std::to_string(version % 1000 / 10); }

int start(char* why, size_t why_bytes) {
  int driver = 0, runtime = 0, count = 0;
  cudaDriverGetVersion(&driver);
  cudaRuntimeGetVersion(&runtime);
  std::string reason;
  if (driver == 0) {
    reason = "no NVIDIA driver is installed";
  } else if (const cudaError_t error = cudaGetDeviceCount(&count); error == cudaErrorInsufficientDriver) {
    reason = "the NVIDIA driver is too old: it knows CUDA " + version_text(driver) + ", this library needs " + version_text(runtime);
  } else if (error == cudaErrorNoDevice || (error == cudaSuccess && count == 0)) {
    reason = "there is no GPU";
  } else if (error != cudaSuccess) {
    reason = std::string("CUDA does not start: ") + cudaGetErrorString(error);
  }
  cudaGetLastError();
  int usable = 0;  // the first devices that these kernels were compiled for
  for (; reason.empty() && usable < count; ++usable) {
    cudaDeviceProp p;
    if (cudaGetDeviceProperties(&p, usable) != cudaSuccess || p.major < 8) break;
    cudaMemPool_t pool;
    uint64_t keep = uint64_t{256} << 20;  // scratch memory is kept, not given back at each synchronisation
    if (cudaDeviceGetDefaultMemPool(&pool, usable) == cudaSuccess)
      cudaMemPoolSetAttribute(pool, cudaMemPoolAttrReleaseThreshold, &keep);
  }
  if (reason.empty() && usable == 0) reason = "the GPU is too old: kernels are built for compute capability 8.0 and later";
  std::snprintf(why, why_bytes, "%s", reason.c_str());
  return usable;
}

const char* last_error() { return failure.c_str(); }

Status facts(int device, DeviceFacts* f) {
  cudaDeviceProp p;
  const Status status = status_of(cudaGetDeviceProperties(&p, device));
  if (status != Status::Ok) return status;
  std::snprintf(f->name, sizeof(f->name), "%s", p.name);
  f->major = p.major, f->minor = p.minor, f->multiprocessors = p.multiProcessorCount, f->total_bytes = p.totalGlobalMem;
  return Status::Ok;
}

Status select(int device, void* stream) {
  selected_stream = stream_of(stream);
  return status_of(cudaSetDevice(device));
}

/// Allocations do not enter a graph that is being recorded, and must not end it either.
class Uncaptured {
 public:
  Uncaptured() { cudaThreadExchangeStreamCaptureMode(&mode_); }
  ~Uncaptured() { cudaThreadExchangeStreamCaptureMode(&mode_); }

 private:
  cudaStreamCaptureMode mode_ = cudaStreamCaptureModeRelaxed;
};

Status allocate(int device, size_t bytes, void** p) {
  const Uncaptured relaxed;
  return OnDevice(device)([&] { return cudaMalloc(p, bytes); });
}
Status release(int device, void* p) {
  const Uncaptured relaxed;
  return OnDevice(device)([&] { return cudaFree(p); });
}
Status free_bytes(int device, size_t* bytes) {
  size_t total = 0;
  return OnDevice(device)([&] { return cudaMemGetInfo(bytes, &total); });
}
Status allocate_pinned(size_t bytes, void** p) { return status_of(cudaMallocHost(p, bytes)); }
Status release_pinned(void* p) { return status_of(cudaFreeHost(p)); }

Status copy(void* to, int to_device, const void* from, int from_device, size_t bytes) {
  if (to_device >= 0 && from_device >= 0 && to_device != from_device)
    return status_of(cudaMemcpyPeerAsync(to, to_device, from, from_device, bytes, selected_stream));
  return status_of(cudaMemcpyAsync(to, from, bytes, cudaMemcpyDefault, selected_stream));
}
Status zero(void* p, size_t bytes) { return status_of(cudaMemsetAsync(p, 0, bytes, selected_stream)); }
Status synchronize(int device) {
  return OnDevice(device)([] { return cudaDeviceSynchronize(); });
}

Status make_stream(int device, void** stream) {
  return OnDevice(device)([&] { return cudaStreamCreateWithFlags(reinterpret_cast<cudaStream_t*>(stream), cudaStreamNonBlocking); });
}
Status end_stream(int device, void* stream) {
  return OnDevice(device)([&] { return cudaStreamDestroy(stream_of(stream)); });
}
Status wait_for_stream(int device, void* stream) {
  return OnDevice(device)([&] { return cudaStreamSynchronize(stream_of(stream)); });
}
Status make_event(int device, void** event) {
  return OnDevice(device)([&] { return cudaEventCreate(reinterpret_cast<cudaEvent_t*>(event)); });
}
Status end_event(int device, void* event) {
  return OnDevice(device)([&] { return cudaEventDestroy(event_of(event)); });
}
Status record_event(int device, void* event, void* stream) {
  return OnDevice(device)([&] { return cudaEventRecord(event_of(event), stream_of(stream)); });
}
Status stream_waits(int device, void* stream, void* event) {
  return OnDevice(device)([&] { return cudaStreamWaitEvent(stream_of(stream), event_of(event)); });
}
Status event_reached(int device, void* event) {
  return OnDevice(device)([&] { return cudaEventQuery(event_of(event)); });
}
Status wait_for_event(int device, void* event) {
  return OnDevice(device)([&] { return cudaEventSynchronize(event_of(event)); });
}
Status milliseconds(void* begin, void* end, float* ms) { return status_of(cudaEventElapsedTime(ms, event_of(begin), event_of(end))); }

Status begin_capture(int device, void* stream) {
  return OnDevice(device)([&] { return cudaStreamBeginCapture(stream_of(stream), cudaStreamCaptureModeThreadLocal); });
}
Status end_capture(int device, void* stream, void** graph) {
  return OnDevice(device)([&] {
    cudaGraph_t recorded = nullptr;
    cudaError_t error = cudaStreamEndCapture(stream_of(stream), &recorded);
    if (error == cudaSuccess) error = cudaGraphInstantiate(reinterpret_cast<cudaGraphExec_t*>(graph), recorded, 0);
    if (recorded) cudaGraphDestroy(recorded);
    return error;
  });
}
Status launch_graph(int device, void* graph, void* stream) {
  return OnDevice(device)([&] { return cudaGraphLaunch(static_cast<cudaGraphExec_t>(graph), stream_of(stream)); });
}
Status end_graph(int device, void* graph) {
  return OnDevice(device)([&] { return cudaGraphExecDestroy(static_cast<cudaGraphExec_t>(graph)); });
}

}  // namespace

cudaStream_t current_stream() { return selected_stream; }

void check_cuda(cudaError_t error, const char* what) {
  const Status status = status_of(error);
  if (status == Status::Ok) [[likely]]
    return;
  fail(status == Status::OutOfMemory ? ErrorCode::Memory : ErrorCode::Device, "cuda", what, ": ", failure);
}

}  // namespace tenon::cuda

extern "C" __attribute__((visibility("default"))) const tenon::cuda::Backend* tenon_cuda_backend() {
  using namespace tenon::cuda;
  static const Backend backend = [] {
    Backend b;
    b.abi = kBackendAbi, b.bytes = sizeof(Backend), b.kernels_bytes = sizeof(tenon::Kernels), b.version = TENON_VERSION;
    b.start = start, b.last_error = last_error, b.facts = facts, b.select = select;
    b.tensor_cores = tensor_cores, b.fill_kernels = [](tenon::Kernels* table) { fill_table(*table); };
    b.allocate = allocate, b.release = release, b.free_bytes = free_bytes, b.allocate_pinned = allocate_pinned, b.release_pinned = release_pinned;
    b.copy = copy, b.zero = zero, b.synchronize = synchronize;
    b.make_stream = make_stream, b.end_stream = end_stream, b.wait_for_stream = wait_for_stream;
    b.make_event = make_event, b.end_event = end_event, b.record_event = record_event, b.stream_waits = stream_waits;
    b.event_reached = event_reached, b.wait_for_event = wait_for_event, b.milliseconds = milliseconds;
    b.begin_capture = begin_capture, b.end_capture = end_capture, b.launch_graph = launch_graph, b.end_graph = end_graph;
    return b;
  }();
  return &backend;
}
