// GPUs as callers see them: streams, events, graphs and copies, over whatever backend was found.
#include "tenon/core/cuda.h"

#include <array>
#include <cstring>
#include <deque>
#include <mutex>
#include <vector>

#include "core/cuda_allocator.h"
#include "core/cuda_loader.h"
#include "tenon/core/error.h"
#include "tenon/core/tensor_cores.h"

namespace tenon::cuda {
namespace detail {

ThreadState& thread_state(int device) {
  thread_local std::deque<ThreadState> states;  // references stay valid while it grows
  while (states.size() <= static_cast<size_t>(device)) states.emplace_back();
  return states[static_cast<size_t>(device)];
}

Allocator& allocator(int device) {
  backend_for(device);  // checks the device
  // never destroyed: tensors may outlive static objects at exit
  static std::deque<Allocator>* const all = [] {
    auto* list = new std::deque<Allocator>;
    for (int i = 0; i < loaded().devices; ++i) list->emplace_back(i);
    return list;
  }();
  return (*all)[static_cast<size_t>(device)];
}

const Backend& use(int device) {
  const Backend& backend = backend_for(device);
  check_status(backend.select(device, thread_state(device).stream), "choosing the device", device);
  return backend;
}

namespace {

/// Two pinned buffers of a device, through which copies of ordinary memory go: one is filled while the other is sent. Copies to the device are
/// under way when the call returns, so that the host can go on.
class Staging {
 public:
  explicit Staging(int device) : device_(device) {}

  void to_device(void* to, const void* from, size_t bytes) {
    std::lock_guard lock(mutex_);
    const Backend& b = use(device_);
    if (!prepare(b)) return direct(b, to, device_, from, kHost, bytes);
    void* stream = thread_state(device_).stream;
    for (size_t done = 0; done < bytes; done += kBytes, next_ ^= 1) {
      const size_t n = std::min(kBytes, bytes - done);
      wait_for_buffer(b, next_);
      std::memcpy(buffer_[next_], static_cast<const char*>(from) + done, n);
      check_status(b.copy(static_cast<char*>(to) + done, device_, buffer_[next_], kHost, n), "copy", device_);
      mark(b, next_, stream);
    }
  }

  void to_host(void* to, const void* from, size_t bytes) {
    std::lock_guard lock(mutex_);
    const Backend& b = use(device_);
    if (!prepare(b)) return direct(b, to, kHost, from, device_, bytes);
    void* stream = thread_state(device_).stream;
    const size_t pieces = (bytes + kBytes - 1) / kBytes;
    for (size_t i = 0; i <= pieces; ++i) {  // piece i is on its way while piece i - 1 is taken out
      if (i < pieces) {
        wait_for_buffer(b, i % 2);
        check_status(b.copy(buffer_[i % 2], kHost, static_cast<const char*>(from) + i * kBytes, device_, std::min(kBytes, bytes - i * kBytes)),
                     "copy", device_);
        mark(b, i % 2, stream);
      }
      if (i == 0) continue;
      wait_for_buffer(b, (i - 1) % 2);
      const size_t done = (i - 1) * kBytes;
      std::memcpy(static_cast<char*>(to) + done, buffer_[(i - 1) % 2], std::min(kBytes, bytes - done));
    }
  }

 private:
  static constexpr size_t kBytes = size_t{4} << 20;

  void mark(const Backend& b, size_t i, void* stream) {
    check_status(b.record_event(device_, event_[i], stream), "copy", device_);
    busy_[i] = true;
  }
  void wait_for_buffer(const Backend& b, size_t i) {
    if (!busy_[i]) return;
    check_status(b.wait_for_event(device_, event_[i]), "copy", device_);
    busy_[i] = false;
  }

  bool prepare(const Backend& b) {
    for (int i = 0; i < 2; ++i) {
      if (!buffer_[i] && b.allocate_pinned(kBytes, &buffer_[i]) != Status::Ok) buffer_[i] = nullptr;
      if (!event_[i] && b.make_event(device_, &event_[i]) != Status::Ok) event_[i] = nullptr;
    }
    return buffer_[0] && buffer_[1] && event_[0] && event_[1];
  }

  /// Where pinned memory cannot be had: the driver's own way, slower.
  void direct(const Backend& b, void* to, int to_device, const void* from, int from_device, size_t bytes) {
    check_status(b.copy(to, to_device, from, from_device, bytes), "copy", device_);
    check_status(b.wait_for_stream(device_, thread_state(device_).stream), "copy", device_);
  }

  const int device_;
  std::mutex mutex_;
  std::array<void*, 2> buffer_{}, event_{};
  std::array<bool, 2> busy_{};  // its event is still to come
  size_t next_ = 0;
};

Staging& staging(int device) {
  backend_for(device);
  static std::deque<Staging>* const all = [] {
    auto* list = new std::deque<Staging>;
    for (int i = 0; i < loaded().devices; ++i) list->emplace_back(i);
    return list;
  }();
  return (*all)[static_cast<size_t>(device)];
}

}  // namespace
}  // namespace detail

using detail::allocator;
using detail::backend_for;
using detail::check_status;
using detail::loaded;
using detail::thread_state;

bool is_available() { return loaded().backend != nullptr; }
const std::string& why_not() { return loaded().why; }
const std::string& library_path() { return loaded().path; }
int device_count() { return loaded().devices; }

Properties properties(int device) {
  DeviceFacts facts;
  check_status(backend_for(device).facts(device, &facts), "properties", device);
  return {facts.name, facts.major, facts.minor, facts.multiprocessors, static_cast<size_t>(facts.total_bytes)};
}

std::string tensor_cores(int device) {
  kernels(device);  // selects it
  return backend_for(device).tensor_cores();
}

Memory memory(int device) { return allocator(device).memory(); }
void reset_peak_memory(int device) { allocator(device).reset_peak(); }
void set_memory_limit(int device, size_t bytes) { allocator(device).set_limit(bytes); }
void empty_cache(int device) {
  if (device >= 0) return allocator(device).trim();
  for (int i = 0; i < device_count(); ++i) allocator(i).trim();
}

void synchronize(int device) { check_status(backend_for(device).synchronize(device), "synchronize", device); }

const Kernels& kernels(int device) {
  detail::use(device);
  return loaded().kernels;
}

Stream::Stream(int device) : device_(device) {
  const Backend& b = backend_for(device);
  void* stream = nullptr;
  check_status(b.make_stream(device, &stream), "stream", device);
  handle_ = std::shared_ptr<void>(stream, [&b, device](void* s) {
    b.wait_for_stream(device, s);  // its blocks may meet another stream of the same address
    b.end_stream(device, s);
  });
}

Stream Stream::of_device(int device) {
  backend_for(device);
  return Stream(device, nullptr);
}

Stream Stream::current(int device) {
  backend_for(device);
  // The thread's OnStream keeps it alive.
  return Stream(device, std::shared_ptr<void>(thread_state(device).stream, [](void*) {}));
}

void Stream::synchronize() const { check_status(backend_for(device_).wait_for_stream(device_, handle()), "stream", device_); }

OnStream::OnStream(Stream stream) : stream_(std::move(stream)), before_(thread_state(stream_.device()).stream) {
  thread_state(stream_.device()).stream = stream_.handle();
}

OnStream::~OnStream() { thread_state(stream_.device()).stream = before_; }

Event::Event(int device) : device_(device) {
  const Backend& b = backend_for(device);
  void* event = nullptr;
  check_status(b.make_event(device, &event), "event", device);
  handle_ = std::shared_ptr<void>(event, [&b, device](void* e) { b.end_event(device, e); });
}

void Event::record() {
  check_status(backend_for(device_).record_event(device_, handle_.get(), thread_state(device_).stream), "event", device_);
}

void Event::wait(const Stream& stream) const {
  check_status(backend_for(device_).stream_waits(stream.device(), stream.handle(), handle_.get()), "event", device_);
}

bool Event::reached() const {
  const Status status = backend_for(device_).event_reached(device_, handle_.get());
  if (status == Status::NotReady) return false;
  check_status(status, "event", device_);
  return true;
}

void Event::synchronize() const { check_status(backend_for(device_).wait_for_event(device_, handle_.get()), "event", device_); }

float Event::milliseconds_to(const Event& end) const {
  float ms = 0;
  check_status(backend_for(device_).milliseconds(handle_.get(), end.handle_.get(), &ms), "event", device_);
  return ms;
}

struct Graph::State {
  int device = 0;
  uint64_t pool = 0;
  Stream stream;
  void* graph = nullptr;

  State(int d, Stream s) : device(d), pool(detail::Allocator::next_pool()), stream(std::move(s)) {}
  State(const State&) = delete;
  State& operator=(const State&) = delete;
  ~State() {
    if (graph) loaded().backend->end_graph(device, graph);
    allocator(device).close_pool(pool);
  }
};

Graph Graph::record(int device, const std::function<void()>& body) {
  const Backend& b = backend_for(device);
  auto state = std::make_shared<State>(device, Stream(device));
  detail::ThreadState& thread = thread_state(device);
  check(thread.pool == 0, ErrorCode::Device, "graph", "expected no graph to be recorded on this thread already");
  OnStream on(state->stream);
  check_status(b.begin_capture(device, state->stream.handle()), "graph", device);
  thread.pool = state->pool;
  try {
    body();
  } catch (...) {
    thread.pool = 0;
    b.end_capture(device, state->stream.handle(), &state->graph);
    throw;
  }
  thread.pool = 0;
  check_status(b.end_capture(device, state->stream.handle(), &state->graph), "graph", device);
  Graph graph;
  graph.state_ = std::move(state);
  return graph;
}

void Graph::launch() const {
  check(state_ != nullptr, ErrorCode::Device, "graph", "expected one that was recorded");
  const Backend& b = backend_for(state_->device);
  check_status(b.launch_graph(state_->device, state_->graph, thread_state(state_->device).stream), "graph", state_->device);
}

void record_use(const Tensor& t, const Stream& stream) {
  check(t.defined() && !t.device().is_cpu(), ErrorCode::Device, "record_use", "expected a tensor on a device, got ", t.describe());
  allocator(t.device().index).record_use(t.storage()->data, stream.handle());
}

void copy(void* to, Device to_device, const void* from, Device from_device, size_t bytes) {
  if (bytes == 0) return;
  if (to_device.is_cpu() && from_device.is_cpu()) {
    std::memcpy(to, from, bytes);
    return;
  }
  const int device = to_device.is_cpu() ? from_device.index : to_device.index;
  if (to_device.is_cpu() || from_device.is_cpu()) {
    backend_for(device);
    check(thread_state(device).pool == 0, ErrorCode::Device, "graph", "a copy from or to the host cannot be recorded");
    return to_device.is_cpu() ? detail::staging(device).to_host(to, from, bytes) : detail::staging(device).to_device(to, from, bytes);
  }
  const int source = from_device.index;
  if (source != device)  // the copy is on the target's stream; what makes the source must be done
    check_status(backend_for(source).wait_for_stream(source, thread_state(source).stream), "copy", source);
  check_status(detail::use(device).copy(to, to_device.index, from, source, bytes), "copy", device);
}

void zero(void* p, Device device, size_t bytes) {
  if (bytes == 0) return;
  if (device.is_cpu()) {
    std::memset(p, 0, bytes);
    return;
  }
  check_status(detail::use(device.index).zero(p, bytes), "zero", device.index);
}

}  // namespace tenon::cuda
