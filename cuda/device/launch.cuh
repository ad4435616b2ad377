// Launches on the calling thread's stream, and what launchers need besides.
#pragma once

#include <cuda_runtime.h>

#include <algorithm>

#include "device/block.cuh"
#include "tenon/core/error.h"

namespace tenon::cuda {

/// The stream that select() chose for this thread; runtime.cu keeps it.
cudaStream_t current_stream();
/// Errors: Error(Device), Error(Memory) with CUDA's words.
void check_cuda(cudaError_t error, const char* what);

/// A body that is launched with few threads says so (kThreads): each then has more registers.
template <class Body>
constexpr int most_threads() {
  if constexpr (requires { Body::kThreads; }) return Body::kThreads;
  else return kMostThreads;
}

/// Of a body that multiplies by wgmma (kHopper) there is code for compute capability 9.0 alone: elsewhere it does nothing, and
/// launchers do not ask for it.
template <class Body>
constexpr bool compiled() {
#ifdef __CUDA_ARCH_FEAT_SM90_ALL
  return true;
#else
  return !requires { Body::kHopper; };
#endif
}

template <class Body>
__global__ void __launch_bounds__(most_threads<Body>()) run_block(const Body body) {
  extern __shared__ __align__(16) char shared[];
  DeviceBlock block{static_cast<int64_t>(blockIdx.x), static_cast<int64_t>(blockIdx.y), static_cast<int>(blockDim.x), shared};
  if constexpr (compiled<Body>()) body(block);
}

template <class Body>
__global__ void __launch_bounds__(256) run_elements(const Body body, int64_t n) {
  for (int64_t i = static_cast<int64_t>(blockIdx.x) * blockDim.x + threadIdx.x; i < n; i += static_cast<int64_t>(gridDim.x) * blockDim.x)
    body(i);
}

template <class Body>
void launch(int64_t grid, int64_t grid_y, int threads, size_t shared_bytes, const Body& body) {
  if (grid == 0 || grid_y == 0) return;
  check(grid < int64_t{1} << 31 && grid_y < 65536, ErrorCode::Limit, "cuda", "too many rows for one launch: ", grid, " x ", grid_y);
  if (shared_bytes > 48 * 1024)
    check_cuda(cudaFuncSetAttribute(run_block<Body>, cudaFuncAttributeMaxDynamicSharedMemorySize, static_cast<int>(shared_bytes)), "launch");
  run_block<Body><<<dim3(static_cast<unsigned>(grid), static_cast<unsigned>(grid_y)), static_cast<unsigned>(threads), shared_bytes,
                    current_stream()>>>(body);
  check_cuda(cudaGetLastError(), "launch");
}

inline int current_device() {
  int device = 0;
  check_cuda(cudaGetDevice(&device), "device");
  return device;
}
/// Of the thread's device: 90 for 9.0.
inline int compute_capability() {
  const int device = current_device();
  int major = 0, minor = 0;
  check_cuda(cudaDeviceGetAttribute(&major, cudaDevAttrComputeCapabilityMajor, device), "device");
  check_cuda(cudaDeviceGetAttribute(&minor, cudaDevAttrComputeCapabilityMinor, device), "device");
  return 10 * major + minor;
}
/// Whether the thread's stream records a graph.
inline bool recording() {
  cudaStreamCaptureStatus status = cudaStreamCaptureStatusNone;
  check_cuda(cudaStreamIsCapturing(current_stream(), &status), "capture");
  return status != cudaStreamCaptureStatusNone;
}
/// Of the thread's device.
inline int multiprocessors() {
  int device = 0, count = 0;
  check_cuda(cudaGetDevice(&device), "device");
  check_cuda(cudaDeviceGetAttribute(&count, cudaDevAttrMultiProcessorCount, device), "device");
  return count;
}

template <class Body>
void launch_elements(int64_t n, const Body& body) {
  if (n <= 0) return;
  constexpr int64_t kThreads = 256, kMostBlocks = 132 * 8 * 4;  // some waves of the largest devices; the rest by strides
  const int64_t blocks = std::min((n + kThreads - 1) / kThreads, kMostBlocks);
  run_elements<Body><<<static_cast<unsigned>(blocks), kThreads, 0, current_stream()>>>(body, n);
  check_cuda(cudaGetLastError(), "launch");
}

/// Device memory for the length of a scope, in the order of the stream.
class Scratch {
 public:
  explicit Scratch(size_t bytes) { check_cuda(cudaMallocAsync(&p_, bytes, current_stream()), "scratch"); }
  ~Scratch() { cudaFreeAsync(p_, current_stream()); }
  Scratch(const Scratch&) = delete;
  Scratch& operator=(const Scratch&) = delete;
  template <class T>
  T* as() const {
    return static_cast<T*>(p_);
  }

 private:
  void* p_ = nullptr;
};

/// Copies from the host, in the order of the stream; `from` may be changed when it returns.
inline void write_there(void* to, const void* from, size_t bytes) {
  check_cuda(cudaMemcpyAsync(to, from, bytes, cudaMemcpyHostToDevice, current_stream()), "copy");
  check_cuda(cudaStreamSynchronize(current_stream()), "copy");
}
/// Waits for the kernels before it and copies their result to the host.
inline void read_back(void* to, const void* from, size_t bytes) {
  check_cuda(cudaMemcpyAsync(to, from, bytes, cudaMemcpyDeviceToHost, current_stream()), "copy");
  check_cuda(cudaStreamSynchronize(current_stream()), "copy");
}

}  // namespace tenon::cuda
