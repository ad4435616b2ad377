// Walks over a row that a block has, V elements to a load; V divides C.
#pragma once

#include "block.h"

namespace tenon::cuda {

/// body(c, v) for what thread t has of x: the V elements v from column c on.
template <int V, class E, class Body>
TENON_BODY void walk_row(int t, int threads, const E* x, int64_t C, Body&& body) {
  over_row<V>(t, threads, C, [&](int64_t c) {
    float v[V];
    load(v, x + c);
    body(c, v);
  });
}
/// body(c, v, w) for what it has of two rows.
template <int V, class E, class F, class Body>
TENON_BODY void walk_rows(int t, int threads, const E* x, const F* y, int64_t C, Body&& body) {
  walk_row<V>(t, threads, x, C, [&](int64_t c, float(&v)[V]) {
    float w[V];
    load(w, y + c);
    body(c, v, w);
  });
}

/// The sum of term(element) over a row; collective.
template <int V, class Block, class E, class Term>
TENON_BODY float row_sum(Block& block, const E* x, int64_t C, Term&& term) {
  Lanes<float, Block> part(block);
  block.each([&](int t) {
    float sum = 0;
    walk_row<V>(t, block.threads, x, C, [&](int64_t, float(&v)[V]) {
      for (float e : v) sum += term(e);
    });
    part[t] = sum;
  });
  return block.sum(part);
}
/// The largest of term(element), `least` if all are smaller; collective.
template <int V, class Block, class E, class Term>
TENON_BODY float row_max(Block& block, const E* x, int64_t C, float least, Term&& term) {
  Lanes<float, Block> part(block);
  block.each([&](int t) {
    float most = least;
    walk_row<V>(t, block.threads, x, C, [&](int64_t, float(&v)[V]) {
      for (float e : v) most = fmaxf(most, term(e));
    });
    part[t] = most;
  });
  return block.max(part);
}
/// y[c] = value(x[c], c); y may be x. Thread 0 then calls once().
template <int V, class Block, class Y, class E, class Value, class Once>
TENON_BODY void map_row(Block& block, Y* y, const E* x, int64_t C, Value&& value, Once&& once) {
  block.each([&](int t) {
    walk_row<V>(t, block.threads, x, C, [&](int64_t c, float(&v)[V]) {
      for (int j = 0; j < V; ++j) v[j] = value(v[j], c + j);
      store(y + c, v);
    });
    if (t == 0) once();
  });
}

}  // namespace tenon::cuda
