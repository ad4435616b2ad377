// Grapheme clusters: classes from utf8proc with what younger versions of Unicode added, and the rules of UAX 29.
#include "tenon/text/grapheme.h"

#include <utf8proc.h>

#include <algorithm>
#include <iterator>

#include "tenon/text/utf8.h"

namespace tenon::text {
namespace {

struct Range {
  char32_t first, last;
};

// Marks that came with Unicode 16 and 17.
constexpr Range kYoungMarks[] = {
    {0x897, 0x897},     {0x1ACF, 0x1ADD},   {0x1AE0, 0x1AEB},   {0x10D69, 0x10D6D}, {0x10EFA, 0x10EFC},
    {0x113B8, 0x113C0}, {0x113C2, 0x113C2}, {0x113C5, 0x113C5}, {0x113C7, 0x113CA}, {0x113CC, 0x113D0},
    {0x113D2, 0x113D2}, {0x113E1, 0x113E2}, {0x11B60, 0x11B67}, {0x11F5A, 0x11F5A}, {0x1611E, 0x1612F},
    {0x1E5EE, 0x1E5EF}, {0x1E6E3, 0x1E6E3}, {0x1E6E6, 0x1E6E6}, {0x1E6EE, 0x1E6EF}, {0x1E6F5, 0x1E6F5},
};

// Letters that a linker joins with the next one (Indic_Conjunct_Break=Consonant of Unicode 17, without the supplementary planes).
constexpr Range kConsonants[] = {
    {0x915, 0x939},   {0x958, 0x95F},   {0x978, 0x97F},   {0x995, 0x9A8},   {0x9AA, 0x9B0},   {0x9B2, 0x9B2},   {0x9B6, 0x9B9},
    {0x9DC, 0x9DD},   {0x9DF, 0x9DF},   {0x9F0, 0x9F1},   {0xA95, 0xAA8},   {0xAAA, 0xAB0},   {0xAB2, 0xAB3},   {0xAB5, 0xAB9},
    {0xAF9, 0xAF9},   {0xB15, 0xB28},   {0xB2A, 0xB30},   {0xB32, 0xB33},   {0xB35, 0xB39},   {0xB5C, 0xB5D},   {0xB5F, 0xB5F},
    {0xB71, 0xB71},   {0xC15, 0xC28},   {0xC2A, 0xC39},   {0xC58, 0xC5A},   {0xD15, 0xD3A},   {0x1000, 0x102A}, {0x103F, 0x103F},
    {0x1050, 0x1055}, {0x105A, 0x105D}, {0x1061, 0x1061}, {0x1065, 0x1066}, {0x106E, 0x1070}, {0x1075, 0x1081}, {0x108E, 0x108E},
    {0x1780, 0x17B3}, {0x1A20, 0x1A54}, {0x1B0B, 0x1B0C}, {0x1B13, 0x1B33}, {0x1B45, 0x1B4C}, {0x1B83, 0x1BA0}, {0x1BAE, 0x1BAF},
    {0x1BBB, 0x1BBD}, {0xA989, 0xA98B}, {0xA98F, 0xA9B2}, {0xA9E0, 0xA9E4}, {0xA9E7, 0xA9EF}, {0xA9FA, 0xA9FE}, {0xAA60, 0xAA6F},
    {0xAA71, 0xAA73}, {0xAA7A, 0xAA7A}, {0xAA7E, 0xAA7F}, {0xAAE0, 0xAAEA}, {0xABC0, 0xABDA},
};
constexpr char32_t kLinkers[] = {0x94D, 0x9CD, 0xACD, 0xB4D, 0xC4D, 0xD4D, 0x1039, 0x17D2, 0x1A60, 0x1B44, 0x1BAB, 0xA9C0, 0xAAF6};

bool is_in(char32_t c, const Range* begin, const Range* end) {
  const Range* r = std::lower_bound(begin, end, c, [](const Range& range, char32_t x) { return range.last < x; });
  return r != end && c >= r->first;
}
bool is_consonant(char32_t c) { return c >= 0x915 && is_in(c, std::begin(kConsonants), std::end(kConsonants)); }
bool is_linker(char32_t c) { return c >= 0x94D && std::find(std::begin(kLinkers), std::end(kLinkers), c) != std::end(kLinkers); }

int class_of(char32_t c) {
  if (c < 0x80)
    return c == '\r'            ? UTF8PROC_BOUNDCLASS_CR
           : c == '\n'          ? UTF8PROC_BOUNDCLASS_LF
           : c < 32 || c == 127 ? UTF8PROC_BOUNDCLASS_CONTROL
                                : UTF8PROC_BOUNDCLASS_OTHER;
  if (is_in(c, std::begin(kYoungMarks), std::end(kYoungMarks))) return UTF8PROC_BOUNDCLASS_EXTEND;
  if (c == 0x113D1) return UTF8PROC_BOUNDCLASS_PREPEND;
  if (c == 0x11A3A) return UTF8PROC_BOUNDCLASS_OTHER;
  if (c == 0x2065 || (c >= 0xFFF0 && c <= 0xFFF8)) return UTF8PROC_BOUNDCLASS_CONTROL;
  return utf8proc_get_property(static_cast<utf8proc_int32_t>(c))->boundclass;
}

bool is_control(int k) { return k == UTF8PROC_BOUNDCLASS_CR || k == UTF8PROC_BOUNDCLASS_LF || k == UTF8PROC_BOUNDCLASS_CONTROL; }

bool joins_hangul(int a, int b) {
  switch (a) {
    case UTF8PROC_BOUNDCLASS_L:
      return b == UTF8PROC_BOUNDCLASS_L || b == UTF8PROC_BOUNDCLASS_V || b == UTF8PROC_BOUNDCLASS_LV || b == UTF8PROC_BOUNDCLASS_LVT;
    case UTF8PROC_BOUNDCLASS_LV:
    case UTF8PROC_BOUNDCLASS_V:
      return b == UTF8PROC_BOUNDCLASS_V || b == UTF8PROC_BOUNDCLASS_T;
    case UTF8PROC_BOUNDCLASS_LVT:
    case UTF8PROC_BOUNDCLASS_T:
      return b == UTF8PROC_BOUNDCLASS_T;
    default:
      return false;
  }
}

// What has been read of a cluster, as far as the rules ask.
struct Cluster {
  int last;                      // class of the last character
  int flags_read = 0;            // regional indicators at the end
  bool after_picture = false;    // a picture, marks
  bool after_consonant = false;  // a consonant, marks and linkers
  bool has_linker = false;       // among those

  explicit Cluster(char32_t c) : last(class_of(c)) { note(c); }
  void note(char32_t c) {
    const bool is_mark = last == UTF8PROC_BOUNDCLASS_EXTEND || last == UTF8PROC_BOUNDCLASS_ZWJ;
    flags_read = last == UTF8PROC_BOUNDCLASS_REGIONAL_INDICATOR ? flags_read + 1 : 0;
    after_picture = last == UTF8PROC_BOUNDCLASS_EXTENDED_PICTOGRAPHIC || (after_picture && is_mark);
    if (is_consonant(c)) {
      after_consonant = true;
      has_linker = false;
    } else {
      after_consonant = after_consonant && is_mark;
      has_linker = after_consonant && (has_linker || is_linker(c));
    }
  }

  // Whether c belongs to the cluster; if so it is taken.
  bool take(char32_t c) {
    const int next = class_of(c);
    const bool joins = last == UTF8PROC_BOUNDCLASS_CR ? next == UTF8PROC_BOUNDCLASS_LF
                       : is_control(last) || is_control(next)
                           ? false
                           : joins_hangul(last, next) || next == UTF8PROC_BOUNDCLASS_EXTEND || next == UTF8PROC_BOUNDCLASS_ZWJ ||
                                 next == UTF8PROC_BOUNDCLASS_SPACINGMARK || last == UTF8PROC_BOUNDCLASS_PREPEND ||
                                 (after_consonant && has_linker && is_consonant(c)) ||
                                 (last == UTF8PROC_BOUNDCLASS_ZWJ && after_picture && next == UTF8PROC_BOUNDCLASS_EXTENDED_PICTOGRAPHIC) ||
                                 (flags_read % 2 == 1 && next == UTF8PROC_BOUNDCLASS_REGIONAL_INDICATOR);
    if (!joins) return false;
    last = next;
    note(c);
    return true;
  }
};

}  // namespace

const std::array<uint8_t, 0x10000>& grapheme_kinds() {
  static const std::array<uint8_t, 0x10000> kinds = [] {
    std::array<uint8_t, 0x10000> out{};
    for (char32_t c = 0; c < out.size(); ++c) {
      const int k = class_of(c);
      const bool joins = k == UTF8PROC_BOUNDCLASS_EXTEND || k == UTF8PROC_BOUNDCLASS_ZWJ || k == UTF8PROC_BOUNDCLASS_SPACINGMARK;
      out[c] = joins ? kJoins : k == UTF8PROC_BOUNDCLASS_OTHER && !is_consonant(c) ? kAlone : 0;
    }
    return out;
  }();
  return kinds;
}

size_t grapheme_length(std::string_view text) {
  const auto lead = static_cast<unsigned char>(text[0]);
  if (lead < 0x80 && lead != '\r' && (text.size() == 1 || static_cast<unsigned char>(text[1]) < 0x80)) return 1;
  Cluster cluster(decode(text.data()));
  size_t i = char_length(text[0]);
  while (i < text.size() && cluster.take(decode(text.data() + i))) i += char_length(text[i]);
  return i;
}

}  // namespace tenon::text
