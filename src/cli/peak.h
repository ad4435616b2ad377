// What this machine can do at most, measured: arithmetic in chains of the widest multiply-adds, and reading memory.
#pragma once

#include "tenon/core/kernels.h"

namespace tenon::cli {

enum class Arithmetic : uint8_t { F32, BF16, Int8 };
const char* name_of(Arithmetic kind);

/// Billions of operations a second on all threads now, two for each multiply-add, with the instructions that `table` may use; 0 where
/// it has none for that kind.
double arithmetic_peak(Arithmetic kind, const Kernels& table, int threads);

/// GB/s that all threads together read from memory, the best of some rounds.
double memory_peak(int threads);

}  // namespace tenon::cli
