// The timed kernels, and the report.
#include "cli/profile.h"

#include <algorithm>
#include <array>
#include <atomic>
#include <chrono>
#include <cstdio>

#include "tenon/nn/linear.h"

namespace tenon::cli {
namespace {

enum Kind : uint8_t {
  kAttentionLinears, kFeedForward, kExperts, kSharedExperts, kRouter, kHead, kPatches, kProducts, kAttention, kNorms, kRotary, kGathers, kElements, kKinds,
};
constexpr const char* kNames[kKinds] = {"attention's linears", "feed-forward", "experts", "shared experts", "router", "head", "patches",
                                        "other products", "attention", "norms", "rotary", "gathers", "element by element"};

struct Sum {
  std::atomic<int64_t> nanoseconds{0}, operations{0}, bytes{0}, calls{0};
  std::atomic<uint8_t> arithmetic{0};
};

const Kernels* below = nullptr;
std::array<Sum, kKinds> sums;
std::unordered_map<const void*, Kind> kinds;  // of weights

int64_t now() { return std::chrono::duration_cast<std::chrono::nanoseconds>(std::chrono::steady_clock::now().time_since_epoch()).count(); }

/// threads: how many were busy meanwhile.
void add(Kind kind, int64_t since, int64_t threads, double operations = 0, double bytes = 0) {
  Sum& s = sums[kind];
  s.nanoseconds += (now() - since) * threads;
  s.operations += static_cast<int64_t>(operations), s.bytes += static_cast<int64_t>(bytes);
  ++s.calls;
}

template <auto Member, Kind kind>
struct Timed;
template <class R, class... Args, R (*Kernels::*Member)(Args...), Kind kind>
struct Timed<Member, kind> {
  static R call(Args... args) {
    const int64_t start = now();
    (below->*Member)(args...);
    add(kind, start, 1);
  }
};

Kind kind_of(const void* weight, Kind unknown) {
  const auto it = kinds.find(weight);
  return it == kinds.end() ? unknown : it->second;
}

Arithmetic arithmetic_of(const LinearCall& c) {
  switch (c.format) {
    case WeightFormat::Int8: return Arithmetic::Int8;
    case WeightFormat::Int4: return c.int8_rows ? Arithmetic::Int8 : below->fast_bf16 ? Arithmetic::BF16 : Arithmetic::F32;
    case WeightFormat::Fp8: return below->fast_bf16 ? Arithmetic::BF16 : Arithmetic::F32;
    case WeightFormat::BF16: return Arithmetic::BF16;
    case WeightFormat::F32: return Arithmetic::F32;
  }
  return Arithmetic::F32;
}

void timed_linear(const LinearCall& c) {
  const int64_t start = now();
  below->linear(c);
  const bool few = c.format == WeightFormat::Int4 || c.format == WeightFormat::Fp8;
  const size_t weight = few ? below->quantized_packed_bytes(c.format, c.N, c.K, c.group) : below->linear_packed_bytes(c.format, c.N, c.K);
  int64_t weights = 1;
  if (c.blocks) {
    weights = 0;
    for (int64_t i = 0; i < c.num_blocks; ++i) weights += c.blocks[i].end > c.blocks[i].begin;
  }
  const Kind kind = c.blocks ? kExperts : kind_of(c.w, kProducts);
  sums[kind].arithmetic = static_cast<uint8_t>(arithmetic_of(c));
  const double m = static_cast<double>(c.M), rows = m * static_cast<double>(c.N + c.K) * static_cast<double>(size_of(c.type));
  add(kind, start, c.threads, 2 * m * static_cast<double>(c.N) * static_cast<double>(c.K), static_cast<double>(weights) * static_cast<double>(weight) + rows);
}

void timed_sparse_linear(const LinearCall& c) {
  const int64_t start = now();
  below->sparse_linear(c);
  add(kind_of(c.w, kProducts), start, c.threads);
}

void timed_matmul(const MatmulCall& c) {
  const int64_t start = now();
  below->matmul(c);
  const Kind kind = kind_of(c.b, kProducts);
  sums[kind].arithmetic = static_cast<uint8_t>(c.type == DType::BF16 ? Arithmetic::BF16 : Arithmetic::F32);
  const double m = static_cast<double>(c.M), n = static_cast<double>(c.N), k = static_cast<double>(c.K), item = static_cast<double>(size_of(c.type));
  add(kind, start, c.threads, 2 * m * n * k, item * (m * k + k * n) + static_cast<double>(size_of(c.c_type)) * m * n);
}

void timed_attention(const AttentionCall& c, int64_t b, int64_t h, int64_t begin, int64_t end, void* scratch) {
  const int64_t start = now();
  below->attention(c, b, h, begin, end, scratch);
  const int64_t T = c.q_start[b + 1] - c.q_start[b], S = c.k_start[b + 1] - c.k_start[b];
  double pairs = 0;
  int64_t most = 0;
  for (int64_t t = begin; t < end; ++t) {
    const int64_t seen = c.causal ? std::clamp<int64_t>(t + S - T + 1, 0, S) : S;
    const int64_t hidden = c.window > 0 ? std::clamp<int64_t>(t + S - T + 1 - c.window, 0, seen) : 0;
    pairs += static_cast<double>(seen - hidden);
    most = std::max(most, seen - hidden);
  }
  const double item = c.codes == CacheCodes::None ? static_cast<double>(size_of(c.type)) : 1;
  sums[kAttention].arithmetic = static_cast<uint8_t>(c.type == DType::BF16 ? Arithmetic::BF16 : Arithmetic::F32);
  add(kAttention, start, 1, 2 * pairs * static_cast<double>((c.D + c.Dv) * c.group), item * static_cast<double>(most * (c.D + c.Dv)));
}

bool has(const std::string& name, std::initializer_list<const char*> parts) {
  return std::any_of(parts.begin(), parts.end(), [&](const char* p) { return name.find(p) != std::string::npos; });
}

/// By the names that checkpoints use.
Kind kind_of_name(const std::string& name) {
  if (has(name, {"patch_embed"})) return kPatches;
  if (has(name, {"lm_head", "classifier", "pooler", "score", "cls.", "visual_projection", "text_projection", "vocab_transform", "vocab_projector"})) return kHead;
  if (has(name, {"shared_expert"})) return kSharedExperts;
  if (name.ends_with(".gate") || has(name, {"router"})) return kRouter;
  if (has(name, {"attn", "ttention"})) return kAttentionLinears;
  return kFeedForward;
}

/// Names the weights that the kernels will be given.
class Learner final : public nn::Visitor {
 public:
  explicit Learner(Context& ctx) : ctx_(ctx) {}
  void parameter(const std::string&, Tensor&, const Shape&, const nn::ParameterInfo&) override {}
  void linear(const std::string& name, nn::Linear& l) override { learn(l, kind_of_name(name)); }
  void packed_elsewhere(const std::string&, nn::Linear& l) override { learn(l, kExperts); }
  void fused(std::span<const std::string> names, std::span<nn::Linear* const> layers, nn::FusedLinear& f) override {
    const Kind kind = kind_of_name(names.front());
    if (f.ready()) name((f.quantized ? f.quantized->packed(ctx_) : f.packed).data, kind);
    for (nn::Linear* l : layers)
      if (!f.ready()) learn(*l, kind);
  }

 private:
  static void name(const Tensor& t, Kind kind) {
    if (t.defined()) kinds[t.raw()] = kind;
  }
  void learn(nn::Linear& l, Kind kind) {
    name(l.packed.data, kind), name(l.weight, kind);
    if (l.quantized && kind != kExperts) name(l.quantized->packed(ctx_).data, kind);
  }
  Context& ctx_;
};

}  // namespace

Profile::Profile(const Kernels& kernels) : table_(kernels) {
  below = &kernels;
  reset();
  table_.linear = timed_linear, table_.sparse_linear = timed_sparse_linear, table_.matmul = timed_matmul, table_.attention = timed_attention;
  table_.layer_norm = Timed<&Kernels::layer_norm, kNorms>::call;
  table_.rms_norm = Timed<&Kernels::rms_norm, kNorms>::call;
  table_.l2_normalize = Timed<&Kernels::l2_normalize, kNorms>::call;
  table_.rope = Timed<&Kernels::rope, kRotary>::call;
  table_.combine_rows = Timed<&Kernels::combine_rows, kGathers>::call;
  table_.gather_rows = Timed<&Kernels::gather_rows, kGathers>::call;
  table_.softmax = Timed<&Kernels::softmax, kElements>::call;
  table_.activation = Timed<&Kernels::activation, kElements>::call;
  table_.gated = Timed<&Kernels::gated, kElements>::call;
  table_.add = Timed<&Kernels::add, kElements>::call;
  table_.mul = Timed<&Kernels::mul, kElements>::call;
  table_.axpby = Timed<&Kernels::axpby, kElements>::call;
  table_.cast = Timed<&Kernels::cast, kElements>::call;
  table_.unfold_patches = Timed<&Kernels::unfold_patches, kPatches>::call;
}

Profile::~Profile() {
  below = nullptr;
  kinds.clear();
}

void Profile::learn(const models::Model& model, Context& ctx) {
  kinds.clear();
  Learner learner(ctx);
  const_cast<models::Model&>(model).visit(learner);  // it changes nothing
}

void Profile::reset() {
  for (Sum& s : sums) s.nanoseconds = 0, s.operations = 0, s.bytes = 0, s.calls = 0;
}

std::vector<Profile::Part> Profile::parts() const {
  std::vector<Part> parts;
  for (size_t k = 0; k < kKinds; ++k) {
    const Sum& s = sums[k];
    if (s.calls > 0)
      parts.push_back({.kind = kNames[k],
                       .seconds = 1e-9 * static_cast<double>(s.nanoseconds),
                       .operations = static_cast<double>(s.operations),
                       .bytes = static_cast<double>(s.bytes),
                       .arithmetic = static_cast<Arithmetic>(s.arithmetic.load()),
                       .calls = s.calls});
  }
  std::sort(parts.begin(), parts.end(), [](const Part& a, const Part& b) { return a.seconds > b.seconds; });
  return parts;
}

Limits measure_limits(const Kernels& table, int threads) {
  return {.f32 = arithmetic_peak(Arithmetic::F32, table, threads),
          .bf16 = arithmetic_peak(Arithmetic::BF16, table, threads),
          .int8 = arithmetic_peak(Arithmetic::Int8, table, threads),
          .read = memory_peak(threads)};
}

void print_profile(const char* title, const std::vector<Profile::Part>& parts, double wall, int threads, const Limits& limits) {
  std::printf("\n%-22s %9s %7s %10s %8s %8s %8s %8s\n", title, "ms", "share", "GFLOP/s", "of peak", "GB/s", "of read", "of roof");
  double known = 0;
  for (const Profile::Part& p : parts) {
    const double time = p.seconds / threads;
    known += time;
    std::printf("%-22s %9.3f %6.1f%%", p.kind.c_str(), 1e3 * time, 100 * time / wall);
    if (p.operations > 0) {
      const double speed = p.operations / time / 1e9, read = p.bytes / time / 1e9, peak = limits.peak(p.arithmetic);
      std::printf(" %10.1f", speed);
      peak > 0 ? std::printf(" %7.1f%%", 100 * speed / peak) : std::printf(" %8s", "");
      std::printf(" %8.1f %7.1f%%", read, 100 * read / limits.read);
      if (peak > 0) std::printf(" %7.1f%%", 100 * speed / std::min(peak, limits.read * p.operations / p.bytes));
    }
    std::printf("\n");
  }
  std::printf("%-22s %9.3f %6.1f%%   routing, memory, waiting for each other\n", "between", 1e3 * (wall - known), 100 * (wall - known) / wall);
  std::printf("%-22s %9.3f\n", "all", 1e3 * wall);
}

Json profile_json(const char* title, const std::vector<Profile::Part>& parts, double wall, int threads) {
  Json::Array list;
  for (const Profile::Part& p : parts) {
    Json part;
    part.set("kind", p.kind), part.set("seconds", p.seconds / threads), part.set("operations", p.operations);
    part.set("bytes", p.bytes), part.set("arithmetic", name_of(p.arithmetic)), part.set("calls", p.calls);
    list.push_back(std::move(part));
  }
  Json j;
  j.set("title", title), j.set("seconds", wall), j.set("parts", std::move(list));
  return j;
}

Json limits_json(const Limits& limits) {
  Json j;
  j.set("float32", limits.f32), j.set("bfloat16", limits.bf16), j.set("int8", limits.int8), j.set("read", limits.read);
  return j;
}

}  // namespace tenon::cli
