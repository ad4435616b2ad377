// The memory behind Context::empty.
#include "tenon/core/pool.h"

#include <algorithm>
#include <bit>
#include <cstdlib>
#include <limits>

#include "core/memory.h"
#include "core/regions.h"

namespace tenon {
namespace {

constexpr size_t kLargeBlock = size_t{128} << 10;
constexpr size_t kRoomy = size_t{256} << 20;  // up to here unused memory is kept for whatever comes next

/// Small blocks have one of four sizes per power of two, so that near-equal shapes share them; large ones are parts of regions.
size_t block_size(size_t bytes) {
  if (bytes <= 4096) return (bytes + 255) / 256 * 256 + (bytes == 0) * 256;
  const size_t step = bytes >= kLargeBlock ? detail::Regions::kGrain : std::bit_floor(bytes - 1) / 4;
  return (bytes + step - 1) / step * step;
}

}  // namespace

Pool::Pool() : regions_(std::make_unique<detail::Regions>()) {}

Pool::~Pool() { trim(); }

Tensor Pool::empty(const Shape& shape, DType dtype) {
  int64_t signed_bytes;  // signed, so that rounding up cannot wrap around
  check(!__builtin_mul_overflow(shape.numel(), static_cast<int64_t>(size_of(dtype)), &signed_bytes), ErrorCode::Limit, "pool",
        "too large: ", shape);
  const auto bytes = static_cast<size_t>(signed_bytes);
  const size_t size = block_size(bytes);
  void* block = size < kLargeBlock ? small(size) : large(size);
  if (!block) fail(ErrorCode::Memory, "pool", "cannot allocate ", size, " bytes");
  auto storage = std::make_shared<Storage>();
  storage->data = block;
  storage->bytes = bytes;
  // The deleter holds the pool, so a tensor may outlive the Context that made it.
  storage->owner = std::shared_ptr<void>(block, [pool = shared_from_this(), size](void* p) { pool->give_back(p, size); });
  return Tensor::over(std::move(storage), 0, shape, dtype);
}

void* Pool::small(size_t size) {
  {
    std::lock_guard lock(mutex_);
    if (const auto it = free_.find(size); it != free_.end() && !it->second.empty()) {
      void* block = it->second.back();
      it->second.pop_back();
      return block;
    }
  }
  void* block = detail::allocate_aligned(size);
  if (block) hold(size);
  return block;
}

void* Pool::large(size_t size) {
  std::lock_guard lock(mutex_);
  if (void* block = regions_->reuse(size)) return block;
  if (held_ + size > kRoomy) held_ -= regions_->release(size);
  size_t cost = 0;
  void* block = regions_->fresh(size, cost);
  if (block) peak_ = std::max(peak_, held_ += cost);
  return block;
}

void Pool::hold(size_t bytes) {
  std::lock_guard lock(mutex_);
  peak_ = std::max(peak_, held_ += bytes);
}

void Pool::give_back(void* block, size_t bytes) {
  std::lock_guard lock(mutex_);
  bytes < kLargeBlock ? free_[bytes].push_back(block) : regions_->give_back(block);
}

void Pool::trim() {
  std::lock_guard lock(mutex_);
  for (auto& [size, blocks] : free_) {
    for (void* b : blocks) {
      std::free(b);
      held_ -= size;
    }
  }
  free_.clear();
  held_ -= regions_->release(std::numeric_limits<size_t>::max());
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
