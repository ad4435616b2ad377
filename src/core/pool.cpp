// The free lists behind Context::empty.
#include "tenon/core/pool.h"

#include "core/memory.h"

#include <algorithm>
#include <bit>
#include <cstdlib>

namespace tenon {
namespace {

/// Rounds up to one of four sizes per power of two, so that near-equal shapes share blocks.
size_t block_size(size_t bytes) {
  if (bytes <= 4096) return (bytes + 255) / 256 * 256 + (bytes == 0) * 256;
  const size_t step = std::bit_floor(bytes - 1) / 4;
  return (bytes + step - 1) / step * step;
}

}  // namespace

Pool::~Pool() { trim(); }

Tensor Pool::empty(const Shape& shape, DType dtype) {
  int64_t signed_bytes;  // signed, so that rounding up cannot wrap around
  check(!__builtin_mul_overflow(shape.numel(), static_cast<int64_t>(size_of(dtype)), &signed_bytes), ErrorCode::Limit, "pool",
        "too large: ", shape);
  const auto bytes = static_cast<size_t>(signed_bytes);
  const size_t size = block_size(bytes);
  void* block = nullptr;
  {
    std::lock_guard lock(mutex_);
    auto it = free_.find(size);
    if (it != free_.end() && !it->second.empty()) {
      block = it->second.back();
      it->second.pop_back();
    } else {
      held_ += size;
      peak_ = std::max(peak_, held_);
    }
  }
  if (!block) {
    block = detail::allocate_aligned(size);
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
      std::free(b);
      held_ -= size;
    }
    blocks.clear();
  }
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
