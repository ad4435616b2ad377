// Precompiled: the steps of each cluster, and their effect on the alignment.
#include "tenon/text/normalizers/precompiled.h"

#include "base64.h"
#include "tenon/core/error.h"
#include "tenon/text/grapheme.h"

namespace tenon::text {
namespace {

constexpr size_t kLongCluster = 6;
constexpr char32_t kFirstIdeograph = 0x4E00, kLastIdeograph = 0x9FFF;  // clusters of their own, unless a mark follows

// The ideograph at a place of the text, or 0.
char32_t ideograph(std::string_view text, size_t i) {
  const auto lead = static_cast<unsigned char>(text[i]);
  if (lead < 0xE4 || lead > 0xE9) return 0;
  const char32_t c = decode(text.data() + i);
  return c >= kFirstIdeograph ? c : 0;
}

// One replacement. What it shortens is charged to the last step, which may be that of an earlier replacement; returns how many characters
// could not be charged because nothing was written yet.
int add_replacement(std::string_view from, std::string_view to, std::vector<NormalStep>& steps) {
  const size_t first = steps.size();
  for (size_t i = 0; i < to.size(); i += char_length(to[i])) steps.push_back({decode(to.data() + i), 0});
  const int change = static_cast<int>(steps.size() - first) - static_cast<int>(count_chars(from));
  for (int i = 0; i < change; ++i) steps[steps.size() - 1 - static_cast<size_t>(i)].change = 1;
  if (change >= 0) return 0;
  if (steps.empty()) return -change;
  steps.back().change += change;
  return 0;
}

void apply(Rewriter& r, std::vector<NormalStep>& steps) {
  for (const NormalStep& step : steps) {
    if (step.change > 0) {
      r.insert(step.c);
      continue;
    }
    r.replace(step.c);
    for (int i = step.change; i < 0; ++i) r.drop();
  }
  steps.clear();
}

}  // namespace

Precompiled::Precompiled(const Json& spec) {
  const auto bytes = decode_base64(spec.at("precompiled_charsmap").as_string("precompiled_charsmap"));
  check(bytes.has_value(), ErrorCode::Format, "tokenizer.json", "precompiled_charsmap: expected base64");
  map_ = Charsmap(*bytes);
  for (size_t i = 0; i < is_kept_.size(); ++i) {
    const char c = static_cast<char>(i);
    is_kept_[i] = !map_.shortest(std::string_view(&c, 1));
  }
  is_ideograph_kept_.resize(kLastIdeograph - kFirstIdeograph + 1);
  for (char32_t c = kFirstIdeograph; c <= kLastIdeograph; ++c) {
    char text[4];
    is_ideograph_kept_[c - kFirstIdeograph] = !map_.shortest(std::string_view(text, encode(c, text)));
  }
}

bool Precompiled::changes(std::string_view cluster) const {
  if (cluster.size() < kLongCluster && map_.shortest(cluster)) return true;
  for (size_t i = 0; i < cluster.size(); i += char_length(cluster[i]))
    if (map_.shortest(cluster.substr(i, char_length(cluster[i])))) return true;
  return false;
}

// Bytes that stay as they are, up to the first cluster that does not.
size_t Precompiled::kept_prefix(std::string_view text) const {
  const auto is_ascii_at = [&](size_t i) { return i == text.size() || static_cast<unsigned char>(text[i]) < 0x80; };
  size_t i = 0;
  while (i < text.size()) {
    const auto c = static_cast<unsigned char>(text[i]);
    if (c < 0x80 && is_kept_[c] && c != '\r' && is_ascii_at(i + 1)) {
      ++i;
      continue;
    }
    if (const char32_t ideo = ideograph(text, i); ideo != 0 && is_ideograph_kept_[ideo - kFirstIdeograph]) {
      const size_t next = i + 3;
      if (is_ascii_at(next) || ideograph(text, next) != 0) {
        i = next;
        continue;
      }
    }
    const size_t n = grapheme_length(text.substr(i));
    if (changes(text.substr(i, n))) break;
    i += n;
  }
  return i;
}

// Appends what becomes of a cluster; returns the characters that could not be charged to any step.
int Precompiled::add_steps(std::string_view cluster, std::vector<NormalStep>& steps) const {
  if (cluster.size() < kLongCluster)
    if (const auto to = map_.shortest(cluster)) return add_replacement(cluster, *to, steps);
  int lost = 0;
  for (size_t i = 0; i < cluster.size(); i += char_length(cluster[i])) {
    const std::string_view c = cluster.substr(i, char_length(cluster[i]));
    if (const auto to = map_.shortest(c))
      lost += add_replacement(c, *to, steps);
    else
      steps.push_back({decode(c.data()), 0});
  }
  return lost;
}

void Precompiled::rewrite(Rewriter& r, std::vector<NormalStep>& steps) const {
  bool is_first = true;
  while (!r.done()) {
    const size_t kept = kept_prefix(r.rest());
    r.keep(kept);
    is_first = is_first && kept == 0;
    // clusters that change, up to the next that does not; each reads what the steps before it have not read yet
    std::string_view rest = r.rest();
    steps.clear();
    int lost = 0;
    while (!rest.empty() && (lost > 0 || kept_prefix(rest.substr(0, grapheme_length(rest))) == 0)) {
      const size_t n = grapheme_length(rest);
      const bool is_dropped = is_first && steps.empty();
      const int lost_here = add_steps(rest.substr(0, n), steps);
      // behind other text, what a replacement by nothing drops is simply not written
      if (lost_here > 0 && !is_dropped) {
        for (int i = 0; i < lost_here; ++i) r.drop();
      } else {
        lost += lost_here;
      }
      rest.remove_prefix(n);
    }
    apply(r, steps);
    if (lost > 0) {
      // the reference forgets to skip what vanishes before the first character: all that follows is aligned that much too early
      while (!r.done()) r.drop();
    }
    is_first = false;
  }
}

void Precompiled::normalize(Pieces& pieces) const {
  bool is_kept = true;
  for (const Piece& p : pieces.list()) is_kept = is_kept && (!p.is_open() || kept_prefix(pieces.view(p)) == pieces.view(p).size());
  if (is_kept) return;
  std::vector<NormalStep> steps;
  pieces.rewrite([&](Rewriter& r) { rewrite(r, steps); });
}

}  // namespace tenon::text
