// Gradients of attention for the query heads that share one key head. Included inside the unnamed namespace of a file compiled for one
// instruction set, after attention.inl.h.
//
// The weights are computed again, block by block, from the log-sum-exp of the forward pass: p = 2^(scores - lse). Then
//   dp = do v^T,  ds = p (dp - do . out) scale,  dq += ds k,  dk += ds^T q,  dv += p^T do,
// five products over the same packed operands. dk and dv are summed in scratch over all heads and added to the result once. With dropout,
// dp and the p of dv are dropped as the weights were in the forward pass; do . out is the same.

/// The scratch of a call; its parts start at cache lines. Rows are padded to whole vectors with zeros.
struct BackwardWorkspace {
  float *keys = nullptr, *values = nullptr;                                    // transposed, in panels
  float *key_rows = nullptr, *dk = nullptr, *dv = nullptr;                     // (S, width)
  float *bias = nullptr, *queries = nullptr, *d_out = nullptr, *dq = nullptr;  // of a query block: (kQueryBlock, width)
  float *weights = nullptr, *d_scores = nullptr;                               // (kQueryBlock, ld_scores)
  int64_t width, width_v, ld_scores;                                           // D and Dv padded to vectors
  size_t bytes = 0;

  /// A null scratch only adds up the bytes.
  BackwardWorkspace(void* scratch, int64_t D, int64_t Dv, int64_t S) {
    width = round_up(D, kLanes);
    width_v = round_up(Dv, kLanes);
    ld_scores = least(round_up(S, kPanel), kKeyBlock) + kLanes;
    const auto take = [&](int64_t floats) {
      float* p = scratch ? reinterpret_cast<float*>(static_cast<char*>(scratch) + bytes) : nullptr;
      bytes += static_cast<size_t>(round_up(floats, 16)) * sizeof(float);
      return p;
    };
    keys = take(round_up(S, kPanel) * D);
    values = take(round_up(S, kPanel) * Dv);
    key_rows = take(S * width);
    dk = take(S * width);
    dv = take(S * width_v);
    bias = take(round_up(S, kLanes));
    queries = take(kQueryBlock * width);
    d_out = take(kQueryBlock * width_v);
    dq = take(kQueryBlock * width);
    weights = take(kQueryBlock * ld_scores);
    d_scores = take(kQueryBlock * ld_scores);
  }
};

inline void copy_rows(float* to, const float* from, int64_t ld, int64_t rows, int64_t D, int64_t width) {
  for (int64_t r = 0; r < rows; ++r)
    for_lanes(D, [&](int64_t d, auto part) { store(to + r * width + d, load(from + r * ld + d, part), Full{}); });
}

inline void clear(float* p, int64_t n) {
  for_lanes(n, [&](int64_t i, auto part) { store(p + i, zero(), part); });
}

inline void add_rows(float* to, int64_t ld, const float* from, int64_t rows, int64_t D, int64_t width) {
  for (int64_t r = 0; r < rows; ++r)
    for_lanes(D,
              [&](int64_t d, auto part) { store(to + r * ld + d, load(to + r * ld + d, part) + load(from + r * width + d, part), part); });
}

/// c (rows, n rounded up to vectors) = a (rows, D) times packed columns.
inline void multiply_packed(float* c, int64_t ldc, int64_t rows, const float* a, int64_t lda, const float* packed, int64_t n, int64_t D) {
  const Tiling<MultiplyF32> tiles(rows);
  for (int64_t panel = 0; panel < n; panel += kPanel)
    for (int64_t i = 0; i < tiles.count; ++i) {
      const int64_t row = tiles.begin(i);
      tile_of<MultiplyF32>(tiles.begin(i + 1) - row, (n - panel + kLanes - 1) / kLanes)(c + row * ldc + panel, ldc, a + row * lda, lda, 1,
                                                                                        packed + panel * D, kPanel, D, false);
    }
}

/// Of one row: scores to weights, products do v^T to gradients of the scaled scores. Both 0 below `hidden` and from n up
/// to `padded`. distance: added to the scores of its keys, or nullptr. grown: the factor of weights that are not dropped.
inline void score_gradients(float* weights, float* d_scores, int64_t hidden, int64_t n, int64_t padded, const float* bias,
                            const float* distance, const Dropped& dropped, float grown, float factor, float lse, float delta, float scale) {
  // A row that saw nothing has weights of 0.
  const vf shift = set1(lse == -__builtin_inff() ? lse : -lse * kLog2E), vfactor = set1(factor), vdelta = set1(delta), vscale = set1(scale);
  for (int64_t i = 0; i < padded; i += kLanes) {
    const Part part(n - i);
    vf exponent = fma(load(weights + i, part), vfactor, shift);
    // Before the bias: beside the lowest float it vanishes, as it did in the forward pass.
    if (distance) exponent = fma(load(distance + i, part), set1(kLog2E), exponent);
    if (bias) exponent = exponent + load(bias + i, part);
    // Weights are at most 1: only where the lowest float masks a whole row would rounding say otherwise.
    const vf p = keep(exp2_negative(min(zero(), exponent)), part, zero());
    vf weight = p, dp = load(d_scores + i, part);
    if (dropped.numbers) {
      weight = dropped.keep(p * set1(grown), i);
      dp = dropped.keep(dp * set1(grown), i);
    }
    store(weights + i, weight, Full{});
    store(d_scores + i, keep(p * (dp - vdelta) * vscale, part, zero()), Full{});
  }
  if (hidden > 0) clear(weights, hidden), clear(d_scores, hidden);
}

/// d_distance += d_scores / scale, of the keys [hidden, n).
inline void distance_gradients(float* d_distance, const float* d_scores, int64_t hidden, int64_t n, float scale) {
  const vf back = set1(1 / scale);
  for_lanes(n - hidden, [&](int64_t i, auto part) {
    float* to = d_distance + hidden + i;
    store(to, fma(load(d_scores + hidden + i, part), back, load(to, part)), part);
  });
}

inline void attend_backward_block(const BackwardWorkspace& w, const AttentionCall& c, const AttentionGrad& g, const HeadRows<float>& head,
                                  int64_t b, int64_t h, int64_t t, int64_t rows) {
  const int64_t D = c.D, Dv = c.Dv, width = w.width, width_v = w.width_v, ld = w.ld_scores, seen = head.seen(c, t + rows - 1);
  const int64_t out_at = (head.first_query + t) * c.ld_out + h * Dv;
  copy_rows(w.queries, head.q + t * c.ld_q, c.ld_q, rows, D, width);
  copy_rows(w.d_out, g.d_out + out_at, c.ld_out, rows, Dv, width_v);
  clear(w.dq, rows * width);
  uint16_t room[kKeyBlock + kRoomBeside];
  float delta[kQueryBlock];
  for (int64_t r = 0; r < rows; ++r) {
    const float *out = head.out + (t + r) * c.ld_out, *d_out = g.d_out + out_at + r * c.ld_out;
    delta[r] = sum_lanes(Dv, [&](int64_t d, auto part) { return load(out + d, part) * load(d_out + d, part); });
  }
  for (int64_t key = head.first(c, t) / kKeyBlock * kKeyBlock; key < seen; key += kKeyBlock) {
    const int64_t keys = least(kKeyBlock, seen - key), padded = round_up(keys, kLanes);
    multiply_packed(w.weights, ld, rows, w.queries, width, w.keys + key * D, keys, D);
    multiply_packed(w.d_scores, ld, rows, w.d_out, width_v, w.values + key * Dv, keys, Dv);
    for (int64_t r = 0; r < rows; ++r) {
      const int64_t hidden = least(keys, head.first(c, t + r) - key), n = least(keys, most(0, head.seen(c, t + r) - key));
      const int64_t place = c.distance_zero + key - (t + r + head.S - head.T);
      const Dropped dropped = draw_dropped(room, c, h, head.first_query + t + r, key, padded);
      score_gradients(w.weights + r * ld, w.d_scores + r * ld, hidden, n, padded, c.key_bias ? w.bias + key : nullptr,
                      c.distance_bias ? c.distance_bias + h * c.ld_distance + place : nullptr, dropped, c.dropout.scale, c.scale * kLog2E,
                      c.lse[h * c.Nq + head.first_query + t + r], delta[r], c.scale);
      if (g.d_distance)
        distance_gradients(g.d_distance + (b * c.H + h) * c.ld_distance + place, w.d_scores + r * ld, most(0, hidden), n, c.scale);
    }
    const auto all_keys = [&](int64_t) { return keys; };
    const auto all_rows = [&](int64_t) { return rows; };
    product<MultiplyF32>(w.dq, width, rows, width, w.d_scores, ld, 1, w.key_rows + key * width, width, all_keys, true);
    product<MultiplyF32>(w.dk + key * width, width, keys, width, w.d_scores, 1, ld, w.queries, width, all_rows, true);
    product<MultiplyF32>(w.dv + key * width_v, width_v, keys, width_v, w.weights, 1, ld, w.d_out, width_v, all_rows, true);
  }
  add_rows(g.dq + (head.first_query + t) * c.ld_q + h * D, c.ld_q, w.dq, rows, D, width);
}

inline void attention_backward(const AttentionCall& c, const AttentionGrad& g, int64_t b, int64_t hkv, void* scratch) {
  const int64_t group = c.H / c.Hkv;
  const HeadRows<float> first(c, b, hkv * group);
  const BackwardWorkspace w(scratch, c.D, c.Dv, first.S);
  pack_keys<FloatOperands<float>>(w.keys, first.k, 0, first.S, c.D, c.D);
  pack_keys<FloatOperands<float>>(w.values, first.v, 0, first.S, c.Dv, c.Dv);
  copy_rows(w.key_rows, first.k.base, c.ld_k, first.S, c.D, w.width);
  clear(w.dk, first.S * w.width);
  clear(w.dv, first.S * w.width_v);
  if (c.key_bias) scale_bias(w.bias, c.key_bias + first.k_row, first.S);
  for (int64_t h = hkv * group; h < (hkv + 1) * group; ++h) {
    const HeadRows<float> head(c, b, h);
    for (int64_t t = 0; t < head.T; t += kQueryBlock) attend_backward_block(w, c, g, head, b, h, t, least(kQueryBlock, head.T - t));
  }
  add_rows(g.dk + first.k_row * c.ld_k + hkv * c.D, c.ld_k, w.dk, first.S, c.D, w.width);
  add_rows(g.dv + first.k_row * c.ld_v + hkv * c.Dv, c.ld_v, w.dv, first.S, c.Dv, w.width_v);
}
