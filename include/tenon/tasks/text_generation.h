// Text generation: a prompt in, its continuation or translation out, all at once or as it is written.
#pragma once

#include <atomic>
#include <functional>
#include <memory>
#include <optional>
#include <span>
#include <string>
#include <string_view>
#include <vector>

#include "tenon/tasks/generation/generate.h"
#include "tenon/tasks/runner.h"
#include "tenon/text/chat_template.h"
#include "tenon/text/tokenizer.h"

namespace tenon {

struct TextGenerationOptions {
  GenerationConfig config = {};    // start from TextGeneration::config(), what the checkpoint says
  bool add_special_tokens = true;  // what the tokenizer puts around a prompt
  uint64_t seed = 0;
  const std::atomic<bool>* cancel = nullptr;  // set by another thread: the text ends there
};

/// Continues texts with a decoder, or answers and translates them with an encoder-decoder. Several threads may call one object.
///
///     const tenon::TextGeneration tell("stories260K");
///     tenon::TextGenerationOptions options{.config = tell.config()};
///     options.config.max_new_tokens = 100;
///     tell.stream("Once upon a time", options, [](std::string_view piece) { std::cout << piece << std::flush; });
class TextGeneration {
 public:
  static constexpr const char* kTask = "text-generation";

  /// Opens model and tokenizer; a block for config.use_mtp when it is first asked for. Errors: as models::load() and
  /// text::Tokenizer::from_folder().
  explicit TextGeneration(const std::string& folder, const PipelineOptions& options = {});

  /// The options of the checkpoint; a caller changes a copy.
  const GenerationConfig& config() const { return config_; }
  const models::Model& model() const { return runner_.model(); }
  const text::Tokenizer& tokenizer() const { return tokenizer_; }

  /// What is written for each prompt (several answers one behind the other), without the prompt and without special tokens;
  /// PipelineOptions::batch_size prompts run together. An empty prompt stands alone: a decoder then starts from its bos token.
  /// Errors: as generate().
  std::vector<std::string> operator()(const std::vector<std::string>& prompts, const TextGenerationOptions& options) const;
  std::string operator()(const std::string& prompt, const TextGenerationOptions& options) const {
    return (*this)(std::vector<std::string>{prompt}, options).front();
  }
  /// The prompt that the checkpoint's chat template makes of messages [{"role", "content"}, ...]; it goes with add_special_tokens off.
  /// Errors: Error(Format) if the checkpoint has no chat template; as text::ChatTemplate::render().
  std::string chat_prompt(const Json& messages, const text::ChatOptions& options = {}) const;
  /// Calls on_text with each piece of the text as soon as its characters are complete, and returns how many tokens were written.
  /// Errors: as generate(); Error(Limit) with beams.
  int64_t stream(const std::string& prompt, const TextGenerationOptions& options,
                 const std::function<void(std::string_view)>& on_text) const;

 private:
  struct Block;  // of multi-token prediction
  models::Inputs encode(std::span<const std::string> prompts, const TextGenerationOptions& options) const;
  void write(std::span<const std::string> prompts, const TextGenerationOptions& options, std::vector<std::string>& to) const;
  GenerateHooks hooks(const TextGenerationOptions& options) const;
  const models::Model* mtp_block() const;
  std::string decode(std::span<const int64_t> ids, bool skip_special_tokens) const;

  tasks::Runner runner_;
  text::Tokenizer tokenizer_;
  std::optional<text::ChatTemplate> chat_;
  std::optional<Error> chat_error_;  // a template that cannot be used hinders none but who asks for it
  GenerationConfig config_;
  std::string folder_;
  PipelineOptions opened_with_;
  std::shared_ptr<Block> block_;
};

}  // namespace tenon
