// What libtenon_cuda offers to the library: one struct of functions, found by name. cuda/runtime.cu fills it.
#pragma once

#include <cstddef>
#include <cstdint>

#include "tenon/core/kernels.h"

namespace tenon::cuda {

enum class Status : int { Ok, OutOfMemory, NotReady, Failed };

struct DeviceFacts {
  char name[256] = {};
  int major = 0, minor = 0, multiprocessors = 0;
  uint64_t total_bytes = 0;
};

constexpr uint32_t kBackendAbi = 2;
constexpr int kHost = -1;  // as a device of copy()

/// Functions return what happened; last_error() says it in words. Streams, events and graphs are CUDA's handles; a null stream is the
/// device's default one. "selected" is what select() told for the calling thread.
struct Backend {
  uint32_t abi = 0, bytes = 0, kernels_bytes = 0;  // kBackendAbi, sizeof(Backend), sizeof(Kernels)
  const char* version = nullptr;                   // TENON_VERSION: library and backend are of one build
  /// The number of devices; 0 and the reason in `why` if there is none or the driver does not serve.
  int (*start)(char* why, size_t why_bytes) = nullptr;
  const char* (*last_error)() = nullptr;  // of the calling thread
  Status (*facts)(int device, DeviceFacts* facts) = nullptr;
  Status (*select)(int device, void* stream) = nullptr;
  const char* (*tensor_cores)() = nullptr;  // how the selected device multiplies, in words; may run kernels to know
  void (*fill_kernels)(Kernels* table) = nullptr;  // entries that it has no kernel for stay null

  Status (*allocate)(int device, size_t bytes, void** p) = nullptr;
  Status (*release)(int device, void* p) = nullptr;
  Status (*free_bytes)(int device, size_t* bytes) = nullptr;
  Status (*allocate_pinned)(size_t bytes, void** p) = nullptr;
  Status (*release_pinned)(void* p) = nullptr;
  Status (*copy)(void* to, int to_device, const void* from, int from_device, size_t bytes) = nullptr;  // on the selected stream
  Status (*zero)(void* p, size_t bytes) = nullptr;                                                     // likewise
  Status (*synchronize)(int device) = nullptr;

  Status (*make_stream)(int device, void** stream) = nullptr;
  Status (*end_stream)(int device, void* stream) = nullptr;
  Status (*wait_for_stream)(int device, void* stream) = nullptr;
  Status (*make_event)(int device, void** event) = nullptr;
  Status (*end_event)(int device, void* event) = nullptr;
  Status (*record_event)(int device, void* event, void* stream) = nullptr;
  Status (*stream_waits)(int device, void* stream, void* event) = nullptr;
  Status (*event_reached)(int device, void* event) = nullptr;  // NotReady if not
  Status (*wait_for_event)(int device, void* event) = nullptr;
  Status (*milliseconds)(void* begin, void* end, float* ms) = nullptr;

  Status (*begin_capture)(int device, void* stream) = nullptr;
  Status (*end_capture)(int device, void* stream, void** graph) = nullptr;  // also after a failure: then graph may be null
  Status (*launch_graph)(int device, void* graph, void* stream) = nullptr;
  Status (*end_graph)(int device, void* graph) = nullptr;
};

/// The one symbol that libtenon_cuda exports.
using BackendFunction = const Backend* (*)();
constexpr const char* kBackendSymbol = "tenon_cuda_backend";

}  // namespace tenon::cuda
