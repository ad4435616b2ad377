// A step of decoding as a graph: recorded once, launched for every token, while the host changes what it reads.
#pragma once

#include <algorithm>
#include <cstdlib>
#include <functional>
#include <list>
#include <memory>
#include <optional>
#include <span>
#include <string>
#include <utility>
#include <vector>

#include "tenon/models/weight_watch.h"
#include "tenon/nn/decoder_attention.h"
#include "tenon/nn/kv_cache.h"

namespace tenon::models {

/// What a step of any model reads beside the cache. A model's own arrays go on from here; visit_arrays(f) calls f with each one that differs
/// from step to step. Arrays keep their sizes.
struct StepArrays {
  std::vector<int64_t> ids = {};
  nn::DecoderRows rows = {};

  template <class F>
  void visit_arrays(F&& f) const {
    f(ids), f(rows.q_start), f(rows.k_start);
  }
};

/// Graphs of steps in which each sequence gets a token. What differs from step to step (tokens, angles, pages, how many keys there are) lies in
/// arrays that are mirrored at fixed addresses; how kernels are launched depends on the number of sequences and on Step::shape alone, and
/// there is a graph for each of these. When pages need more room it is recorded anew; when weights are replaced, or adapters or routing change,
/// all are.
template <class Arrays>
class StepGraph {
 public:
  struct Step {
    /// What launches depend on beside the number of sequences.
    std::vector<int64_t> shape = {};
    /// Fills the arrays, but for those of StepArrays.
    std::function<void(Arrays&, const nn::CacheStep&)> lay_out;
    /// The logits of a.ids, laid out as a.rows say. The mirror has copies of all arrays; Context::staged() finds them, too.
    std::function<Tensor(Arrays& a, const cuda::Mirror&)> compute;
  };

  static bool allowed() {
    const char* setting = std::getenv("TENON_CUDA_GRAPHS");
    return !setting || std::string(setting) != "0";
  }

  StepGraph() = default;
  StepGraph(const StepGraph&) {}  // a copy of a session records its own
  StepGraph& operator=(const StepGraph&) = delete;

  /// Keeps the graphs of the `most` numbers of sequences that were met last.
  void turn_on(size_t most) { on_ = true, most_ = std::max<size_t>(most, 1); }
  bool on() const { return on_; }
  /// A pass that is no such step has happened: what it made on the device may have taken the place of what a recording looks for.
  void interrupt() { seen_.clear(); }

  /// The logits of a step, or an undefined tensor where the caller is to compute them: in the first step of a number of sequences and a shape,
  /// in which whatever is made at first use is made, and where recording has failed.
  /// Errors: as a step's.
  Tensor run(Context& ctx, const Model& model, nn::KvCache& cache, std::span<const int64_t> ids, const Step& step) {
    if (!on_) return {};
    if (!kept_.empty() && !kept_.front()->watch.same()) kept_.clear(), seen_.clear();
    std::vector<int64_t> key = {static_cast<int64_t>(ids.size())};
    key.insert(key.end(), step.shape.begin(), step.shape.end());
    const auto it = std::find_if(kept_.begin(), kept_.end(), [&](const auto& r) { return r->key == key; });
    size_t room = 0;
    if (it != kept_.end()) {
      kept_.splice(kept_.begin(), kept_, it);
      Recorded& r = *kept_.front();
      lay_out(r, ids, step);
      if (r.step.room() <= r.room) return launch(r);
      room = 2 * r.step.room();
      kept_.pop_front();
    } else if (key != seen_) {
      seen_ = std::move(key);
      return {};
    }
    auto fresh = std::make_unique<Recorded>(std::move(key), nn::CacheStep(cache, std::vector<int64_t>(ids.size(), 1)), WeightWatch(model));
    try {
      while (kept_.size() >= most_) kept_.pop_back();
      record(ctx, *fresh, room, ids, step);
    } catch (const Error& e) {  // it asks for something of the host, or there is no memory; the step itself will tell
      constexpr int kMostShortages = 3;
      kept_.clear(), seen_.clear();
      if (e.code() != ErrorCode::Memory || ++shortages_ == kMostShortages) on_ = false;
      return {};
    }
    kept_.push_front(std::move(fresh));
    return launch(*kept_.front());
  }

 private:
  struct Recorded {
    Recorded(std::vector<int64_t> k, nn::CacheStep s, WeightWatch w) : key(std::move(k)), step(std::move(s)), watch(std::move(w)) {}
    std::vector<int64_t> key;
    nn::CacheStep step;
    WeightWatch watch;
    Arrays arrays = {};
    size_t room = 0;  // pages
    std::optional<cuda::Mirror> mirror = {};
    cuda::Graph graph = {};
    Tensor logits = {};
  };
  struct WithMirror {
    WithMirror(Context& c, cuda::Mirror& m) : ctx(c) { ctx.set_mirror(&m); }
    ~WithMirror() { ctx.set_mirror(nullptr); }
    WithMirror(const WithMirror&) = delete;
    WithMirror& operator=(const WithMirror&) = delete;
    Context& ctx;
  };

  /// The arrays of this step, each where that of the step before lay.
  static void lay_out(Recorded& r, std::span<const int64_t> ids, const Step& step) {
    r.step.next(r.room);
    r.arrays.ids.assign(ids.begin(), ids.end());
    r.arrays.rows.q_start.assign(r.step.q_start.begin(), r.step.q_start.end());
    r.arrays.rows.k_start.assign(r.step.k_start.begin(), r.step.k_start.end());
    step.lay_out(r.arrays, r.step);
  }
  static Tensor launch(Recorded& r) {
    r.mirror->refresh();
    r.graph.launch();
    r.step.commit();
    return r.logits;
  }

  static void record(Context& ctx, Recorded& r, size_t room, std::span<const int64_t> ids, const Step& step) {
    constexpr size_t kLeastRoom = 16;
    r.step.next(0);
    r.room = std::max({room, 2 * r.step.room(), kLeastRoom});
    lay_out(r, ids, step);
    std::vector<cuda::Mirror::Array> arrays;
    const auto add = [&](const auto& v) {
      if (!v.empty()) arrays.push_back({v.data(), v.size() * sizeof(v[0])});
    };
    r.step.visit_arrays(add);
    r.arrays.visit_arrays(add);
    r.mirror.emplace(ctx.device().index, std::move(arrays));
    r.arrays.rows.cache = &r.step;
    const WithMirror mirrored(ctx, *r.mirror);
    r.graph = cuda::Graph::record(ctx.device().index, [&] { r.logits = step.compute(r.arrays, *r.mirror); });
  }

  bool on_ = false;
  size_t most_ = 1;
  int shortages_ = 0;
  std::vector<int64_t> seen_;  // key of the last step, if no other pass came behind it
  std::list<std::unique_ptr<Recorded>> kept_;  // the last used first
};

}  // namespace tenon::models
