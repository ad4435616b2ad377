// UnicodeScripts, with the table of scripts.
#include "tenon/text/pre_tokenizers/unicode_scripts.h"

#include <algorithm>
#include <cstdint>
#include <iterator>

#include "tenon/text/utf8.h"

namespace tenon::text {
namespace {

struct ScriptRun {
  uint32_t first;
  uint8_t script;
};
#include "script_table.inc"

// The run that a character lies in; texts stay in a run for long, so the last one is tried first.
const ScriptRun* find_run(char32_t c, const ScriptRun* last) {
  const ScriptRun* const end = std::end(kScripts);
  if (last && c >= last->first && (last + 1 == end || c < last[1].first)) return last;
  return std::upper_bound(std::begin(kScripts), end, c, [](char32_t x, const ScriptRun& run) { return x < run.first; }) - 1;
}

}  // namespace

void UnicodeScripts::cut(Pieces& pieces) const {
  pieces.split([](std::string_view text, auto emit) {
    const ScriptRun* run = nullptr;
    int script = 0;  // of what begins at `begin`; 0: nothing yet
    size_t begin = 0;
    for (size_t i = 0; i < text.size(); i += char_length(text[i])) {
      run = find_run(decode(text.data() + i), run);
      if (run->script == 0 || run->script == script) continue;
      if (script != 0) emit(begin, i);
      script = run->script;
      begin = i;
    }
    if (script != 0) emit(begin, text.size());
  });
}

}  // namespace tenon::text
