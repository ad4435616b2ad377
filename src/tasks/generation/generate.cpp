// generate(): checks, lengths, and which search it is.
#include "tenon/tasks/generation/generate.h"

#include <algorithm>
#include <limits>
#include <optional>

#include "guided_session.h"
#include "job.h"
#include "prompt.h"
#include "tenon/models/mtp.h"

namespace tenon {
namespace generation {
namespace {

constexpr const char* kWhere = "generate";

/// For each prompt, the length at which the context is full: one token more than it holds, since the last is not read again.
Ids context_limits(const models::DecodingSession& session, const Prompt& prompt) {
  Ids limits;
  const int64_t most = session.max_length();
  for (size_t i = 0; i < prompt.tokens.size(); ++i) {
    const int64_t length = prompt.length(i), beside = static_cast<int64_t>(prompt.sequences[i].size()) - length;
    check(!prompt.tokens[i].empty(), ErrorCode::Limit, kWhere, "prompt ", i, " is empty");
    check(length <= most, ErrorCode::Limit, kWhere, "prompt ", i, " has ", length, " tokens, but the model's context holds ", most);
    limits.push_back(most >= std::numeric_limits<int64_t>::max() - std::max<int64_t>(0, beside) - 1 ? most : most + beside + 1);
  }
  return limits;
}

/// How many tokens of padding stand before each row's prompt, for the rules that skip them; none if no prompt is padded.
Ids padding_of(const Prompt& prompt, int64_t width) {
  Ids padding;
  bool any = false;
  for (size_t i = 0; i < prompt.tokens.size(); ++i) {
    const int64_t n = prompt.padding(i);
    any = any || n > 0;
    padding.insert(padding.end(), static_cast<size_t>(width), n);
  }
  return any ? padding : Ids{};
}

void check_speculation(const Prompt& prompt, const GenerationConfig& c, const char* name) {
  check(prompt.sequences.size() == 1, ErrorCode::Limit, kWhere, name, " works on one prompt at a time, got ", prompt.sequences.size());
  check(c.num_beams == 1 && c.num_return_sequences == 1, ErrorCode::Limit, kWhere, name,
        " writes one text: unset num_beams and num_return_sequences");
}

}  // namespace

int64_t length_limit(const GenerationConfig& c, int64_t prompt_length) {
  constexpr int64_t kDefaultNewTokens = 20;
  if (!c.max_new_tokens && c.max_length) {
    check(*c.max_length > prompt_length, ErrorCode::Limit, kWhere, "max_length: expected more than the ", prompt_length,
          " tokens of the prompt, got ", *c.max_length, "; max_new_tokens counts without the prompt");
    return *c.max_length;
  }
  return prompt_length + std::min(c.max_new_tokens.value_or(kDefaultNewTokens), std::numeric_limits<int64_t>::max() - prompt_length);
}

GenerateOutput generate(Context& ctx, models::DecodingSession& session, const Prompt& prompt, const GenerationConfig& config,
                        const GenerateHooks& hooks, models::DecodingSession* draft, models::MtpSession* mtp) {
  config.check();
  check(!prompt.sequences.empty() && session.size() == static_cast<int64_t>(prompt.sequences.size()), ErrorCode::Shape, kWhere,
        "expected a prompt for each of the ", session.size(), " sequences, got ", prompt.sequences.size());
  const bool beams = config.num_beams > 1;
  check(!beams || !hooks.on_tokens, ErrorCode::Limit, kWhere, "a streamer cannot be used with num_beams > 1: beams change after the fact");
  const int64_t width = std::max(config.num_beams, config.num_return_sequences);
  const int64_t prompt_length = static_cast<int64_t>(prompt.sequences.front().size());
  const int64_t max_length = length_limit(config, prompt_length);
  const ProcessorSetup setup{.prompt_length = prompt_length,
                             .max_length = max_length,
                             .vocab_size = session.vocab_size(),
                             .width = width,
                             .padding = padding_of(prompt, width),
                             .encoder_ids = prompt.encoder_ids,
                             .prefix_allowed_tokens = hooks.prefix_allowed_tokens_fn,
                             .user = hooks.logits_processors};
  HostContext host(ctx);
  Job job{.ctx = ctx,
          .host = *host,
          .session = session,
          .prompt = prompt,
          .config = config,
          .hooks = hooks,
          .width = width,
          .max_length = max_length,
          .processors = make_processors(config, setup),
          .stopping = Stopping(config, hooks, max_length, context_limits(session, prompt)),
          .rules_of_device = DeviceRules(config, setup)};
  const char* name = mtp ? "use_mtp" : draft ? "an assistant" : config.prompt_lookup_num_tokens ? "prompt_lookup_num_tokens" : nullptr;
  if (name) check_speculation(prompt, config, name);
  GenerateOutput output = name ? speculate(job, draft, mtp) : beams ? beam_search(job) : search(job);
  output.prompt_length = prompt_length;
  output.cancelled = job.stopping.cancelled();
  return output;
}

}  // namespace generation

namespace {

/// The prompts that guidance leads away from: those given, or the last token of each prompt.
std::vector<generation::Ids> negative_prompts(const generation::Prompt& prompt, const GenerateHooks& hooks) {
  if (hooks.negative_prompt_ids.defined()) {
    auto rows = generation::unpadded(hooks.negative_prompt_ids, hooks.negative_prompt_attention_mask, "negative_prompt_ids");
    check(rows.size() == prompt.sequences.size(), ErrorCode::Shape, "generate", "negative_prompt_ids: expected ", prompt.sequences.size(),
          " rows, got ", rows.size());
    return rows;
  }
  std::vector<generation::Ids> last;
  for (const generation::Ids& tokens : prompt.tokens) last.push_back({tokens.back()});
  return last;
}

/// The sequences of past_key_values, to be continued without changing them.
std::unique_ptr<models::DecodingSession> go_on(const models::Model& model, const models::Inputs& inputs, const GenerationConfig& config,
                                               const GenerateHooks& hooks) {
  const auto* decoder = dynamic_cast<const models::Decoder*>(&model);
  const auto* held = dynamic_cast<const models::DecoderSession*>(&inputs.past_key_values->session());
  check(decoder && held && &held->decoder_config() == &decoder->decoder_config(), ErrorCode::Type, "generate",
        "past_key_values: expected those of this model, a decoder");
  check(!inputs.prefix_key_values.defined() && !inputs.prompt_embeds.defined(), ErrorCode::Type, "generate",
        "past_key_values: not with prefix_key_values or prompt_embeds");
  check(!hooks.assistant && !config.use_mtp && config.guidance_scale.value_or(1) == 1, ErrorCode::Type, "generate",
        "past_key_values: not with an assistant, use_mtp or guidance_scale, which have read nothing of what they hold");
  return held->clone();
}

std::unique_ptr<models::DecodingSession> start_draft(Context& ctx, const models::Model& assistant, const models::Inputs& inputs,
                                                     int64_t vocab_size) {
  models::Inputs bare = inputs;  // what is trained to stand before texts is the model's, not the assistant's
  bare.prefix_key_values = bare.prompt_embeds = {};
  std::unique_ptr<models::DecodingSession> draft = assistant.start(ctx, bare);
  check(draft->vocab_size() == vocab_size, ErrorCode::Limit, "generate", "assistant: expected the model's vocabulary of ", vocab_size,
        " tokens, got ", draft->vocab_size());
  return draft;
}

}  // namespace

GenerateOutput generate(Context& ctx, const models::Model& model, const models::Inputs& inputs, const GenerationConfig& config,
                        const GenerateHooks& hooks) {
  config.check();
  const generation::Prompt prompt = generation::make_prompt(model.config(), inputs, config, hooks);
  models::Inputs start = inputs;
  if (!start.input_ids.defined() && !start.encoder_outputs.defined()) start.input_ids = generation::to_tensor(prompt.sequences, 0);
  start.cache_codes = config.cache_codes();
  const bool goes_on = inputs.past_key_values && inputs.past_key_values->columns() > 0;
  std::unique_ptr<models::DecodingSession> session = goes_on ? go_on(model, inputs, config, hooks) : model.start(ctx, start), draft;
  if (config.guidance_scale.value_or(1) != 1)
    session = std::make_unique<generation::GuidedSession>(std::move(session), model.start(ctx, start), negative_prompts(prompt, hooks),
                                                          *config.guidance_scale);
  std::optional<models::MtpSession> mtp;
  if (config.use_mtp) {
    const auto* block = dynamic_cast<const models::MtpModel*>(hooks.mtp);
    auto* main = dynamic_cast<models::DecoderSession*>(session.get());
    check(block && main, ErrorCode::Type, "generate", "use_mtp: expected a decoder without guidance, and its block as GenerateHooks::mtp");
    mtp.emplace(*block, *main);
  }
  if (hooks.assistant) draft = start_draft(ctx, *hooks.assistant, start, session->vocab_size());
  return generation::generate(ctx, *session, prompt, config, hooks, draft.get(), mtp ? &*mtp : nullptr);
}

}  // namespace tenon
