// Attention of a few queries: decoding, and the last rows of a sequence. Included inside the unnamed namespace of a file compiled for one
// instruction set, after attention.inl.h.
//
// Keys and values are read where they lie. All query heads that share a key head go through a block of keys together, so that memory
// delivers it once; a few rows at a time share each loaded vector. A cache of codes is read as it is: scores are multiplied by the scales of
// the keys, weights by those of the values.

constexpr int kTogether = kLanes == 8 ? 2 : 4;  // rows whose sums fit in registers beside what they share

/// The scratch of a call; its parts start at cache lines. A value's columns are padded to whole vectors of Products.
struct FewWorkspace {
  float *queries = nullptr, *scores = nullptr, *sums = nullptr, *bias = nullptr;
  int64_t ld_queries, ld_scores = kKeyBlock + kLanes, width;
  size_t bytes = 0;

  /// padding: of queries and values, in elements. A null scratch only adds up the bytes.
  FewWorkspace(void* scratch, const AttentionCall& c, int64_t rows, int64_t padding)
      : ld_queries(round_up(c.D, padding)), width(round_up(c.Dv, padding)) {
    const auto take = [&](int64_t floats) {
      float* p = scratch ? reinterpret_cast<float*>(static_cast<char*>(scratch) + bytes) : nullptr;
      bytes += static_cast<size_t>(round_up(floats, 16)) * sizeof(float);
      return p;
    };
    queries = take(rows * ld_queries);
    scores = take(rows * ld_scores);
    sums = take(rows * width);
    bias = take(kKeyBlock);
  }
};

/// Asks for rows before they are read: those of a head lie between the rows of others, where no stream is seen, and so far ahead that the
/// second cache must hold them. Inlined always: a function that does nothing but this counts as one without effect, and its calls vanish.
struct Ahead {
  int64_t distance, end, bytes;  // in rows; nothing from row `end` on is asked for; bytes of a row

  Ahead(int64_t row_bytes, int64_t end) : distance(most(16, (16 << 10) / row_bytes)), end(end), bytes(row_bytes) {}
  template <class Rows>
  [[gnu::always_inline]] void fetch(const Rows& rows, int64_t s) const {
    if (s + distance >= end) return;
    const char* p = reinterpret_cast<const char*>(rows.row(s + distance));
    for (int64_t i = 0; i < bytes; i += 64) __builtin_prefetch(p + i, 0, 2);
  }
};

/// The products in float32 with rows of E or int8: each vector is widened once for the rows that share it.
template <class E>
struct FewFloats {
  using Weights = FloatOperands<E>;
  static constexpr int64_t kPadding = kLanes, kPer = 1;

  static void load_query(float* to, const E* q, int64_t D) {
    for_lanes(D, [&](int64_t d, auto part) { store(to + d, load(q + d, part), Full{}); });
  }

  /// Products of Q queries with n keys from `key` on, kLanes sums at a time, which are then added across lanes together.
  template <int Q, class Keys>
  static void scores(float* scores, int64_t ld, const float* queries, int64_t ld_queries, const Keys& keys, int64_t key, int64_t n, int64_t D,
                     const Ahead& ahead) {
    constexpr int kKeys = kLanes / Q;
    for (int64_t s = 0; s < n; s += kKeys) {
      decltype(keys.row(0)) row[kKeys];
      for (int k = 0; k < kKeys; ++k) row[k] = keys.row(key + least(s + k, n - 1)), ahead.fetch(keys, key + s + k);
      vf sum[kLanes];
#pragma GCC unroll 16
      for (int i = 0; i < kLanes; ++i) sum[i] = zero();
      for_lanes(D, [&](int64_t d, auto part) {
#pragma GCC unroll 16
        for (int k = 0; k < kKeys; ++k) {
          const vf x = load(row[k] + d, part);
#pragma GCC unroll 4
          for (int q = 0; q < Q; ++q) sum[q * kKeys + k] = fma(x, load(queries + q * ld_queries + d, Full{}), sum[q * kKeys + k]);
        }
      });
      transpose(sum);
#pragma GCC unroll 4
      for (int half = kLanes / 2; half > 0; half /= 2)
#pragma GCC unroll 8
        for (int i = 0; i < half; ++i) sum[i] = sum[i] + sum[i + half];
      float all[kLanes];
      store(all, sum[0], Full{});
      for (int q = 0; q < Q; ++q)
        for (int k = 0; k < kKeys; ++k) scores[q * ld + s + k] = all[q * kKeys + k];
    }
  }

  /// sums += weights times the values of n keys from `key` on, of Q rows.
  template <int Q, class Values>
  static void values(float* sums, int64_t width, const float* weights, int64_t ld, const Values& values, int64_t ld_values, int64_t key,
                     int64_t n, int64_t Dv, const Ahead& ahead) {
    const Ahead none(1, 0);
    int64_t d = 0;
    for (; d + 4 * kLanes <= Dv; d += 4 * kLanes)
      columns<Q, 4>(sums, width, weights, ld, values, ld_values, key, n, d, Full{}, d ? none : ahead);
    for (; d + kLanes <= Dv; d += kLanes) columns<Q, 1>(sums, width, weights, ld, values, ld_values, key, n, d, Full{}, d ? none : ahead);
    if (d < Dv) columns<Q, 1>(sums, width, weights, ld, values, ld_values, key, n, d, Part(Dv - d), d ? none : ahead);
  }

  static void finish(float*, int64_t) {}

 private:
  /// Columns [d, d + V vectors).
  template <int Q, int V, class Values, class P>
  static void columns(float* sums, int64_t width, const float* weights, int64_t ld, const Values& values, int64_t ld_values, int64_t key,
                      int64_t n, int64_t d, P part, const Ahead& ahead) {
    vf sum[Q * V];
#pragma GCC unroll 16
    for (int i = 0; i < Q * V; ++i) sum[i] = load(sums + i / V * width + d + i % V * kLanes, Full{});
    for (int64_t s = 0, run; s < n; s += run) {
      run = values.run(key + s, n - s);
      auto* v = values.row(key + s) + d;
      for (int64_t j = s; j < s + run; ++j, v += ld_values) {
        ahead.fetch(values, key + j);
#pragma GCC unroll 4
        for (int i = 0; i < V; ++i) {
          const vf x = load(v + i * kLanes, part);
#pragma GCC unroll 4
          for (int q = 0; q < Q; ++q) sum[q * V + i] = fma(set1(weights[q * ld + j]), x, sum[q * V + i]);
        }
      }
    }
#pragma GCC unroll 16
    for (int i = 0; i < Q * V; ++i) store(sums + i / V * width + d + i % V * kLanes, sum[i], Full{});
  }
};

/// body(row, count) over all rows, kTogether or fewer at a time; count is a constant.
template <int N>
struct Count {
  static constexpr int value = N;
};
template <class Body>
inline void in_groups(int64_t rows, Body&& body) {
  int64_t r = 0;
  for (; r + kTogether <= rows; r += kTogether) body(r, Count<kTogether>{});
  if (kTogether > 2 && r + 2 <= rows) body(r, Count<2>{}), r += 2;
  for (; r < rows; ++r) body(r, Count<1>{});
}

/// scores *= scales of n keys from `key` on; those of a cache without codes are 1.
template <class Code>
inline void multiply_scales(float* scores, int64_t rows, int64_t ld, int64_t n, int64_t key, const CodeRows<Code>& keys) {
  for (int64_t s = 0; s < n; ++s) {
    const float scale = keys.scale(key + s);
    for (int64_t r = 0; r < rows; ++r) scores[r * ld + s] *= scale;
  }
}
template <class E>
inline void multiply_scales(float*, int64_t, int64_t, int64_t, int64_t, const RowSource<E>&) {}

template <class Products, class E, class Rows>
inline void attend_few(const AttentionCall& c, int64_t b, int64_t h, int64_t begin, int64_t end, const Rows& keys, const Rows& values,
                       void* scratch) {
  const HeadRows<E> first(c, b, h);
  const int64_t queries = end - begin, rows = c.group * queries;
  const FewWorkspace w(scratch, c, rows, Products::kPadding);
  const bool scale_first = c.key_bias || !(factor_of(c) > 0);
  uint16_t room[kKeyBlock + kRoomBeside];
  RowState states[kQueryBlock];
  for (int64_t r = 0; r < rows; ++r) {
    Products::load_query(w.queries + r * w.ld_queries, HeadRows<E>(c, b, h + r / queries).q + (begin + r % queries) * c.ld_q, c.D);
    for_lanes(w.width, [&](int64_t d, auto) { store(w.sums + r * w.width + d, zero(), Full{}); });
    states[r] = {-__builtin_inff(), 0};
  }
  const int64_t seen = first.seen(c, end - 1), item = static_cast<int64_t>(sizeof(*keys.row(0)));
  const Ahead none(1, 0), keys_ahead(c.D * item, seen), values_ahead(c.Dv * item, seen);
  for (int64_t key = first.first(c, begin) / kKeyBlock * kKeyBlock; key < seen; key += kKeyBlock) {
    const int64_t n = least(kKeyBlock, seen - key);
    in_groups(rows, [&](int64_t r, auto count) {
      Products::template scores<decltype(count)::value>(w.scores + r * w.ld_scores, w.ld_scores, w.queries + r * w.ld_queries, w.ld_queries,
                                                        keys, key, n, c.D, r ? none : keys_ahead);
    });
    multiply_scales(w.scores, rows, w.ld_scores, n, key, keys);
    if (c.key_bias)
      scale_bias(w.bias, c.key_bias + first.k_row + key, n);
    else if (scale_first)
      for_lanes(n, [&](int64_t i, auto part) { store(w.bias + i, zero(), part); });
    for (int64_t r = 0; r < rows; ++r) {
      const int64_t head = h + r / queries, t = begin + r % queries, reach = least(n, most(0, first.seen(c, t) - key));
      float *scores = w.scores + r * w.ld_scores, *sums = w.sums + r * w.width;
      if (shaped(c)) shape(scores, reach, c, first, head, t, key);
      if (const int64_t hidden = least(first.first(c, t) - key, reach); hidden > 0) hide(scores, hidden);
      const Dropped dropped = draw_dropped(room, c, head, first.first_query + t, key, reach);
      const float worth = weigh<typename Products::Weights>(scores, reach, round_up(n, Products::kPer),
                                                            {factor_of(c), scale_first ? w.bias : nullptr}, dropped, states[r]);
      if (worth != 1) for_lanes(w.width, [&](int64_t d, auto) { store(sums + d, load(sums + d, Full{}) * set1(worth), Full{}); });
    }
    multiply_scales(w.scores, rows, w.ld_scores, n, key, values);
    in_groups(rows, [&](int64_t r, auto count) {
      Products::template values<decltype(count)::value>(w.sums + r * w.width, w.width, w.scores + r * w.ld_scores, w.ld_scores, values,
                                                        c.ld_v, key, n, c.Dv, r ? none : values_ahead);
    });
  }
  for (int64_t r = 0; r < rows; ++r) {
    const int64_t head = h + r / queries, t = begin + r % queries;
    Products::finish(w.sums + r * w.width, w.width);
    finish_row(HeadRows<E>(c, b, head).out + t * c.ld_out, c.lse ? c.lse + head * c.Nq + first.first_query + t : nullptr,
               w.sums + r * w.width, states[r], c.dropout.scale, c.Dv);
  }
}

template <class Operands>
inline size_t scratch_bytes(const AttentionCall& c, int64_t S) {
  const size_t packed = Workspace(nullptr, c.D, c.Dv, S, Operands::kPer, step_of<Operands>).bytes + widened_bytes(c, S);
  const size_t few = FewWorkspace(nullptr, c, c.group * kFewQueries, 2 * kLanes).bytes;
  return packed > few ? packed : few;
}

/// Products: how a few queries meet rows of the element type. A cache of codes meets them in float32.
template <class Operands, class Products = FewFloats<typename Operands::Element>>
inline void attend(const AttentionCall& c, int64_t b, int64_t h, int64_t begin, int64_t end, void* scratch) {
  using E = typename Operands::Element;
  if (end - begin > kFewQueries || c.group * (end - begin) > kQueryBlock) return attend_packed<Operands>(c, b, h, begin, end, scratch);
  const HeadRows<E> head(c, b, h);
  if (c.codes == CacheCodes::Int8)
    attend_few<FewFloats<E>, E>(c, b, h, begin, end, code_rows<int8_t>(c, b, h, false), code_rows<int8_t>(c, b, h, true), scratch);
  else if (c.codes == CacheCodes::Fp8)
    attend_few<FewFloats<E>, E>(c, b, h, begin, end, code_rows<float8>(c, b, h, false), code_rows<float8>(c, b, h, true), scratch);
  else
    attend_few<Products, E>(c, b, h, begin, end, head.k, head.v, scratch);
}
