// Chat templates: where checkpoints keep them, and what they see.
#include "tenon/text/chat_template.h"

#include <algorithm>

#include "jinja/interpreter.h"
#include "jinja/parser.h"
#include "tenon/io/files.h"
#include "tenon/text/tokenizer.h"

namespace tenon::text {
namespace {

constexpr const char* kWhere = "chat template";
constexpr size_t kLongestSource = size_t{1} << 20;
constexpr const char* kReasoning[] = {"reasoning_content", "thinking", "reasoning"};  // names of a message's reasoning, the usual one first

/// Messages without members that are null, with their reasoning under the names that templates read.
jinja::Value messages_of(const Json& messages) {
  check(!messages.as_array("messages").empty(), ErrorCode::Format, kWhere, "expected at least one message, got none");
  jinja::List out;
  for (const Json& m : messages.as_array()) {
    Json message = Json::Object{};
    const Json* reasoning = nullptr;
    for (const char* name : kReasoning)
      if (!reasoning) reasoning = m.get(name);
    if (reasoning && !m.get("thinking")) message.set("thinking", *reasoning);
    for (const auto& [key, value] : m.as_object("message"))
      if (!value.is_null()) message.set(key, value);
    if (reasoning) message.set("reasoning_content", *reasoning);
    out.push_back(jinja::Value::of(message));
  }
  return jinja::Value::list(std::move(out));
}

/// The text of a special token, which some files keep as an object.
Json token_of(const Json& v) { return v.is_object() ? Json(v.value("content", "")) : v; }

Json variables_of(const Json& config) {
  Json variables = Json::Object{};
  for (const char* role : kRoleNames)
    if (const Json* token = config.get(role); token && token_of(*token).is_string()) variables.set(role, token_of(*token));
  return variables;
}

/// The template that tokenizer_config.json has under a name, or null.
Json written(const Json& config, const std::string& name) {
  const Json* own = config.get("chat_template");
  if (!own) return {};
  if (own->is_string()) return name.empty() ? *own : Json();
  for (const Json& t : own->as_array("chat_template"))
    if (t.value("name", "") == (name.empty() ? "default" : name)) return t.at("template");
  return {};
}

std::string file_of(const std::string& folder, const std::string& name) {
  return name.empty() ? io::join_path(folder, "chat_template.jinja")
                      : io::join_path(folder, "additional_chat_templates/" + name + ".jinja");
}

Json read_tokenizer_config(const std::string& folder) {
  const std::string path = io::join_path(folder, "tokenizer_config.json");
  return io::is_file(path) ? Json::parse_file(path) : Json(Json::Object{});
}

}  // namespace

struct ChatTemplate::Parsed {
  std::string source;
  jinja::Body body;
  Json variables;
};

ChatTemplate::ChatTemplate(std::string_view source, Json variables) {
  check(source.size() <= kLongestSource, ErrorCode::Limit, kWhere, "expected at most ", kLongestSource, " bytes, got ", source.size());
  parsed_ = std::make_shared<const Parsed>(Parsed{std::string(source), jinja::parse(source), std::move(variables)});
}

ChatTemplate ChatTemplate::from_folder(const std::string& folder, const std::string& name) {
  check(name.find('/') == std::string::npos, ErrorCode::Format, kWhere, "expected a name without '/', got ", name);
  const Json config = read_tokenizer_config(folder);
  if (io::is_file(file_of(folder, name))) return ChatTemplate(io::read_file(file_of(folder, name)), variables_of(config));
  const Json own = written(config, name);
  check(!own.is_null(), ErrorCode::Format, kWhere, folder, " has no chat template", name.empty() ? "" : " named " + name);
  return ChatTemplate(own.as_string("chat_template"), variables_of(config));
}

bool ChatTemplate::exists(const std::string& folder) {
  return io::is_file(file_of(folder, "")) || !written(read_tokenizer_config(folder), "").is_null();
}

std::string ChatTemplate::render(const Json& messages, const ChatOptions& options) const {
  jinja::Dict names = {{"messages", messages_of(messages)},
                       {"tools", jinja::Value::of(options.tools)},
                       {"documents", jinja::Value::of(options.documents)},
                       {"add_generation_prompt", options.add_generation_prompt}};
  for (const Json* variables : {&options.variables, &parsed_->variables})
    for (const auto& [key, value] : variables->as_object("variables")) names.emplace_back(key, jinja::Value::of(value));
  return jinja::Interpreter(std::move(names), options.now).render(parsed_->body);
}

const std::string& ChatTemplate::source() const { return parsed_->source; }

}  // namespace tenon::text
