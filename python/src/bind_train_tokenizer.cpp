// Binds the training of tokenizers.
#include <pybind11/functional.h>
#include <pybind11/stl.h>

#include "encoding.h"
#include "tenon/text/train_tokenizer.h"

namespace tenon::python {
namespace {

using text::Tokenizer;
using text::TrainOptions;
using text::WordCounts;

std::shared_ptr<Tokenizer> train(const Tokenizer& pipeline, const WordCounts& words, TrainOptions& options, const py::object& progress) {
  TrainOptions given = options;
  // also where Ctrl-C comes through
  given.progress = [&](std::string_view stage, size_t done, size_t total) {
    const py::gil_scoped_acquire lock;
    if (PyErr_CheckSignals() != 0) throw py::error_already_set();
    if (!progress.is_none()) progress(std::string(stage), done, total);
  };
  const py::gil_scoped_release release;
  return std::make_shared<Tokenizer>(text::train_tokenizer(pipeline, words, given));
}

std::vector<std::string> alphabet_of(const TrainOptions& options) {
  std::vector<std::string> out;
  for (const char32_t c : options.initial_alphabet) text::append(out.emplace_back(), c);
  return out;
}

// The first character of each text, as Hugging Face's trainers take it.
void set_alphabet(TrainOptions& options, const std::vector<std::string>& alphabet) {
  options.initial_alphabet.clear();
  for (const std::string& c : alphabet)
    if (!c.empty()) options.initial_alphabet.push_back(text::decode(c.data()));
}

}  // namespace

void bind_train_tokenizer(py::module_& m) {
  py::class_<TrainOptions>(m, "TrainOptions", "What a tokenizer's vocabulary is to be; see include/tenon/text/train_tokenizer.h.")
      .def(py::init<>())
      .def_readwrite("vocab_size", &TrainOptions::vocab_size)
      .def_readwrite("min_frequency", &TrainOptions::min_frequency)
      .def_readwrite("special_tokens", &TrainOptions::special_tokens)
      .def_readwrite("limit_alphabet", &TrainOptions::limit_alphabet)
      .def_property("initial_alphabet", &alphabet_of, &set_alphabet)
      .def_readwrite("continuing_subword_prefix", &TrainOptions::continuing_subword_prefix)
      .def_readwrite("end_of_word_suffix", &TrainOptions::end_of_word_suffix)
      .def_readwrite("max_token_length", &TrainOptions::max_token_length)
      .def_readwrite("unk_token", &TrainOptions::unk_token)
      .def_readwrite("shrinking_factor", &TrainOptions::shrinking_factor)
      .def_readwrite("n_sub_iterations", &TrainOptions::sub_iterations)
      .def_readwrite("max_piece_length", &TrainOptions::max_piece_length)
      .def_readwrite("seed_size", &TrainOptions::seed_size)
      .def_readwrite("renamed", &TrainOptions::renamed);
  py::class_<WordCounts>(m, "WordCounts", "The words that a pipeline cuts texts into, and how often each occurs.")
      .def(py::init<const Tokenizer&>(), py::arg("pipeline"))
      .def(
          "add",
          [](WordCounts& words, const py::list& texts) {
            const Texts views(texts);
            const py::gil_scoped_release release;
            words.add(views.all());
          },
          py::arg("texts"))
      .def("list", &WordCounts::list);
  m.def(
      "training_pipeline",
      [](const std::string& kind, bool byte_level, bool lowercase) {
        return std::make_shared<Tokenizer>(text::training_pipeline(kind, byte_level, lowercase));
      },
      py::arg("kind"), py::arg("byte_level"), py::arg("lowercase"));
  m.def("train_tokenizer", &train, py::arg("pipeline"), py::arg("words"), py::arg("options"), py::arg("progress"));
}

}  // namespace tenon::python
