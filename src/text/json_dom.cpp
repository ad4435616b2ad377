// Files and JSON documents of tokenizers.
#include "json_dom.h"

#include <cstdio>
#include <filesystem>

#include "tenon/core/error.h"

namespace tenon::text {
namespace {

constexpr uintmax_t kMaxFileBytes = uintmax_t{1} << 30;
constexpr int kMaxDepth = 64;

}  // namespace

bool file_exists(const std::string& path) {
  std::error_code ec;
  return std::filesystem::is_regular_file(path, ec);
}

std::string read_file(const std::string& path) {
  std::error_code ec;
  const uintmax_t bytes = std::filesystem::file_size(path, ec);
  check(!ec, ErrorCode::File, path, "cannot be read: ", ec.message());
  check(bytes <= kMaxFileBytes, ErrorCode::Limit, path, "size: expected at most ", kMaxFileBytes, " bytes, got ", bytes);
  std::string text(bytes, '\0');
  std::FILE* f = std::fopen(path.c_str(), "rb");
  check(f != nullptr, ErrorCode::File, path, "cannot be opened");
  const size_t got = std::fread(text.data(), 1, text.size(), f);
  std::fclose(f);
  check(got == text.size(), ErrorCode::File, path, "could not be read whole");
  return text;
}

void write_file(const std::string& path, std::string_view text) {
  const std::string temporary = path + ".tmp";
  std::FILE* f = std::fopen(temporary.c_str(), "wb");
  check(f != nullptr, ErrorCode::File, path, "cannot be written");
  const bool is_written = std::fwrite(text.data(), 1, text.size(), f) == text.size();
  const bool is_closed = std::fclose(f) == 0;
  std::error_code ec;
  if (is_written && is_closed) std::filesystem::rename(temporary, path, ec);
  if (is_written && is_closed && !ec) return;
  std::error_code ignored;
  std::filesystem::remove(temporary, ignored);
  fail(ErrorCode::File, path, "could not be written whole");
}

simdjson::dom::element parse_dom(simdjson::dom::parser& parser, std::string_view json, std::string_view where) {
  simdjson::dom::element root;
  const simdjson::error_code error = parser.parse(json.data(), json.size()).get(root);
  check(error == simdjson::SUCCESS, ErrorCode::Format, where, "not valid JSON: ", simdjson::error_message(error));
  return root;
}

Json dom_value(simdjson::dom::element element, int depth) {
  using simdjson::dom::element_type;
  check(depth < kMaxDepth, ErrorCode::Format, "tokenizer.json", "nesting: expected at most ", kMaxDepth, " levels");
  switch (element.type()) {
    case element_type::BOOL:
      return Json(bool(element));
    case element_type::INT64:
      return Json(int64_t(element));
    case element_type::UINT64:
      return Json(static_cast<double>(uint64_t(element)));
    case element_type::DOUBLE:
      return Json(double(element));
    case element_type::STRING:
      return Json(std::string(std::string_view(element)));
    case element_type::ARRAY: {
      Json::Array out;
      for (simdjson::dom::element x : simdjson::dom::array(element)) out.push_back(dom_value(x, depth + 1));
      return Json(std::move(out));
    }
    case element_type::OBJECT: {
      Json::Object out;
      for (auto [key, x] : simdjson::dom::object(element)) out.emplace_back(std::string(key), dom_value(x, depth + 1));
      return Json(std::move(out));
    }
    default:
      return Json();
  }
}

}  // namespace tenon::text
