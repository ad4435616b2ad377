// What a computation runs with: threads, kernels, scratch memory, random numbers, and a recorder when gradients are wanted.
#pragma once

#include <algorithm>
#include <cstring>
#include <memory>
#include <optional>
#include <utility>
#include <vector>

#include "tenon/core/cuda.h"
#include "tenon/core/device.h"
#include "tenon/core/kernels.h"
#include "tenon/core/parallel.h"
#include "tenon/core/pool.h"
#include "tenon/core/random.h"
#include "tenon/core/recorder.h"

namespace tenon {

/// What shares a scale where training multiplies in float8: 128 elements of a row and 128 x 128 of a weight, as DeepSeek-V3 was trained; or
/// all of a tensor, which costs fewer scales and loses what is small beside the tensor's largest element.
enum class Fp8Scaling : uint8_t { Block, Tensor };

/// What a training step computes otherwise than inference does.
struct TrainingMode {
  bool dropout = false;         // layers drop activations as their configuration says
  DType matmul = DType::F32;    // BF16, F16, F8E4M3: matrices are multiplied from factors rounded to it, with float32 sums ("autocast")
  bool checkpoint = false;      // while recording, layers keep their inputs alone and compute the rest again for the gradient
  Fp8Scaling fp8_scaling = Fp8Scaling::Block;
};

/// One per concurrent caller: a loaded model is const and may be used by several threads, each with a Context of its own.
class Context {
 public:
  explicit Context(int threads = 0, const Kernels& kernels = cpu_kernels())
      : threads_(threads > 0 ? threads : get_num_threads()), kernels_(&kernels), pool_(std::make_shared<Pool>()) {}
  /// Computes on a device: its kernels, its memory. Errors: Error(Device) if it cannot be used, with the reason.
  explicit Context(Device device) : Context() {
    if (!device.is_cpu()) cuda::kernels(device.index);
    device_ = device;
  }

  int threads() const { return threads_; }
  void set_threads(int n) { threads_ = n > 0 ? n : get_num_threads(); }
  /// The table of this Context's device. Kernels of a device run there in the order of the calling thread's stream; calls return at once.
  const Kernels& kernels() const { return device_.is_cpu() ? *kernels_ : cuda::kernels(device_.index); }
  Device device() const { return device_; }
  Random& random() { return random_; }
  const TrainingMode& training() const { return training_; }
  void set_training(const TrainingMode& mode) { training_ = mode; }
  Pool& pool() { return *pool_; }  // of the host's memory

  /// Scratch memory of the device, uninitialised. Errors: Error(Memory).
  Tensor empty(const Shape& shape, DType dtype) {
    return device_.is_cpu() ? pool_->empty(shape, dtype) : Tensor::empty(shape, dtype, device_);
  }
  Tensor zeros(const Shape& shape, DType dtype) {
    if (!device_.is_cpu()) return Tensor::zeros(shape, dtype, device_);
    Tensor t = empty(shape, dtype);
    if (t.nbytes()) std::memset(t.raw(), 0, t.nbytes());
    return t;
  }

  /// Bytes of the host as the device's kernels can read them. The copies of the last ones are kept: all layers of a pass ask for the same
  /// row numbers. Errors: Error(Memory); Error(Device) while a graph is recorded, unless they are kept or the mirror's.
  Tensor staged(const void* host, size_t bytes) {
    constexpr size_t kMost = 64, kLarge = size_t{1} << 20;  // as many copies, none of them larger
    const auto* begin = static_cast<const char*>(host);
    void* const stream = cuda::Stream::current(device_.index).handle();
    if (Tensor copy = mirror_ ? mirror_->find(host) : Tensor()) return copy;
    const auto same = [&](const Staged& s) {  // a graph has a stream of its own, and is launched on that of the copies
      return (s.stream == stream || mirror_) && s.bytes.size() == bytes && std::memcmp(s.bytes.data(), begin, bytes) == 0;
    };
    if (const auto it = std::find_if(staged_.begin(), staged_.end(), same); it != staged_.end()) {
      std::rotate(staged_.begin(), it, it + 1);
      if (mirror_) mirror_->keep(staged_.front().copy);
      return staged_.front().copy;
    }
    Tensor copy = Tensor::empty({static_cast<int64_t>(bytes)}, DType::U8, device_);
    cuda::copy(copy.address(), device_, host, {}, bytes);
    if (bytes > kLarge) return copy;
    if (staged_.size() == kMost) staged_.pop_back();
    staged_.insert(staged_.begin(), Staged{std::vector<char>(begin, begin + bytes), stream, copy});
    return copy;
  }

  /// While there is one, staged() gives its copies of the arrays that it has, by their addresses, and has it keep the others.
  void set_mirror(cuda::Mirror* mirror) { mirror_ = mirror; }

  /// Spreads rows [0, n) over the threads; `cost` is about the number of elements touched per row. On a device: one call with all rows.
  template <class Body>
  void over_rows(int64_t n, int64_t cost, Body&& body) const {
    if (!device_.is_cpu()) {
      if (n > 0) body(int64_t{0}, n);
      return;
    }
    constexpr int64_t kMinimumWork = 16384;  // below this, waking a thread costs more than it saves
    parallel_for(threads_, n, std::max<int64_t>(1, kMinimumWork / std::max<int64_t>(cost, 1)), body);
  }

  Recorder* recorder() const { return recorder_; }
  /// Records through `r` (nullptr: records nothing) from now on; returns the one before.
  Recorder* set_recorder(Recorder* r) { return std::exchange(recorder_, r); }
  bool wants(const Tensor& t) const { return recorder_ && t.defined() && recorder_->wants(t); }
  template <class... Tensors>
  bool wants_any(const Tensors&... t) const {
    return recorder_ && (wants(t) || ...);
  }

 private:
  struct Staged {
    std::vector<char> bytes;
    void* stream;  // on which the copy's memory is given back
    Tensor copy;
  };

  int threads_;
  const Kernels* kernels_;
  Device device_;
  std::shared_ptr<Pool> pool_;
  Random random_;
  TrainingMode training_;
  Recorder* recorder_ = nullptr;
  std::vector<Staged> staged_;  // the last used first
  cuda::Mirror* mirror_ = nullptr;
};

/// For what the host computes beside a device: a Context itself, or one of the host's with as many threads.
class HostContext {
 public:
  explicit HostContext(Context& ctx) : ctx_(ctx) {
    if (!ctx.device().is_cpu()) own_.emplace(ctx.threads());
  }
  Context& operator*() { return own_ ? *own_ : ctx_; }
  Context* operator->() { return &**this; }

 private:
  Context& ctx_;
  std::optional<Context> own_;
};

}  // namespace tenon
