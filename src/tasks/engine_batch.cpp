// Continuous batching: admission, the tokens of a step, shared beginnings, drafts, preemption.
#include "engine_batch.h"

#include <algorithm>

namespace tenon::engine {

using nn::KvCache;

Batch::Batch(const models::Decoder& model, const EngineOptions& options) : options_(options), session_(model, 0, options.max_cache_bytes, options.cache_codes) {
  const auto in_range = [](const char* name, int64_t value) {
    check(value > 0, ErrorCode::Limit, "engine", name, ": expected at least 1, got ", value);
  };
  in_range("max_batch", options.max_batch), in_range("max_waiting", options.max_waiting), in_range("prefill_chunk", options.prefill_chunk);
  check(options.max_cache_bytes >= cache().page_bytes(), ErrorCode::Limit, "engine", "max_cache_bytes: expected at least the ",
        cache().page_bytes(), " of one page of ", KvCache::kPageRows, " tokens, got ", options.max_cache_bytes);
  constexpr size_t kKeptGraphs = 8;  // as many sizes of the batch do not have to be recorded again
  session_.reuse_logits(kKeptGraphs);
  if (!options.mtp) return;
  const auto* block = dynamic_cast<const models::MtpModel*>(options.mtp);
  check(block != nullptr, ErrorCode::Type, "engine", "mtp: expected the block of the model's checkpoint, got ", options.mtp->class_name());
  drafts_ = std::make_unique<Drafts>(*block, session_);
  options_.share_prefixes = false;
}

void Batch::check_fits(const Task& task) const {
  const KvCache& c = session_.cache();
  const auto capacity = static_cast<int64_t>(std::min<size_t>(c.max_bytes() / c.page_bytes(), INT64_MAX));
  check(KvCache::pages_for(task.longest()) <= capacity, ErrorCode::Memory, "engine", "the request may grow to ", task.longest(),
        " tokens, but max_cache_bytes ", c.max_bytes(), " holds ", capacity * KvCache::kPageRows, ": lower max_new_tokens or give more memory");
}

void Batch::add(TaskRef task) {
  const auto later = [&](const TaskRef& t) { return t->id() > task->id(); };
  waiting_.insert(std::find_if(waiting_.begin(), waiting_.end(), later), std::move(task));
}

int64_t Batch::free_pages() const {
  const KvCache& c = session_.cache();
  return static_cast<int64_t>(std::min<size_t>((c.max_bytes() - c.bytes()) / c.page_bytes(), INT64_MAX / 2));
}

bool Batch::fits(const Task& task) const {
  // What those running are sure to need soon: the rest of their prompts and a page each.
  int64_t wanted = static_cast<int64_t>(running_.size()) + KvCache::pages_for(task.length() + 1);
  for (size_t i = 0; i < running_.size(); ++i)
    wanted += KvCache::pages_for(running_[i]->length()) - KvCache::pages_for(session_.length(static_cast<int64_t>(i)));
  const auto shared = prefixes_.peek(task.text(), task.length() - 1);  // held, so that these do not count as evictable
  wanted -= static_cast<int64_t>(shared.size());
  return wanted <= free_pages() || wanted <= free_pages() + prefixes_.evictable();
}

void Batch::admit() {
  while (!waiting_.empty() && static_cast<int64_t>(running_.size()) < options_.max_batch) {
    if (!running_.empty() && !fits(*waiting_.front())) return;
    cache().add();
    if (drafts_) drafts_->add();
    running_.push_back(std::move(waiting_.front()));
    waiting_.pop_front();
  }
}

/// Before each piece of a prompt: another request with the same beginning may have got further.
void Batch::share(int64_t i) {
  Task& task = *running_[static_cast<size_t>(i)];
  const auto pages = prefixes_.find(task.text(), task.length() - 1);
  const int64_t known = static_cast<int64_t>(pages.size()) * KvCache::kPageRows, had = session_.length(i);
  if (known <= had) return;
  cache().truncate(i, 0);
  cache().adopt(i, pages);
  hit_tokens_ += known - had;
  if (task.result.preemptions == 0) task.result.shared_tokens += known - had;
}

void Batch::remember(int64_t i) {
  if (options_.share_prefixes) prefixes_.insert(cache(), i, running_[static_cast<size_t>(i)]->text());
}

/// Those who write get their last token. Of those who read, the oldest get the next piece of their prompts, as many as a step takes;
/// where a piece begins and ends does not depend on companions.
Batch::Step Batch::next_tokens(bool draft) {
  Step step;
  std::vector<Ids>& tokens = step.tokens;
  tokens.resize(running_.size()), step.drafted.resize(running_.size());
  int64_t budget = options_.prefill_chunk;
  std::vector<size_t> order(running_.size());
  for (size_t i = 0; i < order.size(); ++i) order[i] = i;
  std::sort(order.begin(), order.end(), [&](size_t a, size_t b) { return running_[a]->id() < running_[b]->id(); });
  for (const size_t i : order) {
    const auto sequence = static_cast<int64_t>(i);
    const Ids& text = running_[i]->text();
    int64_t left = running_[i]->length() - session_.length(sequence);
    if (left > 1) {
      if (budget == 0) continue;
      if (options_.share_prefixes) share(sequence);
      left = std::min(running_[i]->length() - session_.length(sequence), options_.prefill_chunk);
      if (left > budget) continue;
      budget -= left;
    }
    const auto begin = text.begin() + session_.length(sequence);
    tokens[i].assign(begin, begin + left);
  }
  if (draft && drafts_) add_drafts(step);
  return step;
}

/// A guess behind the token of each sequence that writes, if nobody reads a prompt: logits of a whole prompt are not to be made for it.
void Batch::add_drafts(Step& step) const {
  for (const Ids& t : step.tokens)
    if (t.size() > 1) return;
  for (size_t i = 0; i < step.tokens.size(); ++i) {
    const int64_t guess = drafts_->guess(static_cast<int64_t>(i));
    if (step.tokens[i].empty() || guess < 0 || running_[i]->length() >= running_[i]->longest()) continue;
    step.tokens[i].push_back(guess);
    step.drafted[i] = step.any_drafted = true;
  }
}

Batch::Step Batch::plan() {
  for (bool draft = true;;) {
    Step step = next_tokens(draft);
    int64_t missing = -free_pages();
    for (size_t i = 0; i < step.tokens.size(); ++i) {
      const int64_t length = session_.length(static_cast<int64_t>(i));
      missing += KvCache::pages_for(length + static_cast<int64_t>(step.tokens[i].size())) - KvCache::pages_for(length);
    }
    if (missing <= 0 || prefixes_.evict(missing) >= missing) return step;
    if (step.any_drafted) {
      draft = false;  // nobody gives way for a guess
      continue;
    }
    if (running_.size() <= 1) return step;
    preempt_youngest();
  }
}

void Batch::reorder(const Ids& kept) {
  session_.reorder(kept);
  if (drafts_) drafts_->reorder(kept);
}

void Batch::preempt_youngest() {
  const auto youngest = std::max_element(running_.begin(), running_.end(), [](const TaskRef& a, const TaskRef& b) { return a->id() < b->id(); });
  const auto index = youngest - running_.begin();
  remember(index);  // what nobody needs until it runs again is found there
  Ids kept;
  for (int64_t i = 0; i < session_.size(); ++i)
    if (i != index) kept.push_back(i);
  reorder(kept);
  TaskRef task = std::move(*youngest);
  running_.erase(youngest);
  ++task->result.preemptions, ++preempted_;
  add(std::move(task));
}

/// Logits of the sequences that got tokens. If the pass fails, each sequence runs alone, so that only those whose fault it is end; then it is
/// not `together`.
Batch::Scores Batch::feed(Context& ctx, const Step& step, bool& together) {
  const std::vector<Ids>& tokens = step.tokens;
  Scores scores{.row = Ids(tokens.size(), -1)};
  try {
    scores.all = session_.feed(ctx, tokens, step.any_drafted);
    int64_t row = 0;
    for (size_t i = 0; i < tokens.size(); ++i)
      if (!tokens[i].empty()) scores.row[i] = row, row += step.drafted[i] ? 2 : 1;
    together = true;
    return scores;
  } catch (const std::exception&) {
    together = false;
  }
  std::vector<float> all;
  for (size_t i = 0; i < tokens.size(); ++i) {
    if (tokens[i].empty()) continue;
    std::vector<Ids> alone(tokens.size());
    alone[i] = tokens[i];
    try {
      const Tensor own = session_.feed(ctx, alone, step.drafted[i] != 0).to(Device{});
      scores.row[i] = static_cast<int64_t>(all.size()) / vocab_size();
      all.insert(all.end(), own.values<float>().begin(), own.values<float>().end());
    } catch (const std::exception& e) {
      running_[i]->fail_with(e);
    }
  }
  scores.all = Tensor::from(all, {static_cast<int64_t>(all.size()) / vocab_size(), vocab_size()});
  return scores;
}

/// Lets the block read what the step has read. What goes wrong ends drafting, not the requests.
void Batch::follow(Context& ctx, const Step& step, const Ids& before) {
  Ids first_row;
  std::vector<const Ids*> texts;
  int64_t row = 0;
  for (size_t i = 0; i < step.tokens.size(); ++i) {
    first_row.push_back(row), row += static_cast<int64_t>(step.tokens[i].size());
    texts.push_back(&running_[i]->text());
  }
  try {
    drafts_->follow(ctx, first_row, before, texts);
  } catch (const std::exception&) {
    drafts_.reset();
  }
}

void Batch::take_finished(std::vector<TaskRef>& finished) {
  Ids kept;
  std::vector<TaskRef> running;
  for (int64_t i = 0; i < session_.size(); ++i) {
    TaskRef& task = running_[static_cast<size_t>(i)];
    if (!task->is_finished()) {
      kept.push_back(i);
      running.push_back(std::move(task));
      continue;
    }
    if (task->result.reason != FinishReason::Error) remember(i);
    finished.push_back(std::move(task));
  }
  if (kept.size() < running_.size()) reorder(kept);
  running_ = std::move(running);
}

std::vector<TaskRef> Batch::step(Context& ctx) {
  std::vector<TaskRef> finished;
  for (const TaskRef& task : running_)
    if (task->cancelled) task->finish(FinishReason::Cancelled);
  take_finished(finished);
  std::erase_if(waiting_, [&](TaskRef& task) {
    if (!task->cancelled) return false;
    task->finish(FinishReason::Cancelled);
    finished.push_back(task);
    return true;
  });
  admit();
  if (running_.empty()) return finished;
  try {
    const Step step = plan();
    Ids before;
    for (int64_t i = 0; i < session_.size(); ++i) before.push_back(session_.length(i));
    bool together = false;
    const Scores scores = feed(ctx, step, together);
    write(ctx, step, scores);
    if (drafts_ && together) follow(ctx, step, before);
    else if (drafts_) drafts_->forget_guesses();
  } catch (const std::exception& e) {  // no memory for the bookkeeping: what runs ends, the engine goes on
    for (const TaskRef& task : running_)
      if (!task->is_finished()) task->fail_with(e);
  }
  ++steps_;
  take_finished(finished);
  return finished;
}

void Batch::describe(EngineStats& s) const {
  const KvCache& c = session_.cache();
  s.running = static_cast<int64_t>(running_.size());
  s.preempted = preempted_, s.steps = steps_;
  s.prompt_tokens = prompt_tokens_, s.generated_tokens = generated_tokens_, s.prefix_hit_tokens = hit_tokens_;
  s.drafted_tokens = drafted_tokens_, s.accepted_tokens = accepted_tokens_;
  s.cache_bytes = c.bytes(), s.max_cache_bytes = c.max_bytes();
  s.kept_bytes = static_cast<size_t>(prefixes_.size()) * c.page_bytes();
}

}  // namespace tenon::engine
