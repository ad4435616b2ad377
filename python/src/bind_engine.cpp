// Binds the engine. What a step gave is collected and returned at once, so that stepping takes the interpreter's lock once.
#include <pybind11/stl.h>

#include <memory>
#include <mutex>

#include "generation.h"
#include "ids.h"
#include "tenon/tasks/engine.h"

namespace tenon::python {
namespace {

const char* name_of_reason(FinishReason reason) {
  switch (reason) {
    case FinishReason::Stop: return "stop";
    case FinishReason::Length: return "length";
    case FinishReason::Cancelled: return "cancelled";
    case FinishReason::Error: break;
  }
  return "error";
}

const char* exception_name(ErrorCode code) {
  switch (code) {
    case ErrorCode::Type: return "TypeError";
    case ErrorCode::Device: return "RuntimeError";
    case ErrorCode::File: return "FileNotFoundError";
    case ErrorCode::Memory: return "MemoryError";
    case ErrorCode::Shape:
    case ErrorCode::Format:
    case ErrorCode::Limit: break;
  }
  return "ValueError";
}

py::dict dict_of(const EngineResult& r) {
  py::dict d;
  d["id"] = r.id, d["tokens"] = r.tokens, d["finish_reason"] = name_of_reason(r.reason);
  d["prompt_tokens"] = r.prompt_tokens, d["shared_tokens"] = r.shared_tokens, d["preemptions"] = r.preemptions;
  if (r.error) d["error"] = py::make_tuple(exception_name(r.error->code()), r.error->what());
  return d;
}

py::dict dict_of(const EngineStats& s) {
  py::dict d;
  d["running"] = s.running, d["waiting"] = s.waiting;
  d["finished"] = s.finished, d["cancelled"] = s.cancelled, d["failed"] = s.failed, d["preempted"] = s.preempted, d["steps"] = s.steps;
  d["prompt_tokens"] = s.prompt_tokens, d["generated_tokens"] = s.generated_tokens, d["prefix_hit_tokens"] = s.prefix_hit_tokens;
  d["drafted_tokens"] = s.drafted_tokens, d["accepted_tokens"] = s.accepted_tokens;
  d["tokens_per_second"] = s.tokens_per_second;
  d["cache_bytes"] = s.cache_bytes, d["max_cache_bytes"] = s.max_cache_bytes, d["kept_bytes"] = s.kept_bytes;
  return d;
}

/// One thread steps; the others submit and cancel.
class PythonEngine {
 public:
  PythonEngine(std::shared_ptr<models::Model> model, std::shared_ptr<models::Model> mtp, const EngineOptions& options)
      : model_(std::move(model)), mtp_(std::move(mtp)), engine_(*model_, options) {}

  int64_t submit(py::handle prompt, const py::object& options, const py::dict& hooks) {
    EngineRequest request{.prompt = ids_of(prompt, "engine", "prompt"), .config = config_of(options), .hooks = hooks_of(hooks)};
    request.hooks.poll = {};  // signals are the main thread's
    const auto id = std::make_shared<int64_t>(0);
    request.hooks.on_tokens = [this, id](std::span<const int64_t> tokens) {
      for (const int64_t t : tokens) tokens_.emplace_back(id, t);
    };
    request.on_finish = [this](const EngineResult& result) { results_.push_back(result); };
    py::gil_scoped_release release;
    std::lock_guard lock(submitting_);
    return *id = engine_.submit(std::move(request));
  }
  bool cancel(int64_t id) { return engine_.cancel(id); }

  py::tuple step() {
    bool more = false;
    std::vector<std::pair<std::shared_ptr<int64_t>, int64_t>> tokens;
    std::vector<EngineResult> results;
    {
      py::gil_scoped_release release;
      more = engine_.step();
      std::lock_guard lock(submitting_);  // until the ids are written
      tokens.swap(tokens_), results.swap(results_);
    }
    py::list written, finished;
    for (const auto& [id, token] : tokens) written.append(py::make_tuple(*id, token));
    for (const EngineResult& r : results) finished.append(dict_of(r));
    return py::make_tuple(more, written, finished);
  }
  bool has_work() const { return engine_.has_work(); }
  py::dict stats() const {
    EngineStats s;
    {
      py::gil_scoped_release release;
      s = engine_.stats();
    }
    return dict_of(s);
  }

 private:
  std::shared_ptr<models::Model> model_, mtp_;
  std::vector<std::pair<std::shared_ptr<int64_t>, int64_t>> tokens_;  // filled while stepping
  std::vector<EngineResult> results_;
  std::mutex submitting_;
  Engine engine_;  // last: its end reports results
};

}  // namespace

void bind_engine(py::module_& m) {
  py::class_<PythonEngine>(m, "Engine")
      .def(py::init([](std::shared_ptr<models::Model> model, size_t max_cache_bytes, int64_t max_batch, int64_t max_waiting,
                       int64_t prefill_chunk, bool share_prefixes, int threads, const std::string& cache, std::shared_ptr<models::Model> mtp) {
             const models::Model* block = mtp.get();
             return std::make_unique<PythonEngine>(std::move(model), std::move(mtp),
                                                   EngineOptions{.max_cache_bytes = max_cache_bytes,
                                                                 .max_batch = max_batch,
                                                                 .max_waiting = max_waiting,
                                                                 .prefill_chunk = prefill_chunk,
                                                                 .share_prefixes = share_prefixes,
                                                                 .cache_codes = cache == "fp8"    ? CacheCodes::Fp8
                                                                                : cache == "int8" ? CacheCodes::Int8
                                                                                                  : CacheCodes::None,
                                                                 .threads = threads,
                                                                 .mtp = block});
           }),
           py::arg("model"), py::arg("max_cache_bytes"), py::arg("max_batch"), py::arg("max_waiting"), py::arg("prefill_chunk"),
           py::arg("share_prefixes"), py::arg("threads"), py::arg("cache") = "auto", py::arg("mtp") = py::none())
      .def("submit", &PythonEngine::submit, py::arg("prompt"), py::arg("options"), py::arg("hooks"))
      .def("cancel", &PythonEngine::cancel, py::arg("id"), py::call_guard<py::gil_scoped_release>())
      .def("step", &PythonEngine::step)
      .def("has_work", &PythonEngine::has_work, py::call_guard<py::gil_scoped_release>())
      .def("stats", &PythonEngine::stats);
}

}  // namespace tenon::python
