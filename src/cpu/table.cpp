// Chooses the kernel table once: ref, overlaid by Eigen, by an instruction set, and by oneDNN for the dense matmuls.
#include <cstdlib>
#include <memory>

#include "cpu/cpuid.h"
#include "cpu/fillers.h"
#include "cpu/ref.h"
#include "tenon/core/error.h"

namespace tenon {
namespace {

struct Candidate {
  Isa isa;
  const char* name;
  bool built;
  std::string lacking;  // "" if the machine can run it
};

constexpr bool kHasAvx512 =
#ifdef TENON_HAS_AVX512
    true;
#else
    false;
#endif
constexpr bool kHasAmx =
#ifdef TENON_HAS_AMX
    true;
#else
    false;
#endif
constexpr bool kHasAvx2 =
#ifdef TENON_HAS_AVX2
    true;
#else
    false;
#endif
constexpr bool kHasNeon =
#ifdef TENON_HAS_NEON
    true;
#else
    false;
#endif

std::vector<Candidate> candidates() {
  const CpuFeatures& f = cpu_features();
  return {{Isa::Amx, "amx", kHasAmx, lacks_amx(f)},
          {Isa::Avx512, "avx512", kHasAvx512, lacks_avx512(f)},
          {Isa::Avx2, "avx2", kHasAvx2, lacks_avx2(f)},
          {Isa::Neon, "neon", kHasNeon, f.neon ? "" : "the processor is no 64-bit Arm"},
          {Isa::Portable, "portable", true, ""},
          {Isa::Ref, "ref", true, ""}};
}

/// The router is the same in every set but for its softmax, which is the set's own.
template <Isa isa>
void add_router(Kernels& k) {
  static const Kernels* table = nullptr;
  table = &k;
  k.route = [](const RouterCall& c) { route_with(*table, c); };
  k.route_backward = [](float* dlogits, const float* dweight, const RouterCall& c) { route_backward_with(*table, dlogits, dweight, c); };
}

void add_router(Kernels& k, Isa isa) {
  switch (isa) {
    case Isa::Amx: return add_router<Isa::Amx>(k);
    case Isa::Avx512: return add_router<Isa::Avx512>(k);
    case Isa::Avx2: return add_router<Isa::Avx2>(k);
    case Isa::Neon: return add_router<Isa::Neon>(k);
    case Isa::Portable: return add_router<Isa::Portable>(k);
    case Isa::Ref: return;
  }
}

/// Lays the fillers of one set over ref; returns their names.
std::string overlay(Kernels& k, Isa isa) {
  std::string layers = "ref";
  const auto add = [&](const char* name, auto fill) {
    fill(k);
    layers += std::string(", ") + name;
  };
  if (isa == Isa::Ref) return layers;
  add("eigen", fill_eigen);
#ifdef TENON_HAS_AVX2
  if (isa == Isa::Avx2) add("avx2", fill_avx2);
#endif
#ifdef TENON_HAS_AVX512
  if (isa == Isa::Avx512 || isa == Isa::Amx) {
    add("avx512", fill_avx512);
#ifdef TENON_HAS_AVX512_VNNI
    if (cpu_features().avx512_vnni) add("vnni", fill_avx512_vnni);
#endif
#ifdef TENON_HAS_AVX512_BF16
    if (cpu_features().avx512_bf16) add("bf16", fill_avx512_bf16);
#endif
#ifdef TENON_HAS_AMX
    if (isa == Isa::Amx) add("amx", fill_amx);
#endif
  }
#endif
#ifdef TENON_HAS_NEON
  if (isa == Isa::Neon) add("neon", fill_neon);
#endif
  return layers;
}

struct Tables {
  std::vector<KernelChoice> choices;
  std::vector<std::unique_ptr<Kernels>> owned;
  const Kernels* chosen = nullptr;  // nullptr: TENON_ISA named one that cannot be had
  std::string wish;
};

Tables make_tables() {
  Tables t;
  const char* env = std::getenv("TENON_ISA");
  t.wish = env ? env : "";
  for (const Candidate& c : candidates()) {
    KernelChoice choice;
    choice.name = c.name;
    if (!c.built || !c.lacking.empty()) {
      choice.reason = "not usable: " + (c.lacking.empty() ? "left out of this build" : c.lacking);
      t.choices.push_back(std::move(choice));
      continue;
    }
    t.owned.push_back(std::make_unique<Kernels>(ref_kernels()));
    Kernels& k = *t.owned.back();
    std::string layers = overlay(k, c.isa);
    add_router(k, c.isa);
    const bool chosen = !t.chosen && (t.wish.empty() || t.wish == c.name);
#ifdef TENON_HAS_ONEDNN
    // Only in the chosen table: what oneDNN may use is set once per process.
    if (chosen && c.isa != Isa::Ref && c.isa != Isa::Portable) {
      fill_onednn(k, c.isa);
      layers += ", onednn";
    }
#endif
    k.name = c.name;
    choice.usable = true;
    choice.kernels = &k;
    choice.reason = chosen ? (t.wish.empty() ? "chosen, the best here: " : "chosen by TENON_ISA: ") + layers : "usable: " + layers;
    if (chosen) t.chosen = &k;
    t.choices.push_back(std::move(choice));
  }
  return t;
}

const Tables& tables() {
  static const Tables t = make_tables();
  return t;
}

}  // namespace

const Kernels& cpu_kernels() {
  const Tables& t = tables();
  if (!t.chosen) {
    std::string known;
    for (const KernelChoice& c : t.choices) known += (known.empty() ? "" : "; ") + c.name + " (" + c.reason + ")";
    fail(ErrorCode::Device, "TENON_ISA", "expected a set that this build and machine have, got '", t.wish, "'. ", known);
  }
  return *t.chosen;
}

const std::vector<KernelChoice>& kernel_choices() { return tables().choices; }

}  // namespace tenon
