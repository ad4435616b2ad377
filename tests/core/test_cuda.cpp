// Machines without a GPU: every way to ask for one is answered with the reason.
#include "tenon/core/cuda.h"

#include <doctest/doctest.h>

#include "io/temp_folder.h"
#include "tenon/core/context.h"

using namespace tenon;

TEST_CASE("cuda: without a GPU there is a reason, and nothing but errors") {
  if (cuda::is_available()) return;  // then tests/cuda and the golden cases have their turn
  const std::string reason = cuda::why_not();
  REQUIRE_FALSE(reason.empty());
  CHECK(cuda::device_count() == 0);
  CHECK(error_of([] { parse_device("cuda"); }) == "Device: [device] \"cuda\" asked for, but it cannot be used: " + reason + "; use device=\"cpu\"");
  const std::string expected = "Device: [cuda] cuda:0 cannot be used: " + reason;
  const Device gpu{Device::Kind::Cuda, 0};
  CHECK(error_of([] { cuda::properties(); }) == expected);
  CHECK(error_of([] { cuda::memory(); }) == expected);
  CHECK(error_of([] { cuda::kernels(); }) == expected);
  CHECK(error_of([] { cuda::Stream s; }) == expected);
  CHECK(error_of([] { cuda::Event e; }) == expected);
  CHECK(error_of([&] { Context c(gpu); }) == expected);
  CHECK(error_of([&] { Tensor::zeros({2}, DType::F32, gpu); }) == expected);
  CHECK(error_of([&] { Tensor::zeros({2}, DType::F32).to(gpu); }) == expected);
  CHECK_NOTHROW(cuda::empty_cache());
}

TEST_CASE("cuda: a context of the host is as before") {
  Context c(Device{});
  CHECK(c.device().is_cpu());
  CHECK(&c.kernels() == &cpu_kernels());
  const Tensor t = c.zeros({3}, DType::F32);
  CHECK(t.to(Device{}).id() == t.id());
}
