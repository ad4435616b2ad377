// NVIDIA GPUs: whether they can be used, their memory, streams, events and graphs. The CUDA library is found at run time, never linked.
#pragma once

#include <cstddef>
#include <cstdint>
#include <functional>
#include <memory>
#include <span>
#include <string>
#include <vector>

#include "tenon/core/kernels.h"
#include "tenon/core/tensor.h"

namespace tenon::cuda {

/// True if libtenon_cuda was found (TENON_CUDA_LIBRARY, or beside this library or program, or on the loader's path), the driver serves it
/// and there is a GPU. The first call of any function here looks once; it loads the driver, so a process should fork before.
bool is_available();
/// Why not, in words; "" if it is available.
const std::string& why_not();
/// Where the library was found; "" if it was not.
const std::string& library_path();
/// 0 if it is not available.
int device_count();

struct Properties {
  std::string name;
  int major = 0, minor = 0;  // compute capability
  int multiprocessors = 0;
  size_t total_bytes = 0;
};
/// Errors (here and below, for `device`): Error(Device) with the reason if there is no such device.
Properties properties(int device = 0);

/// What the allocator of a device holds, in bytes. It keeps memory that tensors gave back for the next ones.
struct Memory {
  size_t in_use = 0, held = 0;            // by tensors; in use and kept together
  size_t peak_in_use = 0, peak_held = 0;  // the most since reset_peak_memory()
  size_t limit = 0;                       // 0: none but the device's
  uint64_t allocations = 0;               // how often the driver was asked for memory
};
Memory memory(int device = 0);
void reset_peak_memory(int device = 0);
/// Allocations that would make `held` larger fail with Error(Memory), after kept memory was given back. 0: no limit.
void set_memory_limit(int device, size_t bytes);
/// Gives memory that no tensor uses back to the driver; -1: of all devices.
void empty_cache(int device = -1);

/// Waits until the device has done all work. Errors: Error(Device) if a kernel failed there; then the process cannot use it any more.
void synchronize(int device = 0);
/// The table of a device, for the calling thread's stream; the device becomes the thread's current one in CUDA's sense. An entry that
/// has no CUDA kernel throws Error(Device) that names it when it is called.
const Kernels& kernels(int device = 0);

/// A queue of work; work of different streams may overlap. Copies are handles; the last one waits for the work before it ends. A default one is CUDA's default stream of the device.
class Stream {
 public:
  explicit Stream(int device = 0);
  /// The default stream of a device.
  static Stream of_device(int device = 0);
  /// What the calling thread uses on a device: the default stream unless an OnStream lives.
  static Stream current(int device = 0);
  int device() const { return device_; }
  /// The cudaStream_t.
  void* handle() const { return handle_.get(); }
  /// Waits until its work is done. Errors: Error(Device).
  void synchronize() const;

 private:
  Stream(int device, std::shared_ptr<void> handle) : device_(device), handle_(std::move(handle)) {}
  int device_ = 0;
  std::shared_ptr<void> handle_;
};

/// While it lives, the calling thread computes and allocates on `stream` on the stream's device. On one thread they end in the reverse
/// order in which they began.
class OnStream {
 public:
  explicit OnStream(Stream stream);
  ~OnStream();
  OnStream(const OnStream&) = delete;
  OnStream& operator=(const OnStream&) = delete;

 private:
  Stream stream_;
  void* before_;
};

/// A mark in a stream. Errors of all: Error(Device).
class Event {
 public:
  explicit Event(int device = 0);
  /// Marks the calling thread's current stream here.
  void record();
  /// Later work of `stream` begins when the mark is reached.
  void wait(const Stream& stream) const;
  bool reached() const;
  void synchronize() const;
  /// Milliseconds from this mark to `end`, both reached.
  float milliseconds_to(const Event& end) const;

 private:
  int device_;
  std::shared_ptr<void> handle_;
};

/// Work that was recorded once and is launched whole, at the cost of one launch. What it allocates while it is recorded stays its own:
/// tensors made there keep their addresses and hold the results of the latest launch.
class Graph {
 public:
  /// Records what `body` launches on the calling thread, on a stream of the graph's own. Nothing of it is computed yet.
  /// Errors: those of the body; Error(Device) for what cannot be recorded (reading results, copies from and to the host).
  static Graph record(int device, const std::function<void()>& body);
  /// Launches it on the calling thread's current stream.
  void launch() const;

 private:
  struct State;
  std::shared_ptr<State> state_;
};

/// Arrays of the host with copies on a device that keep their addresses: what a graph reads and the host changes between its launches.
/// Not for concurrent use.
class Mirror {
 public:
  struct Array {
    const void* host;
    size_t bytes;
  };
  /// The arrays must stay where they are. Errors: Error(Memory).
  Mirror(int device, std::vector<Array> arrays);
  ~Mirror();
  Mirror(const Mirror&) = delete;
  Mirror& operator=(const Mirror&) = delete;

  /// Copies what the arrays hold now, in the order of the thread's current stream; they may be changed when it returns.
  void refresh();
  /// The copy of the array that begins at `host`, with one dimension; undefined if there is none.
  Tensor find(const void* host, DType type = DType::U8) const;
  /// Keeps a tensor as long as itself: what else a graph reads.
  void keep(const Tensor& t);

 private:
  struct State;
  std::unique_ptr<State> state_;
};

/// Says that work of `stream` uses t's memory, which belongs to another stream: it is not given to others before that work is done.
void record_use(const Tensor& t, const Stream& stream);

/// Copies bytes between devices and the host in the order of the thread's streams. On return the host's memory has what it should get, or may
/// be written to again.
/// Errors: Error(Device), also while a graph is recorded if one side is the host.
void copy(void* to, Device to_device, const void* from, Device from_device, size_t bytes);
/// Sets bytes of a device to 0.
void zero(void* p, Device device, size_t bytes);

}  // namespace tenon::cuda
