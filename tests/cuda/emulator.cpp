// A CUDA library without CUDA: the backend's functions on the CPU, and the real launchers and bodies of cuda/ run over the same index space.
// Tests open it in the place of libtenon_cuda. Its device memory can be touched by copies and kernels only: whatever else reads or writes
// it ends the test there and then, as reading a device's address would end a program.
#include <signal.h>
#include <sys/mman.h>

#include <atomic>
#include <cstdio>
#include <cstdlib>
#include <cstring>
#include <functional>
#include <iterator>
#include <map>
#include <mutex>
#include <string>
#include <utility>
#include <vector>

#include "core/cuda_backend.h"
#include "emulation/launch.h"
#include "emulator.h"
#include "fillers.h"
#include "gemm.h"
#include "hopper.h"

namespace tenon::cuda {
namespace {

constexpr size_t kPage = 4096;

/// Kernels and copies that were recorded, and the memory that they were given.
struct Graph {
  std::vector<std::function<void()>> work;
  std::vector<void*> memory;
  ~Graph() {
    for (void* p : memory) std::free(p);
  }
};
struct Stream {
  Graph* capturing = nullptr;
};
struct Event {
  bool reached = true;
};

struct Device {
  std::mutex mutex;
  std::map<char*, size_t> blocks;
  size_t used = 0;
  EmulatorSettings settings;
  EmulatorCounts counts;
  int running = 0;               // kernels and copies
  struct sigaction before = {};  // what was done about faults before the first of them
};

Device& device() {
  static Device* const d = new Device;
  return *d;
}

thread_local std::string failure;
thread_local Stream* selected = nullptr;
thread_local int selected_device = 0;
thread_local int running_here = 0;                             // of this thread
thread_local std::vector<std::pair<char*, size_t>> opened_here;  // blocks that they have touched

Status failed(const char* why, Status status = Status::Failed) {
  failure = why;
  return status;
}

/// A kernel's or a copy's first touch of a block opens it until they end; any other is what it looks like.
void on_fault(int signal, siginfo_t* info, void*) {
  auto* const at = static_cast<char*>(info->si_addr);
  {
    std::lock_guard lock(device().mutex);
    const auto next = device().blocks.upper_bound(at);
    if (running_here > 0 && next != device().blocks.begin()) {
      const auto& [p, bytes] = *std::prev(next);
      if (at < p + bytes && mprotect(p, bytes, PROT_READ | PROT_WRITE) == 0) {
        opened_here.emplace_back(p, bytes);
        return;
      }
    }
  }
  sigaction(signal, &device().before, nullptr);  // the instruction faults again
}

void open_memory() {
  if (running_here++ > 0) return;
  std::lock_guard lock(device().mutex);
  if (device().running++ > 0) return;
  struct sigaction action = {};
  action.sa_sigaction = on_fault;
  action.sa_flags = SA_SIGINFO | SA_NODEFER;
  sigaction(SIGSEGV, &action, &device().before);
}
void close_memory() {
  if (--running_here > 0) return;
  std::lock_guard lock(device().mutex);
  for (const auto& [p, bytes] : opened_here)
    if (device().blocks.count(p)) mprotect(p, bytes, PROT_NONE);
  opened_here.clear();
  if (--device().running == 0) sigaction(SIGSEGV, &device().before, nullptr);
}

int start(char* why, size_t why_bytes) {
  const char* reason = std::getenv("TENON_EMULATOR_WHY_NOT");
  std::snprintf(why, why_bytes, "%s", reason ? reason : "");
  return reason ? 0 : 2;
}
const char* last_error() { return failure.c_str(); }

Status facts(int index, DeviceFacts* f) {
  std::snprintf(f->name, sizeof(f->name), "emulated device %d", index);
  f->major = index == 0 ? 9 : 8, f->multiprocessors = index == 0 ? 2 : 3, f->total_bytes = device().settings.total_bytes;
  return Status::Ok;
}
Status select(int index, void* stream) {
  selected = static_cast<Stream*>(stream), selected_device = index;
  return device().settings.lost ? failed("an illegal memory access was encountered") : Status::Ok;
}

Status allocate(int, size_t bytes, void** p) {
  std::lock_guard lock(device().mutex);
  const size_t whole = (bytes + kPage - 1) / kPage * kPage;
  ++device().counts.allocations;
  if (device().used + bytes > device().settings.total_bytes) return failed("out of memory", Status::OutOfMemory);
  void* block = mmap(nullptr, whole, PROT_NONE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
  if (block == MAP_FAILED) return failed("no memory for the emulated device", Status::OutOfMemory);
  device().blocks[static_cast<char*>(block)] = whole;
  device().used += bytes;
  device().counts.bytes[block] = bytes;
  *p = block;
  return Status::Ok;
}
Status release(int, void* p) {
  std::lock_guard lock(device().mutex);
  const auto it = device().blocks.find(static_cast<char*>(p));
  if (it == device().blocks.end()) return failed("a block that was never allocated");
  munmap(p, it->second);
  device().used -= device().counts.bytes[p];
  device().counts.bytes.erase(p);
  device().blocks.erase(it);
  ++device().counts.releases;
  return Status::Ok;
}
Status free_bytes(int, size_t* bytes) {
  *bytes = device().settings.total_bytes - device().used;
  return Status::Ok;
}
Status allocate_pinned(size_t bytes, void** p) {
  if (device().settings.no_pinned) return failed("no pinned memory", Status::OutOfMemory);
  *p = std::malloc(bytes);
  return Status::Ok;
}
Status release_pinned(void* p) {
  std::free(p);
  return Status::Ok;
}

Status copy(void* to, int to_device, const void* from, int from_device, size_t bytes) {
  if (selected && selected->capturing && (to_device == kHost || from_device == kHost)) return failed("a copy in a graph");
  if (recording()) {
    record([=] { copy(to, to_device, from, from_device, bytes); });
    return Status::Ok;
  }
  open_memory();
  std::memcpy(to, from, bytes);
  close_memory();
  ++device().counts.copies;
  if (to_device == kHost) ++device().counts.to_host, device().counts.bytes_to_host += bytes;
  return Status::Ok;
}
Status zero(void* p, size_t bytes) {
  if (recording()) {
    record([=] { zero(p, bytes); });
    return Status::Ok;
  }
  open_memory();
  std::memset(p, 0, bytes);
  close_memory();
  return Status::Ok;
}
Status synchronize(int) { return device().settings.lost ? failed("an illegal memory access was encountered") : Status::Ok; }

Status make_stream(int, void** stream) {
  *stream = new Stream;
  return Status::Ok;
}
Status end_stream(int, void* stream) {
  delete static_cast<Stream*>(stream);
  return Status::Ok;
}
Status wait_for_stream(int, void*) { return synchronize(0); }
Status make_event(int, void** event) {
  *event = new Event;
  return Status::Ok;
}
Status end_event(int, void* event) {
  delete static_cast<Event*>(event);
  return Status::Ok;
}
Status record_event(int, void* event, void*) {
  static_cast<Event*>(event)->reached = !device().settings.streams_are_slow;
  return Status::Ok;
}
Status stream_waits(int, void*, void*) { return Status::Ok; }
Status event_reached(int, void* event) {
  Event& e = *static_cast<Event*>(event);
  e.reached = e.reached || !device().settings.streams_are_slow;
  return e.reached ? Status::Ok : Status::NotReady;
}
Status wait_for_event(int, void* event) {
  static_cast<Event*>(event)->reached = true;
  return Status::Ok;
}
Status milliseconds(void*, void*, float* ms) {
  *ms = 1;
  return Status::Ok;
}

Status begin_capture(int, void* stream) {
  static_cast<Stream*>(stream)->capturing = new Graph;
  return Status::Ok;
}
Status end_capture(int, void* stream, void** graph) {
  *graph = std::exchange(static_cast<Stream*>(stream)->capturing, nullptr);
  return Status::Ok;
}
Status launch_graph(int, void* graph, void* stream) {
  ++device().counts.graph_launches;
  selected = static_cast<Stream*>(stream);
  for (const auto& work : static_cast<Graph*>(graph)->work) work();
  return Status::Ok;
}
Status end_graph(int, void* graph) {
  delete static_cast<Graph*>(graph);
  return Status::Ok;
}

/// Element (row, column) of op(X), in the words of gemm.h.
double element(const void* x, DType type, bool trans, int64_t ld, int64_t row, int64_t column) {
  const int64_t at = trans ? row * ld + column : column * ld + row;
  if (type == DType::F16) return static_cast<float>(static_cast<const float16*>(x)[at]);
  return type == DType::BF16 ? static_cast<float>(static_cast<const bfloat16*>(x)[at]) : static_cast<const float*>(x)[at];
}

}  // namespace

bool recording() { return selected && selected->capturing; }
void record(std::function<void()> work) { selected->capturing->work.push_back(std::move(work)); }
void* recorded_memory(size_t bytes) {
  void* p = std::malloc(bytes);
  selected->capturing->memory.push_back(p);
  return p;
}
int current_device() { return selected_device; }
int compute_capability() { return device().settings.capability[selected_device]; }
void count_wgmma() { ++device().counts.wgmma; }
void enter_kernel() {
  HostWgmma::wrong() = device().settings.wgmma_is_wrong;
  open_memory();
}
void leave_kernel() {
  close_memory();
  ++device().counts.launches;
}

void gemm(const Gemm& g) {
  if (recording()) return record([=] { gemm(g); });
  check((g.d_type == DType::F32 || g.type == g.d_type) && (!g.bias || g.d_type == DType::F32), ErrorCode::Device, "gemm",
        "types that cuBLASLt does not multiply");
  check(g.lda >= (g.trans_a ? g.k : g.m) && g.ldb >= (g.trans_b ? g.n : g.k) && g.ldd >= g.m, ErrorCode::Device, "gemm",
        "leading dimensions below their columns' length");
  check(g.c != nullptr, ErrorCode::Device, "gemm", "no C");
  const InKernel running;
  for (int64_t j = 0; j < g.n; ++j)
    for (int64_t i = 0; i < g.m; ++i) {
      double sum = g.bias ? g.bias[i] : 0.0;
      for (int64_t k = 0; k < g.k; ++k) sum += element(g.a, g.type, g.trans_a, g.lda, i, k) * element(g.b, g.type, g.trans_b, g.ldb, k, j);
      if (g.beta != 0) sum += g.beta * element(g.c, g.d_type, false, g.ldd, i, j);
      const int64_t at = j * g.ldd + i;
      if (g.d_type == DType::F16) static_cast<float16*>(g.d)[at] = float16::from(static_cast<float>(sum));
      else if (g.d_type == DType::BF16) static_cast<bfloat16*>(g.d)[at] = bfloat16::from(static_cast<float>(sum));
      else static_cast<float*>(g.d)[at] = static_cast<float>(sum);
    }
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

extern "C" __attribute__((visibility("default"))) tenon::cuda::EmulatorSettings* tenon_emulator_settings() {
  return &tenon::cuda::device().settings;
}
extern "C" __attribute__((visibility("default"))) const tenon::cuda::EmulatorCounts* tenon_emulator_counts() {
  return &tenon::cuda::device().counts;
}
