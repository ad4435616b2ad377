// The allocator of device memory.
#include "core/cuda_allocator.h"

#include <algorithm>
#include <atomic>
#include <bit>
#include <utility>

#include "core/cuda_loader.h"
#include "tenon/core/error.h"

namespace tenon::cuda::detail {

/// As Pool has them: four sizes for each power of two. From 1 MB on eight, so that at most an eighth is lost.
size_t Allocator::block_size(size_t bytes) {
  constexpr size_t kSmallest = 512, kLarge = size_t{1} << 20;
  if (bytes <= kSmallest) return kSmallest;
  if (bytes <= 4096) return (bytes + kSmallest - 1) / kSmallest * kSmallest;
  const size_t step = std::bit_floor(bytes - 1) / (bytes <= kLarge ? 4 : 8);
  return (bytes + step - 1) / step * step;
}

std::shared_ptr<Storage> Allocator::allocate(size_t bytes) {
  const Backend& backend = backend_for(device_);
  const ThreadState& state = thread_state(device_);
  const Key key{state.pool, state.stream};
  const size_t size = block_size(bytes);
  void* p = nullptr;
  {
    std::lock_guard lock(mutex_);
    collect(false);
    p = take(size, key);
    if (!p) p = ask_driver(size, key);
    if (!p) {  // nothing is lost: what is kept goes back, then once more
      trim_locked();
      p = ask_driver(size, key);
    }
    if (!p) {
      size_t left = 0;
      const bool known = backend.free_bytes(device_, &left) == Status::Ok;
      const std::string limit = memory_.limit ? ", limit " + std::to_string(memory_.limit) : "";
      fail(ErrorCode::Memory, "cuda", "cannot allocate ", size, " bytes on cuda:", device_, ": tensors hold ", memory_.in_use, limit,
           known ? ", the device has " + std::to_string(left) + " left" : std::string());
    }
    memory_.in_use += size;
    memory_.peak_in_use = std::max(memory_.peak_in_use, memory_.in_use);
  }
  auto storage = std::make_shared<Storage>();
  storage->data = p;
  storage->bytes = bytes;
  storage->device = {Device::Kind::Cuda, device_};
  storage->owner = std::shared_ptr<void>(p, [this](void* q) { give_back(q); });
  return storage;
}

/// A kept block of this size or up to an eighth more; equal sizes recur, so this is nearly always an exact one.
void* Allocator::take(size_t size, const Key& key) {
  const auto list = free_.find(key);
  if (list == free_.end()) return nullptr;
  const auto it = list->second.lower_bound(size);
  if (it == list->second.end() || it->first > size + size / 8) return nullptr;
  void* p = it->second;
  // in_use counts blocks as they are, so the difference is added here
  memory_.in_use += it->first - size;
  list->second.erase(it);
  return p;
}

void* Allocator::ask_driver(size_t size, const Key& key) {
  if (memory_.limit && memory_.held + size > memory_.limit) return nullptr;
  void* p = nullptr;
  const Status status = backend_for(device_).allocate(device_, size, &p);
  if (status == Status::OutOfMemory) return nullptr;
  check_status(status, "allocation", device_);
  ++memory_.allocations;
  memory_.held += size;
  memory_.peak_held = std::max(memory_.peak_held, memory_.held);
  Block& block = blocks_[p];
  block.bytes = size, block.stream = key.second, block.pool = key.first;
  return p;
}

/// Runs wherever a tensor dies, so it never throws: where the driver fails, the block is kept out of use.
void Allocator::give_back(void* p) {
  const Backend& backend = *loaded().backend;
  std::lock_guard lock(mutex_);
  Block& block = blocks_.at(p);
  memory_.in_use -= block.bytes;
  for (void* stream : std::exchange(block.used_on, {})) {
    void* event = nullptr;
    if (backend.make_event(device_, &event) != Status::Ok) continue;
    if (backend.record_event(device_, event, stream) == Status::Ok) block.pending.push_back(event);
    else backend.end_event(device_, event);
  }
  if (!block.pending.empty()) waiting_.push_back(p);
  else if (closed_.count(block.pool)) release(p);
  else free_[{block.pool, block.stream}].emplace(block.bytes, p);
}

void Allocator::release(void* p) {
  const auto it = blocks_.find(p);
  memory_.held -= it->second.bytes;
  blocks_.erase(it);
  loaded().backend->release(device_, p);
}

/// Frees waiting blocks whose other streams are done.
void Allocator::collect(bool wait) {
  const Backend& backend = *loaded().backend;
  std::erase_if(waiting_, [&](void* p) {
    Block& block = blocks_.at(p);
    std::erase_if(block.pending, [&](void* event) {
      if (wait) backend.wait_for_event(device_, event);
      else if (backend.event_reached(device_, event) == Status::NotReady) return false;
      backend.end_event(device_, event);
      return true;
    });
    if (!block.pending.empty()) return false;
    if (closed_.count(block.pool)) release(p);
    else free_[{block.pool, block.stream}].emplace(block.bytes, p);
    return true;
  });
}

void Allocator::trim_locked() {
  collect(true);
  for (auto& [key, list] : free_) {
    if (key.first) continue;  // a graph's blocks are at the addresses that it was recorded with
    for (const auto& [size, p] : list) release(p);
    list.clear();
  }
}

void Allocator::trim() {
  std::lock_guard lock(mutex_);
  trim_locked();
}

void Allocator::record_use(const void* p, void* stream) {
  std::lock_guard lock(mutex_);
  const auto it = blocks_.find(const_cast<void*>(p));
  check(it != blocks_.end(), ErrorCode::Device, "record_use", "expected memory of the allocator of cuda:", device_);
  if (it->second.stream != stream) it->second.used_on.insert(stream);
}

Memory Allocator::memory() const {
  std::lock_guard lock(mutex_);
  return memory_;
}

void Allocator::reset_peak() {
  std::lock_guard lock(mutex_);
  memory_.peak_in_use = memory_.in_use, memory_.peak_held = memory_.held;
}

void Allocator::set_limit(size_t bytes) {
  std::lock_guard lock(mutex_);
  memory_.limit = bytes;
}

uint64_t Allocator::next_pool() {
  static std::atomic<uint64_t> counter{0};
  return ++counter;
}

void Allocator::close_pool(uint64_t pool) {
  std::lock_guard lock(mutex_);
  closed_.insert(pool);
  for (auto it = free_.begin(); it != free_.end();) {
    if (it->first.first != pool) {
      ++it;
      continue;
    }
    for (const auto& [size, p] : it->second) release(p);
    it = free_.erase(it);
  }
}

}  // namespace tenon::cuda::detail
