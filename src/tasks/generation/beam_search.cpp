// Beam search and beam sampling.
#include <algorithm>
#include <numeric>

#include "job.h"
#include "scores.h"

namespace tenon::generation {
namespace {

constexpr float kOut = -1e9f;  // what Transformers adds to the score of a beam that is out of the race

struct Beam {
  Ids ids;
  float score = 0;
  std::vector<int32_t> origins;  // the row that each new token came from
  bool finished = false;
};

/// The k first of n in a stable order by score, best first.
template <class Score>
std::vector<size_t> best(size_t n, size_t k, Score&& score) {
  std::vector<size_t> order(n);
  std::iota(order.begin(), order.end(), size_t{0});
  std::stable_sort(order.begin(), order.end(), [&](size_t a, size_t b) { return score(a) > score(b); });
  order.resize(std::min(n, k));
  return order;
}

/// One text with its beams.
struct Race {
  std::vector<Beam> running, finished;  // both num_beams, best first
  bool hopeful = true;                  // a running beam may still beat a finished one
  bool full() const {
    return std::all_of(finished.begin(), finished.end(), [](const Beam& b) { return b.finished; });
  }
};

class BeamSearch {
 public:
  explicit BeamSearch(Job& job) : job_(job), c_(job.config), beams_(static_cast<size_t>(job.config.num_beams)) {
    candidates_ = std::max<size_t>(2, 1 + c_.eos_token_id.size()) * beams_;
    const int64_t V = job.session.vocab_size();
    check(c_.num_beams <= V && static_cast<int64_t>(candidates_) <= V * c_.num_beams, ErrorCode::Limit, "generate", "num_beams: ", beams_,
          " beams need more tokens than the vocabulary of ", V);
    for (const Ids& prompt : job.prompt.sequences) {
      Race& race = races_.emplace_back();
      race.running.assign(beams_, Beam{prompt, kOut, {}, false});
      race.finished = race.running;
      race.running.front().score = 0;  // the others are copies of it: only one may go on
      active_.push_back(static_cast<int64_t>(active_.size()));
    }
  }

  GenerateOutput run() {
    GenerateOutput output;
    job_.session.reuse_logits();
    Tensor logits = prefill(job_);
    for (int64_t length = job_.prompt_length();; ++length) {
      score(logits, output);
      const bool over = advance(logits, length, output);
      if (over) break;
      logits = feed();
    }
    collect(output);
    return output;
  }

 private:
  /// Logits become log-probabilities after the rules.
  void score(Tensor& logits, GenerateOutput& output) {
    check_numbers(job_, logits);
    if (c_.output_logits) output.logits.push_back(logits.clone());
    job_.host.over_rows(logits.size(0), 4 * logits.size(1), [&](int64_t begin, int64_t end) {
      for (int64_t i = begin; i < end; ++i) log_softmax(row_of(logits, i));
    });
    std::vector<Ids> sequences(races_.size() * beams_);
    Ids rows;
    for (const int64_t t : active_)
      for (size_t k = 0; k < beams_; ++k) {
        rows.push_back(t * static_cast<int64_t>(beams_) + static_cast<int64_t>(k));
        sequences[static_cast<size_t>(rows.back())] = races_[static_cast<size_t>(t)].running[k].ids;
      }
    process(job_, sequences, rows, logits);
    if (c_.output_scores) output.scores.push_back(logits.clone());
  }

  /// Chooses the next beams of every text; true once generation is over.
  bool advance(Tensor& scores, int64_t length, const GenerateOutput& output) {
    std::vector<Ids> sequences(races_.size() * candidates_);
    std::vector<std::vector<Beam>> all;
    Ids rows;
    for (size_t i = 0; i < active_.size(); ++i) {
      all.push_back(continuations(scores, i, length));
      for (size_t k = 0; k < candidates_; ++k) {
        rows.push_back(active_[i] * static_cast<int64_t>(candidates_) + static_cast<int64_t>(k));
        sequences[static_cast<size_t>(rows.back())] = all[i][k].ids;
      }
    }
    const std::vector<uint8_t> hits = job_.stopping(sequences, rows, static_cast<int64_t>(candidates_), output.scores);
    parents_.clear();
    for (size_t i = 0; i < active_.size(); ++i) {
      Race& race = races_[static_cast<size_t>(active_[i])];
      const std::span<const uint8_t> hit(hits.data() + i * candidates_, candidates_);
      run_on(race, all[i], hit, i);
      settle(race, all[i], hit, length);
      look_ahead(race, length + 1);
    }
    const bool open = std::any_of(races_.begin(), races_.end(), [&](const Race& r) { return !over(r); });
    return !open || std::all_of(hits.begin(), hits.end(), [](uint8_t h) { return h != 0; });
  }

  bool over(const Race& r) const { return !r.hopeful || (c_.early_stopping == EarlyStopping::Yes && r.full()); }

  /// The likeliest continuations of the beams of the i-th active text, or as many drawn without repetition; best first.
  std::vector<Beam> continuations(Tensor& scores, size_t i, int64_t length) {
    const Race& race = races_[static_cast<size_t>(active_[i])];
    struct Candidate {
      float key, score;
      int64_t index;
    };
    const auto better = [](const Candidate& a, const Candidate& b) { return a.key != b.key ? a.key > b.key : a.index < b.index; };
    std::vector<Candidate> heap;  // its front is the worst of those kept
    const int64_t V = scores.size(1);
    Random random(job_.hooks.seed ^ (static_cast<uint64_t>(length) << 32), static_cast<uint64_t>(active_[i]));
    for (size_t k = 0; k < beams_; ++k) {
      const auto row = row_of(scores, static_cast<int64_t>(i * beams_ + k));
      for (int64_t v = 0; v < V; ++v) {
        Candidate c{0, row[static_cast<size_t>(v)] + race.running[k].score, static_cast<int64_t>(k) * V + v};
        c.key = c.score;
        // Keys with Gumbel noise: their order draws by softmax(score) without replacement.
        if (c_.do_sample && c.score > kMinusInfinity) c.key -= std::log(-std::log(random.uniform() + 0x1p-25f));
        if (heap.size() < candidates_)
          heap.push_back(c), std::push_heap(heap.begin(), heap.end(), better);
        else if (better(c, heap.front()))
          std::pop_heap(heap.begin(), heap.end(), better), heap.back() = c, std::push_heap(heap.begin(), heap.end(), better);
      }
    }
    std::sort(heap.begin(), heap.end(),
              [](const Candidate& a, const Candidate& b) { return a.score != b.score ? a.score > b.score : a.index < b.index; });
    std::vector<Beam> beams;
    for (const Candidate& c : heap) {
      Beam& beam = beams.emplace_back(race.running[static_cast<size_t>(c.index / V)]);
      beam.ids.push_back(c.index % V);
      beam.origins.push_back(static_cast<int32_t>(active_[i] * static_cast<int64_t>(beams_) + c.index / V));
      beam.score = c.score;
    }
    return beams;
  }

  void run_on(Race& race, const std::vector<Beam>& candidates, std::span<const uint8_t> hit, size_t i) {
    const auto score = [&](size_t k) { return candidates[k].score + (hit[k] ? kOut : 0.0f); };
    race.running.clear();
    for (const size_t k : best(candidates.size(), beams_, score)) {
      race.running.push_back(candidates[k]);
      race.running.back().score = score(k);
      const int64_t origin = candidates[k].origins.back() % static_cast<int64_t>(beams_);
      parents_.push_back(static_cast<int64_t>(i * beams_) + origin);
    }
  }

  /// Candidates that ended take their place among the finished beams. Those below the best num_beams do not count.
  void settle(Race& race, std::vector<Beam>& candidates, std::span<const uint8_t> hit, int64_t length) {
    const float divisor = static_cast<float>(std::pow(static_cast<double>(length + 1 - job_.prompt_length()), c_.length_penalty));
    const bool closed = race.full() && c_.early_stopping == EarlyStopping::Yes;
    std::vector<Beam>& all = race.finished;
    for (size_t k = 0; k < candidates.size(); ++k) {
      Beam& beam = candidates[k];
      beam.finished = hit[k] && k < beams_;
      beam.score = beam.score / divisor + (closed ? kOut : 0.0f) + (race.hopeful ? 0.0f : kOut) + (beam.finished ? 0.0f : kOut);
      all.push_back(std::move(beam));
    }
    std::vector<Beam> kept;
    for (const size_t k : best(all.size(), beams_, [&](size_t b) { return all[b].score; })) kept.push_back(std::move(all[k]));
    all = std::move(kept);
  }

  /// Whether the best running beam could still be better than the worst finished one.
  void look_ahead(Race& race, int64_t length) const {
    const bool at_most = c_.early_stopping == EarlyStopping::Never && c_.length_penalty > 0;
    const double new_tokens = static_cast<double>((at_most ? job_.max_length : length) - job_.prompt_length());
    const float possible = race.running.front().score / static_cast<float>(std::pow(new_tokens, c_.length_penalty));
    bool beats = false;
    for (const Beam& b : race.finished) beats = beats || possible > (b.finished ? race.finished.back().score : kOut);
    race.hopeful = race.hopeful && beats;
  }

  Tensor feed() {
    if (job_.drops()) {
      Ids texts, parents;
      for (size_t i = 0; i < active_.size(); ++i) {
        if (over(races_[static_cast<size_t>(active_[i])])) continue;
        texts.push_back(active_[i]);
        parents.insert(parents.end(), parents_.begin() + static_cast<std::ptrdiff_t>(i * beams_),
                       parents_.begin() + static_cast<std::ptrdiff_t>((i + 1) * beams_));
      }
      active_ = std::move(texts), parents_ = std::move(parents);
    }
    job_.session.reorder(parents_);
    std::vector<Ids> tokens;
    for (const int64_t t : active_)
      for (const Beam& b : races_[static_cast<size_t>(t)].running) tokens.push_back({b.ids.back()});
    return job_.feed(tokens);
  }

  void collect(GenerateOutput& output) const {
    std::vector<Ids> sequences;
    std::vector<float> scores;
    std::vector<std::vector<int32_t>> origins;
    size_t new_tokens = 0;
    for (const Race& race : races_)
      for (size_t k = 0; k < static_cast<size_t>(c_.num_return_sequences); ++k) {
        const Beam& b = race.finished[k];
        sequences.push_back(b.ids), scores.push_back(b.score), origins.push_back(b.origins);
        new_tokens = std::max(new_tokens, b.origins.size());
      }
    // Transformers takes the first token that ends a text where the padding token is 0.
    const int64_t pad = c_.pad_token_id.value_or(0);
    output.sequences = to_tensor(sequences, pad == 0 && !c_.eos_token_id.empty() ? c_.eos_token_id.front() : pad);
    std::vector<int32_t> flat;
    for (auto& o : origins) o.resize(new_tokens, -1), flat.insert(flat.end(), o.begin(), o.end());
    const int64_t n = static_cast<int64_t>(scores.size());
    output.beam_indices = Tensor::from(flat, {n, static_cast<int64_t>(new_tokens)});
    output.sequences_scores = Tensor::from(scores, {n});
  }

  Job& job_;
  const GenerationConfig& c_;
  size_t beams_, candidates_;
  std::vector<Race> races_;
  Ids active_;   // texts whose beams the session holds
  Ids parents_;  // rows of the session that the running beams continue
};

}  // namespace

GenerateOutput beam_search(Job& job) { return BeamSearch(job).run(); }

}  // namespace tenon::generation
