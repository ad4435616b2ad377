// The free lists behind Context::empty.
#include "tenon/core/pool.h"

#include <algorithm>
#include <bit>
#include <cstdlib>
#include <iterator>
#include <map>
#include <vector>

#include "core/memory.h"

namespace tenon {
namespace {

/// Rounds up to one of four sizes per power of two, so that near-equal shapes share blocks.
size_t block_size(size_t bytes) {
  if (bytes <= 4096) return (bytes + 255) / 256 * 256 + (bytes == 0) * 256;
  const size_t step = std::bit_floor(bytes - 1) / 4;
  return (bytes + step - 1) / step * step;
}

constexpr size_t kLargeBlock = size_t{1} << 20;
constexpr size_t kRoomy = size_t{256} << 20;  // up to here unused memory is kept for whatever comes next

void* allocate_block(size_t size) { return size < kLargeBlock ? detail::allocate_aligned(size) : detail::allocate_mapped(size); }
void free_block(void* p, size_t size) { size < kLargeBlock ? std::free(p) : detail::free_mapped(p, size); }

using FreeList = std::map<size_t, std::vector<void*>>;

/// Gives large unused blocks back to the system until these were `bytes`: the smallest that is enough, or else the largest first. The
/// largest of a training step (the gradient of its word vectors) is wanted again in the next and costs most to be had again. Returns how
/// many bytes they were.
size_t release(FreeList& free, size_t bytes) {
  size_t released = 0;
  while (released < bytes && !free.empty()) {
    auto it = free.lower_bound(std::max(bytes - released, kLargeBlock));
    if (it == free.end()) it = std::prev(free.end());
    if (it->first < kLargeBlock) break;
    free_block(it->second.back(), it->first);
    released += it->first;
    it->second.pop_back();
    if (it->second.empty()) free.erase(it);
  }
  return released;
}

}  // namespace

Pool::~Pool() { trim(); }

Tensor Pool::empty(const Shape& shape, DType dtype) {
  int64_t signed_bytes;  // signed, so that rounding up cannot wrap around
  check(!__builtin_mul_overflow(shape.numel(), static_cast<int64_t>(size_of(dtype)), &signed_bytes), ErrorCode::Limit, "pool",
        "too large: ", shape);
  const auto bytes = static_cast<size_t>(signed_bytes);
  size_t size = block_size(bytes);
  void* block = nullptr;
  {
    std::lock_guard lock(mutex_);
    // A training step wants gradients when activations of other sizes have died: a block half as large again is better than a new one.
    const auto it = free_.lower_bound(size);
    if (it != free_.end() && it->first <= (size < kLargeBlock ? size : size + size / 2)) {
      size = it->first;
      block = it->second.back();
      it->second.pop_back();
      if (it->second.empty()) free_.erase(it);
    } else {
      if (size >= kLargeBlock && held_ + size > kRoomy) held_ -= release(free_, size);
      held_ += size;
      peak_ = std::max(peak_, held_);
    }
  }
  if (!block) {
    block = allocate_block(size);
    if (!block) {
      std::lock_guard lock(mutex_);
      held_ -= size;
      fail(ErrorCode::Memory, "pool", "cannot allocate ", size, " bytes");
    }
  }
  auto storage = std::make_shared<Storage>();
  storage->data = block;
  storage->bytes = bytes;
  // The deleter holds the pool, so a tensor may outlive the Context that made it.
  storage->owner = std::shared_ptr<void>(block, [pool = shared_from_this(), size](void* p) { pool->give_back(p, size); });
  return Tensor::over(std::move(storage), 0, shape, dtype);
}

void Pool::give_back(void* block, size_t bytes) {
  std::lock_guard lock(mutex_);
  free_[bytes].push_back(block);
}

void Pool::trim() {
  std::lock_guard lock(mutex_);
  for (auto& [size, blocks] : free_) {
    for (void* b : blocks) {
      free_block(b, size);
      held_ -= size;
    }
  }
  free_.clear();
}

size_t Pool::held_bytes() const {
  std::lock_guard lock(mutex_);
  return held_;
}

size_t Pool::peak_bytes() const {
  std::lock_guard lock(mutex_);
  return peak_;
}

}  // namespace tenon
