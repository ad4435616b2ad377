// Launches on the CPU, for tests.
#pragma once

#include <algorithm>
#include <cstdlib>
#include <cstring>
#include <functional>
#include <vector>

#include "emulation/block.h"
#include "tenon/core/error.h"

namespace tenon::cuda {

/// What tests know of the launches: counted, and wrapped so that device memory is open only while a kernel runs.
void enter_kernel();
void count_wgmma();
void leave_kernel();
struct InKernel {
  InKernel() { enter_kernel(); }
  ~InKernel() { leave_kernel(); }
};

/// Whether the thread's stream records a graph; then work is kept for its launches, and so is the memory that it was given.
bool recording();
void record(std::function<void()> work);
void* recorded_memory(size_t bytes);

template <class Body>
void run_launch(int64_t grid, int64_t grid_y, int threads, size_t shared_bytes, const Body& body) {
  const InKernel running;
  if constexpr (requires { Body::kHopper; }) count_wgmma();
  std::vector<double> shared(shared_bytes / 8 + 2);
  for (int64_t y = 0; y < grid_y; ++y)
    for (int64_t i = 0; i < grid; ++i) {
      std::memset(static_cast<void*>(shared.data()), 0xff, shared.size() * 8);
      HostBlock block;
      block.index = i, block.index_y = y, block.threads = threads, block.shared_bytes = shared_bytes;
      char* p = reinterpret_cast<char*>(shared.data());
      block.shared = p + (16 - reinterpret_cast<uintptr_t>(p) % 16) % 16;
      body(block);
      block.end();
    }
}

template <class Body>
void launch(int64_t grid, int64_t grid_y, int threads, size_t shared_bytes, const Body& body) {
  if (grid == 0 || grid_y == 0) return;
  // What CUDA would refuse
  check(grid > 0 && grid < int64_t{1} << 31 && grid_y > 0 && grid_y < 65536 && threads > 0 && threads <= 1024 && threads % 32 == 0 &&
            shared_bytes <= 227 * 1024,
        ErrorCode::Device, "cuda", "a launch of ", grid, " x ", grid_y, " blocks of ", threads, " threads with ", shared_bytes, " bytes");
  if (recording()) return record([=] { run_launch(grid, grid_y, threads, shared_bytes, body); });
  run_launch(grid, grid_y, threads, shared_bytes, body);
}

/// What the emulated device of the thread is; tests choose.
int current_device();
int compute_capability();

/// Enough for tests to see keys that are split over blocks, and some that are not.
inline int multiprocessors() { return 12; }

template <class Body>
void run_elements(int64_t n, const Body& body) {
  constexpr int kThreads = 256;
  const int64_t blocks = std::min<int64_t>((n + kThreads - 1) / kThreads, 8);  // few, so that tests run the strides
  const InKernel running;
  for (int64_t b = 0; b < blocks; ++b)
    for (int t = 0; t < kThreads; ++t)
      for (int64_t i = b * kThreads + t; i < n; i += blocks * kThreads) body(i);
}

template <class Body>
void launch_elements(int64_t n, const Body& body) {
  if (n <= 0) return;
  if (recording()) return record([=] { run_elements(n, body); });
  run_elements(n, body);
}

/// Device memory for the length of a scope.
class Scratch {
 public:
  explicit Scratch(size_t bytes) : recorded_(recording()), p_(recorded_ ? recorded_memory(bytes) : std::malloc(bytes)) {}
  ~Scratch() {
    if (!recorded_) std::free(p_);
  }
  Scratch(const Scratch&) = delete;
  Scratch& operator=(const Scratch&) = delete;
  template <class T>
  T* as() const {
    return static_cast<T*>(p_);
  }

 private:
  bool recorded_;
  void* p_;
};

inline void write_there(void* to, const void* from, size_t bytes) {
  check(!recording(), ErrorCode::Device, "cuda", "copy: a graph cannot hold a wait");
  std::memcpy(to, from, bytes);
}
/// Waits for the kernels before it and copies their result to the host.
inline void read_back(void* to, const void* from, size_t bytes) {
  check(!recording(), ErrorCode::Device, "cuda", "copy: a graph cannot hold a wait for its results");
  std::memcpy(to, from, bytes);
}

}  // namespace tenon::cuda
