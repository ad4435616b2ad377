// Chat templates: conversations to prompts, as Transformers' apply_chat_template writes them.
#pragma once

#include <ctime>
#include <memory>
#include <optional>
#include <string>
#include <string_view>

#include "tenon/core/json.h"

namespace tenon::text {

/// Beside the messages, what a template sees.
struct ChatOptions {
  bool add_generation_prompt = true;    // the prompt ends where the answer begins
  Json tools = {};                      // null, or an array of JSON schemas of functions
  Json documents = {};                  // null, or an array of {"title", "text"}
  Json variables = Json::Object{};      // further names; they go before bos_token and the like
  std::optional<std::time_t> now = {};  // what strftime_now tells; unset: the clock
};

/// A Jinja template, parsed once; several threads may render it at once. Templates are not trusted: they see the conversation and the
/// options and nothing else, and their depth, work and output are bounded. Of Jinja everything is there but inheritance, imports,
/// unpacked arguments (*a, **b) and some filters for web pages.
///
///     const auto chat = tenon::text::ChatTemplate::from_folder("qwen3");
///     const std::string prompt = chat.render(tenon::Json::parse(R"([{"role": "user", "content": "Hello"}])"));
class ChatTemplate {
 public:
  /// variables: names that every conversation sees, bos_token and the like.
  /// Errors: Error(Format) with the line for damaged templates; Error(Limit) for one of more than 1 MiB.
  explicit ChatTemplate(std::string_view source, Json variables = Json::Object{});
  /// A checkpoint's template (chat_template.jinja, additional_chat_templates/NAME.jinja, or chat_template in tokenizer_config.json) with
  /// its special tokens. name: of one of several; empty: the usual one.
  /// Errors: Error(Format) if the checkpoint has no such template; as the constructor; Error(File).
  static ChatTemplate from_folder(const std::string& folder, const std::string& name = "");
  /// Whether the checkpoint has a template, which from_folder() may yet refuse. Errors: Error(File), Error(Format).
  static bool exists(const std::string& folder);

  /// The prompt of messages [{"role", "content", ...}, ...].
  /// Errors: Error(Format) for an empty conversation, and for what the template refuses or cannot do, with the line; Error(Type) for
  /// messages that are no objects; Error(Limit) for a template that takes too much.
  std::string render(const Json& messages, const ChatOptions& options = {}) const;

  const std::string& source() const;

 private:
  struct Parsed;
  std::shared_ptr<const Parsed> parsed_;
};

}  // namespace tenon::text
