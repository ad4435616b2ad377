// One request of an Engine: checks, choosing tokens by generate()'s own rules, and endings.
#include "engine_task.h"

#include <algorithm>

namespace tenon::engine {
namespace {

constexpr const char* kWhere = "engine";

void check_request(const EngineRequest& r, int64_t vocab_size, int64_t context) {
  r.config.check();
  check(!r.prompt.empty(), ErrorCode::Limit, kWhere, "the prompt is empty");
  for (const int64_t id : r.prompt)
    check(id >= 0 && id < vocab_size, ErrorCode::Limit, kWhere, "prompt: token ", id, " is outside the vocabulary of ", vocab_size);
  check(static_cast<int64_t>(r.prompt.size()) <= context, ErrorCode::Limit, kWhere, "the prompt has ", r.prompt.size(),
        " tokens, but the model's context holds ", context);
  const GenerationConfig& c = r.config;
  check(c.num_beams == 1, ErrorCode::Limit, kWhere, "num_beams: expected 1, since tokens are handed out as they are written, got ", c.num_beams);
  check(c.num_return_sequences == 1, ErrorCode::Limit, kWhere,
        "num_return_sequences: expected 1 (submit the prompt once for each answer, with other seeds), got ", c.num_return_sequences);
  check(c.guidance_scale.value_or(1) == 1, ErrorCode::Limit, kWhere, "guidance_scale needs a second sequence, which generate() has");
  check(!c.output_scores && !c.output_logits, ErrorCode::Limit, kWhere, "output_scores and output_logits are generate()'s");
  check(!r.hooks.decoder_input_ids.defined() && !r.hooks.negative_prompt_ids.defined(), ErrorCode::Limit, kWhere,
        "decoder_input_ids and negative_prompt_ids are generate()'s");
}

bool has_nan(std::span<const float> x) {
  return std::any_of(x.begin(), x.end(), [](float v) { return v != v; });
}

}  // namespace

Task::Task(EngineRequest request, int64_t vocab_size, int64_t context) : request_(std::move(request)) {
  check_request(request_, vocab_size, context);
  const int64_t length = static_cast<int64_t>(request_.prompt.size());
  limit_ = generation::length_limit(request_.config, length);
  if (context < models::DecodingSession::kUnlimited) limit_ = std::min(limit_, context + 1);
  longest_ = limit_ - 1;
  const generation::ProcessorSetup setup{.prompt_length = length,
                                         .max_length = limit_,
                                         .vocab_size = vocab_size,
                                         .prefix_allowed_tokens = request_.hooks.prefix_allowed_tokens_fn,
                                         .user = request_.hooks.logits_processors};
  processors_ = generation::make_processors(request_.config, setup);
  rules_of_device_ = generation::DeviceRules(request_.config, setup);
  stopping_ = std::make_unique<generation::Stopping>(request_.config, request_.hooks, limit_, Ids{limit_});
  texts_ = {std::move(request_.prompt)};
  result.prompt_tokens = length;
}

void Task::choose(Context& ctx, Tensor logits) noexcept {
  try {
    check(request_.config.remove_invalid_values || !has_nan(logits.values<float>()), ErrorCode::Limit, kWhere,
          "the model's logits have NaN (remove_invalid_values goes on with 0 instead)");
    const std::span<const int64_t> written = text();
    const int64_t row = 0;
    for (const auto& p : processors_) p->apply(ctx, {{&written, 1}, {&row, 1}}, logits);
    const auto scores = generation::row_of(logits, 0);
    const auto step = static_cast<int64_t>(result.tokens.size());
    take(request_.config.do_sample ? generation::draw(scores, request_.hooks.seed, row, step) : generation::likeliest(scores));
  } catch (const std::exception& e) {
    fail_with(e);
  }
}

void Task::take(int64_t token) noexcept {
  try {
    result.tokens.push_back(token);
    texts_.front().push_back(token);
  } catch (const std::exception& e) {
    fail_with(e);
  }
}

void Task::settle() noexcept {
  if (finished_) return;
  try {
    if (request_.hooks.on_tokens) request_.hooks.on_tokens({&result.tokens.back(), 1});
    const int64_t row = 0;
    if (!(*stopping_)(texts_, {&row, 1}, 1, {})[0]) return;
    const Ids& eos = request_.config.eos_token_id;
    const bool ended = std::find(eos.begin(), eos.end(), result.tokens.back()) != eos.end();
    finish(stopping_->cancelled() ? FinishReason::Cancelled : !ended && length() >= limit_ ? FinishReason::Length : FinishReason::Stop);
  } catch (const std::exception& e) {
    fail_with(e);
  }
}

void Task::finish(FinishReason reason) {
  finished_ = true;
  result.reason = reason;
}

void Task::fail_with(const std::exception& e) {
  const auto* own = dynamic_cast<const Error*>(&e);
  result.error = own ? *own : Error(ErrorCode::Limit, std::string("[engine] ") + e.what());
  finish(FinishReason::Error);
}

void Task::report() noexcept {
  try {
    if (request_.on_finish) request_.on_finish(result);
  } catch (...) {  // the request is over: there is nobody left to tell
  }
}

}  // namespace tenon::engine
