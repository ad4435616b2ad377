// The doctest main. Exits with 77 (skipped) when TENON_ISA names an instruction set that this machine lacks.
#define DOCTEST_CONFIG_IMPLEMENT
#include <doctest/doctest.h>

#include <cstdlib>

#include "tenon/core/error.h"
#include "tenon/core/kernels.h"

int main(int argc, char** argv) {
  if (std::getenv("TENON_ISA")) {
    try {
      tenon::cpu_kernels();
    } catch (const tenon::Error&) {
      return 77;
    }
  }
  return doctest::Context(argc, argv).run();
}
