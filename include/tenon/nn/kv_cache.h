// The keys and values of sequences being generated, in pages that sequences with a common past share.
#pragma once

#include <cstring>
#include <memory>
#include <span>
#include <vector>

#include "tenon/core/context.h"
#include "tenon/core/error.h"
#include "tenon/ops/attention.h"
#include "tenon/ops/elementwise.h"

namespace tenon::nn {

/// What a token leaves behind in every layer: a key of k_width and a value of v_width elements. v_width 0: the values are the first
/// value_width elements of the keys (latent attention). With codes, each of `heads` parts of a key and of a value is kept in bytes with one
/// float32 scale: int8 and its largest magnitude / 127, or e4m3 and its largest magnitude / 448.
struct CacheLayout {
  int64_t layers = 0, k_width = 0, v_width = 0;
  DType dtype = DType::F32;  // of what comes and goes
  CacheCodes codes = CacheCodes::None;
  int64_t heads = 1;
  Device device = {};  // where the pages lie

  /// Of one key or value of this width.
  size_t row_bytes(int64_t width) const {
    return has_codes() ? static_cast<size_t>(width + (width ? heads : 0) * int64_t{sizeof(float)}) : static_cast<size_t>(width) * size_of(dtype);
  }
  size_t bytes_per_token() const { return static_cast<size_t>(layers) * (row_bytes(k_width) + row_bytes(v_width)); }
  size_t item() const { return has_codes() ? 1 : size_of(dtype); }  // bytes of an element
  bool has_codes() const { return codes != CacheCodes::None; }
};

/// A page holds kPageRows tokens of all layers: for each layer its keys, then its values, each with its scales behind it if it has codes.
class KvCache {
 public:
  static constexpr int64_t kPageRows = 32;

  /// A page's memory; counts itself among the living. Sequences share pages, and whoever else holds a full one may hand it on (adopt).
  class Page {
   public:
    Page(size_t bytes, Device device, std::shared_ptr<size_t> live)
        : memory_(Tensor::empty({static_cast<int64_t>(bytes)}, DType::U8, device)), live_(std::move(live)) {
      ++*live_;
    }
    ~Page() { --*live_; }
    Page(const Page&) = delete;
    Page& operator=(const Page&) = delete;

   private:
    friend class KvCache;
    Tensor memory_;
    std::shared_ptr<size_t> live_;
  };
  using PageRef = std::shared_ptr<Page>;

  explicit KvCache(const CacheLayout& layout, size_t max_bytes = SIZE_MAX) : layout_(layout), max_bytes_(max_bytes) {}

  const CacheLayout& layout() const { return layout_; }
  int64_t size() const { return static_cast<int64_t>(sequences_.size()); }
  int64_t length(int64_t i) const { return sequences_[index(i)].length; }
  size_t page_bytes() const { return static_cast<size_t>(kPageRows) * layout_.bytes_per_token(); }
  size_t max_bytes() const { return max_bytes_; }
  /// Memory of the pages in use, each counted once.
  size_t bytes() const { return *live_ * page_bytes(); }
  static constexpr int64_t pages_for(int64_t tokens) { return tokens / kPageRows + (tokens % kPageRows != 0); }
  /// Adds an empty sequence; returns its number.
  int64_t add() {
    sequences_.emplace_back();
    return size() - 1;
  }

  /// Makes room for counts[i] more tokens of each sequence; nothing changes if that fails.
  /// Errors: Error(Memory) if the limit would be exceeded.
  void reserve(std::span<const int64_t> counts) {
    std::vector<std::vector<PageRef>> grown(sequences_.size());
    for (size_t i = 0; i < sequences_.size(); ++i) {
      const Sequence& s = sequences_[i];
      if (counts[i] == 0) continue;
      grown[i] = s.pages;
      const int64_t used = s.length % kPageRows;
      if (used && grown[i][static_cast<size_t>(s.length / kPageRows)].use_count() > 2) {  // written to from now on: no longer shared
        auto& page = grown[i][static_cast<size_t>(s.length / kPageRows)];
        PageRef own = new_page();
        cuda::copy(own->memory_.address(), layout_.device, std::as_const(page->memory_).address(), layout_.device, page_bytes());
        page = std::move(own);
      }
      const auto pages = static_cast<size_t>(pages_for(s.length + counts[i]));
      while (grown[i].size() < pages) grown[i].push_back(new_page());
    }
    for (size_t i = 0; i < sequences_.size(); ++i)
      if (counts[i]) sequences_[i].pages = std::move(grown[i]);
  }
  /// The tokens for which room was made now count.
  void extend(std::span<const int64_t> counts) {
    for (size_t i = 0; i < sequences_.size(); ++i) sequences_[i].length += counts[i];
  }
  /// Sequence i becomes a copy of what parents[i] was, sharing its pages. Errors: Error(Limit).
  void reorder(std::span<const int64_t> parents) {
    std::vector<Sequence> next;
    for (const int64_t p : parents) next.push_back(sequences_[index(p)]);
    sequences_ = std::move(next);
  }
  /// Errors: Error(Limit) if the sequence holds fewer tokens.
  void truncate(int64_t i, int64_t length) {
    Sequence& s = sequences_[index(i)];
    check(length >= 0 && length <= s.length, ErrorCode::Limit, "cache", "truncate: expected 0 to ", s.length, " tokens, got ", length);
    s.length = length;
    s.pages.resize(static_cast<size_t>(pages_for(length)));
  }

  /// Page n of sequence i, for others to adopt. Errors: Error(Limit) if the sequence does not fill it.
  const PageRef& page(int64_t i, int64_t n) const {
    const Sequence& s = sequences_[index(i)];
    check(n >= 0 && n < s.length / kPageRows, ErrorCode::Limit, "cache", "page: expected one of ", s.length / kPageRows, " full ones, got ", n);
    return s.pages[static_cast<size_t>(n)];
  }
  /// Sequence i, which is empty, begins with these full pages of this cache, sharing them. Errors: Error(Limit) if it is not empty.
  void adopt(int64_t i, std::span<const PageRef> pages) {
    Sequence& s = sequences_[index(i)];
    check(s.length == 0, ErrorCode::Limit, "cache", "adopt: expected an empty sequence, got one of ", s.length, " tokens");
    s.pages.assign(pages.begin(), pages.end());
    s.length = static_cast<int64_t>(pages.size()) * kPageRows;
  }

  /// The page of a token for which there is room.
  void* page_of(int64_t i, int64_t token) {
    return sequences_[static_cast<size_t>(i)].pages[static_cast<size_t>(token / kPageRows)]->memory_.address();
  }
  /// Where a page has a layer's keys and values, and their scales.
  int64_t key_offset(int64_t layer) const {
    return layer * kPageRows * static_cast<int64_t>(layout_.row_bytes(layout_.k_width) + layout_.row_bytes(layout_.v_width));
  }
  int64_t value_offset(int64_t layer) const {
    return layout_.v_width ? key_offset(layer) + kPageRows * static_cast<int64_t>(layout_.row_bytes(layout_.k_width)) : key_offset(layer);
  }
  int64_t key_scale_offset(int64_t layer) const { return key_offset(layer) + kPageRows * layout_.k_width; }
  int64_t value_scale_offset(int64_t layer) const {
    return layout_.v_width ? value_offset(layer) + kPageRows * layout_.v_width : key_scale_offset(layer);
  }
  /// The pages of sequence i, as attention reads them.
  void append_pages(int64_t i, std::vector<const void*>& pages) const {
    for (const auto& page : sequences_[index(i)].pages) pages.push_back(std::as_const(page->memory_).address());
  }

 private:
  struct Sequence {
    std::vector<PageRef> pages;
    int64_t length = 0;
  };

  PageRef new_page() {
    check(page_bytes() <= max_bytes_ && bytes() <= max_bytes_ - page_bytes(), ErrorCode::Memory, "cache",
          "keys and values need more than the ", max_bytes_, " bytes given to the cache");
    return std::make_shared<Page>(page_bytes(), layout_.device, live_);
  }
  size_t index(int64_t i) const {
    check(i >= 0 && i < size(), ErrorCode::Limit, "cache", "sequence: expected 0 to ", size() - 1, ", got ", i);
    return static_cast<size_t>(i);
  }

  CacheLayout layout_;
  size_t max_bytes_;
  std::shared_ptr<size_t> live_ = std::make_shared<size_t>(0);
  std::vector<Sequence> sequences_;
};

/// One step of a batch over a cache: which sequences get how many tokens, as every layer sees it.
class CacheStep {
 public:
  /// Makes room for counts[i] tokens of sequence i. Errors: Error(Memory).
  CacheStep(KvCache& cache, std::vector<int64_t> counts) : cache_(cache), counts_(std::move(counts)) { lay_out(); }
  /// The tokens now belong to their sequences.
  void commit() { cache_.extend(counts_); }

  /// Lays the next step with the same counts out where this one lies, for a graph that goes on reading there. Room is made for `pages` pages of all
  /// sequences together; with more of them arrays move. Errors: Error(Memory).
  void next(size_t pages) {
    for_graph_ = true;
    lay_out();
    room_ = std::max(pages_.size(), pages);
    pages_.resize(room_);
  }
  /// The pages that all arrays have room for.
  size_t room() const { return room_; }
  /// f(array) for each array that kernels read.
  template <class F>
  void visit_arrays(F&& f) const {
    f(positions_), f(row_slot_), f(row_page_), f(pages_), f(page_start_), f(q_start), f(k_start);
  }

  int64_t longest() const { return longest_; }
  const CacheLayout& layout() const { return cache_.layout(); }
  /// Positions of the new tokens, counted from each sequence's beginning.
  const std::vector<int64_t>& positions() const { return positions_; }

  /// Stores the keys and, where the layout has them, the values of the new tokens.
  void write(Context& ctx, int64_t layer, const Tensor& k, const Tensor& v) const {
    store(ctx, k, layout().k_width, cache_.key_offset(layer), cache_.key_scale_offset(layer));
    if (layout().v_width) store(ctx, v, layout().v_width, cache_.value_offset(layer), cache_.value_scale_offset(layer));
  }
  /// All keys of the batch's sequences as rows. Shapes: -> (k_start.back(), k_width).
  Tensor gather_keys(Context& ctx, int64_t layer) const {
    const CacheLayout& l = layout();
    const int64_t rows = k_start.back(), heads = l.heads;
    const Tensor codes = load(ctx, {rows, l.k_width}, l.has_codes() ? DType::U8 : l.dtype, cache_.key_offset(layer));
    if (!l.has_codes()) return codes;
    const Tensor scales = load(ctx, {rows, heads}, DType::F32, cache_.key_scale_offset(layer));
    Tensor wide = ctx.empty({rows, l.k_width}, DType::F32);
    const float* scale = scales.ptr<float>();
    const auto* q = static_cast<const char*>(codes.address());
    float* to = wide.ptr<float>();
    ctx.over_rows(rows * heads, l.k_width / heads, [&](int64_t begin, int64_t end) {
      const int64_t C = l.k_width / heads;
      ctx.kernels().dequantize_rows(to + begin * C, q + begin * C, scale + begin, end - begin, C, l.codes);
    });
    return ops::cast(ctx, wide, l.dtype);
  }
  ops::PagedKeys paged(int64_t layer, int64_t key_width, int64_t value_width) const {
    const CacheLayout& l = cache_.layout();
    return {.pages = pages_,
            .page_start = page_start_,
            .page_rows = KvCache::kPageRows,
            .k_offset = cache_.key_offset(layer),
            .v_offset = cache_.value_offset(layer),
            .ld_k = l.k_width,
            .ld_v = l.v_width ? l.v_width : l.k_width,
            .key_width = key_width,
            .value_width = value_width,
            .dtype = l.dtype,
            .device = l.device,
            .codes = l.codes,
            .k_scale_offset = cache_.key_scale_offset(layer),
            .v_scale_offset = cache_.value_scale_offset(layer)};
  }

  std::vector<int64_t> q_start = {0}, k_start = {0};

 private:
  void lay_out() {
    cache_.reserve(counts_);
    positions_.clear(), row_page_.clear(), row_slot_.clear(), pages_.clear();
    q_start.assign(1, 0), k_start.assign(1, 0), page_start_.assign(1, 0);
    longest_ = 0;
    for (int64_t i = 0; i < cache_.size(); ++i) {
      const int64_t n = counts_[static_cast<size_t>(i)];
      if (n == 0) continue;
      for (int64_t t = cache_.length(i); t < cache_.length(i) + n; ++t) {
        positions_.push_back(t);
        row_page_.push_back(cache_.page_of(i, t));
        row_slot_.push_back(t % KvCache::kPageRows);
      }
      q_start.push_back(q_start.back() + n);
      k_start.push_back(k_start.back() + cache_.length(i) + n);
      longest_ = std::max(longest_, n);
      cache_.append_pages(i, pages_);
      page_start_.push_back(static_cast<int64_t>(pages_.size()));
    }
  }
  void check_rows(const Tensor& x, int64_t width) const {
    const Shape expected{static_cast<int64_t>(positions_.size()), width};
    check(x.shape() == expected && x.dtype() == cache_.layout().dtype, ErrorCode::Shape, "cache", "rows: expected ", expected, " ",
          name_of(cache_.layout().dtype), ", got ", x.describe());
  }
  /// Rows of keys or values, as codes with their scales where the layout says so.
  void store(Context& ctx, const Tensor& x, int64_t width, int64_t offset, int64_t scale_offset) const {
    check_rows(x, width);
    const CacheLayout& l = layout();
    ops::detail::check_here(ctx, "cache", x);
    const auto item = static_cast<int64_t>(size_of(x.dtype()));
    if (!l.has_codes()) return put(ctx, x.address(), width * item, offset);
    const int64_t N = x.size(0), C = width / l.heads;
    Tensor codes = ctx.empty({N, width}, DType::U8), scales = ctx.empty({N, l.heads}, DType::F32);
    auto* q = static_cast<char*>(codes.address());
    float* scale = scales.ptr<float>();
    const auto* from = static_cast<const char*>(x.address());
    ctx.over_rows(N * l.heads, C, [&](int64_t begin, int64_t end) {
      const auto* rows = from + begin * C * item;
      if (l.codes == CacheCodes::Int8)
        ctx.kernels().quantize_rows(reinterpret_cast<int8_t*>(q + begin * C), scale + begin, rows, end - begin, C, x.dtype());
      else
        ctx.kernels().quantize_rows_fp8(reinterpret_cast<float8*>(q + begin * C), scale + begin, rows, end - begin, C, x.dtype());
    });
    put(ctx, q, width, offset);
    put(ctx, scale, l.heads * int64_t{sizeof(float)}, scale_offset);
  }
  void put(Context& ctx, const void* rows, int64_t bytes, int64_t offset) const {
    const ops::detail::OnDevice<void*> page(ctx, row_page_);
    const ops::detail::Numbers slot(ctx, row_slot_);
    ctx.kernels().store_rows(page.data(), slot.data(), offset, rows, static_cast<int64_t>(row_page_.size()), bytes);
  }
  /// What all keys' rows have from an offset in each page on. Shapes: (k_start.back(), width) of what is there.
  Tensor load(Context& ctx, const Shape& shape, DType dtype, int64_t offset) const {
    Tensor all = ctx.empty(shape, dtype);
    const int64_t rows = shape[0], bytes = shape[1] * static_cast<int64_t>(size_of(dtype));
    check(!for_graph_, ErrorCode::Device, "cache", "rows of all keys cannot be recorded: there are more in each step");
    std::vector<const void*> pages;
    std::vector<int64_t> slots;
    for (size_t b = 0; b + 1 < k_start.size(); ++b)
      for (int64_t s = 0; s < k_start[b + 1] - k_start[b]; ++s) {
        pages.push_back(pages_[static_cast<size_t>(page_start_[b] + s / KvCache::kPageRows)]);
        slots.push_back(s % KvCache::kPageRows);
      }
    const ops::detail::OnDevice<const void*> page(ctx, pages);
    const ops::detail::Numbers slot(ctx, slots);
    ctx.kernels().load_rows(all.address(), page.data(), slot.data(), offset, rows, bytes);
    return all;
  }

  KvCache& cache_;
  std::vector<int64_t> counts_;
  std::vector<int64_t> positions_, row_slot_;  // of the new tokens, and where each goes
  std::vector<void*> row_page_;
  std::vector<const void*> pages_;
  std::vector<int64_t> page_start_ = {0};
  int64_t longest_ = 0;
  bool for_graph_ = false;
  size_t room_ = 0;
};

}  // namespace tenon::nn
