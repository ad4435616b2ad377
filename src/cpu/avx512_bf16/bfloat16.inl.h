// bf16 weights as units of two, multiplied by the processor's dot products. Included after panel.inl.h and fast_gelu.inl.h.

struct Bfloat16 : FastGelu {
  static constexpr WeightFormat kFormat = WeightFormat::BF16;
  static constexpr int kPerUnit = 2, kWeightBytes = 4;
  static constexpr bool kScaled = false, kFine = false;
  using Sum = vf;
  using Weights = __m512i;

  static bool reads(DType type) { return type == DType::BF16; }
  static vf zero_sum() { return zero(); }
  static __m512i load_weights(const char* p) { return _mm512_load_si512(p); }
  static __m512i broadcast(const char* unit) { return _mm512_set1_epi32(unit_at(unit)); }
  static vf multiply_add(vf sum, __m512i w, __m512i x) {
    return _mm512_dpbf16_ps(sum, reinterpret_cast<__m512bh>(w), reinterpret_cast<__m512bh>(x));
  }
  static vf add(vf a, vf b) { return a + b; }
  static vf load_sum(const char* p) { return _mm512_load_ps(p); }
  static void store_sum(char* p, vf sum) { _mm512_store_ps(p, sum); }
  static vf value(vf sum, vf, vf bias, const RowsView&, int64_t) { return sum + bias; }

  static float scale_of(const void*, DType, int64_t, int64_t) { return 1; }
  static vf weight_units(const void* w, DType type, int64_t i, int64_t k, int64_t K, float) {
    const __m256i low = narrow_bf16(load_as(w, type, i + k, K - k));
    return _mm512_castsi512_ps(
        _mm512_inserti64x4(_mm512_castsi256_si512(low), narrow_bf16(load_as(w, type, i + k + kLanes, K - k - kLanes)), 1));
  }
  /// Two columns of k as units.
  static vf two(vf even, vf odd) {
    const __m512i halves = reinterpret_cast<__m512i>(_mm512_cvtne2ps_pbh(odd, even));  // all of even, then all of odd
    const __m512i order = _mm512_set_epi16(31, 15, 30, 14, 29, 13, 28, 12, 27, 11, 26, 10, 25, 9, 24, 8, 23, 7, 22, 6, 21, 5, 20, 4, 19, 3,
                                           18, 2, 17, 1, 16, 0);
    return _mm512_castsi512_ps(_mm512_permutexvar_epi16(order, halves));
  }
  static vf no_weight() { return zero(); }
  static void store_units(char* to, vf v) { _mm512_store_ps(to, v); }
  static float weight(const char* unit, int64_t k, const float*, int64_t) {
    bfloat16 w;
    __builtin_memcpy(&w, unit + 2 * k, 2);
    const uint32_t bits = static_cast<uint32_t>(w.bits) << 16;
    float value;
    __builtin_memcpy(&value, &bits, 4);
    return value;
  }
  static void prepare_row(const RowsView& rows, int64_t m, const void* x, DType type, int64_t K) {
    bfloat16* to = reinterpret_cast<bfloat16*>(rows.data + m * rows.stride);
    for (int64_t k = 0; k < rows.stride / 2; k += kLanes) store(to + k, load_as(x, type, m * K + k, K - k), Full{});
  }
};
