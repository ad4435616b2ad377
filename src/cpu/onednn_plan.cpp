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

constexpr size_t kPlanLimit = 4096;  // a plan takes about 100 KB; beyond this many all are dropped and made anew on demand
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

/// oneDNN takes the number of threads from OpenMP, both when a plan is made and when it runs.
class Threads {
 public:
#ifdef _OPENMP
  explicit Threads(int n) : before_(omp_get_max_threads()), changed_(n != before_) {
    if (changed_) omp_set_num_threads(n);
  }
  ~Threads() {
    if (changed_) omp_set_num_threads(before_);
  }
  Threads(const Threads&) = delete;

 private:
  int before_;
  bool changed_;
#else
  explicit Threads(int) {}
#endif
};

struct PlanHash {
  size_t operator()(const PlanKey& k) const {
    uint64_t h = static_cast<uint64_t>(k.type) | static_cast<uint64_t>(k.c_type) << 8 | static_cast<uint64_t>(k.trans_a) << 16 |
                 static_cast<uint64_t>(k.trans_b) << 17 | static_cast<uint64_t>(k.accumulate) << 18 |
                 static_cast<uint64_t>(k.threads) << 32;
    for (const int64_t v : {k.M, k.N, k.K}) {
      h = (h ^ static_cast<uint64_t>(v)) * 0x9e3779b97f4a7c15ull;
      h ^= h >> 29;
    }
    return static_cast<size_t>(h);
  }
};

/// Shared by all threads; not usable if oneDNN has only its reference implementation.
struct Plan {
  dnnl::matmul primitive;
  memory::desc a, b, c, scratchpad;
  bool usable = false;
};

/// A (rows, columns) matrix, stored by columns if transposed.
memory::desc matrix(int64_t rows, int64_t columns, DType type, bool transposed) {
  const memory::data_type t = type == DType::BF16 ? memory::data_type::bf16 : memory::data_type::f32;
  return {Dims{rows, columns}, t, transposed ? Dims{1, rows} : Dims{columns, 1}};
}

std::shared_ptr<const Plan> make_plan(const PlanKey& key) {
  auto plan = std::make_shared<Plan>();
  const Threads set(key.threads);
  plan->a = matrix(key.M, key.K, key.type, key.trans_a);
  plan->b = matrix(key.K, key.N, key.type, key.trans_b);
  plan->c = matrix(key.M, key.N, key.c_type, false);
  dnnl::primitive_attr attr;
  if (key.accumulate) {
    dnnl::post_ops ops;
    ops.append_sum(1.0f);
    attr.set_post_ops(ops);
  }
  attr.set_scratchpad_mode(dnnl::scratchpad_mode::user);  // the library's own may not be used by several threads
  const dnnl::matmul::primitive_desc pd(engine(), plan->a, plan->b, plan->c, attr, true);
  if (!pd || std::strstr(pd.impl_info_str(), "ref")) return plan;
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
  if (plans.size() >= kPlanLimit) {
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
    add(DNNL_ARG_DST, plan_->c);
    add(DNNL_ARG_SRC, plan_->a);
    add(DNNL_ARG_WEIGHTS, plan_->b);
    add(DNNL_ARG_SCRATCHPAD, plan_->scratchpad);
  }

  bool usable() const { return plan_->usable; }

  void run(int threads, void* c, const void* a, const void* b) {
    const void* data[] = {c, a, b, scratchpad(plan_->scratchpad.get_size())};
    for (size_t i = 0; i < list_.size(); ++i)
      dnnl::error::wrap_c_api(dnnl_memory_set_data_handle(list_[i].memory, const_cast<void*>(data[i])), "cannot set an argument");
    const Threads set(threads);
    dnnl::error::wrap_c_api(dnnl_primitive_execute(plan_->primitive.get(), stream().get(), static_cast<int>(list_.size()), list_.data()),
                            "cannot run");
  }

 private:
  void add(int name, const memory::desc& desc) {
    memories_.emplace_back(desc, engine(), nullptr);
    list_.push_back({name, memories_.back().get()});
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

bool run(const PlanKey& key, void* c, const void* a, const void* b) {
  try {
    BoundPlan& plan = bound_plan(key);
    if (!plan.usable()) return false;
    plan.run(key.threads, c, a, b);
    return true;
  } catch (const dnnl::error& e) {
    fail(e.status == dnnl_out_of_memory ? ErrorCode::Memory : ErrorCode::Device, "matmul", "oneDNN: ", e.message, "; M ", key.M, ", N ",
         key.N, ", K ", key.K);
  }
}

void cap_at_avx2() { dnnl::set_max_cpu_isa(dnnl::cpu_isa::avx2); }
void cap_at_avx512() { dnnl::set_max_cpu_isa(dnnl::cpu_isa::avx512_core_bf16); }

}  // namespace tenon::onednn

namespace tenon {

int64_t onednn_plans_created() { return onednn::g_created.load(std::memory_order_relaxed); }

}  // namespace tenon
