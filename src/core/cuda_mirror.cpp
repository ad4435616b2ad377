// Arrays of the host whose copies on a device keep their addresses.
#include <cstring>

#include "core/cuda_allocator.h"
#include "core/cuda_loader.h"
#include "tenon/core/cuda.h"
#include "tenon/core/error.h"

namespace tenon::cuda {

struct Mirror::State {
  int device;
  std::vector<Array> arrays;
  std::vector<size_t> offset;
  size_t bytes = 0;
  Tensor copy;
  void* pinned = nullptr;
  Event sent;  // the last refresh() has left `pinned`
  bool sending = false;
  std::vector<Tensor> kept;

  State(int d, std::vector<Array> a) : device(d), arrays(std::move(a)), sent(d) {}
};

Mirror::Mirror(int device, std::vector<Array> arrays) : state_(std::make_unique<State>(device, std::move(arrays))) {
  constexpr size_t kAlign = 64;
  for (const Array& a : state_->arrays) {
    state_->offset.push_back(state_->bytes);
    state_->bytes += (a.bytes + kAlign - 1) / kAlign * kAlign;
  }
  state_->copy = Tensor::empty({static_cast<int64_t>(state_->bytes)}, DType::U8, {Device::Kind::Cuda, device});
  if (detail::backend_for(device).allocate_pinned(state_->bytes, &state_->pinned) != Status::Ok) state_->pinned = nullptr;
  check(state_->pinned != nullptr, ErrorCode::Memory, "cuda", "cannot allocate ", state_->bytes, " bytes of pinned memory");
}

Mirror::~Mirror() {
  try {
    if (state_->sending) state_->sent.synchronize();
  } catch (const Error&) {  // a lost device reads nothing any more
  }
  detail::loaded().backend->release_pinned(state_->pinned);
}

void Mirror::refresh() {
  State& s = *state_;
  if (s.sending) s.sent.synchronize();
  auto* to = static_cast<char*>(s.pinned);
  for (size_t i = 0; i < s.arrays.size(); ++i) std::memcpy(to + s.offset[i], s.arrays[i].host, s.arrays[i].bytes);
  detail::check_status(detail::use(s.device).copy(s.copy.address(), s.device, s.pinned, kHost, s.bytes), "copy", s.device);
  s.sent.record();
  s.sending = true;
}

Tensor Mirror::find(const void* host, DType type) const {
  const State& s = *state_;
  for (size_t i = 0; i < s.arrays.size(); ++i)
    if (s.arrays[i].host == host)
      return Tensor::over(s.copy.storage(), s.offset[i], {static_cast<int64_t>(s.arrays[i].bytes / size_of(type))}, type);
  return {};
}

void Mirror::keep(const Tensor& t) {
  for (const Tensor& k : state_->kept)
    if (k.id() == t.id()) return;
  state_->kept.push_back(t);
}

}  // namespace tenon::cuda
