// Binds generation: options, and generate() with a caller's processors, criteria and streamers.
#include <pybind11/functional.h>
#include <pybind11/stl.h>

#include <chrono>
#include <cstring>

#include "generation.h"

namespace tenon::python {
namespace {

using Ids = std::vector<int64_t>;

/// A processor written in Python: takes ids (R,T) and scores (R,V), gives the new scores.
class PythonProcessor final : public generation::LogitsProcessor {
 public:
  using Function = std::function<Tensor(const Tensor& ids, const Tensor& scores)>;
  explicit PythonProcessor(Function f) : f_(std::move(f)) {}

  void apply(Context&, const generation::Step& step, Tensor& scores) override {
    Tensor ids = Tensor::empty({scores.size(0), static_cast<int64_t>(step.sequences.front().size())}, DType::I64);
    int64_t* to = ids.data<int64_t>();
    for (const auto& sequence : step.sequences) to = std::copy(sequence.begin(), sequence.end(), to);
    const Tensor changed = f_(ids, scores);
    check(changed.defined() && changed.shape() == scores.shape() && changed.dtype() == DType::F32, ErrorCode::Shape, "generate",
          "logits processor: expected scores ", scores.shape(), " float32, got ", changed.describe());
    if (static_cast<const Tensor&>(changed).raw() != scores.raw()) std::memcpy(scores.raw(), changed.raw(), scores.nbytes());
  }

 private:
  Function f_;
};

/// Lets Ctrl-C end generation. Seldom enough that a thread which waits for the interpreter costs nothing.
class Interrupts {
 public:
  void operator()() {
    constexpr std::chrono::milliseconds kBetween(50);
    const auto now = std::chrono::steady_clock::now();
    if (now - last_ < kBetween) return;
    last_ = now;
    py::gil_scoped_acquire acquire;
    if (PyErr_CheckSignals() != 0) throw py::error_already_set();
  }

 private:
  std::chrono::steady_clock::time_point last_{};
};

template <class Value>
void read(const py::dict& hooks, const char* name, Value& to) {
  if (hooks.contains(name) && !hooks[name].is_none()) to = hooks[name].cast<Value>();
}

}  // namespace

GenerationConfig config_of(const py::handle& options) {
  GenerationConfig config;
  config.update(to_json(options));
  return config;
}

GenerateHooks hooks_of(const py::dict& given) {
  GenerateHooks hooks;
  std::vector<PythonProcessor::Function> processors;
  std::function<Ids(int64_t, const Tensor&)> allowed;
  std::function<void(const Ids&)> on_tokens;
  std::function<std::string(const Ids&)> decode;
  read(given, "logits_processors", processors);
  read(given, "stopping_criteria", hooks.stopping_criteria);
  read(given, "prefix_allowed_tokens_fn", allowed);
  read(given, "on_tokens", on_tokens);
  read(given, "decode", decode);
  read(given, "seed", hooks.seed);
  read(given, "negative_prompt_ids", hooks.negative_prompt_ids);
  read(given, "negative_prompt_attention_mask", hooks.negative_prompt_attention_mask);
  read(given, "decoder_input_ids", hooks.decoder_input_ids);
  if (given.contains("mtp")) hooks.mtp = given["mtp"].cast<const models::Model*>();
  if (given.contains("assistant")) hooks.assistant = given["assistant"].cast<const models::Model*>();
  for (auto& f : processors) hooks.logits_processors.push_back(std::make_shared<PythonProcessor>(std::move(f)));
  const auto copy = [](std::span<const int64_t> ids) { return Ids(ids.begin(), ids.end()); };
  if (allowed)
    hooks.prefix_allowed_tokens_fn = [allowed, copy](int64_t text, std::span<const int64_t> ids) {
      return allowed(text, Tensor::from(copy(ids), {static_cast<int64_t>(ids.size())}));
    };
  if (on_tokens) hooks.on_tokens = [on_tokens, copy](std::span<const int64_t> tokens) { on_tokens(copy(tokens)); };
  if (decode) hooks.decode = [decode, copy](std::span<const int64_t> ids) { return decode(copy(ids)); };
  hooks.poll = Interrupts();
  return hooks;
}

namespace {

py::dict generate_with(const models::Model& model, const py::dict& given, const py::object& options, const py::dict& given_hooks) {
  models::Inputs inputs;
  inputs.visit([&](const char* name, Tensor& to) { read(given, name, to); });
  read(given, "past_key_values", inputs.past_key_values);
  const GenerationConfig config = config_of(options);
  const GenerateHooks hooks = hooks_of(given_hooks);
  GenerateOutput output;
  {
    py::gil_scoped_release release;
    BorrowedContext context(model.device());
    output = generate(*context, model, inputs, config, hooks);
  }
  py::dict result;
  result["sequences"] = output.sequences;
  result["prompt_length"] = output.prompt_length;
  if (output.sequences_scores.defined()) result["sequences_scores"] = output.sequences_scores;
  if (!output.scores.empty()) result["scores"] = py::tuple(py::cast(output.scores));
  if (!output.logits.empty()) result["logits"] = py::tuple(py::cast(output.logits));
  if (output.beam_indices.defined()) result["beam_indices"] = output.beam_indices;
  return result;
}

std::vector<std::string> option_names() {
  std::vector<std::string> names;
  GenerationConfig().visit([&](const char* name, auto&) { names.emplace_back(name); });
  return names;
}

}  // namespace

void bind_past(py::module_& m) {
  using models::PastKeyValues;
  py::class_<PastKeyValues, std::shared_ptr<PastKeyValues>>(m, "PastKeyValues", "Sequences that a model's next call goes on with.")
      .def_property_readonly("columns", &PastKeyValues::columns)
      .def_property_readonly("size", &PastKeyValues::size)
      .def("crop", &PastKeyValues::crop, py::arg("columns"))
      .def("reorder", [](PastKeyValues& past, const Ids& parents) { past.reorder(parents); }, py::arg("parents"))
      .def("clone", &PastKeyValues::clone);
}

void bind_generation(py::module_& m) {
  bind_past(m);
  m.def("generate", &generate_with, py::arg("model"), py::arg("inputs"), py::arg("options"), py::arg("hooks"));
  m.def("generation_options", &option_names, "The options of generate() that change its answer.");
  m.def(
      "check_generation", [](const py::object& options) { config_of(options).check(); }, py::arg("options"),
      "Raises an error that names the option which is unknown, out of range or contradicts another.");
}

}  // namespace tenon::python
