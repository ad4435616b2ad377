// Unicode tables and normal forms; data from unicode_table.inc, decompositions and compositions from utf8proc.
#include "tenon/text/unicode.h"

#include <utf8proc.h>

#include <algorithm>
#include <array>
#include <memory>

#include "tenon/text/utf8.h"

namespace tenon::text {
namespace {

struct Run {
  uint32_t first;
  uint16_t flags;
};
struct Pair {
  uint32_t first, second;
};
#include "unicode_table.inc"

// Decompositions that came with Unicode 15 and later; the reference has none of them, utf8proc may.
constexpr Pair kKeptRanges[] = {{0x105C9, 0x105E4}, {0x11383, 0x11391}, {0x113C5, 0x113C8}, {0x16121, 0x16128},
                                {0x16D68, 0x16D6A}, {0x1CCD6, 0x1CCF9}, {0x1E030, 0x1E06D}};

constexpr size_t kBlock = 256;
constexpr size_t kBlocks = 0x110000 / kBlock;

// Two-stage table; blocks with the same flags throughout are stored once.
class FlagTable {
 public:
  FlagTable() {
    size_t run = 0;
    for (size_t b = 0; b < kBlocks; ++b) {
      const uint32_t begin = static_cast<uint32_t>(b * kBlock);
      while (run + 1 < std::size(kRuns) && kRuns[run + 1].first <= begin) ++run;
      const bool uniform = run + 1 == std::size(kRuns) || kRuns[run + 1].first >= begin + kBlock;
      if (uniform && b > 0 && uniform_ && flags_.back() == kRuns[run].flags) {
        block_[b] = block_[b - 1];
        continue;
      }
      block_[b] = static_cast<uint16_t>(flags_.size() / kBlock);
      for (uint32_t c = begin; c < begin + kBlock; ++c) {
        while (run + 1 < std::size(kRuns) && kRuns[run + 1].first <= c) ++run;
        flags_.push_back(kRuns[run].flags);
      }
      uniform_ = uniform;
    }
  }
  FlagPages pages() const { return {block_.data(), flags_.data()}; }

 private:
  std::array<uint16_t, kBlocks> block_{};
  std::vector<uint16_t> flags_;
  bool uniform_ = false;
};

bool is_kept(char32_t c) {
  for (const Pair& r : kKeptRanges)
    if (c >= r.first && c <= r.second) return true;
  return std::binary_search(std::begin(kKept), std::end(kKept), uint32_t{c});
}

// Characters that NFC leaves alone and that never combine with the one before them.
bool is_inert(char32_t c) {
  if (c < 0x300) return true;
  if (c >= 0x400 && c < 0x483) return true;
  if (c >= 0x1E00 && c < 0x1F00) return true;
  if (c >= 0x3041 && c < 0x3099) return true;
  if (c >= 0x309D && c < 0x3100) return true;
  if (c >= 0x3400 && c < 0xA000) return true;
  if (c >= 0xAC00 && c < 0xD7A4) return true;
  return c >= 0x1F300 && c < 0x1FB00;
}

bool is_composed(NormalForm form) { return form == NormalForm::NFC || form == NormalForm::NFKC; }

// Whether c stands for itself in this form and starts afresh; may say no for some that do.
bool stays(char32_t c, NormalForm form) { return form == NormalForm::NFC ? is_inert(c) : c < 0xA0; }

struct Item {
  int ccc;
  char32_t c;
  int change;
};

// Canonical recomposition of decomposed items; a composed character carries the changes of what went into it.
void recompose(const std::vector<Item>& items, std::vector<NormalStep>& out) {
  std::vector<NormalStep> blocked;
  NormalStep starter{};
  bool has_starter = false;
  int last_ccc = -1;
  auto flush = [&] {
    if (has_starter) out.push_back(starter);
    out.insert(out.end(), blocked.begin(), blocked.end());
    blocked.clear();
    last_ccc = -1;
  };
  for (const Item& item : items) {
    if (!has_starter) {
      if (item.ccc != 0) {
        out.push_back({item.c, item.change});
        continue;
      }
      starter = {item.c, item.change};
      has_starter = true;
      continue;
    }
    const bool is_blocked = last_ccc >= 0 && last_ccc >= item.ccc;
    if (!is_blocked) {
      if (const char32_t composed = compose(starter.c, item.c)) {
        starter = {composed, starter.change + item.change - 1};
        continue;
      }
    }
    if (item.ccc == 0) {
      flush();
      starter = {item.c, item.change};
    } else {
      blocked.push_back({item.c, item.change});
      last_ccc = item.ccc;
    }
  }
  flush();
}

}  // namespace

const FlagPages& flag_pages() {
  static const FlagTable table;
  static const FlagPages pages = table.pages();
  return pages;
}

uint16_t char_flags(char32_t c) { return c < 0x110000 ? flag_pages()[c] : 0; }

int to_lower(char32_t c, char32_t out[2]) {
  if (c == 0x130) {
    out[0] = 'i';
    out[1] = 0x307;
    return 2;
  }
  out[0] = static_cast<char32_t>(utf8proc_tolower(static_cast<utf8proc_int32_t>(c)));
  if (out[0] == c && c >= kLower[0].first) {
    const auto* hit = std::lower_bound(std::begin(kLower), std::end(kLower), c, [](const Pair& p, char32_t x) { return p.first < x; });
    if (hit != std::end(kLower) && hit->first == c) out[0] = hit->second;
  }
  return 1;
}

std::string to_lower(std::string_view text) {
  constexpr char32_t kSigma = 0x3A3, kFinalSigma = 0x3C2;
  const auto is_letter = [](char32_t c) { return (char_flags(c) & kLetter) != 0; };
  std::string out;
  out.reserve(text.size());
  for (size_t i = 0; i < text.size();) {
    const char32_t c = decode(text.data() + i);
    const size_t end = i + char_length(text[i]);
    char32_t low[2];
    const int n = to_lower(c, low);
    if (c == kSigma && i > 0 && is_letter(last_char(text.substr(0, i))) && (end == text.size() || !is_letter(decode(text.data() + end))))
      low[0] = kFinalSigma;
    for (int k = 0; k < n; ++k) append(out, low[k]);
    i = end;
  }
  return out;
}

int combining_class(char32_t c) {
  if (c < 0x300 || !(char_flags(c) & kMark)) return 0;
  return utf8proc_get_property(static_cast<utf8proc_int32_t>(c))->combining_class;
}

int decompose(char32_t c, bool compatibility, char32_t out[32]) {
  out[0] = c;
  if (c < 0xA0) return 1;
  const auto code = static_cast<utf8proc_int32_t>(c);
  const bool is_hangul = c >= 0xAC00 && c < 0xD7A4;
  if (!is_hangul && utf8proc_get_property(code)->decomp_seqindex == UINT16_MAX) return 1;
  if (is_kept(c)) return 1;
  utf8proc_int32_t buffer[32];
  int last_class = 0;
  const int options = UTF8PROC_DECOMPOSE | (compatibility ? UTF8PROC_COMPAT : 0);
  const auto n = utf8proc_decompose_char(code, buffer, 32, static_cast<utf8proc_option_t>(options), &last_class);
  if (n < 1 || n > 32) return 1;
  for (utf8proc_ssize_t i = 0; i < n; ++i) out[i] = static_cast<char32_t>(buffer[i]);
  return static_cast<int>(n);
}

char32_t compose(char32_t a, char32_t b) {
  if (b < 0x300) return 0;
  utf8proc_int32_t buffer[3] = {static_cast<utf8proc_int32_t>(a), static_cast<utf8proc_int32_t>(b), 0};
  const auto n = utf8proc_normalize_utf32(buffer, 2, static_cast<utf8proc_option_t>(UTF8PROC_COMPOSE | UTF8PROC_STABLE));
  return n == 1 && !is_kept(static_cast<char32_t>(buffer[0])) ? static_cast<char32_t>(buffer[0]) : 0;
}

void normal_steps(std::string_view text, NormalForm form, std::vector<NormalStep>& out) {
  const bool compatibility = form == NormalForm::NFKC || form == NormalForm::NFKD;
  std::vector<Item> items;
  items.reserve(text.size());
  size_t cluster = 0;
  auto sort_cluster = [&] {
    std::stable_sort(items.begin() + static_cast<std::ptrdiff_t>(cluster), items.end(),
                     [](const Item& a, const Item& b) { return a.ccc < b.ccc; });
    cluster = items.size();
  };
  char32_t parts[32];
  for (size_t i = 0; i < text.size(); i += char_length(text[i])) {
    const int n = decompose(decode(text.data() + i), compatibility, parts);
    for (int k = 0; k < n; ++k) {
      const int ccc = combining_class(parts[k]);
      if (ccc == 0) sort_cluster();
      items.push_back({ccc, parts[k], k > 0});
    }
  }
  sort_cluster();
  if (is_composed(form)) return recompose(items, out);
  for (const Item& item : items) out.push_back({item.c, item.change});
}

size_t normal_prefix(std::string_view text, NormalForm form) {
  size_t last = 0;
  for (size_t i = 0; i < text.size(); i += char_length(text[i])) {
    // in a composed form the character before this one may combine with it
    if (!stays(decode(text.data() + i), form)) return is_composed(form) ? last : i;
    last = i;
  }
  return text.size();
}

size_t normal_segment(std::string_view text, NormalForm form) {
  size_t i = char_length(text[0]);
  while (i < text.size() && !stays(decode(text.data() + i), form)) i += char_length(text[i]);
  return i;
}

}  // namespace tenon::text
