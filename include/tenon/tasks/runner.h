// What tasks share: a loaded model with Contexts for concurrent callers, and work cut into batches.
#pragma once

#include <memory>
#include <mutex>
#include <span>
#include <string>
#include <type_traits>
#include <utility>
#include <vector>

#include "tenon/io/checkpoint.h"
#include "tenon/models/registry.h"

namespace tenon {

/// How a task's model is opened and run.
struct PipelineOptions {
  models::Precision precision = models::Precision::Float32;
  bool exact_products = false;  // quantised checkpoints: activations are not rounded to int8 (LoadOptions::exact_products)
  bool fp8_rows = false;        // FP8 weights on a device: LoadOptions::fp8_rows
  int threads = 0;              // 0: get_num_threads() at the time of the call
  Device device = {};           // where the model lies and computes
  int batch_size = 32;          // the most inputs per forward pass: more of them take more memory, and less time each
};

}  // namespace tenon

namespace tenon::tasks {

/// Contexts that idle between calls, so that scratch memory is kept and every concurrent caller has its own.
class Contexts {
 public:
  Contexts(int threads, Device device) : threads_(threads), device_(device) {}

  /// Calls f(Context&) with a Context that nobody else uses meanwhile.
  template <class F>
  auto with(F&& f) {
    struct Lease {
      Contexts& from;
      std::unique_ptr<Context> context;
      ~Lease() { from.give_back(std::move(context)); }
    } lease{*this, take()};
    return f(*lease.context);
  }

 private:
  std::unique_ptr<Context> take() {
    std::unique_ptr<Context> context;
    {
      const std::lock_guard lock(mutex_);
      if (!idle_.empty()) {
        context = std::move(idle_.back());
        idle_.pop_back();
      }
    }
    if (!context) context = std::make_unique<Context>(device_);
    context->set_threads(threads_);
    return context;
  }
  void give_back(std::unique_ptr<Context> context) noexcept {
    const std::lock_guard lock(mutex_);
    try {
      idle_.push_back(std::move(context));
    } catch (const std::bad_alloc&) {  // then this one is not kept
    }
  }

  int threads_;
  Device device_;
  std::mutex mutex_;
  std::vector<std::unique_ptr<Context>> idle_;
};

/// What a model gave, where tasks read it.
inline models::Outputs on_host(models::Outputs outputs) {
  outputs.visit([](const char*, auto& value) {
    if constexpr (std::is_same_v<std::decay_t<decltype(value)>, Tensor>) value = value.to(Device{});
    else
      for (Tensor& t : value) t = t.to(Device{});
  });
  return outputs;
}

/// A model that several threads may run at once.
class Runner {
 public:
  /// Errors: as models::load(); Error(Limit) for a batch size below 1.
  Runner(const std::string& folder, const PipelineOptions& options, models::LoadOptions load)
      : batch_size_(options.batch_size), threads_(options.threads), contexts_(std::make_shared<Contexts>(options.threads, options.device)) {
    check(batch_size_ >= 1, ErrorCode::Limit, "pipeline", "batch_size: expected at least 1, got ", batch_size_);
    load.precision = options.precision;
    load.exact_products = options.exact_products, load.fp8_rows = options.fp8_rows;
    model_ = contexts_->with([&](Context& ctx) { return models::load(ctx, folder, load); });
  }

  const models::Model& model() const { return *model_; }
  const Json& config() const { return model_->config(); }
  int batch_size() const { return batch_size_; }
  int threads() const { return threads_; }  // 0: get_num_threads() at the time of the call

  /// Calls f(Context&) with a Context of this model's own.
  template <class F>
  auto with_context(F&& f) const {
    return contexts_->with(f);
  }
  /// Outputs in the host's memory.
  models::Outputs forward(const models::Inputs& inputs) const {
    return with_context([&](Context& ctx) { return on_host(model_->forward(ctx, inputs)); });
  }

  /// Calls f(part) for consecutive parts of at most batch_size items.
  template <class Item, class F>
  void in_batches(std::span<const Item> items, F&& f) const {
    for (size_t i = 0; i < items.size(); i += static_cast<size_t>(batch_size_))
      f(items.subspan(i, std::min(items.size() - i, static_cast<size_t>(batch_size_))));
  }

 private:
  int batch_size_, threads_;
  std::shared_ptr<Contexts> contexts_;
  std::shared_ptr<const models::Model> model_;
};

/// Whether the checkpoint holds the weights of a pooler; one that is not trained would be noise.
inline bool holds_pooler(const std::string& folder) {
  const io::Checkpoint checkpoint = io::Checkpoint::open(folder);
  for (const std::string& name : checkpoint.names())
    if (name == "pooler.dense.weight" || name.ends_with(".pooler.dense.weight")) return true;
  return false;
}

/// Loads the base model, with its pooler if `pooler` is set.
inline models::LoadOptions base_model(bool pooler) {
  models::LoadOptions load{.class_name = "AutoModel"};
  if (!pooler) load.config_overrides.set("add_pooling_layer", false);
  return load;
}

/// Row i of a (B,...) float32 tensor as floats.
inline std::span<const float> row(const Tensor& t, int64_t i) {
  const int64_t width = t.numel() / t.size(0);
  return t.values<float>().subspan(static_cast<size_t>(i * width), static_cast<size_t>(width));
}

/// The only element of a vector that a one-item call gave.
template <class Value>
Value only(std::vector<Value> values) {
  return std::move(values.front());
}

}  // namespace tenon::tasks
