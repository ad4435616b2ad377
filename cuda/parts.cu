// Launches of the kernels that move rows and parts of rows.
#include <cstdint>
#include <type_traits>

#include "bodies/parts.h"
#include "fillers.h"
#include "launch.h"

namespace tenon::cuda {
namespace {

/// Calls body with a null pointer of the widest unit, at most 16 bytes, that divides all of them.
template <class Body>
void with_unit(std::initializer_list<int64_t> bytes, Body&& body) {
  uint64_t bits = 16;
  for (const int64_t b : bytes) bits |= static_cast<uint64_t>(b);
  switch (bits & (~bits + 1)) {  // the lowest bit that one of them has
    case 16: return body(static_cast<Unit<16>*>(nullptr));
    case 8: return body(static_cast<Unit<8>*>(nullptr));
    case 4: return body(static_cast<Unit<4>*>(nullptr));
    case 2: return body(static_cast<Unit<2>*>(nullptr));
    default: return body(static_cast<Unit<1>*>(nullptr));
  }
}

int64_t address_of(const void* p) { return static_cast<int64_t>(reinterpret_cast<uintptr_t>(p)); }

void move_parts(const PartsCall& c) {
  const int64_t items = c.N * c.parts * c.width;
  if (items == 0) return;
  if (c.add)
    return scalar::with_float(c.type, [&](auto* tag) {
      using E = std::remove_pointer_t<decltype(tag)>;
      launch_elements(items, AddPartsBody<E>{static_cast<E*>(c.y), static_cast<const E*>(c.x), c.y_row, c.y_part, c.x_row, c.x_part, c.parts,
                                             c.width});
    });
  const auto item = static_cast<int64_t>(size_of(c.type));
  with_unit({address_of(c.y), address_of(c.x), c.y_row * item, c.y_part * item, c.x_row * item, c.x_part * item, c.width * item},
            [&](auto* tag) {
              using U = std::remove_pointer_t<decltype(tag)>;
              const auto units = [&](int64_t n) { return n * item / static_cast<int64_t>(sizeof(U)); };
              launch_elements(units(items), MovePartsBody<U>{static_cast<U*>(c.y), static_cast<const U*>(c.x), units(c.y_row), units(c.y_part),
                                                            units(c.x_row), units(c.x_part), c.parts, units(c.width)});
            });
}

void transpose(float* y, const float* x, int64_t M, int64_t N, int64_t ld) {
  constexpr int64_t kTile = TransposeBody::kTile, kMost = 65535 * kTile;  // blocks of the second dimension of a grid
  if (N > kMost)
    for (int64_t m = 0; m < M; ++m)  // rows that long are few
      launch_elements(N, MovePartsBody<Unit<4>>{reinterpret_cast<Unit<4>*>(y + m), reinterpret_cast<const Unit<4>*>(x + m * N), ld, 0, 1, 0, 1, 1});
  else
    launch((M + kTile - 1) / kTile, (N + kTile - 1) / kTile, TransposeBody::kThreads, TransposeBody::kShared, TransposeBody{y, x, M, N, ld});
}

void store_rows(void* const* page, const int64_t* slot, int64_t offset, const void* x, int64_t N, int64_t bytes) {
  with_unit({address_of(x), bytes}, [&](auto* tag) {
    using U = std::remove_pointer_t<decltype(tag)>;
    const int64_t width = bytes / static_cast<int64_t>(sizeof(U));
    launch_elements(N * width, StoreRowsBody<U>{page, slot, offset, static_cast<const U*>(x), width});
  });
}

void load_rows(void* y, const void* const* page, const int64_t* slot, int64_t offset, int64_t N, int64_t bytes) {
  with_unit({address_of(y), bytes}, [&](auto* tag) {
    using U = std::remove_pointer_t<decltype(tag)>;
    const int64_t width = bytes / static_cast<int64_t>(sizeof(U));
    launch_elements(N * width, LoadRowsBody<U>{static_cast<U*>(y), page, slot, offset, width});
  });
}

void dequantize_rows(float* y, const void* q, const float* scale, int64_t N, int64_t C, CacheCodes codes) {
  if (codes == CacheCodes::Int8) launch_elements(N * C, DequantizeRowsBody<int8_t>{y, static_cast<const int8_t*>(q), scale, C});
  else launch_elements(N * C, DequantizeRowsBody<float8>{y, static_cast<const float8*>(q), scale, C});
}

}  // namespace

void fill_parts(Kernels& k) {
  k.move_parts = move_parts;
  k.transpose = transpose;
  k.store_rows = store_rows;
  k.load_rows = load_rows;
  k.dequantize_rows = dequantize_rows;
}

}  // namespace tenon::cuda
