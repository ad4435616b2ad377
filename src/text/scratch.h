// Working memory of the tokenizer: taken from a pool for a call, so that a const tokenizer serves threads and allocates rarely.
#pragma once

#include <memory>
#include <mutex>
#include <string>
#include <string_view>
#include <utility>
#include <vector>

#include "tenon/text/tokenizer.h"

namespace tenon::text {

struct Tokenizer::Scratch {
  std::string repaired;             // the text, if it was damaged
  std::vector<uint32_t> positions;  // then those of its characters in the text as given, else empty
  Pieces pieces;
  std::vector<ModelToken> model_tokens;
  std::unique_ptr<Model::Memory> memory;
  std::vector<Token> tokens[2];    // of the first and the second text
  std::vector<std::string> texts;  // of the tokens that are not written as the vocabulary has them

  void clear() {
    for (auto& list : tokens) list.clear();
    texts.clear();
  }
  int32_t keep(std::string_view text) {
    texts.emplace_back(text);
    return static_cast<int32_t>(texts.size()) - 1;
  }
};

struct Tokenizer::ScratchPool {
  std::mutex mutex;
  std::vector<std::unique_ptr<Scratch>> free;
  // Blank characters at the two ends of each token, 4 bits each; made when offsets are first trimmed.
  std::once_flag has_blanks;
  std::vector<uint8_t> blanks;
};

/// Holds a Scratch for as long as it lives.
class Tokenizer::Lease {
 public:
  explicit Lease(const Tokenizer& tokenizer) : pool_(*tokenizer.pool_) {
    {
      const std::lock_guard lock(pool_.mutex);
      if (!pool_.free.empty()) {
        scratch_ = std::move(pool_.free.back());
        pool_.free.pop_back();
      }
    }
    if (!scratch_) {
      scratch_ = std::make_unique<Scratch>();
      scratch_->memory = tokenizer.model_->make_memory();
    }
  }
  ~Lease() {
    // one long text must not hold its memory for ever
    constexpr size_t kKept = size_t{4} << 20;
    if (scratch_->pieces.capacity() > kKept) scratch_->pieces = Pieces();
    for (auto& tokens : scratch_->tokens)
      if (tokens.capacity() * sizeof(Token) > kKept) std::vector<Token>().swap(tokens);
    const std::lock_guard lock(pool_.mutex);
    if (pool_.free.size() < pool_.free.capacity() || pool_.free.empty()) pool_.free.push_back(std::move(scratch_));
  }
  Lease(const Lease&) = delete;
  Lease& operator=(const Lease&) = delete;
  Scratch& operator*() const { return *scratch_; }

 private:
  ScratchPool& pool_;
  std::unique_ptr<Scratch> scratch_;
};

/// How long the result may be, worked out from the options and the tokenizer's configuration.
struct Tokenizer::Limits {
  bool is_truncated = false;
  size_t max_tokens = 0;  // for the texts together, special tokens not counted
  Side side = Side::Right;
};

}  // namespace tenon::text
