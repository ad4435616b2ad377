// Launches of the router, of the sort of rows by expert, and of what brings their columns into an expert's order.
#include "bodies/groups.h"
#include "bodies/router.h"
#include "fillers.h"
#include "launch.h"

namespace tenon::cuda {
namespace {

void route(const RouterCall& c) {
  const size_t shared = RouteBody::shared_bytes(c);
  check(shared <= 48 * 1024, ErrorCode::Limit, "route", "expected at most 3000 experts on a device, got ", c.E);
  launch(c.N, 1, kWarp, shared, RouteBody{c});
}

void route_backward(float* dlogits, const float* dweight, const RouterCall& c) {
  launch(c.N, 1, kWarp, 0, RouteBackwardBody{dlogits, dweight, c});
}

void sort_by_expert(int64_t* start, int64_t* token, int64_t* row, const int64_t* expert, int64_t N, int64_t K, int64_t E) {
  SortByExpert sort{start, token, row, expert, N * K, K, E, nullptr};
  const int64_t chunks = sort.chunks();
  const Scratch count(static_cast<size_t>((chunks > 0 ? chunks : 1) * E) * sizeof(int64_t));
  sort.count = count.as<int64_t>();
  if (chunks == 1) return launch(1, 1, kSortThreads, SortByExpert::kShared, SortAtOnceBody{sort});
  launch(chunks, 1, kSortThreads, SortByExpert::kShared, SortCountBody{sort});
  launch(1, 1, kSortThreads, 0, SortOffsetsBody{sort});
  launch(chunks, 1, kSortThreads, SortByExpert::kShared, SortPlaceBody{sort});
}

void reorder_columns(const ReorderCall& c) {
  if (c.M == 0 || c.K == 0 || c.groups == 0) return;
  const int threads = threads_for(c.K);
  if (c.type == DType::F32) launch(c.M, 1, threads, 0, ReorderBody<uint32_t>{c});
  else launch(c.M, 1, threads, 0, ReorderBody<uint16_t>{c});
}

}  // namespace

void fill_experts(Kernels& k) {
  k.route = route;
  k.route_backward = route_backward;
  k.sort_by_expert = sort_by_expert;
  k.reorder_columns = reorder_columns;
}

}  // namespace tenon::cuda
