// A value that is made when it is first asked for.
#pragma once

#include <atomic>
#include <mutex>
#include <utility>

namespace tenon::nn {

/// Made once, by whichever thread comes first; the others wait. What throws is tried again by the next.
template <class T>
class Lazy {
 public:
  template <class Make>
  const T& get(Make&& make) const {
    if (!made_.load(std::memory_order_acquire)) {
      const std::lock_guard lock(mutex_);
      if (!made_.load(std::memory_order_relaxed)) {
        value_ = std::forward<Make>(make)();
        made_.store(true, std::memory_order_release);
      }
    }
    return value_;
  }
  bool made() const { return made_.load(std::memory_order_acquire); }
  /// Only while nobody else uses it.
  void reset() {
    value_ = T();
    made_.store(false, std::memory_order_release);
  }

 private:
  mutable std::mutex mutex_;
  mutable std::atomic<bool> made_{false};
  mutable T value_{};
};

}  // namespace tenon::nn
