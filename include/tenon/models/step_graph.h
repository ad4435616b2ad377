// A step of decoding as a graph: recorded once, launched for every token, while the host changes what it reads.
#pragma once

#include <algorithm>
#include <cstdlib>
#include <functional>
#include <memory>
#include <optional>
#include <span>
#include <string>
#include <vector>

#include "tenon/nn/decoder_attention.h"
#include "tenon/nn/kv_cache.h"

namespace tenon::models {

/// The graph of a step in which each of N sequences gets a token. What differs from step to step (tokens, angles, pages, how many keys there
/// are) lies in arrays that are mirrored at fixed addresses; how kernels are launched depends on N alone. When pages need more room, or N
/// changes, it is recorded anew.
class StepGraph {
 public:
  /// The logits of tokens `ids` laid out as `rows` say.
  using Body = std::function<Tensor(std::span<const int64_t> ids, nn::DecoderRows& rows)>;

  static bool allowed() {
    const char* setting = std::getenv("TENON_CUDA_GRAPHS");
    return !setting || std::string(setting) != "0";
  }

  StepGraph() = default;
  StepGraph(const StepGraph&) {}  // a copy of a session records its own
  StepGraph& operator=(const StepGraph&) = delete;

  void turn_on() { on_ = true; }
  bool on() const { return on_; }

  /// The logits of a step, or an undefined tensor where the caller is to compute them: in the first step of N sequences, in which whatever is
  /// made at first use is made, and once a recording has failed.
  /// rope: nullptr if the model has none. Errors: as a step's.
  Tensor run(Context& ctx, nn::KvCache& cache, std::span<const int64_t> ids, const nn::Rope* rope, const Body& body) {
    const auto N = static_cast<int64_t>(ids.size());
    if (!on_) return {};
    if (seen_ != N) {
      recorded_.reset();
      seen_ = N;
      return {};
    }
    try {
      if (recorded_) lay_out(ctx, ids, rope);
      if (!recorded_ || recorded_->step.room() > recorded_->room) record(ctx, cache, ids, rope, body);
    } catch (const Error&) {  // it asks for something of the host, or there is no memory; the step itself will tell
      recorded_.reset();
      on_ = false;
      return {};
    }
    recorded_->mirror->refresh();
    recorded_->graph.launch();
    recorded_->step.commit();
    return recorded_->logits;
  }

 private:
  struct Recorded {
    nn::CacheStep step;
    nn::DecoderRows rows = {};
    std::vector<int64_t> ids = {};
    std::vector<float> cos = {}, sin = {};
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
  void lay_out(Context& ctx, std::span<const int64_t> ids, const nn::Rope* rope) {
    Recorded& r = *recorded_;
    r.step.next(r.room);
    r.ids.assign(ids.begin(), ids.end());
    r.rows.q_start.assign(r.step.q_start.begin(), r.step.q_start.end());
    r.rows.k_start.assign(r.step.k_start.begin(), r.step.k_start.end());
    if (!rope) return;
    r.cos.resize(ids.size() * static_cast<size_t>(rope->half())), r.sin.resize(r.cos.size());
    HostContext host(ctx);
    rope->write(*host, r.step.positions(), r.cos.data(), r.sin.data());
  }

  void record(Context& ctx, nn::KvCache& cache, std::span<const int64_t> ids, const nn::Rope* rope, const Body& body) {
    constexpr size_t kLeastRoom = 16;
    const size_t room = recorded_ ? 2 * recorded_->step.room() : 0;
    recorded_.reset(new Recorded{.step = nn::CacheStep(cache, std::vector<int64_t>(ids.size(), 1))});
    Recorded& r = *recorded_;
    r.step.next(0);
    r.room = std::max({room, 2 * r.step.room(), kLeastRoom});
    lay_out(ctx, ids, rope);
    std::vector<cuda::Mirror::Array> arrays;
    const auto add = [&](const auto& v) {
      if (!v.empty()) arrays.push_back({v.data(), v.size() * sizeof(v[0])});
    };
    r.step.visit_arrays(add);
    add(r.ids), add(r.rows.q_start), add(r.rows.k_start), add(r.cos), add(r.sin);
    r.mirror.emplace(ctx.device().index, std::move(arrays));
    r.rows.cache = &r.step;
    if (rope) {
      const Shape shape{static_cast<int64_t>(ids.size()), rope->half()};
      r.rows.angles = {r.mirror->find(r.cos.data(), DType::F32).view(shape), r.mirror->find(r.sin.data(), DType::F32).view(shape)};
    }
    const WithMirror mirrored(ctx, *r.mirror);
    r.graph = cuda::Graph::record(ctx.device().index, [&] { r.logits = body(r.ids, r.rows); });
  }

  bool on_ = false;
  int64_t seen_ = -1;  // sequences of the last step
  std::unique_ptr<Recorded> recorded_;
};

}  // namespace tenon::models
