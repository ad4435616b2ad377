// Training Unigram: seed pieces from a suffix array, EM over all ways to cut the words, pruning by what a piece is worth.
#include <algorithm>
#include <array>
#include <cmath>
#include <limits>
#include <unordered_map>

#include "tenon/core/error.h"
#include "tenon/core/parallel.h"
#include "tenon/text/byte_trie.h"
#include "tenon/text/utf8.h"
#include "train.h"

namespace tenon::text {
namespace {

constexpr double kMinExpected = 0.5;  // a piece expected less often than this goes
constexpr double kUnknownPenalty = 10;
constexpr double kNever = -std::numeric_limits<double>::infinity();
constexpr size_t kMaxTrieBytes = size_t{5} << 20;
constexpr int64_t kShares = 8;  // of the words, summed in order whatever the number of threads is

// d/dx log Gamma(x): with it EM prefers few pieces (a sparse prior).
double digamma(double x) {
  double result = 0;
  for (; x < 7; ++x) result -= 1 / x;
  x -= 0.5;
  const double r = 1 / (x * x), r2 = r * r;
  return result + std::log(x) + r / 24 - 7.0 / 960 * r2 + 31.0 / 8064 * r2 * r - 127.0 / 30720 * r2 * r2;
}

struct Piece {
  std::string text;
  double score;  // log-probability
};

// Substrings of at most `longest` characters that occur twice or more, each the longest one with its occurrences, and how often they occur.
// Words count as often as they occur: a frequent word is a candidate even if no other shares a part with it.
class SeedFinder {
 public:
  SeedFinder(const WordList& words, size_t longest) : longest_(static_cast<uint32_t>(longest)) {
    for (const auto& [word, count] : words) {
      for (size_t i = 0; i < word.size(); i += char_length(word[i])) text_.push_back(decode(word.data() + i));
      text_.push_back(0);
      ends_.push_back(text_.size());
      counts_.push_back(count);
    }
  }

  template <class Found>
  void run(int threads, Found&& found) {
    check(text_.size() < 0xFFFFFFFFu, ErrorCode::Limit, "train_unigram", "expected less than 4 G characters in different words");
    sort_suffixes(threads);
    // occurrences of the suffixes before each place of the order
    std::vector<uint64_t> before(order_.size() + 1, 0);
    for (size_t i = 0; i < order_.size(); ++i)
      before[i + 1] = before[i] + counts_[static_cast<size_t>(std::upper_bound(ends_.begin(), ends_.end(), order_[i]) - ends_.begin())];
    struct Open {
      uint32_t depth, first;
    };
    std::vector<Open> open;  // common beginnings of the suffix at hand, shorter ones first
    const auto close = [&](uint32_t depth, uint32_t first, uint32_t end) {
      const uint64_t count = before[end] - before[first];
      if (depth > 1 && depth <= longest_ && count > 1) found(std::u32string_view(text_.data() + order_[first], depth), count);
    };
    for (uint32_t i = 0; i < order_.size(); ++i) {
      const uint32_t next = i + 1 < order_.size() ? common(order_[i], order_[i + 1]) : 0;
      const uint32_t length = length_of(order_[i]);
      if (length > next && (open.empty() || length > open.back().depth)) close(length, i, i + 1);
      uint32_t first = i;
      while (!open.empty() && open.back().depth > next) {
        first = open.back().first;
        close(open.back().depth, first, i + 1);
        open.pop_back();
      }
      if (next > 0 && (open.empty() || open.back().depth < next)) open.push_back({next, first});
    }
  }

 private:
  // Suffixes end with their word, and where they are longer than a piece can be.
  void sort_suffixes(int threads) {
    // by the first two characters, so that threads sort parts of their own
    std::vector<std::pair<uint64_t, uint32_t>> keyed;
    for (uint32_t i = 0; i < text_.size(); ++i)
      if (text_[i] != 0) keyed.emplace_back(uint64_t{text_[i]} << 32 | text_[i + 1], i);
    std::sort(keyed.begin(), keyed.end());
    std::vector<size_t> parts{0};
    for (size_t i = 1; i < keyed.size(); ++i)
      if (keyed[i].first != keyed[i - 1].first) parts.push_back(i);
    parts.push_back(keyed.size());
    for (const auto& [key, at] : keyed) order_.push_back(at);
    keyed = {};
    parallel_for(threads, static_cast<int64_t>(parts.size()) - 1, 64, [&](int64_t begin, int64_t end) {
      for (int64_t p = begin; p < end; ++p)
        std::sort(order_.begin() + static_cast<std::ptrdiff_t>(parts[static_cast<size_t>(p)]),
                  order_.begin() + static_cast<std::ptrdiff_t>(parts[static_cast<size_t>(p) + 1]), [&](uint32_t a, uint32_t b) {
                    const uint32_t n = common(a, b);
                    if (n > longest_ || (text_[a + n] == 0 && text_[b + n] == 0)) return a < b;
                    return text_[a + n] < text_[b + n];
                  });
    });
  }
  uint32_t length_of(uint32_t a) const {
    uint32_t n = 0;
    while (n <= longest_ && text_[a + n] != 0) ++n;
    return n;
  }
  uint32_t common(uint32_t a, uint32_t b) const {
    uint32_t n = 0;
    while (n <= longest_ && text_[a + n] != 0 && text_[a + n] == text_[b + n]) ++n;
    return n;
  }

  uint32_t longest_;
  std::u32string text_;  // the words, a zero behind each
  std::vector<size_t> ends_;
  std::vector<uint64_t> counts_;
  std::vector<uint32_t> order_;
};

class UnigramTrainer {
 public:
  UnigramTrainer(const TrainOptions& options, const WordList& words)
      : options_(options), words_(words), threads_(options.threads > 0 ? options.threads : get_num_threads()) {
    for (const auto& [word, count] : words_) {
      total_ += static_cast<double>(count);
      for (size_t i = 0; i < word.size(); i += char_length(word[i])) chars_[word.substr(i, char_length(word[i]))] += count;
    }
    for (const char32_t c : options_.initial_alphabet) {
      std::string text;
      append(text, c);
      chars_[text] += 0;
    }
    for (const AddedToken& token : options_.special_tokens) specials_.push_back(token.content);
    if (options_.unk_token) {
      const auto at = std::find(specials_.begin(), specials_.end(), *options_.unk_token);
      unk_id_ = static_cast<int32_t>(at == specials_.end() ? 0 : at - specials_.begin());
      if (at == specials_.end()) specials_.insert(specials_.begin(), *options_.unk_token);
    }
    check(options_.vocab_size >= specials_.size() + chars_.size(), ErrorCode::Limit, "train_unigram", "vocab_size: expected at least ",
          specials_.size() + chars_.size(), " for the special tokens and the characters, got ", options_.vocab_size);
    check(options_.shrinking_factor > 0 && options_.shrinking_factor < 1, ErrorCode::Limit, "train_unigram",
          "shrinking_factor: expected a share between 0 and 1, got ", options_.shrinking_factor);
  }

  TrainedModel run() {
    const size_t wanted = options_.vocab_size - specials_.size(), enough = wanted + wanted / 10;
    make_seeds();
    const size_t first = pieces_.size();
    while (true) {
      build_trie();
      for (int i = 0; i < options_.sub_iterations; ++i) {
        maximise(expect());
        report(options_, "pruning pieces", first - pieces_.size(), first - std::min(first, enough));
      }
      drop_dead();
      if (pieces_.size() <= enough) break;
      const size_t before = pieces_.size();
      build_trie();
      prune(std::max(enough, static_cast<size_t>(static_cast<double>(before) * options_.shrinking_factor)));
      if (pieces_.size() == before) break;
    }
    return finish(wanted);
  }

 private:
  void make_seeds() {
    std::vector<std::pair<uint64_t, std::string>> found;
    report(options_, "finding seeds", 0, 1);
    SeedFinder(words_, options_.max_piece_length).run(threads_, [&](std::u32string_view text, uint64_t count) {
      std::string piece;
      for (const char32_t c : text) append(piece, c);
      found.emplace_back(count * text.size(), std::move(piece));
    });
    std::sort(found.begin(), found.end(),
              [](const auto& a, const auto& b) { return a.first != b.first ? a.first > b.first : a.second > b.second; });
    double sum = 0;
    size_t bytes = 0;
    for (const auto& [c, count] : chars_)
      if (count > 0) pieces_.push_back({c, static_cast<double>(count)});
    std::stable_sort(pieces_.begin(), pieces_.end(), [](const Piece& a, const Piece& b) { return a.score > b.score; });
    for (auto& [score, text] : found) {
      if (pieces_.size() >= options_.seed_size || bytes > kMaxTrieBytes) break;
      bytes += text.size();
      pieces_.push_back({std::move(text), static_cast<double>(score)});
    }
    for (const Piece& p : pieces_) sum += p.score;
    for (Piece& p : pieces_) p.score = std::log(p.score) - std::log(sum);
    report(options_, "finding seeds", 1, 1);
  }

  void build_trie() {
    std::vector<std::pair<std::string_view, int32_t>> keys;
    for (size_t i = 0; i < pieces_.size(); ++i) keys.emplace_back(pieces_[i].text, static_cast<int32_t>(i));
    trie_ = ByteTrie(std::move(keys));
    set_unknown();
  }
  void set_unknown() {
    double lowest = 0;
    for (const Piece& p : pieces_)
      if (p.score != kNever) lowest = std::min(lowest, p.score);
    unknown_ = lowest - kUnknownPenalty;
  }

  // Calls visit(at, length, piece) for the tokens that may start at each character, left to right; piece -1 is an unknown character.
  template <class Visit>
  void for_each_token(std::string_view word, Visit&& visit) const {
    for (size_t at = 0; at < word.size();) {
      const size_t length = char_length(word[at]);
      bool has_char = false;
      trie_.for_each_prefix(word.data() + at, word.data() + word.size(), [&](size_t n, int32_t piece) {
        if (pieces_[static_cast<size_t>(piece)].score == kNever) return;
        has_char = has_char || n == length;
        visit(at, n, piece);
      });
      if (!has_char) visit(at, length, -1);
      at += length;
    }
  }

  // How often each piece is expected in all cuts of all words, by forward and backward sums.
  std::vector<double> expect() {
    std::vector<double> weights(pieces_.size());
    for (size_t i = 0; i < pieces_.size(); ++i) weights[i] = std::exp(pieces_[i].score);
    const double unknown = std::exp(unknown_);
    std::vector<std::vector<double>> shares(kShares);
    const auto n = static_cast<int64_t>(words_.size());
    parallel_for(threads_, kShares, 1, [&](int64_t begin, int64_t end) {
      Sums sums;
      for (int64_t s = begin; s < end; ++s) {
        std::vector<double>& expected = shares[static_cast<size_t>(s)];
        expected.resize(pieces_.size());
        for (int64_t i = s * n / kShares; i < (s + 1) * n / kShares; ++i)
          add_expected(words_[static_cast<size_t>(i)], weights, unknown, sums, expected);
      }
    });
    for (int64_t s = 1; s < kShares; ++s)
      for (size_t i = 0; i < pieces_.size(); ++i) shares[0][i] += shares[static_cast<size_t>(s)][i];
    return std::move(shares[0]);
  }

  // A probability as value * 2^(kStep * scale): the products of a long word leave the range of a double.
  struct Scaled {
    double value;
    int32_t scale;
  };
  static constexpr int kStep = 300;
  struct Arc {
    uint32_t from, to;
    int32_t piece;
  };
  struct Sums {
    std::vector<Scaled> forward, backward;
    std::vector<Arc> arcs;
  };
  static void add(Scaled& sum, const Scaled& x) {
    if (x.value == 0) return;
    if (sum.value == 0) {
      sum = x;
    } else if (sum.scale == x.scale) {
      sum.value += x.value;
    } else if (std::abs(sum.scale - x.scale) == 1) {
      // the smaller part counts at the larger one's scale
      if (sum.scale < x.scale)
        sum = {x.value + std::ldexp(sum.value, -kStep), x.scale};
      else
        sum.value += std::ldexp(x.value, -kStep);
    } else if (sum.scale < x.scale) {
      sum = x;
    }
  }
  static Scaled times(const Scaled& x, double weight) {
    const double value = x.value * weight;
    if (value < 0x1p-300 && value > 0) return {std::ldexp(value, kStep), x.scale - 1};
    return {value, x.scale};
  }

  void add_expected(const std::pair<std::string, uint64_t>& entry, const std::vector<double>& weights, double unknown, Sums& sums,
                    std::vector<double>& expected) const {
    const auto& [word, count] = entry;
    const auto weight = [&](const Arc& arc) { return arc.piece < 0 ? unknown : weights[static_cast<size_t>(arc.piece)]; };
    sums.forward.assign(word.size() + 1, {0, 0});
    sums.backward.assign(word.size() + 1, {0, 0});
    sums.arcs.clear();
    sums.forward[0] = {1, 0};
    for_each_token(word, [&](size_t at, size_t length, int32_t piece) {
      sums.arcs.push_back({static_cast<uint32_t>(at), static_cast<uint32_t>(at + length), piece});
      add(sums.forward[at + length], times(sums.forward[at], weight(sums.arcs.back())));
    });
    sums.backward[word.size()] = {1, 0};
    for (size_t i = sums.arcs.size(); i-- > 0;)
      add(sums.backward[sums.arcs[i].from], times(sums.backward[sums.arcs[i].to], weight(sums.arcs[i])));
    const Scaled& all = sums.forward[word.size()];
    for (const Arc& arc : sums.arcs) {
      if (arc.piece < 0) continue;
      const Scaled &f = sums.forward[arc.from], &b = sums.backward[arc.to];
      const double share = f.value / all.value * b.value * weight(arc);
      const int scale = f.scale + b.scale - all.scale;
      expected[static_cast<size_t>(arc.piece)] += static_cast<double>(count) * (scale == 0 ? share : std::ldexp(share, kStep * scale));
    }
  }

  // New scores from what was expected; a piece that is hardly expected at all goes.
  void maximise(const std::vector<double>& expected) {
    double sum = 0;
    for (const double x : expected)
      if (x >= kMinExpected) sum += x;
    const double log_sum = digamma(sum);
    for (size_t i = 0; i < pieces_.size(); ++i) pieces_[i].score = expected[i] >= kMinExpected ? digamma(expected[i]) - log_sum : kNever;
    set_unknown();
  }
  void drop_dead() {
    std::erase_if(pieces_, [](const Piece& p) { return p.score == kNever; });
  }

  // The best cut of a text as pieces, not that into the one piece `barred`.
  double best_cut(std::string_view text, int32_t barred, std::vector<int32_t>& out) const {
    struct Node {
      double score = kNever;
      uint32_t from = 0;
      int32_t piece = -1;
    };
    std::vector<Node> nodes(text.size() + 1);
    nodes[0].score = 0;
    for_each_token(text, [&](size_t at, size_t length, int32_t piece) {
      if (piece >= 0 && piece == barred) return;
      const double score = nodes[at].score + (piece < 0 ? unknown_ : pieces_[static_cast<size_t>(piece)].score);
      if (score > nodes[at + length].score) nodes[at + length] = {score, static_cast<uint32_t>(at), piece};
    });
    out.clear();
    if (nodes[text.size()].score == kNever) return kNever;
    for (size_t at = text.size(); at > 0; at = nodes[at].from) out.push_back(nodes[at].piece);
    return nodes[text.size()].score;
  }

  // Takes away the pieces whose loss costs least, if each is replaced by its second-best cut.
  void prune(size_t keep) {
    const size_t n = pieces_.size();
    std::vector<std::vector<int32_t>> alternatives(n);
    std::vector<char> is_used(n, 1);
    parallel_for(threads_, static_cast<int64_t>(n), 1024, [&](int64_t begin, int64_t end) {
      for (int64_t i = begin; i < end; ++i) {
        std::vector<int32_t> cut;
        const double other = best_cut(pieces_[static_cast<size_t>(i)].text, static_cast<int32_t>(i), cut);
        const bool has_other = other != kNever && std::find(cut.begin(), cut.end(), -1) == cut.end();
        if (!has_other) continue;
        if (other >= pieces_[static_cast<size_t>(i)].score)
          is_used[static_cast<size_t>(i)] = 0;
        else
          alternatives[static_cast<size_t>(i)] = std::move(cut);
      }
    });
    std::vector<std::vector<double>> shares(kShares);
    const auto words = static_cast<int64_t>(words_.size());
    parallel_for(threads_, kShares, 1, [&](int64_t begin, int64_t end) {
      std::vector<int32_t> cut;
      for (int64_t s = begin; s < end; ++s) {
        std::vector<double>& counts = shares[static_cast<size_t>(s)];
        counts.resize(n);
        for (int64_t i = s * words / kShares; i < (s + 1) * words / kShares; ++i) {
          best_cut(words_[static_cast<size_t>(i)].first, -1, cut);
          for (const int32_t piece : cut)
            if (piece >= 0) counts[static_cast<size_t>(piece)] += static_cast<double>(words_[static_cast<size_t>(i)].second);
        }
      }
    });
    for (int64_t s = 1; s < kShares; ++s)
      for (size_t i = 0; i < n; ++i) shares[0][i] += shares[static_cast<size_t>(s)][i];
    const std::vector<double>& counts = shares[0];
    double sum = 0;
    for (const double c : counts) sum += c;
    std::vector<std::pair<double, size_t>> candidates;
    std::vector<Piece> kept;
    for (size_t i = 0; i < n; ++i) {
      if (counts[i] == 0 && (!is_used[i] || !alternatives[i].empty())) continue;
      if (alternatives[i].empty()) {
        kept.push_back(std::move(pieces_[i]));
        continue;
      }
      const double log_sum = std::log(sum + counts[i] * static_cast<double>(alternatives[i].size() - 1));
      double other = 0;
      for (const int32_t piece : alternatives[i]) other += std::log(counts[static_cast<size_t>(piece)] + counts[i]) - log_sum;
      candidates.emplace_back(counts[i] / total_ * (std::log(counts[i]) - std::log(sum) - other), i);
    }
    std::stable_sort(candidates.begin(), candidates.end(), [](const auto& a, const auto& b) { return a.first > b.first; });
    for (const auto& [loss, i] : candidates) {
      if (kept.size() >= keep) break;
      kept.push_back(std::move(pieces_[i]));
    }
    pieces_ = std::move(kept);
  }

  // Every character, then the pieces with the highest scores.
  TrainedModel finish(size_t wanted) {
    std::unordered_map<std::string, double> scores;
    double lowest = 0;
    for (const Piece& p : pieces_) {
      scores[p.text] = p.score;
      lowest = std::min(lowest, p.score);
    }
    for (const std::string& special : specials_) scores.erase(special);
    std::vector<Piece> kept;
    double penalty = 0;
    for (const auto& [c, count] : chars_) {
      if (std::find(specials_.begin(), specials_.end(), c) != specials_.end()) continue;
      const auto at = scores.find(c);
      kept.push_back({c, at != scores.end() ? at->second : lowest + penalty});
      if (at == scores.end()) penalty += 1e-4;
      scores.erase(c);
    }
    std::vector<Piece> rest;
    for (const auto& [text, score] : scores) rest.push_back({text, score});
    const auto before = [](const Piece& a, const Piece& b) { return a.score != b.score ? a.score > b.score : a.text < b.text; };
    std::sort(rest.begin(), rest.end(), before);
    for (Piece& p : rest)
      if (kept.size() < wanted) kept.push_back(std::move(p));
    std::sort(kept.begin(), kept.end(), before);
    TrainedModel out;
    out.unk_id = unk_id_;
    for (const std::string& special : specials_) {
      out.tokens.push_back(special);
      out.scores.push_back(0);
    }
    for (Piece& p : kept) {
      out.tokens.push_back(std::move(p.text));
      out.scores.push_back(p.score);
    }
    return out;
  }

  const TrainOptions& options_;
  const WordList& words_;
  int threads_;
  double total_ = 0;
  std::map<std::string, uint64_t> chars_;
  std::vector<std::string> specials_;
  int32_t unk_id_ = -1;
  std::vector<Piece> pieces_;
  ByteTrie trie_;
  double unknown_ = 0;
};

}  // namespace

TrainedModel learn_pieces(const WordList& words, const TrainOptions& options) { return UnigramTrainer(options, words).run(); }

}  // namespace tenon::text
