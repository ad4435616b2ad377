// Sums of products of unsigned and signed bytes where the instruction makes 16-bit words of two products each (vpmaddubsw). Included after
// panel_grouped.inl.h. Eight words add up to at most 8 * 2 * 15 * 127 = 30480, which a word holds; then they are widened.

template <class Ops, int kBlock>
struct WordSums : Ops {
  using Register = typename Ops::Register;
  static constexpr int64_t kRows = kBlock;
  static constexpr int kHold = 8;  // units
  static constexpr int kRegisterBytes = kLanes * 4;

  template <int MR, int NR>
  static void clear(Register (&words)[MR][NR]) {
#pragma GCC unroll 8
    for (int r = 0; r < MR; ++r)
#pragma GCC unroll 3
      for (int j = 0; j < NR; ++j) words[r][j] = Ops::zero();
  }
  /// Lets a row's sums be made before the next row is read, or sums would be spilled for products that wait.
  template <int NR>
  static void in_turn(Register (&words)[NR]) {
#ifdef __GNUC__
#pragma GCC unroll 3
    for (int j = 0; j < NR; ++j) asm volatile("" : "+x"(words[j]) : : "memory");
#endif
  }
  template <int MR, int NR>
  static void widen(Register (&sums)[MR][NR], const Register (&words)[MR][NR]) {
#pragma GCC unroll 8
    for (int r = 0; r < MR; ++r)
#pragma GCC unroll 3
      for (int j = 0; j < NR; ++j) sums[r][j] = Ops::add_widened(sums[r][j], words[r][j]);
  }

  // The inner loops stay loops: unrolled, g++ 12 makes all products first and adds them from memory.
  template <int MR, int NR>
  static void dot(Register (&sums)[MR][NR], const char* x, int64_t stride, const char* w, int64_t units) {
    for (int64_t u = 0; u < units; u += kHold) {
      Register words[MR][NR];
      clear(words);
#pragma GCC unroll 1
      for (int i = 0; i < kHold; ++i, x += 4, w += NR * kRegisterBytes) {
        Register weights[NR];
#pragma GCC unroll 3
        for (int j = 0; j < NR; ++j) weights[j] = Ops::load(w + j * kRegisterBytes);
#pragma GCC unroll 8
        for (int r = 0; r < MR; ++r) {
          const Register row = Ops::broadcast(x + r * stride);
#pragma GCC unroll 3
          for (int j = 0; j < NR; ++j) words[r][j] = Ops::add_words(words[r][j], Ops::words(weights[j], row));
          in_turn(words[r]);
        }
      }
      widen(sums, words);
    }
  }

  template <int MR, int NR>
  static void dot_codes(Register (&sums)[MR][NR], const char* x, int64_t stride, const char* w, int64_t pairs) {
    constexpr int kPairs = kHold / 2;
    for (int64_t u = 0; u < pairs; u += kPairs) {
      Register words[MR][NR];
      clear(words);
#pragma GCC unroll 1
      for (int i = 0; i < kPairs; ++i, x += 8, w += NR * kRegisterBytes) {
        Register first[NR], second[NR];
#pragma GCC unroll 3
        for (int j = 0; j < NR; ++j) {
          const Register codes = Ops::load(w + j * kRegisterBytes);
          first[j] = Ops::low(codes), second[j] = Ops::high(codes);
        }
#pragma GCC unroll 2
        for (int r = 0; r < MR; ++r) {
          const Register a = Ops::broadcast(x + r * stride), b = Ops::broadcast(x + r * stride + 4);
#pragma GCC unroll 3
          for (int j = 0; j < NR; ++j)
            words[r][j] = Ops::add_words(words[r][j], Ops::add_words(Ops::words(first[j], a), Ops::words(second[j], b)));
        }
      }
      widen(sums, words);
    }
  }
};
