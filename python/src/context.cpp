// The Contexts that calls from Python run with.
#include <algorithm>
#include <iterator>
#include <mutex>
#include <vector>

#include "bindings.h"

namespace tenon::python {
namespace {

struct Shelf {
  std::mutex mutex;
  std::vector<std::unique_ptr<Context>> idle;
};

Shelf& shelf() {
  static Shelf* const s = new Shelf;  // never destroyed: tensors and threads may outlive static objects at exit
  return *s;
}

}  // namespace

BorrowedContext::BorrowedContext(Device device) {
  {
    std::lock_guard lock(shelf().mutex);
    auto& idle = shelf().idle;
    const auto fits = std::find_if(idle.rbegin(), idle.rend(), [&](const auto& c) { return c->device() == device; });
    if (fits != idle.rend()) {
      context_ = std::move(*fits);
      idle.erase(std::next(fits).base());
    }
  }
  if (!context_) context_ = std::make_unique<Context>(device);
  context_->set_threads(0);  // set_num_threads may have been called since
}

BorrowedContext::~BorrowedContext() {
  std::lock_guard lock(shelf().mutex);
  shelf().idle.push_back(std::move(context_));
}

}  // namespace tenon::python
