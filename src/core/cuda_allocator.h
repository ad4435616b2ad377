// Memory of one device: blocks are asked of the driver once and then reused.
#pragma once

#include <cstdint>
#include <map>
#include <memory>
#include <mutex>
#include <set>
#include <vector>

#include "core/cuda_backend.h"
#include "tenon/core/cuda.h"

namespace tenon::cuda::detail {

/// A block belongs to the stream that asked for it: given back, it serves the next request of that stream at once, because the stream
/// itself keeps the order; other streams never get it. Blocks of a graph that is being recorded belong to the graph.
class Allocator {
 public:
  explicit Allocator(int device) : device_(device) {}

  /// Memory for the thread's current stream. Errors: Error(Memory), after kept memory was given back to the driver.
  std::shared_ptr<Storage> allocate(size_t bytes);
  void record_use(const void* p, void* stream);
  void trim();
  Memory memory() const;
  void reset_peak();
  void set_limit(size_t bytes);

  /// Of a graph: while `pool` is the thread's, allocations are its own. close_pool() gives back what no tensor holds; the rest follows.
  static uint64_t next_pool();
  void close_pool(uint64_t pool);

  static size_t block_size(size_t bytes);

 private:
  struct Block {
    size_t bytes = 0;
    void* stream = nullptr;
    uint64_t pool = 0;
    std::set<void*> used_on;     // other streams whose work may still need it
    std::vector<void*> pending;  // their events since it was given back
  };
  using Key = std::pair<uint64_t, void*>;  // pool, stream

  void* take(size_t size, const Key& key);
  void* ask_driver(size_t size, const Key& key);
  void give_back(void* p);
  void release(void* p);
  void collect(bool wait);
  void trim_locked();

  const int device_;
  mutable std::mutex mutex_;
  std::map<void*, Block> blocks_;
  std::map<Key, std::multimap<size_t, void*>> free_;
  std::vector<void*> waiting_;  // given back, but other streams may not be done with them
  std::set<uint64_t> closed_;
  Memory memory_;
};

Allocator& allocator(int device);

/// The thread's stream on a device, and the graph that it records (0: none).
struct ThreadState {
  void* stream = nullptr;
  uint64_t pool = 0;
};
ThreadState& thread_state(int device);

/// select() for the calling thread. Errors: Error(Device).
const Backend& use(int device);

}  // namespace tenon::cuda::detail
