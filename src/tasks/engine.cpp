// Engine: what callers on any thread see of the batch that one thread steps.
#include "tenon/tasks/engine.h"

#include <chrono>
#include <cmath>
#include <condition_variable>
#include <deque>
#include <mutex>
#include <thread>
#include <unordered_map>

#include "engine_batch.h"

namespace tenon {
namespace {

const models::Decoder& decoder_of(const models::Model& model) {
  const auto* decoder = dynamic_cast<const models::Decoder*>(&model);
  check(decoder != nullptr, ErrorCode::Type, "engine", "expected a decoder with a language model's head, got ", model.class_name());
  models::Inputs in;
  in.input_ids = Tensor::zeros({1, 1}, DType::I64);
  Context ctx(model.device());
  decoder->start(ctx, in);  // refuses other heads
  return *decoder;
}

/// Tokens per second, in which what happened five seconds of work ago counts half.
class Rate {
 public:
  void add(int64_t tokens, double seconds) {
    const double worth = std::exp2(-seconds / 5);
    tokens_ = tokens_ * worth + static_cast<double>(tokens);
    seconds_ = seconds_ * worth + seconds;
  }
  double value() const { return seconds_ > 0 ? tokens_ / seconds_ : 0; }

 private:
  double tokens_ = 0, seconds_ = 0;
};

}  // namespace

class Engine::Impl {
 public:
  Impl(const models::Model& model, const EngineOptions& options) : options_(options), ctx_(model.device()), batch_(decoder_of(model), options) {
    ctx_.set_threads(options.threads);
    batch_.describe(stats_);
  }
  ~Impl() {
    stop();
    for (const auto& [id, task] : live_) {
      task->finish(FinishReason::Cancelled);
      task->report();
    }
  }

  int64_t submit(EngineRequest request) {
    const auto task = std::make_shared<engine::Task>(std::move(request), batch_.vocab_size(), batch_.context());
    batch_.check_fits(*task);
    std::lock_guard lock(mutex_);
    const int64_t waiting = static_cast<int64_t>(live_.size()) - stats_.running;
    check(waiting < options_.max_waiting, ErrorCode::Limit, "engine", "the queue is full: ", waiting, " requests are waiting");
    task->result.id = ++last_id_;
    live_.emplace(last_id_, task);
    inbox_.push_back(task);
    changed_.notify_all();
    return last_id_;
  }
  bool cancel(int64_t id) {
    std::lock_guard lock(mutex_);
    const auto it = live_.find(id);
    if (it == live_.end()) return false;
    it->second->cancelled = true;
    return true;
  }

  bool step() {
    check(stepper_ != std::this_thread::get_id(), ErrorCode::Limit, "engine", "step() was called from a callback");
    std::lock_guard alone(stepping_);
    stepper_ = std::this_thread::get_id();
    std::vector<engine::TaskRef> fresh;
    {
      std::lock_guard lock(mutex_);
      fresh.swap(inbox_);
    }
    for (engine::TaskRef& task : fresh) batch_.add(std::move(task));
    const auto begin = std::chrono::steady_clock::now();
    const std::vector<engine::TaskRef> finished = batch_.step(ctx_);
    const std::chrono::duration<double> took = std::chrono::steady_clock::now() - begin;
    const bool more = book(finished, took.count());
    for (const engine::TaskRef& task : finished) task->report();
    stepper_ = std::thread::id();
    return more;
  }
  bool has_work() const {
    std::lock_guard lock(mutex_);
    return !live_.empty();
  }
  bool wait(double seconds) const {
    std::unique_lock lock(mutex_);
    changed_.wait_for(lock, std::chrono::duration<double>(seconds), [&] { return !live_.empty() || stopping_; });
    return !live_.empty();
  }

  void start() {
    std::lock_guard control(control_);
    if (thread_.joinable()) return;
    stopping_ = false;
    thread_ = std::thread([this] {
      while (!stopping_)
        if (wait(60) && !stopping_) step();
    });
  }
  void stop() {
    check(stepper_ != std::this_thread::get_id(), ErrorCode::Limit, "engine", "stop() was called from a callback");
    std::lock_guard control(control_);
    if (!thread_.joinable()) return;
    {
      std::lock_guard lock(mutex_);
      stopping_ = true;
      changed_.notify_all();
    }
    thread_.join();
    stopping_ = false;
  }

  EngineStats stats() const {
    std::lock_guard lock(mutex_);
    EngineStats s = stats_;
    s.waiting = static_cast<int64_t>(live_.size()) - s.running;
    return s;
  }

 private:
  /// Whether requests are left.
  bool book(const std::vector<engine::TaskRef>& finished, double seconds) {
    std::lock_guard lock(mutex_);
    const int64_t before = stats_.generated_tokens;
    for (const engine::TaskRef& task : finished) {
      live_.erase(task->id());
      const FinishReason reason = task->result.reason;
      ++(reason == FinishReason::Cancelled ? stats_.cancelled : reason == FinishReason::Error ? stats_.failed : stats_.finished);
    }
    batch_.describe(stats_);
    rate_.add(stats_.generated_tokens - before, seconds);
    stats_.tokens_per_second = rate_.value();
    return !live_.empty();
  }

  const EngineOptions options_;
  std::mutex stepping_;  // held for a step: ctx_ and batch_ are the stepping thread's
  Context ctx_;
  engine::Batch batch_;
  std::atomic<std::thread::id> stepper_{};

  mutable std::mutex mutex_;  // never held while a model computes or a callback runs
  mutable std::condition_variable changed_;
  std::vector<engine::TaskRef> inbox_;                   // not yet seen by the stepping thread
  std::unordered_map<int64_t, engine::TaskRef> live_;  // not yet finished
  int64_t last_id_ = 0;
  EngineStats stats_;
  Rate rate_;

  std::mutex control_;  // of start() and stop()
  std::thread thread_;
  std::atomic<bool> stopping_{false};
};

namespace {

/// What a stream and the callbacks that fill it share.
struct Channel {
  std::mutex mutex;
  std::condition_variable changed;
  std::deque<int64_t> tokens;
  std::optional<EngineResult> result;
};

class ChannelStream final : public EngineStream {
 public:
  ChannelStream(std::shared_ptr<Channel> channel, int64_t id) : channel_(std::move(channel)), id_(id) {}
  int64_t id() const override { return id_; }
  std::optional<int64_t> next() override {
    std::unique_lock lock(channel_->mutex);
    channel_->changed.wait(lock, [&] { return !channel_->tokens.empty() || channel_->result; });
    if (channel_->tokens.empty()) return {};
    const int64_t token = channel_->tokens.front();
    channel_->tokens.pop_front();
    return token;
  }
  EngineResult result() override {
    std::unique_lock lock(channel_->mutex);
    channel_->changed.wait(lock, [&] { return channel_->result.has_value(); });
    return *channel_->result;
  }

 private:
  std::shared_ptr<Channel> channel_;
  int64_t id_;
};

}  // namespace

Engine::Engine(const models::Model& model, const EngineOptions& options) : impl_(std::make_unique<Impl>(model, options)) {}
Engine::~Engine() = default;
int64_t Engine::submit(EngineRequest request) { return impl_->submit(std::move(request)); }
bool Engine::cancel(int64_t id) { return impl_->cancel(id); }
bool Engine::step() { return impl_->step(); }
bool Engine::has_work() const { return impl_->has_work(); }
bool Engine::wait(double seconds) const { return impl_->wait(seconds); }
void Engine::start() { impl_->start(); }
void Engine::stop() { impl_->stop(); }
EngineStats Engine::stats() const { return impl_->stats(); }

std::unique_ptr<EngineStream> Engine::stream(EngineRequest request) {
  const auto channel = std::make_shared<Channel>();
  request.hooks.on_tokens = [channel, also = std::move(request.hooks.on_tokens)](std::span<const int64_t> tokens) {
    if (also) also(tokens);
    std::lock_guard lock(channel->mutex);
    channel->tokens.insert(channel->tokens.end(), tokens.begin(), tokens.end());
    channel->changed.notify_all();
  };
  request.on_finish = [channel, also = std::move(request.on_finish)](const EngineResult& result) {
    {
      std::lock_guard lock(channel->mutex);
      channel->result = result;
      channel->changed.notify_all();
    }
    if (also) also(result);
  };
  const int64_t id = submit(std::move(request));
  return std::make_unique<ChannelStream>(channel, id);
}

}  // namespace tenon
