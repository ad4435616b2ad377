// Streaming decode: token ids in, text out as soon as its characters are complete.
#pragma once

#include <cstdint>
#include <memory>
#include <span>
#include <string>
#include <string_view>

#include "tenon/text/encoding.h"

namespace tenon::text {

class Tokenizer;

/// Decodes ids one by one. What push() and finish() return, one behind the other, is what Tokenizer::decode() gives for all ids at once.
/// Text is held back only while it may still change: an unfinished UTF-8 character, a space that a clean-up may take away, a suffix that
/// ends a word. Each id costs its own text, however long the answer is.
///
/// One difference: where a run of byte tokens (byte fallback) turns out to be damaged, decode() replaces the whole run, the stream only
/// what follows the characters that it has given out already. A decoder that rewrites its whole text by a pattern (`Replace` with a regular
/// expression behind `Fuse`) can say nothing before the end: all its text comes with finish().
///
/// The tokenizer must outlive the stream and keep its tokens meanwhile. One stream serves one answer at a time.
class DecodeStream {
 public:
  explicit DecodeStream(const Tokenizer& tokenizer, const DecodeOptions& options = {});
  ~DecodeStream();
  DecodeStream(DecodeStream&&) noexcept;
  DecodeStream& operator=(DecodeStream&&) noexcept;

  /// The text that the id completes, often empty; valid UTF-8; the view lasts until the next call.
  /// Errors: Error(Limit) for an id outside the vocabulary, unless options.skip_unknown_ids; the stream is then as before the call.
  std::string_view push(int32_t id) { return push(std::span(&id, 1)); }
  std::string_view push(std::span<const int32_t> ids);
  /// The text that was held back; the stream is then ready for the next answer.
  std::string_view finish();

 private:
  struct State;
  const Tokenizer* tokenizer_;
  DecodeOptions options_;
  std::unique_ptr<State> state_;
};

}  // namespace tenon::text
