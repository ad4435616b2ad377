// Text generation: prompts as ids, ids as text.
#include "tenon/tasks/text_generation.h"

#include "tenon/tasks/texts.h"
#include "tenon/text/decode_stream.h"

namespace tenon {

struct TextGeneration::Block {
  std::mutex opening;
  std::unique_ptr<models::Model> model;
};

TextGeneration::TextGeneration(const std::string& folder, const PipelineOptions& options)
    : runner_(folder, options, {}),
      tokenizer_(text::Tokenizer::from_folder(folder)),
      config_(GenerationConfig::from_pretrained(folder)),
      folder_(folder),
      opened_with_(options),
      block_(std::make_shared<Block>()) {
  try {
    chat_.emplace(text::ChatTemplate::from_folder(folder));
  } catch (const Error& e) {
    chat_error_ = e;
  }
  if (!config_.pad_token_id && tokenizer_.role_id(text::Role::Pad) >= 0) config_.pad_token_id = tokenizer_.role_id(text::Role::Pad);
}

models::Inputs TextGeneration::encode(std::span<const std::string> prompts, const TextGenerationOptions& options) const {
  text::EncodeOptions encoding;
  encoding.add_special_tokens = options.add_special_tokens;
  std::vector<text::TextInput> texts;
  for (const std::string& prompt : prompts) texts.push_back({prompt, std::nullopt});
  const std::vector<text::Encoding> encodings = tokenizer_.encode_batch(texts, encoding, runner_.threads());
  size_t longest = 0;
  for (const text::Encoding& e : encodings) longest = std::max(longest, e.size());
  if (encodings.size() == 1 && longest == 0) return {};
  // A decoder's prompts are padded on the left: the next token of each is at the same place. The mask tells, so that no padding token
  // is needed, which many decoders lack.
  const Shape shape{static_cast<int64_t>(encodings.size()), static_cast<int64_t>(longest)};
  const bool left = !runner_.config().value("is_encoder_decoder", false);
  const int64_t pad = std::max<int64_t>(0, config_.pad_token_id.value_or(0));
  std::vector<int64_t> ids(static_cast<size_t>(shape.numel()), pad), mask(ids.size(), 0);
  for (size_t i = 0; i < encodings.size(); ++i) {
    const size_t n = encodings[i].size(), begin = i * longest + (left ? longest - n : 0);
    std::copy(encodings[i].ids.begin(), encodings[i].ids.end(), ids.begin() + static_cast<std::ptrdiff_t>(begin));
    std::fill_n(mask.begin() + static_cast<std::ptrdiff_t>(begin), n, 1);
  }
  models::Inputs inputs;
  inputs.input_ids = Tensor::from(ids, shape), inputs.attention_mask = Tensor::from(mask, shape);
  return inputs;
}

const models::Model* TextGeneration::mtp_block() const {
  const std::lock_guard lock(block_->opening);
  if (block_->model) return block_->model.get();
  const std::string type = runner_.config().value("model_type", "");
  for (const models::Entry& e : models::registry()) {
    if (type != e.model_type || !std::string_view(e.class_name).ends_with("MtpModel")) continue;
    models::LoadOptions load{.class_name = e.class_name, .precision = opened_with_.precision};
    load.exact_products = opened_with_.exact_products, load.fp8_rows = opened_with_.fp8_rows;
    block_->model = runner_.with_context([&](Context& ctx) { return models::load(ctx, folder_, load); });
    return block_->model.get();
  }
  fail(ErrorCode::Type, "generate", "use_mtp: expected a checkpoint with a block for it (deepseek_v3), got ", type);
}

GenerateHooks TextGeneration::hooks(const TextGenerationOptions& options) const {
  GenerateHooks hooks;
  hooks.seed = options.seed;
  hooks.cancel = options.cancel;
  if (options.config.use_mtp) hooks.mtp = mtp_block();
  hooks.decode = [this](std::span<const int64_t> ids) { return decode(ids, false); };
  return hooks;
}

std::string TextGeneration::decode(std::span<const int64_t> ids, bool skip_special_tokens) const {
  const std::vector<int32_t> narrow(ids.begin(), ids.end());
  // A model's vocabulary is often padded beyond the tokenizer's.
  return tokenizer_.decode(narrow, {.skip_special_tokens = skip_special_tokens, .clean_up = {}, .skip_unknown_ids = true});
}

std::vector<std::string> TextGeneration::operator()(const std::vector<std::string>& prompts, const TextGenerationOptions& options) const {
  std::vector<std::string> texts;
  runner_.in_batches(std::span<const std::string>(prompts), [&](std::span<const std::string> part) { write(part, options, texts); });
  return texts;
}

void TextGeneration::write(std::span<const std::string> prompts, const TextGenerationOptions& options, std::vector<std::string>& to) const {
  const models::Inputs inputs = encode(prompts, options);
  const GenerateOutput output =
      runner_.with_context([&](Context& ctx) { return generate(ctx, model(), inputs, options.config, hooks(options)); });
  const int64_t T = output.sequences.size(1);
  for (int64_t i = 0; i < output.sequences.size(0); ++i) {
    const auto ids = output.sequences.values<int64_t>().subspan(static_cast<size_t>(i * T), static_cast<size_t>(T));
    // Decoded together with the prompt: many decoders drop the space before a first word.
    const std::string before = decode(ids.first(static_cast<size_t>(output.prompt_length)), true), all = decode(ids, true);
    to.push_back(all.starts_with(before) ? all.substr(before.size())
                                         : decode(ids.subspan(static_cast<size_t>(output.prompt_length)), true));
  }
}

std::string TextGeneration::chat_prompt(const Json& messages, const text::ChatOptions& options) const {
  if (chat_error_) throw *chat_error_;
  return chat_->render(messages, options);
}

int64_t TextGeneration::stream(const std::string& prompt, const TextGenerationOptions& options,
                               const std::function<void(std::string_view)>& on_text) const {
  const models::Inputs inputs = encode(std::span(&prompt, 1), options);
  text::DecodeStream text(tokenizer_, {.skip_special_tokens = true, .clean_up = {}, .skip_unknown_ids = true});
  if (inputs.input_ids.defined() && !runner_.config().value("is_encoder_decoder", false)) {
    const auto ids = inputs.input_ids.values<int64_t>();
    text.push(std::vector<int32_t>(ids.begin(), ids.end()));  // what follows depends on it; the caller has its text
  }
  GenerateHooks with_text = hooks(options);
  int64_t written = 0;
  with_text.on_tokens = [&](std::span<const int64_t> tokens) {
    ++written;
    const std::string_view piece = text.push(static_cast<int32_t>(tokens.front()));
    if (!piece.empty()) on_text(piece);
  };
  runner_.with_context([&](Context& ctx) { return generate(ctx, model(), inputs, options.config, with_text); });
  if (const std::string_view rest = text.finish(); !rest.empty()) on_text(rest);
  return written;
}

}  // namespace tenon
