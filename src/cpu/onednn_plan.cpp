// Makes and keeps the oneDNN plans. The only file that includes dnnl.hpp.
#include "cpu/onednn_plan.h"

#include <atomic>
#include <cstring>
#include <dnnl.hpp>
#include <memory>
#include <mutex>
#include <unordered_map>
#include <vector>

#ifdef _OPENMP
#include <omp.h>
#endif

#include "cpu/onednn.h"
#include "tenon/core/error.h"

namespace tenon::onednn {
namespace {

using dnnl::memory;
using Dims = memory::dims;

constexpr int64_t kPlanLimit = 4096;  // a plan takes about 100 KB; beyond this many all are dropped and made anew on demand
constexpr int64_t kProbeRows = 64;    // of the plan that is asked for the packed layout; any number gives the same one
constexpr size_t kScratchAlign = 64;

std::atomic<int64_t> g_created{0};
std::atomic<uint64_t> g_generation{0};

const dnnl::engine& engine() {
  static const dnnl::engine e(dnnl::engine::kind::cpu, 0);
  return e;
}

/// One per thread: streams are not to be shared.
dnnl::stream& stream() {
  thread_local dnnl::stream s(engine());
  return s;
}

memory::data_type type_of(DType t) {
  return t == DType::BF16 ? memory::data_type::bf16 : t == DType::F16 ? memory::data_type::f16 : memory::data_type::f32;
}

/// oneDNN takes the number of threads from OpenMP, both when a plan is made and when it runs.
class Threads {
 public:
#ifdef _OPENMP
  explicit Threads(int n) : before_(omp_get_max_threads()) {
    if (n != before_) omp_set_num_threads(n);
    changed_ = n != before_;
  }
  ~Threads() {
    if (changed_) omp_set_num_threads(before_);
  }
  Threads(const Threads&) = delete;

 private:
  int before_;
  bool changed_ = false;
#else
  explicit Threads(int) {}
#endif
};

bool is_reference(const dnnl::matmul::primitive_desc& pd) { return std::strstr(pd.impl_info_str(), "ref") != nullptr; }

memory::desc plain_weight(DType type, int64_t N, int64_t K) { return {Dims{K, N}, type_of(type), Dims{1, K}}; }

// --- packed layouts --------------------------------------------------------------------------------------------------------------

struct LayoutKey {
  DType type;
  int64_t N, K;
  bool operator==(const LayoutKey&) const = default;
};
struct LayoutHash {
  size_t operator()(const LayoutKey& k) const {
    return static_cast<size_t>((k.N * 0x9e3779b97f4a7c15ull) ^ (k.K * 31 + static_cast<int>(k.type)));
  }
};

/// nullptr: no fast kernel.
std::unique_ptr<const memory::desc> find_layout(DType type, int64_t N, int64_t K) {
  try {
    const memory::data_type t = type_of(type);
    const memory::desc src(Dims{kProbeRows, K}, t, Dims{K, 1}), dst(Dims{kProbeRows, N}, t, Dims{N, 1});
    const memory::desc any(Dims{K, N}, t, memory::format_tag::any);
    const dnnl::matmul::primitive_desc pd(engine(), src, any, dst, {}, true);
    if (!pd || is_reference(pd)) return nullptr;
    return std::make_unique<const memory::desc>(pd.weights_desc());
  } catch (const dnnl::error&) {
    return nullptr;
  }
}

const memory::desc* layout(DType type, int64_t N, int64_t K) {
  static std::mutex mutex;
  static std::unordered_map<LayoutKey, std::unique_ptr<const memory::desc>, LayoutHash> known;
  const LayoutKey key{type, N, K};
  const std::lock_guard lock(mutex);
  const auto found = known.find(key);
  if (found != known.end()) return found->second.get();
  return known.emplace(key, find_layout(type, N, K)).first->second.get();
}

void reorder(const memory::desc& from, const void* from_data, const memory::desc& to, void* to_data, int threads) {
  const Threads set(threads);
  memory a(from, engine(), const_cast<void*>(from_data)), b(to, engine(), to_data);
  dnnl::reorder(a, b).execute(stream(), a, b);
  stream().wait();
}

// --- plans -------------------------------------------------------------------------------------------------------------------------

struct PlanHash {
  size_t operator()(const PlanKey& k) const {
    const uint64_t flags = static_cast<uint64_t>(k.type) | static_cast<uint64_t>(k.dst_type) << 8 | static_cast<uint64_t>(k.act) << 16 |
                           static_cast<uint64_t>(k.residual) << 24 | static_cast<uint64_t>(k.bias) << 28 |
                           static_cast<uint64_t>(k.packed) << 29 | static_cast<uint64_t>(k.trans_a) << 30 |
                           static_cast<uint64_t>(k.trans_b) << 31 | static_cast<uint64_t>(k.threads) << 32;
    uint64_t h = flags;
    for (const int64_t v : {k.M, k.N, k.K}) {
      h = (h ^ static_cast<uint64_t>(v)) * 0x9e3779b97f4a7c15ull;
      h ^= h >> 29;
    }
    return static_cast<size_t>(h);
  }
};

/// Shared by all threads; without a primitive if oneDNN has only its reference implementation.
struct Plan {
  dnnl::matmul primitive;
  memory::desc src, weights, dst, bias, scratchpad;
  bool usable = false;
};

void append_activation(dnnl::post_ops& ops, Activation act) {
  using dnnl::algorithm;
  switch (act) {
    case Activation::None:
      return;
    case Activation::Gelu:
      return ops.append_eltwise(algorithm::eltwise_gelu_erf, 0, 0);
    case Activation::GeluTanh:
      return ops.append_eltwise(algorithm::eltwise_gelu_tanh, 0, 0);
    case Activation::QuickGelu:
      return ops.append_eltwise(algorithm::eltwise_swish, 1.702f, 0);
    case Activation::Relu:
      return ops.append_eltwise(algorithm::eltwise_relu, 0, 0);
    case Activation::Tanh:
      return ops.append_eltwise(algorithm::eltwise_tanh, 0, 0);
    case Activation::Silu:
      return ops.append_eltwise(algorithm::eltwise_swish, 1, 0);
    case Activation::Sigmoid:
      return ops.append_eltwise(algorithm::eltwise_logistic, 0, 0);
  }
}

std::shared_ptr<const Plan> make_plan(const PlanKey& key) {
  auto plan = std::make_shared<Plan>();
  const Threads set(key.threads);
  plan->src = memory::desc(Dims{key.M, key.K}, type_of(key.type), key.trans_a ? Dims{1, key.M} : Dims{key.K, 1});
  plan->dst = memory::desc(Dims{key.M, key.N}, type_of(key.dst_type), Dims{key.N, 1});
  if (key.bias) plan->bias = memory::desc(Dims{1, key.N}, memory::data_type::f32, Dims{key.N, 1});
  if (key.packed) {
    const memory::desc* packed = layout(key.type, key.N, key.K);
    if (!packed) return plan;
    plan->weights = *packed;
  } else {
    plan->weights =
        key.trans_b ? plain_weight(key.type, key.N, key.K) : memory::desc(Dims{key.K, key.N}, type_of(key.type), Dims{key.N, 1});
  }
  dnnl::post_ops ops;
  append_activation(ops, key.act);
  // In place it must be a sum: a separate operand would be read after partial sums over K have overwritten it.
  if (key.residual == Residual::InPlace) ops.append_sum(1.0f);
  if (key.residual == Residual::Separate) ops.append_binary(dnnl::algorithm::binary_add, plan->dst);
  dnnl::primitive_attr attr;
  attr.set_post_ops(ops);
  attr.set_scratchpad_mode(dnnl::scratchpad_mode::user);
  const dnnl::matmul::primitive_desc pd =
      key.bias ? dnnl::matmul::primitive_desc(engine(), plan->src, plan->weights, plan->bias, plan->dst, attr, true)
               : dnnl::matmul::primitive_desc(engine(), plan->src, plan->weights, plan->dst, attr, true);
  if (!pd || is_reference(pd)) return plan;
  plan->primitive = dnnl::matmul(pd);
  plan->scratchpad = pd.scratchpad_desc();
  plan->usable = true;
  g_created.fetch_add(1, std::memory_order_relaxed);
  return plan;
}

std::shared_ptr<const Plan> shared_plan(const PlanKey& key) {
  static std::mutex mutex;
  static std::unordered_map<PlanKey, std::shared_ptr<const Plan>, PlanHash> plans;
  {
    const std::lock_guard lock(mutex);
    const auto found = plans.find(key);
    if (found != plans.end()) return found->second;
  }
  auto plan = make_plan(key);  // outside the lock: others need not wait for the code generator; making one twice does no harm
  const std::lock_guard lock(mutex);
  if (static_cast<int64_t>(plans.size()) >= kPlanLimit) {
    plans.clear();
    g_generation.fetch_add(1, std::memory_order_release);
  }
  return plans.emplace(key, std::move(plan)).first->second;
}

/// Scratchpad of the calling thread; it grows to the largest that was needed.
void* scratchpad(size_t bytes) {
  thread_local std::vector<std::byte> buffer;
  if (bytes == 0) return nullptr;
  if (buffer.size() < bytes + kScratchAlign) buffer.resize(bytes + kScratchAlign);
  const auto at = reinterpret_cast<uintptr_t>(buffer.data());
  return reinterpret_cast<void*>((at + kScratchAlign - 1) / kScratchAlign * kScratchAlign);
}

/// A plan with this thread's own argument list, so that a hit takes no lock and builds no memory objects.
class BoundPlan {
 public:
  explicit BoundPlan(const PlanKey& key) : plan_(shared_plan(key)) {
    if (!plan_->usable) return;
    add(DNNL_ARG_SRC, plan_->src);
    add(DNNL_ARG_WEIGHTS, plan_->weights);
    add(DNNL_ARG_DST, plan_->dst);
    add(DNNL_ARG_SCRATCHPAD, plan_->scratchpad);
    if (key.bias) add(DNNL_ARG_BIAS, plan_->bias);
    if (key.residual == Residual::Separate) {
      const int position = key.act == Activation::None ? 0 : 1;
      add(DNNL_ARG_ATTR_MULTIPLE_POST_OP(position) | DNNL_ARG_SRC_1, plan_->dst);
    }
  }

  bool usable() const { return plan_->usable; }

  void run(const PlanKey& key, const PlanArgs& args) {
    bind(0, args.src);
    bind(1, args.weights);
    bind(2, args.dst);
    bind(3, scratchpad(plan_->scratchpad.get_size()));
    size_t next = 4;
    if (key.bias) bind(next++, args.bias);
    if (key.residual == Residual::Separate) bind(next++, args.residual);
    const Threads set(key.threads);
    dnnl::error::wrap_c_api(dnnl_primitive_execute(plan_->primitive.get(), stream().get(), static_cast<int>(list_.size()), list_.data()),
                            "matmul");
  }

 private:
  void add(int name, const memory::desc& desc) {
    memories_.emplace_back(desc, engine(), nullptr);
    list_.push_back({name, memories_.back().get()});
  }
  void bind(size_t i, const void* data) {
    dnnl::error::wrap_c_api(dnnl_memory_set_data_handle(list_[i].memory, const_cast<void*>(data)), "data");
  }

  std::shared_ptr<const Plan> plan_;
  std::vector<memory> memories_;
  std::vector<dnnl_exec_arg_t> list_;
};

BoundPlan& bound_plan(const PlanKey& key) {
  thread_local std::unordered_map<PlanKey, BoundPlan, PlanHash> plans;
  thread_local uint64_t generation = 0;
  if (const uint64_t now = g_generation.load(std::memory_order_acquire); now != generation) {
    plans.clear();
    generation = now;
  }
  const auto found = plans.find(key);
  if (found != plans.end()) return found->second;
  return plans.emplace(key, BoundPlan(key)).first->second;
}

}  // namespace

bool run(const PlanKey& key, const PlanArgs& args) {
  try {
    BoundPlan& plan = bound_plan(key);
    if (!plan.usable()) return false;
    plan.run(key, args);
    return true;
  } catch (const dnnl::error& e) {
    fail(e.status == dnnl_out_of_memory ? ErrorCode::Memory : ErrorCode::Device, "onednn", e.message, ": M ", key.M, ", N ", key.N, ", K ",
         key.K);
  }
}

size_t packed_bytes(DType type, int64_t N, int64_t K) {
  const memory::desc* packed = layout(type, N, K);
  return packed ? packed->get_size() : 0;
}

void pack_rows(void* packed, const void* rows_of_w, DType type, int64_t N, int64_t K, int64_t first, int64_t rows, int threads) {
  const memory::desc to = layout(type, N, K)->submemory_desc(Dims{K, rows}, Dims{0, first});
  reorder(plain_weight(type, rows, K), rows_of_w, to, packed, threads);
}

void unpack(void* w, DType w_type, const void* packed, DType type, int64_t N, int64_t K, int threads) {
  reorder(*layout(type, N, K), packed, plain_weight(w_type, N, K), w, threads);
}

void cap_at_avx2() { dnnl::set_max_cpu_isa(dnnl::cpu_isa::avx2); }

}  // namespace tenon::onednn

namespace tenon {

int64_t onednn_plans_created() { return onednn::g_created.load(std::memory_order_relaxed); }

}  // namespace tenon
