// Attention of a few queries by bf16 dot products, two neighbours at a time. Included after attention_few.inl.h and operands.inl.h.
//
// Scores take keys as they lie: a unit is two neighbouring columns of a key. For the values a unit is one column of two neighbouring
// keys, interleaved for all rows that share them:
//
//   key s      a0 a1 ... a31      low half of each quarter    a0 b0 a1 b1 a2 b2 a3 b3 | a8 b8 ... | a16 b16 ... | a24 b24 ...
//   key s + 1  b0 b1 ... b31      high half                   a4 b4 a5 b5 a6 b6 a7 b7 | a12 b12 ... | ...
//
// Sums stay in this order until a row is done. Each sum is added in the same order whatever rows come with it.

template <class Operands>
struct FewPairs {
  using Weights = Operands;
  static constexpr int64_t kPadding = 2 * kLanes, kPer = 2;

  static __mmask32 first(int64_t n) { return n >= 32 ? 0xffffffffu : (1u << n) - 1; }
  static __m512bh pairs(__m512i v) { return reinterpret_cast<__m512bh>(v); }

  static void load_query(float* to, const bfloat16* q, int64_t D) {
    for (int64_t d = 0; d < D; d += 32) _mm512_storeu_si512(to + d / 2, _mm512_maskz_loadu_epi16(first(D - d), q + d));
  }

  template <int Q, class Keys>
  static void scores(float* scores, int64_t ld, const float* queries, int64_t ld_queries, const Keys& keys, int64_t key, int64_t n, int64_t D,
                     const Ahead& ahead) {
    constexpr int kKeys = kLanes / Q;
    for (int64_t s = 0; s < n; s += kKeys) {
      const bfloat16* row[kKeys];
      for (int k = 0; k < kKeys; ++k) row[k] = keys.row(key + least(s + k, n - 1)), ahead.fetch(keys, key + s + k);
      vf sum[kLanes];
#pragma GCC unroll 16
      for (int i = 0; i < kLanes; ++i) sum[i] = zero();
      const auto add = [&](int64_t d, auto&& load_key) {
        __m512i q[Q];
#pragma GCC unroll 4
        for (int i = 0; i < Q; ++i) q[i] = _mm512_loadu_si512(queries + i * ld_queries + d / 2);
#pragma GCC unroll 16
        for (int k = 0; k < kKeys; ++k) {
          const __m512i x = load_key(row[k] + d);
#pragma GCC unroll 4
          for (int i = 0; i < Q; ++i) sum[i * kKeys + k] = _mm512_dpbf16_ps(sum[i * kKeys + k], pairs(x), pairs(q[i]));
        }
      };
      int64_t d = 0;
      for (; d + 32 <= D; d += 32) add(d, [](const bfloat16* p) { return _mm512_loadu_si512(p); });
      if (d < D) add(d, [m = first(D - d)](const bfloat16* p) { return _mm512_maskz_loadu_epi16(m, p); });
      float all[kLanes];
      store(all, sum_of_each(sum), Full{});
      for (int i = 0; i < Q; ++i)
        for (int k = 0; k < kKeys; ++k) scores[i * ld + s + k] = all[i * kKeys + k];
    }
  }

  template <int Q, class Values>
  static void values(float* sums, int64_t width, const float* weights, int64_t ld, const Values& values, int64_t ld_values, int64_t key,
                     int64_t n, int64_t Dv, const Ahead& ahead) {
    const Ahead none(1, 0);
    const auto whole = [](const bfloat16* p) { return _mm512_loadu_si512(p); };
    int64_t d = 0;
    for (; d + 64 <= Dv; d += 64) columns<Q, 2>(sums, width, weights, ld, values, ld_values, key, n, d, whole, d ? none : ahead);
    for (; d + 32 <= Dv; d += 32) columns<Q, 1>(sums, width, weights, ld, values, ld_values, key, n, d, whole, d ? none : ahead);
    if (d < Dv)
      columns<Q, 1>(sums, width, weights, ld, values, ld_values, key, n, d,
                    [m = first(Dv - d)](const bfloat16* p) { return _mm512_maskz_loadu_epi16(m, p); }, d ? none : ahead);
  }

  /// Puts the columns of a row's sums in order.
  static void finish(float* sums, int64_t width) {
    for (int64_t d = 0; d < width; d += 32) {
      const vf low = load(sums + d, Full{}), high = load(sums + d + 16, Full{});
      const __m512i order = _mm512_set_epi32(23, 22, 21, 20, 7, 6, 5, 4, 19, 18, 17, 16, 3, 2, 1, 0);
      store(sums + d, _mm512_permutex2var_ps(low, order, high), Full{});
      store(sums + d + 16, _mm512_permutex2var_ps(low, _mm512_add_epi32(order, _mm512_set1_epi32(8)), high), Full{});
    }
  }

 private:
  /// Of 16 vectors the sum of each, in the vectors' order.
  static vf sum_of_each(vf (&v)[16]) {
    vf pair[8], four[4];
#pragma GCC unroll 8
    for (int i = 0; i < 8; ++i) pair[i] = _mm512_unpacklo_ps(v[2 * i], v[2 * i + 1]) + _mm512_unpackhi_ps(v[2 * i], v[2 * i + 1]);
#pragma GCC unroll 4
    for (int i = 0; i < 4; ++i) {
      const __m512d a = _mm512_castps_pd(pair[2 * i]), b = _mm512_castps_pd(pair[2 * i + 1]);
      four[i] = _mm512_castpd_ps(_mm512_unpacklo_pd(a, b)) + _mm512_castpd_ps(_mm512_unpackhi_pd(a, b));
    }
    const vf low = _mm512_shuffle_f32x4(four[0], four[1], 0x88) + _mm512_shuffle_f32x4(four[0], four[1], 0xdd);
    const vf high = _mm512_shuffle_f32x4(four[2], four[3], 0x88) + _mm512_shuffle_f32x4(four[2], four[3], 0xdd);
    return _mm512_shuffle_f32x4(low, high, 0x88) + _mm512_shuffle_f32x4(low, high, 0xdd);
  }

  /// Columns [d, d + V * 32).
  template <int Q, int V, class Values, class Load>
  static void columns(float* sums, int64_t width, const float* weights, int64_t ld, const Values& values, int64_t ld_values, int64_t key,
                      int64_t n, int64_t d, Load&& load_value, const Ahead& ahead) {
    constexpr int kSums = 2 * V;
    vf sum[Q * kSums];
#pragma GCC unroll 16
    for (int i = 0; i < Q * kSums; ++i) sum[i] = load(sums + i / kSums * width + d + i % kSums * kLanes, Full{});
    const auto add = [&](int64_t s, const bfloat16* a, const bfloat16* b) {
      __m512i weight[Q];
#pragma GCC unroll 4
      for (int q = 0; q < Q; ++q) {
        int32_t unit;
        __builtin_memcpy(&unit, weights + q * ld + s / 2, 4);
        weight[q] = _mm512_set1_epi32(unit);
      }
#pragma GCC unroll 2
      for (int i = 0; i < V; ++i) {
        const __m512i x = load_value(a + 32 * i), y = b ? load_value(b + 32 * i) : _mm512_setzero_si512();
        const __m512i low = _mm512_unpacklo_epi16(x, y), high = _mm512_unpackhi_epi16(x, y);
#pragma GCC unroll 4
        for (int q = 0; q < Q; ++q) {
          vf* to = sum + q * kSums + 2 * i;
          to[0] = _mm512_dpbf16_ps(to[0], pairs(low), pairs(weight[q]));
          to[1] = _mm512_dpbf16_ps(to[1], pairs(high), pairs(weight[q]));
        }
      }
    };
    // A page holds an even number of rows, and a block of keys begins at an even one: no pair is in two pages.
    for (int64_t s = 0, run; s < n; s += run) {
      run = values.run(key + s, n - s);
      const bfloat16* v = values.row(key + s) + d;
      int64_t j = s;
      for (; j + 2 <= s + run; j += 2, v += 2 * ld_values) {
        ahead.fetch(values, key + j), ahead.fetch(values, key + j + 1);
        add(j, v, v + ld_values);
      }
      if (j < s + run) add(j, v, nullptr);
    }
#pragma GCC unroll 16
    for (int i = 0; i < Q * kSums; ++i) store(sums + i / kSums * width + d + i % kSums * kLanes, sum[i], Full{});
  }
};
