// Uses an installed Tenon: builds a tiny model, runs it, and meets an error. Exits with 0 if all is as it should be.
#include <tenon/tenon.h>

#include <cstdio>

int second_unit();

int main() {
  tenon::Context ctx;
  tenon::Json config;
  config.set("model_type", "bert"), config.set("hidden_size", 16), config.set("num_hidden_layers", 1), config.set("num_attention_heads", 2);
  config.set("intermediate_size", 32), config.set("vocab_size", 50);
  const auto model = tenon::models::from_config(ctx, config, {.pack = false});
  tenon::models::Inputs inputs;
  inputs.input_ids = tenon::Tensor::from(std::vector<int64_t>{1, 2, 3}, {1, 3});
  const auto outputs = model->forward(ctx, inputs);
  std::printf("%s -> %s on %s\n", model->class_name().c_str(), outputs.last_hidden_state.describe().c_str(), ctx.kernels().name);
  try {
    tenon::models::load(ctx, "no/such/folder");
  } catch (const tenon::Error& e) {
    std::printf("as expected: %s\n", e.what());
    return second_unit() == 6 && outputs.last_hidden_state.shape() == tenon::Shape{1, 3, 16} ? 0 : 1;
  }
  return 1;
}
