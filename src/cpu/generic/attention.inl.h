// Softmax attention, one head of one sequence at a time. Included inside the unnamed namespace of a file compiled for one instruction set.
//
// K is packed transposed and V by rows, both once a call, so a call should bring many queries. Then for each block of queries and each
// block of keys: scores = q K^T, weights = 2^(scores - row maximum), out = out * 2^(old maximum - new) + weights V (the online softmax
// of FlashAttention-2). Memory is O(S D) for the packed keys; of the scores only one block exists.
//
//   packed K, a panel of kPanel keys:          packed V, a row of D values padded to whole vectors:
//     unit 0: key 0 key 1 ... key 63             key 0 (bf16: keys 0 and 1 interleaved): d 0, d 1, ...
//     unit 1: key 0 key 1 ... key 63             key 1 (bf16: keys 2 and 3)
//     (a unit is one float or two neighbouring bf16 of a key)

constexpr int64_t kQueryBlock = 48, kKeyBlock = 512;
constexpr int64_t kFewQueries = 3;  // packing K and V costs about as much as three queries that read them where they lie
constexpr float kLog2E = 1.4426950408889634f, kLn2 = 0.6931471805599453f;

/// How the operands of float attention are made from elements of type E.
template <class E>
struct FloatOperands {
  using Element = E;
  using Multiply = MultiplyF32;
  static constexpr int64_t kPer = 1;  // elements in a unit
  static constexpr bool kFewTerms = false;
  /// Units u .. u + kLanes of a row of D elements.
  static vf load_units(const E* row, int64_t u, int64_t D) { return u + kLanes <= D ? load(row + u, Full{}) : load(row + u, Part(D - u)); }
  template <class P>
  static vf load_value_units(const E* row, const E*, int64_t d, P part) {
    return load(row + d, part);
  }
  static void store_weights(float* row, int64_t i, vf p) { store(row + i, p, Full{}); }
};

/// Rows that lie ld apart, in one piece or in the pages of a cache.
template <class E>
struct RowSource {
  const E* base = nullptr;  // without pages
  int64_t ld = 0;
  const void* const* pages = nullptr;
  int64_t page_rows = 1, offset = 0, column = 0;  // offset in bytes, column in elements

  const E* row(int64_t s) const {
    if (!pages) return base + s * ld;
    const char* page = static_cast<const char*>(pages[s / page_rows]) + offset;
    return reinterpret_cast<const E*>(page) + s % page_rows * ld + column;
  }
  /// How many rows from s on follow each other, at most n.
  int64_t run(int64_t s, int64_t n) const { return pages ? least(n, page_rows - s % page_rows) : n; }
};

/// Rows of one head in a cache of int8 or float8, with a scale each.
template <class Code>
struct CodeRows {
  RowSource<Code> rows;
  int64_t scale_offset, heads, head;
  float unit;  // what a code loads as, times this, is its value

  const Code* row(int64_t s) const { return rows.row(s); }
  int64_t run(int64_t s, int64_t n) const { return rows.run(s, n); }
  float scale(int64_t s) const {
    const char* page = static_cast<const char*>(rows.pages[s / rows.page_rows]) + scale_offset;
    return reinterpret_cast<const float*>(page)[s % rows.page_rows * heads + head] * unit;
  }
};

constexpr bool is_int8(const int8_t*) { return true; }
constexpr bool is_int8(const float8*) { return false; }

template <class Code>
inline CodeRows<Code> code_rows(const AttentionCall& c, int64_t b, int64_t h, bool values) {
  const int64_t head = h / (c.H / c.Hkv);
  CodeRows<Code> r{{}, values ? c.v_scale_offset : c.k_scale_offset, c.Hkv, head, is_int8(static_cast<Code*>(nullptr)) ? 1.0f : 256.0f};
  r.rows.ld = values ? c.ld_v : c.ld_k;
  r.rows.pages = c.pages + c.page_start[b], r.rows.page_rows = c.page_rows;
  r.rows.offset = values ? c.v_offset : c.k_offset, r.rows.column = head * (values ? c.Dv : c.D);
  return r;
}

/// Rows of one head of one sequence.
template <class E>
struct HeadRows {
  int64_t T, S, first_query, k_row;
  const E* q;
  RowSource<E> k, v;
  E* out;

  HeadRows(const AttentionCall& c, int64_t b, int64_t h) : first_query(c.q_start[b]), k_row(c.k_start[b]) {
    T = c.q_start[b + 1] - first_query;
    S = c.k_start[b + 1] - k_row;
    const int64_t hkv = h / (c.H / c.Hkv);
    q = static_cast<const E*>(c.q) + first_query * c.ld_q + h * c.D;
    out = static_cast<E*>(c.out) + first_query * c.ld_out + h * c.Dv;
    k.ld = c.ld_k, v.ld = c.ld_v;
    if (c.pages) {
      k.pages = v.pages = c.pages + c.page_start[b];
      k.page_rows = v.page_rows = c.page_rows;
      k.offset = c.k_offset, v.offset = c.v_offset;
      k.column = hkv * c.D, v.column = hkv * c.Dv;
    } else {
      k.base = static_cast<const E*>(c.k) + k_row * c.ld_k + hkv * c.D;
      v.base = static_cast<const E*>(c.v) + k_row * c.ld_v + hkv * c.Dv;
    }
  }
  /// Query t sees the keys [first, seen).
  int64_t seen(const AttentionCall& c, int64_t t) const { return c.causal ? least(most(t + S - T + 1, 0), S) : S; }
  int64_t first(const AttentionCall& c, int64_t t) const { return c.window > 0 ? most(t + S - T + 1 - c.window, 0) : 0; }
};

template <class Operands>
constexpr int64_t step_of = Tiling<typename Operands::Multiply>::kStep;

/// The scratch of a call, carved in this order; every part starts at a cache line.
struct Workspace {
  float *keys = nullptr, *values = nullptr, *bias = nullptr, *queries = nullptr, *scores = nullptr, *sums = nullptr;
  int64_t units, width, ld_scores;  // units of a key row; Dv padded to vectors
  size_t bytes = 0;

  /// per: elements in a unit; step: units that are multiplied together. A null scratch only adds up the bytes.
  Workspace(void* scratch, int64_t D, int64_t Dv, int64_t S, int64_t per, int64_t step) {
    units = round_up((D + per - 1) / per, step);
    width = round_up(Dv, kLanes);
    ld_scores = least(round_up(S, kPanel), kKeyBlock) + kLanes;  // the odd vector keeps rows off the same cache sets
    const auto take = [&](int64_t floats) {
      float* p = scratch ? reinterpret_cast<float*>(static_cast<char*>(scratch) + bytes) : nullptr;
      bytes += static_cast<size_t>(round_up(floats, 16)) * sizeof(float);
      return p;
    };
    keys = take(round_up(S, kPanel) * units);
    values = take(round_up((S + per - 1) / per, step) * width);
    bias = take(round_up(S, kLanes));
    queries = take(kQueryBlock * round_up(units, kLanes));
    scores = take(kQueryBlock * ld_scores);
    sums = take(kQueryBlock * width);
  }
};

/// Rows [begin, end) of a cache of codes as elements of type E, width of them each.
template <class E, class Code>
inline void widen(E* to, const CodeRows<Code>& from, int64_t begin, int64_t end, int64_t width) {
  for (int64_t s = begin; s < end; ++s) {
    const Code* row = from.row(s);
    const vf scale = set1(from.scale(s));
    for_lanes(width, [&](int64_t d, auto part) { store(to + s * width + d, load(row + d, part) * scale, part); });
  }
}

/// Bytes that widen_rows() needs.
inline size_t widened_bytes(const AttentionCall& c, int64_t S) {
  return c.codes != CacheCodes::None ? static_cast<size_t>(S * (c.D + c.Dv)) * (c.type == DType::BF16 ? 2 : 4) : 0;
}

/// Lets a head read rows [begin, end) of a cache of codes from scratch.
template <class Code, class E>
inline void widen_rows(HeadRows<E>& head, const AttentionCall& c, int64_t b, int64_t h, int64_t begin, int64_t end, void* scratch) {
  E *keys = static_cast<E*>(scratch), *values = keys + head.S * c.D;
  widen(keys, code_rows<Code>(c, b, h, false), begin, end, c.D);
  widen(values, code_rows<Code>(c, b, h, true), begin, end, c.Dv);
  head.k = {keys, c.D}, head.v = {values, c.Dv};
}

template <class Operands>
inline void pack_keys(float* packed, const RowSource<typename Operands::Element>& k, int64_t begin, int64_t S, int64_t D, int64_t units) {
  for (int64_t s = begin; s < S; s += kLanes) {
    float* panel = packed + s / kPanel * kPanel * units + s % kPanel;
    for (int64_t u = 0; u < units; u += kLanes) {
      vf r[kLanes];
      for (int64_t i = 0; i < kLanes; ++i) r[i] = s + i < S ? Operands::load_units(k.row(s + i), u, D) : zero();
      transpose(r);
      for (int64_t i = 0; i < least(kLanes, units - u); ++i) store(panel + (u + i) * kPanel, r[i], Full{});
    }
  }
}

template <class Operands>
inline void pack_values(float* packed, const RowSource<typename Operands::Element>& v, int64_t begin, int64_t S, int64_t D, int64_t width) {
  for (int64_t s = begin; s < S; s += Operands::kPer) {
    const auto *row = v.row(s), *next = s + 1 < S ? v.row(s + 1) : nullptr;
    float* to = packed + s / Operands::kPer * width;
    for_lanes(D, [&](int64_t d, auto part) { store(to + d, Operands::load_value_units(row, next, d, part), Full{}); });
  }
  const int64_t units = (S + Operands::kPer - 1) / Operands::kPer, whole = round_up(units, step_of<Operands>);
  for_lanes((whole - units) * width, [&](int64_t i, auto part) { store(packed + units * width + i, zero(), part); });
}

/// The query's factor on scores and the bias, both times log2 e: weights are powers of two.
struct Scaling {
  float factor;       // of scores before they are exponents
  const float* bias;  // nullptr: none, and the factor is applied with the exponent
};

/// The biases times log2 e. HF masks with the lowest float, which must stay a number: a row that sees nothing else is uniform.
inline void scale_bias(float* scaled, const float* bias, int64_t S) {
  for_lanes(S, [&](int64_t i, auto part) {
    const vf b = load(bias + i, part);
    store(scaled + i, select(less(b, set1(-3.4028235e38f)), b, max(set1(-1e38f), b) * set1(kLog2E)), part);
  });
}

/// One row's running maximum (of scores as exponents of two) and sum of weights.
struct RowState {
  float maximum, sum;
};

/// Which weights of a row are dropped: those whose number lies below a bound. Never, without numbers.
struct Dropped {
  const uint16_t* numbers = nullptr;
  uint32_t bound = 0;

  vf keep(vf p, int64_t i) const { return select(below(numbers + i, bound), zero(), p); }
};

/// Draws those of n weights of query t (of all queries) of head h, from `key` on, in room for a block of keys.
inline Dropped draw_dropped(uint16_t* room, const AttentionCall& c, int64_t h, int64_t t, int64_t key, int64_t n) {
  if (c.dropout.below == 0) return {};
  return {draw(room, c.dropout, static_cast<uint64_t>((h * c.Nq + t) * c.ld_dropout + key), n), c.dropout.below};
}

/// Turns n scores in place into weights for Operands, 0 up to `padded`, and updates the state. Returns what earlier sums are worth now.
/// A dropped weight is 0 but counts in the sum.
template <class Operands>
inline float weigh(float* scores, int64_t n, int64_t padded, Scaling scaling, const Dropped& dropped, RowState& state) {
  const float low = -__builtin_inff();
  float largest;
  if (scaling.bias) {
    largest = max_lanes(n, [&](int64_t i, auto part) {
      const vf s = fma(load(scores + i, part), set1(scaling.factor), load(scaling.bias + i, part));
      store(scores + i, s, part);
      return s;
    });
    scaling.factor = 1;
  } else {
    largest = max_lanes(n, [&](int64_t i, auto part) { return load(scores + i, part); });
    largest = n > 0 ? largest * scaling.factor : low;
  }
  const float maximum = state.maximum < largest ? largest : state.maximum;
  const vf shift = set1(maximum == low ? 0 : -maximum), factor = set1(scaling.factor);
  vf sum = zero();
  int64_t i = 0;
  for (; i + kLanes <= n; i += kLanes) {
    const vf p = exp2_negative<Operands::kFewTerms>(fma(load(scores + i, Full{}), factor, shift));
    sum = sum + p;
    Operands::store_weights(scores, i, dropped.numbers ? dropped.keep(p, i) : p);
  }
  for (; i < padded; i += kLanes) {
    const Part part(n - i);
    const vf p = keep(exp2_negative<Operands::kFewTerms>(fma(load(scores + i, part), factor, shift)), part, zero());
    sum = sum + p;
    Operands::store_weights(scores, i, dropped.numbers ? dropped.keep(p, i) : p);
  }
  const float worth = state.maximum == maximum ? 1 : reduce_max(exp2_negative(set1(state.maximum - maximum)));
  state.sum = state.sum * worth + reduce_add(sum);
  state.maximum = maximum;
  return worth;
}

/// out = scale * sums / sum of weights, and the log of that sum with the maximum put back. A row that saw nothing is 0 and -inf.
template <class E>
inline void finish_row(E* out, float* lse, const float* sums, const RowState& state, float scale, int64_t D) {
  if (state.sum == 0)
    for_lanes(D, [&](int64_t d, auto part) { store(out + d, zero(), part); });
  else
    for_lanes(D, [&](int64_t d, auto part) { store(out + d, load(sums + d, part) * set1(scale / state.sum), part); });
  if (lse) *lse = state.sum == 0 ? -__builtin_inff() : state.maximum * kLn2 + __builtin_logf(state.sum);
}

/// Whether scores pass through shape() before they are weighed.
inline bool shaped(const AttentionCall& c) { return c.softcap > 0 || c.distance_bias; }
inline float factor_of(const AttentionCall& c) { return shaped(c) ? kLog2E : c.scale * kLog2E; }

/// Scores of query t of head h with n keys from `key` on: scaled, capped, with the bias of their distance.
template <class E>
inline void shape(float* scores, int64_t n, const AttentionCall& c, const HeadRows<E>& head, int64_t h, int64_t t, int64_t key) {
  const float* bias = c.distance_bias ? c.distance_bias + h * c.ld_distance + c.distance_zero + key - (t + head.S - head.T) : nullptr;
  const vf cap = set1(c.softcap), slope = set1(c.softcap > 0 ? c.scale / c.softcap : c.scale);
  for_lanes(n, [&](int64_t i, auto part) {
    vf s = load(scores + i, part) * slope;
    if (c.softcap > 0) s = cap * tanh(s);
    store(scores + i, bias ? s + load(bias + i, part) : s, part);
  });
}

/// Shuts out the first n scores.
inline void hide(float* scores, int64_t n) {
  for_lanes(n, [&](int64_t i, auto part) { store(scores + i, bits1(0xff800000u), part); });
}

/// Queries t .. t + rows of head h against keys [key, key + keys) of it, all packed. is_first: nothing was summed before.
template <class Operands, class E>
inline void attend_block(const Workspace& w, const AttentionCall& c, const HeadRows<E>& head, int64_t h, int64_t t, int64_t rows,
                         int64_t key, int64_t keys, bool is_first, Scaling scaling, RowState* states) {
  using Multiply = typename Operands::Multiply;
  const Tiling<Multiply> tiles(rows);
  const int64_t ld_queries = round_up(w.units, kLanes), ld = w.ld_scores;
  uint16_t room[kKeyBlock + kRoomBeside];
  // Keys of this block that the last row of a tile sees: its others see no more.
  const auto reach = [&](int64_t last_row) { return least(keys, most(0, head.seen(c, t + last_row) - key)); };
  for (int64_t panel = 0; panel < keys; panel += kPanel)
    for (int64_t i = 0; i < tiles.count; ++i) {
      const int64_t row = tiles.begin(i), end = tiles.begin(i + 1), columns = reach(end - 1) - panel;
      if (columns <= 0) continue;
      tile_of<Multiply>(end - row, (columns + kLanes - 1) / kLanes)(w.scores + row * ld + panel, ld, w.queries + row * ld_queries,
                                                                    ld_queries, 1, w.keys + (key + panel) * w.units, kPanel, w.units,
                                                                    false);
    }
  for (int64_t i = 0; i < tiles.count; ++i) {
    const int64_t row = tiles.begin(i), end = tiles.begin(i + 1), seen = reach(end - 1);
    if (seen == 0) continue;
    const int64_t padded = round_up(seen, most(kLanes, step_of<Operands> * Operands::kPer));
    for (int64_t r = row; r < end; ++r) {
      float* scores = w.scores + r * ld;
      if (shaped(c)) shape(scores, reach(r), c, head, h, t + r, key);
      if (const int64_t hidden = least(head.first(c, t + r) - key, reach(r)); hidden > 0) hide(scores, hidden);
      const Dropped dropped = draw_dropped(room, c, h, head.first_query + t + r, key, reach(r));
      const float worth =
          weigh<Operands>(scores, reach(r), padded, {scaling.factor, scaling.bias ? scaling.bias + key : nullptr}, dropped, states[r]);
      if (is_first || worth == 1) continue;
      float* sums = w.sums + r * w.width;
      for_lanes(w.width, [&](int64_t d, auto) { store(sums + d, load(sums + d, Full{}) * set1(worth), Full{}); });
    }
  }
  product<Multiply>(
      w.sums, w.width, rows, w.width, w.scores, ld, 1, w.values + key / Operands::kPer * w.width, w.width,
      [&](int64_t last_row) { return (reach(last_row) + Operands::kPer - 1) / Operands::kPer; }, !is_first);
}

/// Queries [begin, end) of head h over packed keys and values.
template <class Operands>
inline void attend_head(const Workspace& w, const AttentionCall& c, const HeadRows<typename Operands::Element>& head, int64_t h,
                        int64_t begin, int64_t end, Scaling scaling) {
  const int64_t ld_queries = round_up(w.units, kLanes);
  for (int64_t t = begin; t < end; t += kQueryBlock) {
    const int64_t rows = least(kQueryBlock, end - t), seen = head.seen(c, t + rows - 1);
    for (int64_t r = 0; r < rows; ++r)
      for (int64_t u = 0; u < w.units; u += kLanes)
        store(w.queries + r * ld_queries + u, Operands::load_units(head.q + (t + r) * c.ld_q, u, c.D), Full{});
    RowState states[kQueryBlock];
    for (int64_t r = 0; r < rows; ++r) states[r] = {-__builtin_inff(), 0};
    const int64_t start = head.first(c, t) / kKeyBlock * kKeyBlock;  // so that a row's blocks are the same in any split
    for (int64_t key = start; key < seen; key += kKeyBlock)
      attend_block<Operands>(w, c, head, h, t, rows, key, least(kKeyBlock, seen - key), key == start, scaling, states);
    for (int64_t r = 0; r < rows; ++r)
      finish_row(head.out + (t + r) * c.ld_out, c.lse ? c.lse + h * c.Nq + head.first_query + t + r : nullptr, w.sums + r * w.width,
                 states[r], c.dropout.scale, c.Dv);
  }
}

/// The keys and values of the group's heads, packed once for all of them.
template <class Operands>
inline void attend_packed(const AttentionCall& c, int64_t b, int64_t h, int64_t begin, int64_t end, void* scratch) {
  using E = typename Operands::Element;
  HeadRows<E> first(c, b, h);
  const Workspace w(scratch, c.D, c.Dv, first.S, Operands::kPer, step_of<Operands>);
  const int64_t S = first.seen(c, end - 1), lowest = first.first(c, begin) / kKeyBlock * kKeyBlock;
  char* const wide = static_cast<char*>(scratch) + w.bytes;
  if (c.codes == CacheCodes::Int8) widen_rows<int8_t>(first, c, b, h, lowest, S, wide);
  if (c.codes == CacheCodes::Fp8) widen_rows<float8>(first, c, b, h, lowest, S, wide);
  pack_keys<Operands>(w.keys, first.k, lowest, S, c.D, w.units);
  pack_values<Operands>(w.values, first.v, lowest, S, c.Dv, w.width);
  // A factor of 0 or below would turn the maximum around: then the scores are scaled first, as with a bias.
  const bool scale_first = c.key_bias || !(factor_of(c) > 0);
  if (c.key_bias)
    scale_bias(w.bias, c.key_bias + first.k_row, S);
  else if (scale_first)
    for_lanes(S, [&](int64_t i, auto part) { store(w.bias + i, zero(), part); });
  const Scaling scaling{factor_of(c), scale_first ? w.bias : nullptr};
  for (int64_t i = h; i < h + c.group; ++i) attend_head<Operands>(w, c, HeadRows<E>(c, b, i), i, begin, end, scaling);
}
