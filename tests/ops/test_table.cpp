// The tables of kernels: complete, chosen as asked, and explained.
#include <cstddef>
#include <cstdlib>
#include <cstring>

#include "ops/op_test.h"

namespace tenon {
namespace {

TEST_CASE("no usable table has an empty entry") {
  for (const KernelChoice& c : kernel_choices()) {
    CAPTURE(c.name);
    CHECK(c.usable == (c.kernels != nullptr));
    if (!c.usable) continue;
    constexpr size_t kFirst = offsetof(Kernels, linear_packed_bytes);
    static_assert((sizeof(Kernels) - kFirst) % sizeof(void*) == 0);
    std::vector<void*> entries((sizeof(Kernels) - kFirst) / sizeof(void*));
    std::memcpy(entries.data(), reinterpret_cast<const char*>(c.kernels) + kFirst, sizeof(Kernels) - kFirst);
    for (size_t i = 0; i < entries.size(); ++i) CHECK_MESSAGE(entries[i] != nullptr, "entry ", i);
    CHECK(c.name == c.kernels->name);
  }
}

TEST_CASE("the table asked for is the one that runs") {
  const char* wish = std::getenv("TENON_ISA");
  if (wish && *wish)
    CHECK(std::string(cpu_kernels().name) == wish);
  else
    for (const KernelChoice& c : kernel_choices())
      if (c.usable) {
        CHECK(&cpu_kernels() == c.kernels);
        break;
      }
}

TEST_CASE("every choice says why") {
  bool ref = false;
  int chosen = 0;
  for (const KernelChoice& c : kernel_choices()) {
    CAPTURE(c.name);
    CHECK((c.reason.rfind("not usable: ", 0) == 0) == !c.usable);
    CHECK(c.reason.size() > std::string("usable: ").size());
    chosen += c.reason.rfind("chosen", 0) == 0;
    ref |= c.name == "ref" && c.usable;
  }
  CHECK(ref);
  CHECK(chosen == 1);
}

}  // namespace
}  // namespace tenon
