// Scanner: reading a pattern. Whatever is not understood gives no scanner rather than an error; PCRE2 sees the pattern then.
#include <algorithm>
#include <optional>
#include <string>
#include <utility>

#include "tenon/text/scanner.h"
#include "tenon/text/unicode.h"
#include "tenon/text/utf8.h"

namespace tenon::text {
namespace {

using Range = std::pair<char32_t, char32_t>;

constexpr uint32_t kNoLimit = ~uint32_t{0};
constexpr char32_t kLastCode = 0x10FFFF;
constexpr size_t kMaxBits = 32;
constexpr uint32_t kMaxRepeat = 1000;

// \p{Han} of Unicode 16.
constexpr Range kHan[] = {{0x2E80, 0x2E99},   {0x2E9B, 0x2EF3},   {0x2F00, 0x2FD5},   {0x3005, 0x3005},   {0x3007, 0x3007},   {0x3021, 0x3029},
                          {0x3038, 0x303B},   {0x3400, 0x4DBF},   {0x4E00, 0x9FFF},   {0xF900, 0xFA6D},   {0xFA70, 0xFAD9},   {0x16FE2, 0x16FE3},
                          {0x16FF0, 0x16FF1}, {0x20000, 0x2A6DF}, {0x2A700, 0x2B739}, {0x2B740, 0x2B81D}, {0x2B820, 0x2CEA1}, {0x2CEB0, 0x2EBE0},
                          {0x2EBF0, 0x2EE5D}, {0x2F800, 0x2FA1D}, {0x30000, 0x3134A}, {0x31350, 0x323AF}};

struct CharClass {
  uint32_t categories = 0;  // one bit each
  bool spaces = false, others = false;  // \s, \S
  std::vector<Range> ranges;
  std::vector<CharClass> members;  // classes within the class
  std::vector<CharClass> also;     // && of the class with these
  bool negated = false;
  bool operator==(const CharClass&) const = default;

  bool has(char32_t c, unsigned category, bool is_space) const {
    bool in = (categories >> category & 1) || (is_space ? spaces : others);
    for (const auto& [first, last] : ranges) in = in || (c >= first && c <= last);
    for (const CharClass& member : members) in = in || member.has(c, category, is_space);
    for (const CharClass& other : also) in = in && other.has(c, category, is_space);
    return in != negated;
  }
};

// Thrown within this file alone, for what is not understood.
struct Unknown {};

}  // namespace

class ScannerBuilder {
 public:
  explicit ScannerBuilder(std::string_view pattern) : text_(pattern) {}

  std::unique_ptr<Scanner> build() {
    const std::vector<Sequence> branches = parse_branches(false);
    if (at_ != text_.size()) throw Unknown();
    scanner_->n_top_ = static_cast<uint32_t>(branches.size());
    if (branches.size() > kMaxBits) throw Unknown();
    add_branches(branches);
    fill_tables();
    return std::move(scanner_);
  }

 private:
  using Node = Scanner::Node;
  struct Item {
    Node node;
    CharClass set;
    std::vector<std::vector<Item>> group;  // of Optional
    bool is_fixed() const { return node.kind == Node::Run && node.min == node.max; }
  };
  using Sequence = std::vector<Item>;

  bool has_more() const { return at_ < text_.size(); }
  bool eat(std::string_view what) {
    if (!text_.substr(at_).starts_with(what)) return false;
    at_ += what.size();
    return true;
  }
  char32_t next_char() {
    if (!has_more()) throw Unknown();
    const char32_t c = decode(text_.data() + at_);
    at_ += char_length(text_[at_]);
    return c;
  }

  std::vector<Sequence> parse_branches(bool caseless) {
    std::vector<Sequence> out;
    do {
      for (Sequence& s : parse_sequence(caseless)) out.push_back(std::move(s));
    } while (eat("|"));
    return out;
  }

  // Several if a group with several branches starts it.
  std::vector<Sequence> parse_sequence(bool caseless) {
    std::vector<Sequence> out(1);
    while (has_more() && text_[at_] != '|' && text_[at_] != ')') {
      if (!out[0].empty() && out[0].back().node.kind == Node::Optional) throw Unknown();
      if (eat("(?!") || eat("(?=")) {
        Item item;
        item.node.kind = text_[at_ - 1] == '!' ? Node::NotAhead : Node::Ahead;
        item.set = parse_set(false);
        if (!eat(")")) throw Unknown();
        append(out, item);
      } else if (eat("\\z")) {
        Item item;
        item.node.kind = Node::End;
        append(out, item);
      } else if (text_[at_] == '(') {
        parse_group(out, caseless);
      } else {
        Item item;
        item.set = parse_set(caseless);
        parse_repeat(item.node);
        append(out, item);
      }
      // a pair of letters that one character may stand for when case does not count
      for (const Sequence& s : out)
        if (caseless && s.size() > 1 && folds_together(s[s.size() - 2], s.back())) throw Unknown();
    }
    return out;
  }

  static void append(std::vector<Sequence>& sequences, const Item& item) {
    for (Sequence& s : sequences) s.push_back(item);
  }

  void parse_group(std::vector<Sequence>& out, bool caseless) {
    if (eat("(?i:"))
      caseless = true;
    else if (!eat("(?:") && (!eat("(") || (has_more() && text_[at_] == '?')))
      throw Unknown();
    const std::vector<Sequence> inner = parse_branches(caseless);
    if (!eat(")")) throw Unknown();
    if (eat("?")) {
      if (has_more() && text_[at_] != '|' && text_[at_] != ')') throw Unknown();
      Item item;
      item.node.kind = Node::Optional;
      item.group = inner;
      append(out, item);
      return;
    }
    if (has_more() && (text_[at_] == '*' || text_[at_] == '+' || text_[at_] == '{')) throw Unknown();
    // (a|b)c is ac|bc as long as what stands before can match in one way only
    std::vector<Sequence> product;
    for (const Sequence& before : out) {
      if (!std::all_of(before.begin(), before.end(), [](const Item& item) { return item.is_fixed(); })) throw Unknown();
      for (const Sequence& s : inner) {
        product.push_back(before);
        product.back().insert(product.back().end(), s.begin(), s.end());
      }
    }
    out = std::move(product);
    if (out.size() > kMaxBits) throw Unknown();
  }

  static bool folds_together(const Item& a, const Item& b) {
    const auto has = [](const Item& item, char32_t c) { return item.node.kind != Node::Run || item.set.has(c, 0, false); };
    return (has(a, 'f') && (has(b, 'f') || has(b, 'i') || has(b, 'l'))) || (has(a, 's') && (has(b, 's') || has(b, 't')));
  }

  void parse_repeat(Node& node) {
    if (eat("?"))
      node.min = 0;
    else if (eat("*"))
      node.min = 0, node.max = kNoLimit;
    else if (eat("+"))
      node.max = kNoLimit;
    else if (eat("{"))
      return parse_interval(node);
    else
      return;
    if (eat("+"))
      node.is_possessive = true;
    else if (has_more() && (text_[at_] == '?' || text_[at_] == '*' || text_[at_] == '{'))
      throw Unknown();
  }

  void parse_interval(Node& node) {
    const auto number = [this] {
      uint32_t n = 0;
      if (!has_more() || text_[at_] < '0' || text_[at_] > '9') throw Unknown();
      while (has_more() && text_[at_] >= '0' && text_[at_] <= '9' && n <= kMaxRepeat) n = 10 * n + static_cast<uint32_t>(text_[at_++] - '0');
      return n;
    };
    node.min = node.max = number();
    if (eat(",")) node.max = has_more() && text_[at_] == '}' ? kNoLimit : number();
    const bool is_known = eat("}") && node.min <= node.max && node.max > 0 && node.min <= kMaxRepeat;
    // what follows would repeat the interval here, not make it possessive or lazy
    const bool is_last = !has_more() || (text_[at_] != '+' && text_[at_] != '?' && text_[at_] != '*' && text_[at_] != '{');
    if (!is_known || !is_last) throw Unknown();
  }

  // A character, an escape or a class.
  CharClass parse_set(bool caseless) {
    if (!has_more()) throw Unknown();
    CharClass set;
    if (eat("[")) {
      set = parse_class();
    } else if (text_[at_] == '\\') {
      parse_escape(set);
    } else {
      const char32_t c = next_char();
      constexpr std::string_view kMeaning = ".^$*+?{}()|[]";
      if (c < 0x80 && kMeaning.find(static_cast<char>(c)) != std::string_view::npos) throw Unknown();
      set.ranges.emplace_back(c, c);
    }
    if (caseless) add_cases(set);
    return set;
  }

  static void add_cases(CharClass& set) {
    const bool is_plain = !set.negated && set.categories == 0 && !set.spaces && !set.others && set.members.empty() && set.also.empty();
    if (!is_plain) throw Unknown();
    std::vector<Range> all;
    for (const auto& [c, last] : set.ranges) {
      if (c != last || c >= 0x80) throw Unknown();
      all.emplace_back(c, c);
      const char32_t low = c | 0x20;
      if (low < 'a' || low > 'z') continue;
      all.emplace_back(c ^ 0x20, c ^ 0x20);
      if (low == 's') all.emplace_back(0x17F, 0x17F);    // long s
      if (low == 'k') all.emplace_back(0x212A, 0x212A);  // kelvin
    }
    std::sort(all.begin(), all.end());
    set.ranges = std::move(all);
  }

  CharClass parse_class() {
    CharClass set;
    set.negated = eat("^");
    if (has_more() && text_[at_] == ']') throw Unknown();
    CharClass* part = &set;  // what members go to: the class, or the latest operand of &&
    for (bool is_first = true; !eat("]"); is_first = false) {
      if (!has_more()) throw Unknown();
      if (eat("&&")) {
        part = &set.also.emplace_back();
        continue;
      }
      if (text_.substr(at_).starts_with("[:")) throw Unknown();
      if (eat("[")) {
        part->members.push_back(parse_class());
        continue;
      }
      const std::optional<char32_t> first = parse_member(*part);
      if (!first) {
        if (has_more() && text_[at_] == '-') throw Unknown();
        continue;
      }
      if (!has_more() || (*first == '-' && !is_first && text_[at_] != ']' && text_[at_ - 2] != '\\')) throw Unknown();
      char32_t last = *first;
      if (text_.substr(at_).starts_with("-") && !text_.substr(at_).starts_with("-]")) {
        ++at_;
        if (has_more() && text_[at_] == '[') throw Unknown();
        const std::optional<char32_t> limit = parse_member(*part);
        if (!limit || *limit < *first) throw Unknown();
        last = *limit;
      }
      part->ranges.emplace_back(*first, last);
    }
    return set;
  }

  // A character of a class; escapes that stand for many go into the set.
  std::optional<char32_t> parse_member(CharClass& set) {
    if (!has_more()) throw Unknown();
    if (text_[at_] != '\\') return next_char();
    CharClass escaped;
    parse_escape(escaped);
    const bool is_char = escaped.ranges.size() == 1 && escaped.ranges[0].first == escaped.ranges[0].second;
    if (is_char) return escaped.ranges[0].first;
    set.members.push_back(std::move(escaped));
    return std::nullopt;
  }

  void parse_escape(CharClass& set) {
    ++at_;
    const char32_t c = next_char();
    const auto is_letter = [](char32_t x) { return (x | 0x20) >= 'a' && (x | 0x20) <= 'z'; };
    if (c == 'p' || c == 'P') return parse_property(set, c == 'P');
    if (c == 's') {
      set.spaces = true;
    } else if (c == 'S') {
      set.others = true;
    } else if (c == 'd') {
      set.categories = 1u << kDecimal;
    } else if (c == 'r' || c == 'n' || c == 't') {
      const char32_t code = c == 'r' ? '\r' : c == 'n' ? '\n' : '\t';
      set.ranges.emplace_back(code, code);
    } else if (c == 'x' && eat("{")) {
      const char32_t code = parse_hex('}', 6);
      set.ranges.emplace_back(code, code);
    } else {
      if (c >= 0x80 || is_letter(c) || (c >= '0' && c <= '9')) throw Unknown();
      set.ranges.emplace_back(c, c);
    }
  }

  char32_t parse_hex(char stop, size_t digits) {
    char32_t code = 0;
    for (size_t i = 0; !(has_more() && text_[at_] == stop); ++i) {
      const char32_t c = next_char();
      const char32_t low = c | 0x20;
      const bool is_digit = c >= '0' && c <= '9';
      if (i == digits || (!is_digit && (low < 'a' || low > 'f'))) throw Unknown();
      code = code * 16 + (is_digit ? c - '0' : low - 'a' + 10);
    }
    ++at_;
    if (code > kLastCode) throw Unknown();
    return code;
  }

  void parse_property(CharClass& set, bool negated) {
    if (!eat("{")) throw Unknown();
    const size_t close = text_.find('}', at_);
    if (close == std::string_view::npos) throw Unknown();
    const std::string_view name = text_.substr(at_, close - at_);
    at_ = close + 1;
    set.negated = negated;
    if (name == "Han") {
      set.ranges.assign(std::begin(kHan), std::end(kHan));
      return;
    }
    if (name.empty() || name.size() > 2) throw Unknown();
    for (size_t i = 0; i < kCategoryNames.size(); ++i)
      if (kCategoryNames[i].starts_with(name)) set.categories |= 1u << i;
    if (set.categories == 0) throw Unknown();
  }

  uint32_t bit_of(const CharClass& set) {
    const auto known = std::find(sets_.begin(), sets_.end(), set);
    const auto index = static_cast<size_t>(known - sets_.begin());
    if (known == sets_.end()) sets_.push_back(set);
    if (index >= kMaxBits) throw Unknown();
    return uint32_t{1} << index;
  }

  // The nodes of a branch lie together, and so do the branches of a group.
  void add_branches(const std::vector<Sequence>& sequences) {
    const size_t base = scanner_->branches_.size();
    scanner_->branches_.resize(base + sequences.size());
    for (size_t i = 0; i < sequences.size(); ++i) {
      const auto first = static_cast<uint32_t>(scanner_->nodes_.size());
      Scanner::Bits starts = 0;
      bool is_empty = true;
      for (const Item& item : sequences[i]) {
        Node node = item.node;
        const bool is_run = node.kind == Node::Run;
        if (is_empty && !is_run) throw Unknown();
        if (is_run || node.kind == Node::Ahead || node.kind == Node::NotAhead) node.bit = bit_of(item.set);
        if (is_empty) starts |= node.bit;
        if (node.min > 0) is_empty = false;
        scanner_->nodes_.push_back(node);
      }
      if (is_empty) throw Unknown();
      scanner_->branches_[base + i] = {first, static_cast<uint32_t>(scanner_->nodes_.size()), starts};
    }
    for (size_t i = 0; i < sequences.size(); ++i) {
      if (sequences[i].back().node.kind != Node::Optional) continue;
      const auto begin = static_cast<uint32_t>(scanner_->branches_.size());
      add_branches(sequences[i].back().group);
      Node& node = scanner_->nodes_[scanner_->branches_[base + i].last - 1];
      node.first = begin;
      node.last = begin + static_cast<uint32_t>(sequences[i].back().group.size());
    }
  }

  static void add_cuts(const CharClass& set, std::vector<char32_t>& cuts) {
    for (const auto& [first, last] : set.ranges) {
      if (first >= 0x80) cuts.push_back(first);
      if (last >= 0x80 && last < kLastCode) cuts.push_back(last + 1);
    }
    for (const CharClass& member : set.members) add_cuts(member, cuts);
    for (const CharClass& other : set.also) add_cuts(other, cuts);
  }

  Scanner::Bits bits_of(char32_t c, unsigned kind) const {
    Scanner::Bits bits = 0;
    for (size_t i = 0; i < sets_.size(); ++i) bits |= uint32_t{sets_[i].has(c, kind & 31, (kind & 32) != 0)} << i;
    return bits;
  }

  void fill_tables() {
    Scanner& s = *scanner_;
    for (char32_t c = 0; c < 128; ++c) s.ascii_[c] = bits_of(c, scan_kind(char_flags(c)));
    for (uint32_t b = 0; b < s.n_top_; ++b) {
      s.all_starts_ |= s.branches_[b].starts;
      for (char32_t c = 0; c < 128; ++c) s.candidates_[c] |= uint32_t{(s.branches_[b].starts & s.ascii_[c]) != 0} << b;
    }
    s.cuts_ = {0x80};
    for (const CharClass& set : sets_) add_cuts(set, s.cuts_);
    std::sort(s.cuts_.begin(), s.cuts_.end());
    s.cuts_.erase(std::unique(s.cuts_.begin(), s.cuts_.end()), s.cuts_.end());
    s.kinds_.resize(s.cuts_.size() * Scanner::kKinds);
    for (size_t i = 0; i < s.cuts_.size(); ++i)
      for (unsigned kind = 0; kind < Scanner::kKinds; ++kind) s.kinds_[i * Scanner::kKinds + kind] = bits_of(s.cuts_[i], kind);
  }

  std::string_view text_;
  size_t at_ = 0;
  std::vector<CharClass> sets_;
  std::unique_ptr<Scanner> scanner_ = std::make_unique<Scanner>();
};

std::unique_ptr<Scanner> Scanner::make(std::string_view pattern) {
  if (!is_valid_utf8(pattern)) return nullptr;
  try {
    return ScannerBuilder(pattern).build();
  } catch (const Unknown&) {
    return nullptr;
  }
}

}  // namespace tenon::text
