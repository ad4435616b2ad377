// The ref linear over weights that are mostly zero: compressed rows.
#include <cstdint>
#include <type_traits>

#include "cpu/ref.h"
#include "cpu/scalar.h"
#include "tenon/core/parallel.h"

namespace tenon {
namespace {

using scalar::load;
using scalar::store;
using scalar::with_float;

/// Row n holds the elements [start[n], start[n + 1]): value[i] in column[i], columns rising.
template <class Byte>
struct Rows {
  using U32 = std::conditional_t<std::is_const_v<Byte>, const uint32_t, uint32_t>;
  using F32 = std::conditional_t<std::is_const_v<Byte>, const float, float>;
  Rows(Byte* packed, int64_t N, int64_t count)
      : start(reinterpret_cast<U32*>(packed)), column(start + N + 1), value(reinterpret_cast<F32*>(column + count)) {}
  U32 *start, *column;
  F32* value;
};

Rows<const char> rows_of(const void* packed, int64_t N) {
  const char* p = static_cast<const char*>(packed);
  return {p, N, static_cast<int64_t>(reinterpret_cast<const uint32_t*>(p)[N])};
}

size_t sparse_packed_bytes(int64_t N, int64_t, int64_t count) { return 4 * (static_cast<size_t>(N) + 1 + 2 * static_cast<size_t>(count)); }

void sparse_pack(void* packed, const void* w, DType w_type, int64_t N, int64_t K, int64_t count) {
  const Rows<char> rows(static_cast<char*>(packed), N, count);
  uint32_t at = 0;
  with_float(w_type, [&](auto* tag) {
    const auto* from = static_cast<decltype(tag)>(const_cast<void*>(w));
    for (int64_t n = 0; n < N; ++n) {
      rows.start[n] = at;
      for (int64_t k = 0; k < K; ++k) {
        const float v = load(from + n * K + k);
        if (v == 0) continue;
        rows.column[at] = static_cast<uint32_t>(k);
        rows.value[at++] = v;
      }
    }
  });
  rows.start[N] = at;
}

void sparse_unpack(float* w, const void* packed, int64_t N, int64_t K) {
  const Rows<const char> rows = rows_of(packed, N);
  for (int64_t i = 0; i < N * K; ++i) w[i] = 0;
  for (int64_t n = 0; n < N; ++n)
    for (uint32_t i = rows.start[n]; i < rows.start[n + 1]; ++i) w[n * K + rows.column[i]] = rows.value[i];
}

size_t sparse_scratch(const LinearCall&) { return 0; }

void sparse_linear(const LinearCall& c) {
  const Rows<const char> rows = rows_of(c.w, c.N);
  with_float(c.type, [&](auto* tag) {
    using E = std::remove_pointer_t<decltype(tag)>;
    parallel_for(c.threads, c.M, 1, [&](int64_t begin, int64_t end) {
      for (int64_t m = begin; m < end; ++m)
        for (int64_t n = 0; n < c.N; ++n) {
          const E* x = static_cast<const E*>(c.x) + m * c.K;
          double sum = 0;
          for (uint32_t i = rows.start[n]; i < rows.start[n + 1]; ++i) sum += static_cast<double>(load(x + rows.column[i])) * rows.value[i];
          float v = static_cast<float>(sum) + (c.bias ? c.bias[n] : 0.0f);
          if (c.act != Activation::None) ref_kernels().activation(&v, &v, 1, c.act, DType::F32);
          store(static_cast<E*>(c.y) + m * c.N + n, c.residual ? v + load(static_cast<const E*>(c.residual) + m * c.N + n) : v);
        }
    });
  });
}

}  // namespace

void fill_ref_sparse(Kernels& k) {
  k.sparse_packed_bytes = sparse_packed_bytes;
  k.sparse_pack = sparse_pack;
  k.sparse_unpack = sparse_unpack;
  k.sparse_scratch = sparse_scratch;
  k.sparse_linear = sparse_linear;
}

}  // namespace tenon
