// The table of contents: what an application includes.
#pragma once

// Tasks: from texts and images to answers in two lines. Start here.
#include "tenon/tasks/pipeline.h"                        // pipeline("text-classification", folder), all tasks by name
#include "tenon/tasks/text_classification.h"             // one header per task, typed options and results
#include "tenon/tasks/feature_extraction.h"
#include "tenon/tasks/sentence_embedding.h"              // and nearest(): search
#include "tenon/tasks/fill_mask.h"
#include "tenon/tasks/image_classification.h"
#include "tenon/tasks/image_feature_extraction.h"
#include "tenon/tasks/zero_shot_image_classification.h"
#include "tenon/tasks/text_generation.h"                 // texts continued or translated, all at once or as they are written
#include "tenon/tasks/train_text_classification.h"       // a classifier of your own from labelled texts
#include "tenon/tasks/generation/generate.h"             // the same with ids, and with rules of your own

// Models: load(), from_config(), save(); forward(Context&, Inputs) -> Outputs.
#include "tenon/models/registry.h"
#include "tenon/models/model.h"
#include "tenon/models/adapters.h"                        // LoRA adapters in PEFT's files

// Training: a Tape records what a Context computes; optimisers, schedules, the loop.
#include "tenon/train/tape.h"
#include "tenon/train/optim.h"
#include "tenon/train/schedule.h"
#include "tenon/train/sparse.h"
#include "tenon/train/trainer.h"

// What prepares inputs and reads files.
#include "tenon/text/chat_template.h"                     // conversations to prompts
#include "tenon/text/decode_stream.h"
#include "tenon/text/tokenizer.h"
#include "tenon/vision/processor.h"
#include "tenon/io/checkpoint.h"
#include "tenon/io/safetensors.h"

// The ground: tensors, what computations run with, and the one exception type.
#include "tenon/core/context.h"
#include "tenon/core/json.h"
#include "tenon/core/tensor.h"
#include "tenon/core/error.h"
#include "tenon/core/version.h"
