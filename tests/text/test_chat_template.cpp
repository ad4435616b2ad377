// Chat templates against what Jinja made of them (tests/golden/make_chat_templates.py), where checkpoints keep them, and hostile ones.
#include <doctest/doctest.h>

#include <filesystem>
#include <fstream>

#include "tenon/text/chat_template.h"

using namespace tenon;
using text::ChatOptions;
using text::ChatTemplate;

namespace {

const Json kHello = Json::parse(R"([{"role": "user", "content": "Hello"}])");

std::string render(const std::string& source, const Json& messages = kHello) { return ChatTemplate(source).render(messages); }

ErrorCode code_of(const std::string& source) {
  try {
    render(source);
  } catch (const Error& e) {
    return e.code();
  }
  FAIL("it did not refuse ", source.substr(0, 200));
  return ErrorCode::Format;
}

std::string repeated(const std::string& s, int n) {
  std::string out;
  for (int i = 0; i < n; ++i) out += s;
  return out;
}

}  // namespace

TEST_CASE("templates give the text that Jinja gives, and refuse what it refuses") {
  const Json recorded = Json::parse_file(std::string(TENON_TEST_DIR) + "/golden/chat_templates.json");
  const Json::Array& sources = recorded.at("templates").as_array();
  for (const Json& c : recorded.at("cases").as_array()) {
    const std::string& source = sources[static_cast<size_t>(c.at("template").as_int())].as_string();
    CAPTURE(source);
    ChatOptions options{.add_generation_prompt = c.value("add_generation_prompt", false)};
    if (c.has("tools")) options.tools = c.at("tools");
    if (c.has("variables")) options.variables = c.at("variables");
    const auto run = [&] { return ChatTemplate(source, recorded.at("special")).render(c.at("messages"), options); };
    if (c.has("text"))
      CHECK(run() == c.at("text").as_string());
    else
      CHECK_THROWS_AS(run(), Error);
  }
}

TEST_CASE("a template may be rendered again, tells the time it is given and where it went wrong") {
  const ChatTemplate chat("{{ strftime_now('%Y-%m-%d') }} {{ messages[0].content }}{{ x }}");
  CHECK(chat.render(kHello, {.variables = Json::parse(R"({"x": 1})"), .now = 86400 * 365 + 43200}) == "1971-01-01 Hello1");
  CHECK(chat.render(kHello, {.now = 43200 + 86400}) == "1970-01-02 Hello");
  CHECK_THROWS_WITH_AS(render("a\n{{ raise_exception('no ' ~ messages[0].role) }}"), doctest::Contains("no user (line 2)"), Error);
  CHECK_THROWS_WITH_AS(ChatTemplate("a\n\n{% if 1 %}"), doctest::Contains("line 3"), Error);
  CHECK_THROWS_AS(render("x", Json::parse("[]")), Error);
  CHECK_THROWS_AS(render("x", Json::parse(R"(["hello"])")), Error);
  CHECK_THROWS_AS(render("x", Json::parse(R"({"role": "user"})")), Error);
}

TEST_CASE("templates that nest, loop or write without end are refused") {
  CHECK(code_of("{% macro f() %}{{ f() }}{% endmacro %}{{ f() }}") == ErrorCode::Limit);
  CHECK(code_of("{% for i in range(90000) %}{% for j in range(90000) %}{% endfor %}{% endfor %}") == ErrorCode::Limit);
  CHECK(code_of("{{ 'abcdefgh' * 1000000000 }}") == ErrorCode::Limit);
  CHECK(code_of("{{ [1] * 1000000000 }}") == ErrorCode::Limit);
  CHECK(code_of("{% set n = namespace(s='x') %}{% for i in range(60) %}{% set n.s = n.s ~ n.s %}{% endfor %}") == ErrorCode::Limit);
  CHECK(code_of("{% set n = namespace(s=[1]) %}{% for i in range(60) %}{% set n.s = n.s + n.s %}{% endfor %}") == ErrorCode::Limit);
  CHECK(code_of("{% set s = 'x' * 30000000 %}{{ [s, s, s, s, s, s, s, s] }}") == ErrorCode::Limit);
  CHECK(code_of("{% set s = 'ab' * 2000000 %}{{ s | replace('a', s) }}") == ErrorCode::Limit);
  CHECK(code_of("{{ range(1000000) }}") == ErrorCode::Format);
  CHECK(code_of("{{ 9223372036854775807 + 1 }}") == ErrorCode::Format);
  CHECK(code_of("{{ 3 ** 99 }}") == ErrorCode::Format);
  CHECK(code_of("{{ " + repeated("(", 5000) + "1" + repeated(")", 5000) + " }}") == ErrorCode::Format);
  CHECK(code_of("{{ " + repeated("[", 100000)) == ErrorCode::Format);
  CHECK(code_of("{{ 1" + repeated(" + 1", 100000) + " }}") == ErrorCode::Format);
  CHECK(code_of("{{ x" + repeated("|trim", 100000) + " }}") == ErrorCode::Format);
  CHECK(code_of("{{ x" + repeated(".a", 100000) + " }}") == ErrorCode::Format);
  CHECK(code_of("{{ " + repeated("not ", 100000) + "1 }}") == ErrorCode::Format);
  CHECK(code_of("{{ " + repeated("-", 100000) + "1 }}") == ErrorCode::Format);
  CHECK(code_of(repeated("{% if 1 %}", 50000)) == ErrorCode::Format);
  CHECK(code_of(std::string(2 << 20, 'x')) == ErrorCode::Limit);
  CHECK(
      code_of("{% set n = namespace() %}{% for i in [1] %}{% macro f() %}{{ i }}{% endmacro %}{% set n.f = f %}{% endfor %}{{ n.f() }}") ==
      ErrorCode::Format);
  CHECK(render("{% set n = namespace() %}{% set n.n = n %}{{ n.n.n is defined }}") == "True");
}

TEST_CASE("damaged templates and texts are refused or repaired, never read beyond") {
  const std::string whole =
      "{%- for m in messages -%} {{ m['role'] | trim ~ \"\\u00e9\\x41\" }} {#- c -#} {% raw %}{{{% endraw %} {%- endfor %}";
  for (size_t n = 0; n <= whole.size(); ++n) {
    try {
      render(whole.substr(0, n));
      render(whole.substr(n));
    } catch (const Error&) {
    }
  }
  CHECK(render("\xff{{ '\xc3' }}\xe9") == "\xEF\xBF\xBD\xEF\xBF\xBD\xEF\xBF\xBD");
  CHECK(render("{{ messages[0].content[0] }}", Json::Array{Json::Object{{"role", "user"}, {"content", std::string("\xff\xc3")}}}) ==
        "\xEF\xBF\xBD");
}

TEST_CASE("a checkpoint's template comes from its file, its configuration, or its named ones") {
  const auto folder = std::filesystem::temp_directory_path() / "tenon_test_chat_template";
  std::filesystem::remove_all(folder);
  std::filesystem::create_directories(folder / "additional_chat_templates");
  const auto write = [&](const char* name, const std::string& text) { std::ofstream(folder / name) << text; };
  CHECK(!ChatTemplate::exists(folder.string()));
  CHECK_THROWS_AS(ChatTemplate::from_folder(folder.string()), Error);
  write("tokenizer_config.json",
        R"({"chat_template": [{"name": "default", "template": "d{{ bos_token }}"}, {"name": "tool_use", "template": "t"}],
                                     "bos_token": {"content": "<s>"}, "eos_token": null})");
  CHECK(ChatTemplate::exists(folder.string()));
  CHECK(ChatTemplate::from_folder(folder.string()).render(kHello) == "d<s>");
  CHECK(ChatTemplate::from_folder(folder.string(), "tool_use").render(kHello) == "t");
  CHECK_THROWS_AS(ChatTemplate::from_folder(folder.string(), "rag"), Error);
  write("chat_template.jinja", "file {{ bos_token }}\n");
  write("additional_chat_templates/rag.jinja", "rag");
  CHECK(ChatTemplate::from_folder(folder.string()).render(kHello) == "file <s>");
  CHECK(ChatTemplate::from_folder(folder.string(), "rag").render(kHello) == "rag");
  CHECK_THROWS_AS(ChatTemplate::from_folder(folder.string(), "../x"), Error);
  std::filesystem::remove_all(folder);
}
