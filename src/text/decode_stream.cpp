// Streaming decode: every decoder stage as a machine that takes parts of tokens and gives out what can no longer change.
#include "tenon/text/decode_stream.h"

#include <algorithm>
#include <iterator>
#include <utility>
#include <vector>

#include "tenon/core/error.h"
#include "tenon/text/decoders/byte_level.h"
#include "tenon/text/decoders/word_piece.h"
#include "tenon/text/tokenizer.h"
#include "tenon/text/utf8.h"
#include "trim.h"

namespace tenon::text {

namespace {

// A stage takes a token in one or more parts and hands on others. A stage that fuses tokens hands on one token, which ends in finish().
class TextStage {
 public:
  explicit TextStage(std::unique_ptr<TextStage> next) : next_(std::move(next)) {}
  virtual ~TextStage() = default;
  virtual void part(std::string_view text, bool ends_token) = 0;
  virtual void finish() { next_->finish(); }

 protected:
  std::unique_ptr<TextStage> next_;
};

using Stage = std::unique_ptr<TextStage>;

// The end of the chain.
class Sink : public TextStage {
 public:
  explicit Sink(std::string& out) : TextStage(nullptr), out_(out) {}
  void part(std::string_view text, bool) override { out_ += text; }
  void finish() override {}

 private:
  std::string& out_;
};

// Bytes at the end that may begin a character.
size_t unfinished(std::string_view bytes) {
  for (size_t n = 1; n <= 3 && n <= bytes.size(); ++n) {
    const auto c = static_cast<unsigned char>(bytes[bytes.size() - n]);
    if ((c & 0xC0) == 0x80) continue;
    if (c < 0xC2 || c > 0xF4) return 0;
    if (n >= char_length(static_cast<char>(c))) return 0;
    // the second byte may already show that no character can come of it
    const auto second = n >= 2 ? static_cast<unsigned char>(bytes[bytes.size() - n + 1]) : 0x80;
    const bool is_bad = n >= 2 && ((c == 0xE0 && second < 0xA0) || (c == 0xED && second > 0x9F) || (c == 0xF0 && second < 0x90) ||
                                   (c == 0xF4 && second > 0x8F));
    return is_bad ? 0 : n;
  }
  return 0;
}

std::string repaired(std::string_view bytes) { return is_valid_utf8(bytes) ? std::string(bytes) : repair_utf8(bytes); }

class ByteLevelStage : public TextStage {
 public:
  using TextStage::TextStage;
  void part(std::string_view text, bool ends_token) override {
    token_ += text;
    if (!ends_token) return;
    const size_t before = bytes_.size();
    for (size_t i = 0; i < token_.size(); i += char_length(token_[i])) {
      const int byte = byte_of(decode(token_.data() + i));
      if (byte < 0) {
        bytes_.resize(before);
        bytes_ += token_;
        break;
      }
      bytes_ += static_cast<char>(byte);
    }
    token_.clear();
    has_token_ = true;
    const size_t ready = bytes_.size() - unfinished(bytes_);
    if (ready > 0) next_->part(repaired(std::string_view(bytes_).substr(0, ready)), false);
    bytes_.erase(0, ready);
  }
  void finish() override {
    if (has_token_) next_->part(repaired(bytes_), true);
    bytes_.clear();
    has_token_ = false;
    next_->finish();
  }

 private:
  std::string token_, bytes_;
  bool has_token_ = false;
};

class ByteFallbackStage : public TextStage {
 public:
  using TextStage::TextStage;
  void part(std::string_view text, bool ends_token) override {
    token_ += text;
    if (!ends_token) return;
    const std::string token = std::exchange(token_, {});
    if (const int byte = fallback_byte(token); byte >= 0) {
      bytes_ += static_cast<char>(byte);
      give(false);
      return;
    }
    give(true);
    next_->part(token, true);
  }
  void finish() override {
    give(true);
    next_->finish();
  }

 private:
  // Complete characters of a run leave at once, as parts of one token; from the first damage on every byte of the run is replaced.
  void give(bool ends_run) {
    size_t ready = bytes_.size() - (ends_run ? 0 : unfinished(bytes_));
    if (!is_damaged_ && is_valid_utf8(std::string_view(bytes_).substr(0, ready))) {
      if (ready > 0) next_->part(std::string_view(bytes_).substr(0, ready), false);
      is_open_ = is_open_ || ready > 0;
    } else {
      if (is_open_) next_->part({}, true);
      is_open_ = false;
      is_damaged_ = true;
      ready = bytes_.size();
      for (size_t i = 0; i < ready; ++i) next_->part("\xEF\xBF\xBD", true);
    }
    bytes_.erase(0, ready);
    if (!ends_run) return;
    if (is_open_) next_->part({}, true);
    is_open_ = is_damaged_ = false;
  }
  std::string token_, bytes_;
  bool is_open_ = false, is_damaged_ = false;
};

class FuseStage : public TextStage {
 public:
  using TextStage::TextStage;
  void part(std::string_view text, bool) override {
    has_token_ = true;
    if (!text.empty()) next_->part(text, false);
  }
  void finish() override {
    if (has_token_) next_->part({}, true);
    has_token_ = false;
    next_->finish();
  }

 private:
  bool has_token_ = false;
};

// Strip: `start_` copies of a character off the front of a token, `stop_` off its end.
class StripStage : public TextStage {
 public:
  StripStage(const Json& spec, Stage next)
      : TextStage(std::move(next)),
        content_(spec.at("content").as_string("content")),
        start_(spec.value("start", 0)),
        stop_(spec.value("stop", 0)) {}
  void part(std::string_view text, bool ends_token) override {
    held_ += text;
    while (taken_ < start_ && std::string_view(held_).starts_with(content_)) {
      held_.erase(0, content_.size());
      ++taken_;
    }
    // parts end between characters and the content is one, so a token that goes on with another character is past its front
    if (!held_.empty()) taken_ = start_;
    size_t keep = held_.size();
    for (int64_t i = 0; i < stop_ && std::string_view(held_).substr(0, keep).ends_with(content_); ++i) keep -= content_.size();
    if (keep > 0 || ends_token) next_->part(std::string_view(held_).substr(0, keep), ends_token);
    held_.erase(0, ends_token ? held_.size() : keep);
    if (ends_token) taken_ = 0;
  }

 private:
  std::string content_, held_;
  int64_t start_, stop_, taken_ = 0;
};

// Replaces a text, also where it is spread over several parts of a token.
class ReplaceStage : public TextStage {
 public:
  ReplaceStage(std::string from, std::string to, Stage next) : TextStage(std::move(next)), from_(std::move(from)), to_(std::move(to)) {}
  void part(std::string_view text, bool ends_token) override {
    held_ += text;
    out_.clear();
    size_t done = 0;
    for (size_t at; (at = held_.find(from_, done)) != std::string::npos; done = at + from_.size())
      out_.append(held_, done, at - done).append(to_);
    size_t keep = ends_token ? 0 : std::min(from_.size() - 1, held_.size() - done);
    while (keep > 0 && !from_.starts_with(std::string_view(held_).substr(held_.size() - keep))) --keep;
    out_.append(held_, done, held_.size() - keep - done);
    held_.erase(0, held_.size() - keep);
    if (!out_.empty() || ends_token) next_->part(out_, ends_token);
  }
  void finish() override {
    if (!held_.empty()) next_->part(std::exchange(held_, {}), false);
    next_->finish();
  }

 private:
  std::string from_, to_, held_, out_;
};

// Takes blanks off both ends of the whole text.
class TrimStage : public TextStage {
 public:
  using TextStage::TextStage;
  void part(std::string_view text, bool) override {
    held_ += text;
    if (!has_begun_) held_.erase(0, held_.size() - trim_front(held_).size());
    const std::string_view ready = trim_back(held_);
    if (ready.empty()) return;
    has_begun_ = true;
    const size_t n = ready.size();
    next_->part(ready, false);
    held_.erase(0, n);
  }
  void finish() override {
    held_.clear();
    has_begun_ = false;
    next_->finish();
  }

 private:
  std::string held_;
  bool has_begun_ = false;
};

// BPEDecoder: the suffix is a space, but in the last token nothing.
class SuffixStage : public TextStage {
 public:
  SuffixStage(const Json& spec, Stage next) : TextStage(std::move(next)), suffix_(spec.value("suffix", "</w>")) {}
  void part(std::string_view text, bool ends_token) override {
    if (is_between_) flush(" ");
    is_between_ = ends_token;
    held_ += text;
    const size_t ready = suffix_.empty() ? held_.size() : std::min(held_.find(suffix_), held_.size());
    if (!ends_token && ready == held_.size() && !suffix_.empty()) return;  // the suffix may go on in the next part
    if (ready > 0) next_->part(std::string_view(held_).substr(0, ready), false);
    held_.erase(0, ready);
  }
  void finish() override {
    if (is_between_ || !held_.empty()) flush("");
    is_between_ = false;
    next_->finish();
  }

 private:
  void flush(const char* mark) {
    if (!suffix_.empty()) replace_all(held_, suffix_, mark);
    next_->part(std::exchange(held_, {}), true);
  }
  std::string suffix_, held_;
  bool is_between_ = false;
};

// CTC hears a token that comes again once.
class CtcStage : public TextStage {
 public:
  CtcStage(const Json& spec, Stage next) : TextStage(std::move(next)), decoder_(make_decoder(spec)) {}
  void part(std::string_view text, bool ends_token) override {
    token_ += text;
    if (!ends_token) return;
    const bool is_repeated = has_last_ && last_ == token_;
    has_last_ = true;
    last_ = std::exchange(token_, {});
    if (is_repeated) return;
    std::vector<std::string> tokens{last_};
    decoder_->decode(tokens);
    for (const std::string& t : tokens) next_->part(t, true);
  }
  void finish() override {
    has_last_ = false;
    next_->finish();
  }

 private:
  std::unique_ptr<Decoder> decoder_;
  std::string token_, last_;
  bool has_last_ = false;
};

// Decoders that see one token at a time and treat only the first of a text otherwise: WordPiece, Metaspace, Replace.
class PerTokenStage : public TextStage {
 public:
  PerTokenStage(const Json& spec, Stage next) : TextStage(std::move(next)), decoder_(make_decoder(spec)) {}
  void part(std::string_view text, bool ends_token) override {
    token_ += text;
    if (!ends_token) return;
    std::vector<std::string> tokens;
    if (!is_first_) tokens.emplace_back();
    tokens.push_back(std::exchange(token_, {}));
    is_first_ = false;
    decoder_->decode(tokens);
    next_->part(tokens.back(), true);
  }
  void finish() override {
    is_first_ = true;
    next_->finish();
  }

 private:
  std::unique_ptr<Decoder> decoder_;
  std::string token_;
  bool is_first_ = true;
};

// Any other decoder needs the whole text.
class WaitingStage : public TextStage {
 public:
  WaitingStage(const Json& spec, Stage next) : TextStage(std::move(next)), decoder_(make_decoder(spec)) {}
  void part(std::string_view text, bool ends_token) override {
    if (!is_open_) tokens_.emplace_back();
    tokens_.back() += text;
    is_open_ = !ends_token;
  }
  void finish() override {
    if (!tokens_.empty()) decoder_->decode(tokens_);
    for (const std::string& token : tokens_) next_->part(token, true);
    tokens_.clear();
    is_open_ = false;
    next_->finish();
  }

 private:
  std::unique_ptr<Decoder> decoder_;
  std::vector<std::string> tokens_;
  bool is_open_ = false;
};

// Without a decoder spaces stand between the tokens.
class SpacedStage : public TextStage {
 public:
  using TextStage::TextStage;
  void part(std::string_view text, bool ends_token) override {
    if (is_between_) next_->part(" ", false);
    is_between_ = ends_token;
    next_->part(text, ends_token);
  }
  void finish() override {
    is_between_ = false;
    next_->finish();
  }

 private:
  bool is_between_ = false;
};

Stage make_stage(const Json& spec, Stage next) {
  if (spec.is_null()) return std::make_unique<SpacedStage>(std::move(next));
  const std::string& type = spec.at("type").as_string("type");
  if (type == "Sequence") {
    const Json::Array& stages = spec.at("decoders").as_array("decoders");
    for (auto stage = stages.rbegin(); stage != stages.rend(); ++stage)
      if (!stage->is_null()) next = make_stage(*stage, std::move(next));
    return next;
  }
  if (type == "ByteLevel") return std::make_unique<ByteLevelStage>(std::move(next));
  if (type == "ByteFallback") return std::make_unique<ByteFallbackStage>(std::move(next));
  if (type == "Fuse") return std::make_unique<FuseStage>(std::move(next));
  if (type == "Strip") return std::make_unique<StripStage>(spec, std::move(next));
  if (type == "BPEDecoder") return std::make_unique<SuffixStage>(spec, std::move(next));
  if (type == "CTC") return std::make_unique<CtcStage>(spec, std::move(next));
  if (type == "WordPiece" || type == "Metaspace") return std::make_unique<PerTokenStage>(spec, std::move(next));
  if (type == "Replace") {
    const Json* literal = spec.at("pattern").is_object() ? spec.at("pattern").get("String") : nullptr;
    if (!literal || literal->as_string("String").empty()) return std::make_unique<PerTokenStage>(spec, std::move(next));
    return std::make_unique<ReplaceStage>(literal->as_string("String"), spec.at("content").as_string("content"), std::move(next));
  }
  return std::make_unique<WaitingStage>(spec, std::move(next));
}

// The stages from the end: clean-up, a mark that ends words, the decoder.
Stage make_stages(const Json& decoder, const std::string& word_end, bool clean_up, std::string& out) {
  Stage stage = std::make_unique<Sink>(out);
  if (clean_up)
    for (auto rule = std::rbegin(kCleanUpRules); rule != std::rend(kCleanUpRules); ++rule)
      stage = std::make_unique<ReplaceStage>(rule->from, rule->to, std::move(stage));
  if (!word_end.empty()) stage = std::make_unique<ReplaceStage>(word_end, " ", std::make_unique<TrimStage>(std::move(stage)));
  // what follows the decoder sees one text
  if (clean_up || !word_end.empty()) stage = std::make_unique<FuseStage>(std::move(stage));
  return make_stage(decoder, std::move(stage));
}

}  // namespace

struct DecodeStream::State {
  std::string out;
  Stage stage;
};

DecodeStream::DecodeStream(const Tokenizer& tokenizer, const DecodeOptions& options)
    : tokenizer_(&tokenizer), options_(options), state_(std::make_unique<State>()) {
  const bool clean_up = tokenizer.cleans_up(options);
  state_->stage = make_stages(tokenizer.spec_.decoder, tokenizer.config_.word_end, clean_up, state_->out);
}
DecodeStream::~DecodeStream() = default;
DecodeStream::DecodeStream(DecodeStream&&) noexcept = default;
DecodeStream& DecodeStream::operator=(DecodeStream&&) noexcept = default;

std::string_view DecodeStream::push(std::span<const int32_t> ids) {
  for (const int32_t id : ids) tokenizer_->written(id, options_);
  state_->out.clear();
  for (const int32_t id : ids)
    if (const auto text = tokenizer_->written(id, options_)) state_->stage->part(*text, true);
  return state_->out;
}

std::string_view DecodeStream::finish() {
  state_->out.clear();
  state_->stage->finish();
  return state_->out;
}

}  // namespace tenon::text
