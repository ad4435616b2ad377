// Cuts texts into windows of tokens.
#include "tenon/tasks/token_windows.h"

#include <algorithm>

namespace tenon::tasks {
namespace {

/// Parts of about 4 KB that end where lines do.
std::vector<std::string_view> parts_of(std::span<const std::string> texts) {
  constexpr size_t kPart = 4096, kMost = 16384;
  std::vector<std::string_view> parts;
  for (const std::string& text : texts)
    for (size_t at = 0; at < text.size();) {
      size_t end = at + kPart < text.size() ? text.find('\n', at + kPart) : text.size();
      end = end == std::string::npos ? text.size() : end + (end < text.size());
      if (end - at > kMost) {
        end = at + kMost;
        while (end > at + 1 && (static_cast<unsigned char>(text[end]) & 0xC0) == 0x80) --end;  // not inside a character
      }
      parts.push_back(std::string_view(text).substr(at, end - at));
      at = end;
    }
  return parts;
}

}  // namespace

TokenWindows token_windows(const text::Tokenizer& tokenizer, std::span<const std::string> texts, int64_t length, int64_t count,
                           int64_t least) {
  check(length > 1 && count > 0, ErrorCode::Limit, "token windows", "expected windows of 2 tokens or more, got ", count, " of ", length);
  std::vector<std::string_view> parts = parts_of(texts);
  size_t bytes = 0;
  for (const std::string_view p : parts) bytes += p.size();
  const size_t enough = static_cast<size_t>(length * count) * 16;  // bytes: more than any tokenizer's tokens have on average
  if (bytes > enough && parts.size() > 64) {
    const size_t keep = std::max<size_t>(64, parts.size() * enough / bytes);
    std::vector<std::string_view> some;
    for (size_t i = 0; i < keep; ++i) some.push_back(parts[i * parts.size() / keep]);
    parts = std::move(some);
  }
  std::vector<text::TextInput> inputs;
  for (const std::string_view p : parts) inputs.push_back({p, std::nullopt});
  text::EncodeOptions options;
  options.add_special_tokens = false, options.ids_only = true;
  std::vector<int32_t> all;
  for (const text::Encoding& e : tokenizer.encode_batch(inputs, options)) all.insert(all.end(), e.ids.begin(), e.ids.end());
  const auto have = static_cast<int64_t>(all.size()), specials = static_cast<int64_t>(tokenizer.num_special_tokens_to_add());
  check(have >= least, ErrorCode::Limit, "calibration text", "expected at least ", least, " tokens, got ", have);
  check(length > specials, ErrorCode::Limit, "token windows", "expected windows longer than the ", specials, " special tokens, got ",
        length);
  const int64_t own = std::min(length - specials, have), n = std::min(count, have / own);
  TokenWindows windows{.length = own + specials, .ids = {}};
  text::EncodeOptions framing;
  framing.ids_only = true;
  for (int64_t i = 0; i < n; ++i) {
    const int64_t at = n == 1 ? 0 : i * (have - own) / (n - 1);
    const text::Encoding e =
        tokenizer.prepare(std::span(all).subspan(static_cast<size_t>(at), static_cast<size_t>(own)), std::nullopt, framing);
    windows.ids.insert(windows.ids.end(), e.ids.begin(), e.ids.end());
  }
  return windows;
}

}  // namespace tenon::tasks
