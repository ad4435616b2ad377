// Device names.
#include <doctest/doctest.h>

#include "io/temp_folder.h"
#include "tenon/core/device.h"

using namespace tenon;

TEST_CASE("device: names") {
  CHECK(parse_device("cpu").is_cpu());
  CHECK(Device{}.str() == "cpu");
  CHECK(Device{Device::Kind::Cuda, 1}.str() == "cuda:1");
  CHECK_FALSE(Device{} == Device{Device::Kind::Cuda, 0});
  for (const char* text : {"", "gpu", "cuda:", "cuda:-1", "cuda:x", "CPU", "cpu:0:1"}) {
    CAPTURE(text);
    CHECK(contains(error_of([&] { parse_device(text); }), "Device: [device] "));
  }
}
