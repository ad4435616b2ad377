// Text generation: streamed text equals the text at once; prompts of different lengths; seeds; cancelling. With a trained model.
#include <cstdlib>

#include "expect.h"
#include "tenon/tasks/pipeline.h"

using namespace tenon;
using namespace tenon::test;

namespace {

/// The trained model, or nullptr with a message if it is not there.
const TextGeneration* teller() {
  const char* set = std::getenv("TENON_SHARED");
  const std::string folder = io::join_path(set ? set : TENON_SHARED_DIR, "weights/stories260K");
  if (!io::is_folder(folder)) {
    MESSAGE("skipped: ", folder, " is not there");
    return nullptr;
  }
  static const TextGeneration task(folder);
  return &task;
}

TextGenerationOptions options(const TextGeneration& task, int64_t tokens) {
  TextGenerationOptions o{.config = task.config()};
  o.config.max_new_tokens = tokens;
  return o;
}

std::string streamed(const TextGeneration& task, const std::string& prompt, const TextGenerationOptions& o) {
  std::string text;
  task.stream(prompt, o, [&](std::string_view piece) { text += piece; });
  return text;
}

}  // namespace

TEST_CASE("a text is the same at once, streamed, and in a batch; words keep the space before them") {
  const TextGeneration* task = teller();
  if (!task) return;
  const TextGenerationOptions o = options(*task, 24);
  const std::vector<std::string> prompts = {"Tom and Lily", "Once upon a time", "The dog"};
  const std::vector<std::string> texts = (*task)(prompts, o);
  REQUIRE(texts.size() == 3);
  CHECK(texts[0].starts_with(" were playing in the par"));
  for (size_t i = 0; i < 3; ++i) {
    CHECK((*task)(prompts[i], o) == texts[i]);
    CHECK(streamed(*task, prompts[i], o) == texts[i]);
  }
  CHECK((*task)("", o).starts_with("Once upon a time, there was a little girl named Lily."));
  CHECK((*task)(std::vector<std::string>{}, o).empty());
}

TEST_CASE("sampled texts follow the seed, stop strings end them, beams have their say") {
  const TextGeneration* task = teller();
  if (!task) return;
  TextGenerationOptions o = options(*task, 30);
  o.config.do_sample = true;
  o.seed = 5;
  const std::string first = (*task)("The cat", o);
  CHECK(streamed(*task, "The cat", o) == first);
  o.seed = 6;
  CHECK((*task)("The cat", o) != first);
  o = options(*task, 60);
  o.config.stop_strings = {"Lily. She"};
  CHECK((*task)("Once upon a time", o) == ", there was a little girl named Lily. She");
  o = options(*task, 12);
  o.config.num_beams = o.config.num_return_sequences = 3;
  CHECK((*task)(std::vector<std::string>{"The cat"}, o).size() == 3);
  CHECK(error_of([&] { streamed(*task, "The cat", o); }, "num_beams") == ErrorCode::Limit);
  o = options(*task, 12);
  const std::string endless(3000, 'a');
  CHECK(error_of([&] { (*task)(endless, o); }, "the model's context holds 512") == ErrorCode::Limit);
}

TEST_CASE("another thread's cancel ends a text") {
  const TextGeneration* task = teller();
  if (!task) return;
  std::atomic<bool> cancel = false;
  TextGenerationOptions o = options(*task, 400);
  o.cancel = &cancel;
  int pieces = 0;
  task->stream("Once", o, [&](std::string_view) { cancel = ++pieces == 5; });
  CHECK(pieces == 5);
}

TEST_CASE("pipeline() writes texts too") {
  const TextGeneration* task = teller();
  if (!task) return;
  const char* set = std::getenv("TENON_SHARED");
  const std::string folder = io::join_path(set ? set : TENON_SHARED_DIR, "weights/stories260K");
  CHECK(task_of(folder) == "text-generation");
  const Pipeline write = pipeline("", folder, {.batch_size = 2});
  CallOptions o;
  o.generation = Json::parse(R"({"max_new_tokens": 8})");
  const std::vector<Result> results = write({"Tom and Lily", "Once upon a time", "The dog"}, o);
  REQUIRE(results.size() == 3);
  CHECK(results[0].text() == "Tom and Lily were playing in the par");
  o.return_full_text = false;
  CHECK(write("Once upon a time", o).to_json().dump() == R"([{"generated_text": ", there was a little girl"}])");
  o.generation = Json::parse(R"({"max_new_tokens": 4, "num_beams": 3, "num_return_sequences": 2})");
  CHECK(write("The dog", o).texts.size() == 2);
  o.generation = Json::parse(R"({"max_tokens": 4})");
  CHECK(error_of([&] { write("The dog", o); }, "max_tokens") == ErrorCode::Limit);
}
