// Reuses scratch memory: blocks given back by dead tensors serve the next ones, so that a warmed-up forward pass allocates nothing.
#pragma once

#include <map>
#include <memory>
#include <mutex>
#include <vector>

#include "tenon/core/tensor.h"

namespace tenon {
namespace detail {
class Regions;
}

/// A free list per size of small blocks, and regions from which large ones are cut. Tensors may outlive the Pool and may die on other
/// threads.
class Pool : public std::enable_shared_from_this<Pool> {
 public:
  Pool();
  ~Pool();
  Pool(const Pool&) = delete;
  Pool& operator=(const Pool&) = delete;
  /// Uninitialised memory, aligned to 64 bytes. Errors: Error(Memory).
  Tensor empty(const Shape& shape, DType dtype);
  /// Gives all unused blocks back to the system.
  void trim();
  /// Bytes held, in use and free together, and the most that were ever held.
  size_t held_bytes() const;
  size_t peak_bytes() const;

 private:
  void* small(size_t size);
  void* large(size_t size);
  void hold(size_t bytes);
  void give_back(void* block, size_t bytes);
  mutable std::mutex mutex_;
  std::map<size_t, std::vector<void*>> free_;
  std::unique_ptr<detail::Regions> regions_;
  size_t held_ = 0, peak_ = 0;
};

}  // namespace tenon
