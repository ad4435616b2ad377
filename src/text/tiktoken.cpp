// Rank files of tiktoken: reading them, and the table of published encodings.
#include "tiktoken.h"

#include <algorithm>
#include <array>
#include <charconv>
#include <cstring>
#include <limits>
#include <utility>

#include "base64.h"
#include "tenon/core/error.h"
#include "tenon/core/parallel.h"
#include "tenon/text/byte_level.h"
#include "tenon/text/table.h"
#include "tenon/text/utf8.h"

namespace tenon::text {
namespace {

constexpr const char* kCl100k =
    R"('(?i:[sdmt]|ll|ve|re)|[^\r\n\p{L}\p{N}]?\p{L}+|\p{N}{1,3}| ?[^\s\p{L}\p{N}]+[\r\n]*|\s+\z|\s*[\r\n]|\s+(?!\S)|\s)";
constexpr const char* kO200k =
    R"([^\r\n\p{L}\p{N}]?[\p{Lu}\p{Lt}\p{Lm}\p{Lo}\p{M}]*[\p{Ll}\p{Lm}\p{Lo}\p{M}]+(?i:'s|'t|'re|'ve|'m|'ll|'d)?)"
    R"(|[^\r\n\p{L}\p{N}]?[\p{Lu}\p{Lt}\p{Lm}\p{Lo}\p{M}]+[\p{Ll}\p{Lm}\p{Lo}\p{M}]*(?i:'s|'t|'re|'ve|'m|'ll|'d)?)"
    R"(|\p{N}{1,3}| ?[^\s\p{L}\p{N}]+[\r\n/]*|\s*[\r\n]+|\s+(?!\S)|\s+)";
constexpr const char* kLlama3 =
    R"((?i:'s|'t|'re|'ve|'m|'ll|'d)|[^\r\n\p{L}\p{N}]?\p{L}+|\p{N}{1,3}| ?[^\s\p{L}\p{N}]+[\r\n]*|\s*[\r\n]+|\s+(?!\S)|\s+)";
constexpr const char* kQwen =
    R"((?i:'s|'t|'re|'ve|'m|'ll|'d)|[^\r\n\p{L}\p{N}]?\p{L}+|\p{N}| ?[^\s\p{L}\p{N}]+[\r\n]*|\s*[\r\n]+|\s+(?!\S)|\s+)";
constexpr const char* kKimi =
    R"([\p{Han}]+)"
    R"(|[^\r\n\p{L}\p{N}]?[\p{Lu}\p{Lt}\p{Lm}\p{Lo}\p{M}&&[^\p{Han}]]*[\p{Ll}\p{Lm}\p{Lo}\p{M}&&[^\p{Han}]]+(?i:'s|'t|'re|'ve|'m|'ll|'d)?)"
    R"(|[^\r\n\p{L}\p{N}]?[\p{Lu}\p{Lt}\p{Lm}\p{Lo}\p{M}&&[^\p{Han}]]+[\p{Ll}\p{Lm}\p{Lo}\p{M}&&[^\p{Han}]]*(?i:'s|'t|'re|'ve|'m|'ll|'d)?)"
    R"(|\p{N}{1,3}| ?[^\s\p{L}\p{N}]+[\r\n]*|\s*[\r\n]+|\s+(?!\S)|\s+)";

// A special token; `count` > 1 stands for that many, numbered from `from` in the place of '#', with ids one after another.
struct Special {
  const char* content;
  int32_t id;
  int32_t from = 0, count = 1;
};

constexpr Special kGpt2Specials[] = {{"<|endoftext|>", 50256}};
constexpr Special kCl100kSpecials[] = {{"<|endoftext|>", 100257},
                                       {"<|fim_prefix|>", 100258},
                                       {"<|fim_middle|>", 100259},
                                       {"<|fim_suffix|>", 100260},
                                       {"<|endofprompt|>", 100276}};
constexpr Special kO200kSpecials[] = {{"<|endoftext|>", 199999}, {"<|endofprompt|>", 200018}};
constexpr Special kLlama3Specials[] = {{"<|begin_of_text|>", 128000},
                                       {"<|end_of_text|>", 128001},
                                       {"<|reserved_special_token_#|>", 128002, 0, 4},
                                       {"<|start_header_id|>", 128006},
                                       {"<|end_header_id|>", 128007},
                                       {"<|reserved_special_token_#|>", 128008, 4, 1},
                                       {"<|eot_id|>", 128009},
                                       {"<|reserved_special_token_#|>", 128010, 5, 246}};
constexpr Special kQwenSpecials[] = {
    {"<|endoftext|>", 151643}, {"<|im_start|>", 151644}, {"<|im_end|>", 151645}, {"<|extra_#|>", 151646, 0, 205}};

// The published encodings; the number of ranks tells them apart whatever the file is called.
struct PublishedEncoding {
  size_t ranks;
  const char* pattern;  // null: GPT-2's
  bool is_nfc;
  std::span<const Special> specials;
};
constexpr PublishedEncoding kEncodings[] = {
    {50256, nullptr, false, kGpt2Specials},  // r50k_base, gpt2
    {50280, nullptr, false, kGpt2Specials},  // p50k_base
    {100256, kCl100k, false, kCl100kSpecials},
    {199998, kO200k, false, kO200kSpecials},
    {128000, kLlama3, false, kLlama3Specials},
    {151643, kQwen, true, kQwenSpecials},
    {163584, kKimi, false, {}},  // its tokenizer_config.json lists the special tokens
};

struct Ranked {
  uint32_t begin, end;  // in TiktokenTexts::raw
  int64_t rank;
};

constexpr auto by_rank = [](const Ranked& a, const Ranked& b) { return a.rank < b.rank; };

bool is_base64(char c) {
  return (c >= 'A' && c <= 'Z') || (c >= 'a' && c <= 'z') || (c >= '0' && c <= '9') || c == '+' || c == '/' || c == '=';
}

std::vector<Ranked> read_ranks(std::string_view text, std::string_view where, std::string& raw) {
  std::vector<Ranked> out;
  out.reserve(text.size() / 16);
  raw.resize(text.size());
  size_t used = 0;
  for (size_t number = 1; !text.empty(); ++number) {
    const size_t end = std::min(text.find('\n'), text.size());
    std::string_view line = text.substr(0, end);
    text.remove_prefix(std::min(end + 1, text.size()));
    if (line.ends_with('\r')) line.remove_suffix(1);
    if (line.empty()) continue;
    const size_t space = line.find(' ');
    const auto size = decode_base64(line.substr(0, space), raw.data() + used);
    int64_t rank = -1;
    const char* const stop = line.data() + line.size();
    const bool is_rank = space != std::string_view::npos && std::from_chars(line.data() + space + 1, stop, rank).ptr == stop && rank >= 0;
    check(is_rank && size && *size > 0, ErrorCode::Format, where, "line ", number, ": expected base64, a space and a rank");
    out.push_back({static_cast<uint32_t>(used), static_cast<uint32_t>(used + *size), rank});
    used += *size;
  }
  raw.resize(used);
  raw.shrink_to_fit();
  if (!std::is_sorted(out.begin(), out.end(), by_rank)) std::sort(out.begin(), out.end(), by_rank);
  check(out.empty() || out.back().rank <= std::numeric_limits<int32_t>::max() / 2, ErrorCode::Limit, where,
        "ranks: expected less than 2^30, got ", out.empty() ? 0 : out.back().rank);
  return out;
}

const PublishedEncoding& find_encoding(size_t ranks, std::string_view where) {
  std::string known;
  for (const PublishedEncoding& encoding : kEncodings) {
    if (encoding.ranks == ranks) return encoding;
    known += (known.empty() ? "" : ", ") + std::to_string(encoding.ranks);
  }
  fail(ErrorCode::Format, where, "number of ranks: expected that of a published encoding (", known, "), got ", ranks);
}

Json split_stage(const char* pattern) {
  Json regex, split;
  regex.set("Regex", pattern);
  split.set("type", "Split");
  split.set("pattern", std::move(regex));
  split.set("behavior", "Isolated");
  split.set("invert", false);
  return split;
}

void describe(const PublishedEncoding& encoding, TokenizerSpec& spec) {
  constexpr const char* kBytes = R"({"type": "ByteLevel", "add_prefix_space": false, "trim_offsets": true, "use_regex": )";
  Json bytes = Json::parse(std::string(kBytes) + (encoding.pattern ? "false}" : "true}"));
  spec.decoder = Json::parse(R"({"type": "ByteLevel", "add_prefix_space": true, "trim_offsets": true, "use_regex": true})");
  if (encoding.is_nfc) spec.normalizer = Json::parse(R"({"type": "NFC"})");
  if (encoding.pattern) {
    spec.pre_tokenizer = Json(Json::Object{{"type", "Sequence"}});
    spec.pre_tokenizer.set("pretokenizers", Json::Array{split_stage(encoding.pattern), std::move(bytes)});
  } else {
    spec.pre_tokenizer = std::move(bytes);
  }
  // a word that is a token stays whole even if no merges lead to it
  spec.model = Json::parse(R"({"type": "BPE", "dropout": null, "unk_token": null, "continuing_subword_prefix": null,
      "end_of_word_suffix": null, "fuse_unk": false, "byte_fallback": false, "ignore_merges": true})");
}

std::vector<std::pair<std::string, int64_t>> list_specials(std::span<const Special> specials) {
  std::vector<std::pair<std::string, int64_t>> out;
  for (const Special& special : specials)
    for (int32_t i = 0; i < special.count; ++i) {
      std::string content = special.content;
      if (const size_t mark = content.find('#'); mark != std::string::npos) content.replace(mark, 1, std::to_string(special.from + i));
      out.emplace_back(std::move(content), int64_t{special.id} + i);
    }
  return out;
}

// Tokens by a hash that follows from those of their parts: hash(xy) = hash(x) * kFactor^|y| + hash(y).
class PartTable {
 public:
  static constexpr uint64_t kFactor = 0x9E3779B97F4A7C15u;
  static uint64_t extend(uint64_t hash, char c) { return hash * kFactor + static_cast<unsigned char>(c) + 1; }

  PartTable(const std::vector<Ranked>& ranks, std::string_view raw) : raw_(raw) {
    size_t slots = 64;
    while (slots < 2 * ranks.size()) slots *= 2;
    slots_.resize(slots);
    filter_.resize(slots * kFilterBits / 64);
    std::array<uint64_t, kAhead> ahead{};
    for (size_t i = 0; i < ranks.size() + kAhead; ++i) {
      const uint64_t h = ahead[i % kAhead];  // of the token kAhead places before
      if (i < ranks.size()) {
        uint64_t next = 0;
        for (const char c : raw.substr(ranks[i].begin, ranks[i].end - ranks[i].begin)) next = extend(next, c);
        ahead[i % kAhead] = mix(next);
        __builtin_prefetch(&slots_[first(mix(next))], 1);
      }
      if (i < kAhead) continue;
      const Ranked& r = ranks[i - kAhead];
      const std::string_view bytes = raw.substr(r.begin, r.end - r.begin);
      filter_[h >> 6 & (filter_.size() - 1)] |= uint64_t{1} << (h & 63);
      size_t at = first(h);
      while (slots_[at].length != 0 && !is_at(slots_[at], bytes)) at = (at + 1) & (slots - 1);
      slots_[at] = {head_of(bytes), r.begin, r.end - r.begin, static_cast<int32_t>(r.rank)};
    }
  }

  /// Whether there may be a token of this hash: says no to most that are none, from a table that fits a cache.
  bool may_have(uint64_t hash) const {
    const uint64_t h = mix(hash);
    return filter_[h >> 6 & (filter_.size() - 1)] >> (h & 63) & 1;
  }
  /// The rank of the token, or -1.
  int32_t find(uint64_t hash, std::string_view bytes) const {
    const uint64_t h = mix(hash);
    for (size_t at = first(h); slots_[at].length != 0; at = (at + 1) & (slots_.size() - 1))
      if (is_at(slots_[at], bytes)) return slots_[at].rank;
    return -1;
  }
  /// Fetches what find() will look at first.
  void prefetch(uint64_t hash) const { __builtin_prefetch(&slots_[first(mix(hash))]); }

 private:
  static constexpr size_t kFilterBits = 8;  // for each slot
  static constexpr size_t kAhead = 16;      // tokens whose slots are fetched before they are filled
  // Most tokens have no more bytes than `head`, so that telling them apart takes no look at their text.
  struct Slot {
    uint64_t head = 0;
    uint32_t begin = 0, length = 0;  // of the token's bytes; length 0: none is here
    int32_t rank = -1;
  };
  static uint64_t mix(uint64_t h) {
    h = (h ^ h >> 32) * 0xD6E8FEB86659FD93u;
    return h ^ h >> 32;
  }
  template <class Number>
  static uint64_t load(const char* p) {
    Number x;
    std::memcpy(&x, p, sizeof(x));
    return x;
  }
  // Up to eight bytes as a number: another one for other bytes of the same number.
  static uint64_t head_of(std::string_view bytes) {
    const char* p = bytes.data();
    const size_t n = bytes.size();
    if (n >= 8) return load<uint64_t>(p);
    if (n >= 4) return load<uint32_t>(p) << 32 | load<uint32_t>(p + n - 4);
    const auto byte = [&](size_t i) { return uint64_t{static_cast<unsigned char>(p[i])}; };
    return byte(0) << 16 | byte(n / 2) << 8 | byte(n - 1);
  }
  bool is_at(const Slot& slot, std::string_view bytes) const {
    if (slot.length != bytes.size() || slot.head != head_of(bytes)) return false;
    return slot.length <= 8 || raw_.substr(slot.begin + 8, slot.length - 8) == bytes.substr(8);
  }
  size_t first(uint64_t h) const { return static_cast<size_t>(h >> 4) & (slots_.size() - 1); }

  std::string_view raw_;
  Table<Slot> slots_;
  Table<uint64_t> filter_;
};

// Every way to make a token of two others. Merging by rank reaches only one of them; the others do no harm, and finding out which costs
// more than keeping them. Look-ups miss the caches, so those of some tokens are collected, and what they need is fetched before it is read;
// whether there may be both parts is as good as random, so that it decides by counting and not by a jump.
void add_merges(const std::vector<Ranked>& ranks, std::string_view raw, ModelData& data) {
  constexpr int64_t kShares = 16;
  constexpr size_t kAtOnce = 256;
  const PartTable table(ranks, raw);
  size_t longest = 0;
  for (const Ranked& r : ranks) longest = std::max<size_t>(longest, r.end - r.begin);
  std::vector<uint64_t> powers(longest + 1, 1);
  for (size_t i = 1; i < powers.size(); ++i) powers[i] = powers[i - 1] * PartTable::kFactor;
  std::vector<Table<std::array<int32_t, 3>>> shares(kShares);
  const auto n = static_cast<int64_t>(ranks.size());
  parallel_for(get_num_threads(), kShares, 1, [&](int64_t begin, int64_t end) {
    struct Cut {
      uint64_t left, right;  // hashes
      uint32_t token, place;
    };
    std::vector<uint64_t> hashes(longest + 1);  // of the first so many bytes
    std::vector<Cut> cuts(kAtOnce + longest);
    for (int64_t s = begin; s < end; ++s) {
      auto& found = shares[static_cast<size_t>(s)];
      found.reserve(static_cast<size_t>(3 * n / kShares));
      size_t waiting = 0;
      const auto look_up = [&] {
        for (size_t i = 0; i < waiting; ++i) table.prefetch(cuts[i].left), table.prefetch(cuts[i].right);
        for (size_t i = 0; i < waiting; ++i) {
          const Cut& cut = cuts[i];
          const Ranked& r = ranks[cut.token];
          const std::string_view bytes = raw.substr(r.begin, r.end - r.begin);
          const int32_t left = table.find(cut.left, bytes.substr(0, cut.place));
          const int32_t right = left < 0 ? -1 : table.find(cut.right, bytes.substr(cut.place));
          if (right >= 0) found.push_back({left, right, static_cast<int32_t>(r.rank)});
        }
        waiting = 0;
      };
      for (int64_t i = s * n / kShares; i < (s + 1) * n / kShares; ++i) {
        const Ranked& r = ranks[static_cast<size_t>(i)];
        const std::string_view bytes = raw.substr(r.begin, r.end - r.begin);
        for (size_t k = 0; k < bytes.size(); ++k) hashes[k + 1] = PartTable::extend(hashes[k], bytes[k]);
        const uint64_t whole = hashes[bytes.size()];
        for (size_t place = 1; place < bytes.size(); ++place) {
          const uint64_t left = hashes[place], right = whole - left * powers[bytes.size() - place];
          cuts[waiting] = {left, right, static_cast<uint32_t>(i), static_cast<uint32_t>(place)};
          waiting += static_cast<size_t>(table.may_have(left)) & static_cast<size_t>(table.may_have(right));
        }
        if (waiting >= kAtOnce) look_up();
      }
      look_up();
    }
  });
  size_t total = 0;
  for (const auto& found : shares) total += found.size();
  data.merge_ids.reserve(total);
  for (const auto& found : shares) data.merge_ids.insert(data.merge_ids.end(), found.begin(), found.end());
}

}  // namespace

bool is_tiktoken(std::string_view text) {
  const std::string_view line = text.substr(0, std::min(text.find('\n'), text.size()));
  const size_t space = line.find(' ');
  if (space == 0 || space == std::string_view::npos || space > 4096) return false;
  return std::all_of(line.begin(), line.begin() + static_cast<std::ptrdiff_t>(space), is_base64) && space + 1 < line.size() &&
         line[space + 1] >= '0' && line[space + 1] <= '9';
}

void read_tiktoken(std::string_view text, std::string_view where, const std::vector<std::pair<std::string, int64_t>>& given,
                   TiktokenTexts& texts, TokenizerSpec& spec) {
  const std::vector<Ranked> ranks = read_ranks(text, where, texts.raw);
  const PublishedEncoding& encoding = find_encoding(ranks.size(), where);
  describe(encoding, spec);
  std::vector<std::pair<size_t, size_t>> places;
  std::array<std::array<char, 4>, 256> alphabet{};
  std::array<uint8_t, 256> lengths{};
  for (size_t b = 0; b < 256; ++b) lengths[b] = static_cast<uint8_t>(encode(kByteAlphabet.to_char[b], alphabet[b].data()));
  size_t used = 0;
  const auto place = [&](std::string_view bytes) {
    if (texts.tokens.size() < used + 4 * bytes.size()) texts.tokens.resize(2 * used + 4 * bytes.size() + texts.raw.size());
    const size_t begin = used;
    for (const char c : bytes) {
      const auto b = static_cast<unsigned char>(c);
      std::memcpy(texts.tokens.data() + used, alphabet[b].data(), 4);
      used += lengths[b];
    }
    places.emplace_back(begin, used - begin);
  };
  const auto specials = given.empty() ? list_specials(encoding.specials) : given;
  for (const auto& [content, id] : specials)
    check(!std::binary_search(ranks.begin(), ranks.end(), Ranked{0, 0, id}, by_rank), ErrorCode::Format, where, "special token '", content,
          "': expected an id that no rank has, got ", id);
  places.reserve(ranks.size() + specials.size());
  for (const Ranked& r : ranks) place(std::string_view(texts.raw).substr(r.begin, r.end - r.begin));
  for (const auto& [content, id] : specials) place(content);
  std::vector<std::string_view> tokens;
  tokens.reserve(places.size());
  spec.data.vocab.reserve(places.size());
  for (const auto& [begin, length] : places) tokens.push_back(std::string_view(texts.tokens).substr(begin, length));
  for (size_t i = 0; i < ranks.size(); ++i) spec.data.vocab.emplace_back(tokens[i], ranks[i].rank);
  // special tokens that follow the ranks without a gap get their ids as added tokens do, and are no part of the model's vocabulary
  std::vector<int64_t> ids;
  for (const auto& [content, id] : specials) ids.push_back(id);
  const bool follow = std::is_sorted(ids.begin(), ids.end()) && !ids.empty() && ids.front() == ranks.back().rank + 1 &&
                      ids.back() - ids.front() + 1 == static_cast<int64_t>(ids.size());
  for (size_t i = 0; i < specials.size(); ++i) {
    if (!follow) spec.data.vocab.emplace_back(tokens[ranks.size() + i], specials[i].second);
    spec.added_tokens.push_back({specials[i].first, false, false, false, false, true});
  }
  add_merges(ranks, texts.raw, spec.data);
}

}  // namespace tenon::text
