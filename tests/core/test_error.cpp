// Errors: code, message, and that a check that holds formats nothing.
#include "tenon/core/error.h"

#include <doctest/doctest.h>

#include "io/temp_folder.h"

using namespace tenon;

namespace {

struct Counted {
  int* written;
  friend std::ostream& operator<<(std::ostream& out, const Counted& c) { return ++*c.written, out << "part"; }
};

}  // namespace

TEST_CASE("error: message and code") {
  CHECK(error_of([] { fail(ErrorCode::Shape, "op", "w: expected ", 3, ", got ", 2.5); }) == "Shape: [op] w: expected 3, got 2.5");
  CHECK(error_of([] { fail(ErrorCode::Limit, "op"); }) == "Limit: [op] ");
  CHECK_THROWS_AS(fail(ErrorCode::File, "op", "x"), std::runtime_error);
}

TEST_CASE("error: parts are formatted on failure only") {
  int written = 0;
  check(true, ErrorCode::Type, "op", Counted{&written});
  CHECK(written == 0);
  CHECK(error_of([&] { check(false, ErrorCode::Type, "op", Counted{&written}, 1); }) == "Type: [op] part1");
  CHECK(written == 1);
}
