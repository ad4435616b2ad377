// int8 weights as units of four, multiplied by the processor's dot products. Included after panel.inl.h and fast_gelu.inl.h.

/// Weights are kept as q + 128, because vpdpbusd multiplies unsigned by signed bytes and the rows, which load as broadcasts, are the
/// signed side. x . (q + 128) is too large by 128 * sum(x), the row's offset; all sums wrap alike.
struct Int8 : FastGelu {
  static constexpr WeightFormat kFormat = WeightFormat::Int8;
  static constexpr int kPerUnit = 4, kWeightBytes = 4;
  static constexpr bool kScaled = true, kFine = false;
  static constexpr float kSmallest = 1e-36f;  // of max |row|: below it 127 / max would overflow, and the row counts as zero
  using Sum = __m512i;
  using Weights = __m512i;

  static bool reads(DType) { return false; }
  static __m512i zero_sum() { return _mm512_setzero_si512(); }
  static __m512i load_weights(const char* p) { return _mm512_load_si512(p); }
  static __m512i broadcast(const char* unit) { return _mm512_set1_epi32(unit_at(unit)); }
  static __m512i multiply_add(__m512i sum, __m512i w, __m512i x) { return _mm512_dpbusd_epi32(sum, w, x); }
  static __m512i add(__m512i a, __m512i b) { return _mm512_add_epi32(a, b); }
  static __m512i load_sum(const char* p) { return _mm512_load_si512(p); }
  static void store_sum(char* p, __m512i sum) { _mm512_store_si512(p, sum); }
  static vf value(__m512i sum, vf scale, vf bias, const RowsView& x, int64_t row) {
    return fma(_mm512_cvtepi32_ps(_mm512_sub_epi32(sum, _mm512_set1_epi32(x.offset[row]))), scale * set1(x.scale[row]), bias);
  }

  /// The largest magnitude; as integers, so that infinities and NaNs win and reach the scale.
  static float largest(const void* x, DType type, int64_t i, int64_t n) {
    __m512i most = _mm512_setzero_si512(), more = most;
    for (int64_t k = 0; k < n; k += 2 * kLanes) {
      most = _mm512_max_epu32(most, _mm512_castps_si512(abs(load_as(x, type, i + k, n - k))));
      more = _mm512_max_epu32(more, _mm512_castps_si512(abs(load_as(x, type, i + k + kLanes, n - k - kLanes))));
    }
    const uint32_t bits = _mm512_reduce_max_epu32(_mm512_max_epu32(most, more));
    float value;
    __builtin_memcpy(&value, &bits, 4);
    return value;
  }
  static float scale_of(const void* x, DType type, int64_t i, int64_t n) {
    const float most = largest(x, type, i, n);
    return most < kSmallest ? 1 : most / 127;
  }
  /// Divides, where rows are multiplied by the inverse: weights round exactly as ref's.
  static vf weight_units(const void* w, DType type, int64_t i, int64_t k, int64_t K, float scale) {
    const auto bytes = [&](int64_t at) {
      return _mm512_cvtsepi32_epi8(_mm512_cvtps_epi32(load_as(w, type, i + at, K - at) / set1(scale)));
    };
    __m512i q = _mm512_castsi128_si512(bytes(k));
    q = _mm512_inserti32x4(q, bytes(k + kLanes), 1);
    q = _mm512_inserti32x4(q, bytes(k + 2 * kLanes), 2);
    q = _mm512_inserti32x4(q, bytes(k + 3 * kLanes), 3);
    return _mm512_xor_ps(_mm512_castsi512_ps(q), no_weight());
  }
  static vf no_weight() { return bits1(0x80808080u); }
  static void store_units(char* to, vf v) { _mm512_store_ps(to, v); }
  static float weight(const char* unit, int64_t k, const float* scale, int64_t n) {
    return static_cast<float>(static_cast<uint8_t>(unit[k]) - 128) * scale[n];
  }
  static void prepare_row(const RowsView& rows, int64_t m, const void* x, DType type, int64_t K) {
    int8_t* to = reinterpret_cast<int8_t*>(rows.data + m * rows.stride);
    const float most = largest(x, type, m * K, K);
    rows.scale[m] = most < kSmallest ? 1 : most / 127;
    const vf inverse = set1(most < kSmallest ? 0 : 127 / most);
    __m512i sum = _mm512_setzero_si512();
    for (int64_t k = 0; k < rows.stride; k += kLanes) {
      const __m512i q = _mm512_cvtps_epi32(inverse * load_as(x, type, m * K + k, K - k));
      sum = _mm512_add_epi32(sum, q);
      _mm_store_si128(reinterpret_cast<__m128i*>(to + k), _mm512_cvtsepi32_epi8(q));
    }
    rows.offset[m] = static_cast<int32_t>(static_cast<uint32_t>(_mm512_reduce_add_epi32(sum)) * 128u);
  }
};
