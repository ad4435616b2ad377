// Classifier-free guidance: two sessions, with and without what the text is led towards, that look like one.
#pragma once

#include <memory>

#include "scores.h"
#include "tenon/models/decoding.h"
#include "tenon/tasks/generation/processor.h"

namespace tenon::generation {

/// Logits are g * (log softmax(with) - log softmax(without)) + log softmax(without). The first feed() gives the other session its
/// own prompts; from then on both get the same tokens.
class GuidedSession final : public models::DecodingSession {
 public:
  GuidedSession(std::unique_ptr<DecodingSession> with, std::unique_ptr<DecodingSession> without, std::vector<Ids> negative, double scale)
      : with_(std::move(with)), without_(std::move(without)), negative_(std::move(negative)), scale_(static_cast<float>(scale)) {}

  int64_t vocab_size() const override { return with_->vocab_size(); }
  int64_t max_length() const override { return with_->max_length(); }
  int64_t size() const override { return with_->size(); }
  int64_t length(int64_t i) const override { return with_->length(i); }

  Tensor feed(Context& ctx, std::span<const Ids> tokens, bool all_positions) override {
    check(!all_positions, ErrorCode::Limit, "generate", "guidance_scale cannot be used with speculation");
    Tensor guided = with_->feed(ctx, tokens, false).to(Device{});
    Tensor plain = without_->feed(ctx, negative_.empty() ? tokens : std::span<const Ids>(negative_), false).to(Device{});
    negative_.clear();
    const int64_t V = guided.size(1);
    HostContext host(ctx);
    host->over_rows(guided.size(0), 8 * V, [&](int64_t begin, int64_t end) {
      for (int64_t i = begin; i < end; ++i) {
        const std::span<float> g(guided.data<float>() + i * V, static_cast<size_t>(V)),
            p(plain.data<float>() + i * V, static_cast<size_t>(V));
        log_softmax(g), log_softmax(p);
        for (size_t k = 0; k < g.size(); ++k) g[k] = scale_ * (g[k] - p[k]) + p[k];
      }
    });
    return guided;
  }
  void reuse_logits() override { with_->reuse_logits(), without_->reuse_logits(); }
  void reorder(std::span<const int64_t> parents) override { with_->reorder(parents), without_->reorder(parents); }
  void truncate(int64_t, int64_t) override { fail(ErrorCode::Limit, "generate", "guidance_scale cannot be used with speculation"); }

 private:
  std::unique_ptr<DecodingSession> with_, without_;
  std::vector<Ids> negative_;
  float scale_;
};

}  // namespace tenon::generation
