// Who overlays what on the ref table; table.cpp puts them together. Includes nothing but kernels.h, for the files compiled per ISA.
#pragma once

#include "tenon/core/kernels.h"

namespace tenon {

/// Portable is ref with Eigen: what a machine without a filler of its own gets.
enum class Isa : uint8_t { Ref, Portable, Neon, Avx2, Avx512, Amx };

/// Each overwrites the entries that it makes faster and leaves the others as they are.
void fill_eigen(Kernels&);        // matmul, on any machine
void fill_neon(Kernels&);         // Arm's base set
void fill_avx2(Kernels&);         // with fma and f16c
void fill_avx512(Kernels&);       // f, bw, dq, vl
void fill_avx512_vnni(Kernels&);  // on top of fill_avx512
void fill_avx512_bf16(Kernels&);  // on top of fill_avx512
void fill_amx(Kernels&);          // on top of both: bf16, int8 and 4 bits in tile registers
/// The dense matmul entries. `isa` caps what oneDNN may use; the cap holds for the process and must come before its first primitive.
void fill_onednn(Kernels&, Isa isa);

}  // namespace tenon
