// wgmma's instructions for each width of sums, as overloads for every form of the factors.
// Source: the PTX instruction set, "Asynchronous warpgroup level matrix instructions".
#pragma once

#include "block.h"

namespace tenon::cuda {

// Inline assembly numbers its operands, the sums first. Names of eight sums:
#define TENON_NAMES_0 "%0,%1,%2,%3,%4,%5,%6,%7"
#define TENON_NAMES_1 "%8,%9,%10,%11,%12,%13,%14,%15"
#define TENON_NAMES_2 "%16,%17,%18,%19,%20,%21,%22,%23"
#define TENON_NAMES_3 "%24,%25,%26,%27,%28,%29,%30,%31"
#define TENON_NAMES_4 "%32,%33,%34,%35,%36,%37,%38,%39"
#define TENON_NAMES_5 "%40,%41,%42,%43,%44,%45,%46,%47"
#define TENON_NAMES_6 "%48,%49,%50,%51,%52,%53,%54,%55"
#define TENON_NAMES_7 "%56,%57,%58,%59,%60,%61,%62,%63"
#define TENON_NAMES_8 "%64,%65,%66,%67,%68,%69,%70,%71"
#define TENON_NAMES_9 "%72,%73,%74,%75,%76,%77,%78,%79"
#define TENON_NAMES_10 "%80,%81,%82,%83,%84,%85,%86,%87"
#define TENON_NAMES_11 "%88,%89,%90,%91,%92,%93,%94,%95"
#define TENON_NAMES_12 "%96,%97,%98,%99,%100,%101,%102,%103"
#define TENON_NAMES_13 "%104,%105,%106,%107,%108,%109,%110,%111"
#define TENON_NAMES_14 "%112,%113,%114,%115,%116,%117,%118,%119"
#define TENON_NAMES_15 "%120,%121,%122,%123,%124,%125,%126,%127"
#define TENON_NAMES_OF_16 TENON_NAMES_0
#define TENON_NAMES_OF_32 TENON_NAMES_OF_16 "," TENON_NAMES_1
#define TENON_NAMES_OF_64 TENON_NAMES_OF_32 "," TENON_NAMES_2 "," TENON_NAMES_3
#define TENON_NAMES_OF_96 TENON_NAMES_OF_64 "," TENON_NAMES_4 "," TENON_NAMES_5
#define TENON_NAMES_OF_128 TENON_NAMES_OF_96 "," TENON_NAMES_6 "," TENON_NAMES_7
#define TENON_NAMES_OF_192 TENON_NAMES_OF_128 "," TENON_NAMES_8 "," TENON_NAMES_9 "," TENON_NAMES_10 "," TENON_NAMES_11
#define TENON_NAMES_OF_256 TENON_NAMES_OF_192 "," TENON_NAMES_12 "," TENON_NAMES_13 "," TENON_NAMES_14 "," TENON_NAMES_15
// and the sums themselves, c[N / 8][4]:
#define TENON_SUMS(j) "+f"(c[j][0]), "+f"(c[j][1]), "+f"(c[j][2]), "+f"(c[j][3])
#define TENON_SUMS_4(j) TENON_SUMS(j), TENON_SUMS(j + 1), TENON_SUMS(j + 2), TENON_SUMS(j + 3)
#define TENON_SUMS_OF_16 TENON_SUMS(0), TENON_SUMS(1)
#define TENON_SUMS_OF_32 TENON_SUMS_4(0)
#define TENON_SUMS_OF_64 TENON_SUMS_OF_32, TENON_SUMS_4(4)
#define TENON_SUMS_OF_96 TENON_SUMS_OF_64, TENON_SUMS_4(8)
#define TENON_SUMS_OF_128 TENON_SUMS_OF_96, TENON_SUMS_4(12)
#define TENON_SUMS_OF_192 TENON_SUMS_OF_128, TENON_SUMS_4(16), TENON_SUMS_4(20)
#define TENON_SUMS_OF_256 TENON_SUMS_OF_192, TENON_SUMS_4(24), TENON_SUMS_4(28)

// c = a b, or c += a b if `add`. Factors behind the sums' names: i0, i1, ... are the operands' numbers from N / 2 on.
#define TENON_WGMMA(N, shape, factors, more)                                                              \
  "{.reg .pred add;\nsetp.ne.b32 add, %" more ", 0;\nwgmma.mma_async.sync.aligned.m64n" #N shape " {" TENON_NAMES_OF_##N "}, " factors
#define TENON_WGMMA_FORMS(N, i0, i1, i2, i3, i4, i5, i6)                                                                                       \
  template <class E, bool kAcrossA, bool kAcrossB>                                                                                             \
  __device__ __forceinline__ void wgmma_of(float (&c)[N / 8][4], uint64_t a, uint64_t b, int add) {                                            \
    if constexpr (std::is_same_v<E, bfloat16>)                                                                                                 \
      asm volatile(TENON_WGMMA(N, "k16.f32.bf16.bf16", "%" i0 ", %" i1 ", add, 1, 1, %" i3 ", %" i4 ";\n}", i2)                                \
                   : TENON_SUMS_OF_##N : "l"(a), "l"(b), "r"(add), "n"(kAcrossA), "n"(kAcrossB));                                              \
    else if constexpr (std::is_same_v<E, float16>)                                                                                             \
      asm volatile(TENON_WGMMA(N, "k16.f32.f16.f16", "%" i0 ", %" i1 ", add, 1, 1, %" i3 ", %" i4 ";\n}", i2)                                  \
                   : TENON_SUMS_OF_##N : "l"(a), "l"(b), "r"(add), "n"(kAcrossA), "n"(kAcrossB));                                              \
    else                                                                                                                                       \
      asm volatile(TENON_WGMMA(N, "k32.f32.e4m3.e4m3", "%" i0 ", %" i1 ", add, 1, 1;\n}", i2)                                                  \
                   : TENON_SUMS_OF_##N : "l"(a), "l"(b), "r"(add));                                                                            \
  }                                                                                                                                            \
  template <class E, bool kAcrossA, bool kAcrossB>                                                                                             \
  __device__ __forceinline__ void wgmma_of(float (&c)[N / 8][4], const uint32_t* a, uint64_t b, int add) {                                     \
    if constexpr (std::is_same_v<E, bfloat16>)                                                                                                 \
      asm volatile(TENON_WGMMA(N, "k16.f32.bf16.bf16", "{%" i0 ",%" i1 ",%" i2 ",%" i3 "}, %" i4 ", add, 1, 1, %" i6 ";\n}", i5)               \
                   : TENON_SUMS_OF_##N : "r"(a[0]), "r"(a[1]), "r"(a[2]), "r"(a[3]), "l"(b), "r"(add), "n"(kAcrossB));                         \
    else if constexpr (std::is_same_v<E, float16>)                                                                                             \
      asm volatile(TENON_WGMMA(N, "k16.f32.f16.f16", "{%" i0 ",%" i1 ",%" i2 ",%" i3 "}, %" i4 ", add, 1, 1, %" i6 ";\n}", i5)                 \
                   : TENON_SUMS_OF_##N : "r"(a[0]), "r"(a[1]), "r"(a[2]), "r"(a[3]), "l"(b), "r"(add), "n"(kAcrossB));                         \
    else                                                                                                                                       \
      asm volatile(TENON_WGMMA(N, "k32.f32.e4m3.e4m3", "{%" i0 ",%" i1 ",%" i2 ",%" i3 "}, %" i4 ", add, 1, 1;\n}", i5)                        \
                   : TENON_SUMS_OF_##N : "r"(a[0]), "r"(a[1]), "r"(a[2]), "r"(a[3]), "l"(b), "r"(add));                                        \
  }

TENON_WGMMA_FORMS(16, "8", "9", "10", "11", "12", "13", "14")
TENON_WGMMA_FORMS(32, "16", "17", "18", "19", "20", "21", "22")
TENON_WGMMA_FORMS(64, "32", "33", "34", "35", "36", "37", "38")
TENON_WGMMA_FORMS(96, "48", "49", "50", "51", "52", "53", "54")
TENON_WGMMA_FORMS(128, "64", "65", "66", "67", "68", "69", "70")
TENON_WGMMA_FORMS(192, "96", "97", "98", "99", "100", "101", "102")
TENON_WGMMA_FORMS(256, "128", "129", "130", "131", "132", "133", "134")

#undef TENON_WGMMA_FORMS
#undef TENON_WGMMA

}  // namespace tenon::cuda
