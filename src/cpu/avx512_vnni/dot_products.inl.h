// What Int8Rows needs of the processor's dot products of bytes. Included after avx512/quantized_ops.inl.h.

/// vpdpbusd adds four products of unsigned weights and signed rows to a lane.
struct DotProducts : Ops {
  static constexpr int64_t kRows = 8;

  template <int MR, int NR>
  static void dot(Register (&sums)[MR][NR], const char* x, int64_t stride, const char* w, int64_t units) {
    for (int64_t u = 0; u < units; u += 4, x += 16, w += 4 * NR * 64)
#pragma GCC unroll 4
      for (int i = 0; i < 4; ++i) {
        Register weights[NR];
#pragma GCC unroll 3
        for (int j = 0; j < NR; ++j) weights[j] = load(w + (i * NR + j) * 64);
#pragma GCC unroll 8
        for (int r = 0; r < MR; ++r) {
          const Register row = broadcast(x + r * stride + i * 4);
#pragma GCC unroll 3
          for (int j = 0; j < NR; ++j) sums[r][j] = _mm512_dpbusd_epi32(sums[r][j], weights[j], row);
        }
      }
  }
  template <int MR, int NR>
  static void dot_codes(Register (&sums)[MR][NR], const char* x, int64_t stride, const char* w, int64_t pairs) {
    for (int64_t u = 0; u < pairs; u += 2, x += 16, w += 2 * NR * 64)
#pragma GCC unroll 2
      for (int i = 0; i < 2; ++i)
#pragma GCC unroll 3
        for (int j = 0; j < NR; ++j) {
          const Register codes = load(w + (i * NR + j) * 64), first = low(codes), second = high(codes);
#pragma GCC unroll 2
          for (int r = 0; r < MR; ++r) {
            sums[r][j] = _mm512_dpbusd_epi32(sums[r][j], first, broadcast(x + r * stride + i * 8));
            sums[r][j] = _mm512_dpbusd_epi32(sums[r][j], second, broadcast(x + r * stride + i * 8 + 4));
          }
        }
  }
};
