// Precompiled: the steps of each cluster, and their effect on the alignment.
#include "tenon/text/normalizers/precompiled.h"

#include "base64.h"
#include "tenon/core/error.h"
#include "tenon/text/grapheme.h"

namespace tenon::text {
namespace {

constexpr size_t kLongCluster = 6;
constexpr uint8_t kHasNoRule = 4;

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
  const auto& kinds = grapheme_kinds();
  traits_.assign(kinds.begin(), kinds.end());
  for (char32_t c = 0; c < traits_.size(); ++c) {
    char text[4];
    if (!map_.shortest(std::string_view(text, encode(c, text)))) traits_[c] |= kHasNoRule;
  }
}

// Of the character at a place, which may be the end; one that the table does not know may do anything.
inline uint8_t Precompiled::traits_at(std::string_view text, size_t i) const {
  if (i >= text.size()) return 0;
  return static_cast<unsigned char>(text[i]) < 0xF0 ? traits_[decode(text.data() + i)] : uint8_t{kJoins};
}

size_t Precompiled::cluster_length(std::string_view text) const {
  const size_t n = char_length(text[0]);
  return (traits_at(text, 0) & kAlone) && !(traits_at(text, n) & kJoins) ? n : grapheme_length(text);
}

bool Precompiled::changes(std::string_view cluster) const {
  if (cluster.size() < kLongCluster && map_.shortest(cluster)) return true;
  for (size_t i = 0; i < cluster.size(); i += char_length(cluster[i]))
    if (map_.shortest(cluster.substr(i, char_length(cluster[i])))) return true;
  return false;
}

// Bytes that stay as they are, up to the first cluster that does not.
size_t Precompiled::kept_prefix(std::string_view text) const {
  constexpr uint8_t kPlain = kAlone | kHasNoRule;
  size_t i = 0;
  uint8_t traits = traits_at(text, 0);
  while (i < text.size()) {
    if ((traits & kPlain) == kPlain) {
      const size_t next = i + char_length(text[i]);
      const uint8_t of_next = traits_at(text, next);
      if (!(of_next & kJoins)) {
        i = next;
        traits = of_next;
        continue;
      }
    }
    const size_t n = cluster_length(text.substr(i));
    if (changes(text.substr(i, n))) break;
    i += n;
    traits = traits_at(text, i);
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
    while (!rest.empty() && (lost > 0 || changes(rest.substr(0, cluster_length(rest))))) {
      const size_t n = cluster_length(rest);
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
