// Greedy search and sampling that confirm several drafted tokens in one pass. The answer is that without drafts: a sampled token is drawn
// as it would be, with the same random number, and the draft stands where it guessed it. That is rejection sampling with a draft that puts
// all its weight on one token: such a token is accepted with its probability, and another is drawn in proportion to the rest.
#include <algorithm>

#include "job.h"
#include "scores.h"
#include "tenon/models/mtp.h"

namespace tenon::generation {
namespace {

/// What followed the last tokens when they stood in the text before: the longest match first, of those the earliest.
Ids look_up(const GenerationConfig& c, const Ids& ids, int64_t most) {
  const size_t longest = std::min(static_cast<size_t>(c.max_matching_ngram_size), ids.size() - 1);
  for (size_t n = longest; n > 0; --n) {
    for (size_t i = 0; i + n < ids.size(); ++i) {
      if (!std::equal(ids.end() - static_cast<std::ptrdiff_t>(n), ids.end(), ids.begin() + static_cast<std::ptrdiff_t>(i))) continue;
      const auto begin = ids.begin() + static_cast<std::ptrdiff_t>(i + n);
      return Ids(begin, begin + std::min<std::ptrdiff_t>(most, ids.end() - begin));
    }
  }
  return {};
}

/// A smaller model that writes ahead.
class Drafter {
 public:
  Drafter(Context& ctx, models::DecodingSession& session, const GenerationConfig& config) : ctx_(ctx), session_(session), c_(config) {}

  Ids draft(const Ids& tokens, int64_t most) {
    size_t same = static_cast<size_t>(std::mismatch(fed_.begin(), fed_.end(), tokens.begin(), tokens.end()).first - fed_.begin());
    same = std::min(same, tokens.size() - 1);  // at least one token must be fed to get logits
    if (same < fed_.size()) session_.truncate(0, static_cast<int64_t>(same));
    fed_.resize(same);
    Ids next(tokens.begin() + static_cast<std::ptrdiff_t>(same), tokens.end()), drafted;
    while (static_cast<int64_t>(drafted.size()) < most && static_cast<int64_t>(fed_.size() + next.size()) <= session_.max_length()) {
      Tensor logits = session_.feed(ctx_, std::vector<Ids>{next}).to(Device{});
      fed_.insert(fed_.end(), next.begin(), next.end());
      const auto scores = row_of(logits, 0);
      const float top = largest(scores);
      if (c_.assistant_confidence_threshold > 0 && std::exp(-log_sum(scores, top)) < c_.assistant_confidence_threshold) break;
      next = {likeliest(scores)};
      drafted.push_back(next.front());
    }
    return drafted;
  }

 private:
  Context& ctx_;
  models::DecodingSession& session_;
  const GenerationConfig& c_;
  Ids fed_;
};

}  // namespace

GenerateOutput speculate(Job& job, models::DecodingSession* draft, models::MtpSession* mtp) {
  GenerateOutput output;
  Ids ids = job.prompt.sequences.front(), tokens = job.prompt.tokens.front(), feed = tokens;
  std::vector<Ids> sequences(1);
  Drafter drafter(job.ctx, draft ? *draft : job.session, job.config);
  const int64_t wanted = mtp ? 1 : draft ? job.config.num_assistant_tokens : *job.config.prompt_lookup_num_tokens;
  Ids drafted;
  const auto prompt_length = static_cast<int64_t>(ids.size()), held = job.session.length(0);
  for (bool finished = false; !finished;) {
    const int64_t before = job.session.length(0);
    Tensor logits = job.feed(std::vector<Ids>{feed}, !drafted.empty());
    check_numbers(job, logits);
    for (size_t k = 0; k <= drafted.size() && !finished; ++k) {
      Tensor scores = logits.rows(static_cast<int64_t>(k), static_cast<int64_t>(k) + 1);
      if (job.config.output_logits) output.logits.push_back(scores.clone());
      sequences[0] = ids;
      process(job, sequences, Ids{0}, scores);
      if (job.config.output_scores) output.scores.push_back(scores.clone());
      const int64_t step = static_cast<int64_t>(ids.size()) - prompt_length;
      const int64_t token = job.config.do_sample ? draw(row_of(scores, 0), job.hooks.seed, 0, step) : likeliest(row_of(scores, 0));
      ids.push_back(token), tokens.push_back(token);
      if (job.hooks.on_tokens) job.hooks.on_tokens(std::span(&token, 1));
      sequences[0] = ids;
      finished = job.stopping(sequences, Ids{0}, 1, output.scores)[0];
      if (k == drafted.size() || token == drafted[k]) continue;
      job.session.truncate(0, before + 1 + static_cast<int64_t>(k));
      break;
    }
    if (finished) break;
    const int64_t room =
        std::min(job.max_length - static_cast<int64_t>(ids.size()), job.session.max_length() - held - static_cast<int64_t>(tokens.size())) - 1;
    const int64_t most = std::min(wanted, room);
    // The block follows every step, even where there is no room for what it guesses.
    if (mtp) drafted = {mtp->draft(job.ctx, tokens, before)};
    else drafted = most <= 0 ? Ids{} : draft ? drafter.draft(tokens, most) : look_up(job.config, ids, most);
    drafted.resize(std::min(drafted.size(), static_cast<size_t>(std::max<int64_t>(0, most))));
    feed.assign(1, tokens.back());
    feed.insert(feed.end(), drafted.begin(), drafted.end());
  }
  output.sequences = to_tensor({ids}, 0);
  return output;
}

}  // namespace tenon::generation
