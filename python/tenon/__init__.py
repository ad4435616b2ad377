"""Tenon runs Hugging Face transformers without PyTorch.

The names are those of Transformers and, where inference scripts touch them, of torch: a script changes its import lines.
Everything is imported when it is first used; importing the package starts no thread.
"""
from __future__ import annotations

import importlib
from typing import Any

from . import _loader  # noqa: F401  finds the libraries that the extension needs
from ._core import __version__, available_threads, get_num_threads, kernels_name, set_num_threads
from ._core import AddedToken, Precision, Tensor, dtype

for _name, _value in dtype.__members__.items():  # tenon.float32, tenon.int64, ...
    globals()[_name] = _value
float, half, double, int, long = (dtype.__members__[_name] for _name in ("float32", "float16", "float64", "int32", "int64"))

_MODULES = ("amp", "autograd", "cuda", "experts", "functions", "logging", "metrics", "modeling", "nn", "optim", "peft", "pipelines", "random", "safetensors", "sparsity", "trainer", "utils")
# module -> the public names that it defines
_NAMES = {
    "conversion": "Size as_tensor device from_dlpack from_numpy",
    "autocast_mode": "autocast get_autocast_dtype is_autocast_enabled",
    "functions": "FloatTensor LongTensor abs acos add addmm all allclose any arange argmax argmin argsort asin atan atan2 backends bernoulli bincount bmm broadcast_to cat ceil chunk "
                 "clamp clip compile concat concatenate cos cosh cosine_similarity count_nonzero cumsum diag diagonal div divide dot einsum empty "
                 "empty_like eq equal erf exp exp2 expm1 eye flatten flip floor floor_divide fmod full full_like gather ge get_default_dtype gt hstack "
                 "index_add index_select is_tensor isclose isfinite isinf isnan le lerp linalg linspace log log10 log1p log2 log_softmax logaddexp logical_and "
                 "logical_or logical_xor logsumexp lt masked_fill masked_select matmul max maximum mean median meshgrid min minimum mm movedim mul "
                 "multinomial multiply narrow ne neg nonzero norm normal ones ones_like outer permute pow prod promote_types rand rand_like randint randn "
                 "randn_like randperm reciprocal relu remainder repeat_interleave reshape result_type roll round rsqrt scatter scatter_add sigmoid sign "
                 "sin sinh softmax sort split sqrt square squeeze stack std sub subtract sum swapaxes t take_along_dim tan tanh tensor topk transpose "
                 "tril triu true_divide trunc unbind unflatten unique unsqueeze use_deterministic_algorithms var vstack where zeros zeros_like",
    "grad_mode": "enable_grad inference_mode is_grad_enabled is_inference_mode_enabled no_grad set_grad_enabled",
    "serialization": "load save",
    "random": "Generator fork_rng get_rng_state initial_seed manual_seed seed set_rng_state",
    "configuration": "AutoConfig PretrainedConfig PreTrainedConfig",
    "modeling": "PreTrainedModel",
    "generation": "GenerationConfig GenerationMixin LogitsProcessor LogitsProcessorList StoppingCriteria StoppingCriteriaList "
                  "GenerateDecoderOnlyOutput GenerateEncoderDecoderOutput GenerateBeamDecoderOnlyOutput GenerateBeamEncoderDecoderOutput",
    "cache_utils": "Cache DynamicCache EncoderDecoderCache",
    "moe": "MixtureOfExperts MoeOutput",
    "experts.accuracy": "DomainCounts RouterAccuracy assign_experts count_domains router_accuracy",
    "experts.balance": "LossFreeBalancing correction_biases update_correction_bias",
    "experts.convert": "merge_experts upcycle",
    "experts.distill": "ExpertDistillationTrainer",
    "experts.log": "RouterLog router_statistics",
    "experts.monitor": "RouterMonitor heat_map loads_as_text",
    "experts.progressive": "ProgressiveExperts",
    "experts.size": "active_parameters training_flops_per_token",
    "distillation": "DistillationTrainer distillation_loss hidden_loss student_from_teacher trim_vocabulary",
    "quantization": "AwqConfig CompressedTensorsConfig FineGrainedFP8Config Fp8Config GPTQConfig Int4Config Int8Config",
    "quantizing": "QuantizationReport quantize",
    "outputs": "ModelOutput",
    "batch": "BatchEncoding BatchFeature",
    "tokenization": "AutoTokenizer PreTrainedTokenizer PreTrainedTokenizerBase PreTrainedTokenizerFast TokenizersBackend",
    "tokenizer_training": "train_tokenizer",
    "tool_schema": "get_json_schema",
    "streamers": "AsyncTextIteratorStreamer BaseStreamer DecodeStream TextIteratorStreamer TextStreamer",
    "image_processing": "AutoFeatureExtractor AutoImageProcessor BaseImageProcessor load_image",
    "processing": "AutoProcessor CLIPProcessor",
    "engine": "Engine EngineOutput",
    "pipelines": "Pipeline pipeline TextClassificationPipeline FeatureExtractionPipeline FillMaskPipeline ImageClassificationPipeline "
                 "ImageFeatureExtractionPipeline ZeroShotImageClassificationPipeline TextGenerationPipeline Text2TextGenerationPipeline "
                 "SummarizationPipeline TranslationPipeline",
    "peft": "AutoPeftModel AutoPeftModelForCausalLM AutoPeftModelForSeq2SeqLM AutoPeftModelForSequenceClassification LoraConfig PeftConfig PeftModel "
            "PeftModelForCausalLM PeftModelForSeq2SeqLM PeftModelForSequenceClassification PeftType PrefixTuningConfig PromptTuningConfig "
            "PromptTuningInit TaskType get_peft_config get_peft_model get_peft_model_state_dict set_peft_model_state_dict",
    "trainer.arguments": "Seq2SeqTrainingArguments TrainingArguments",
    "trainer.callbacks": "CallbackHandler DefaultFlowCallback EarlyStoppingCallback PrinterCallback ProgressCallback TrainerCallback",
    "trainer.collators": "DataCollatorForSeq2Seq DataCollatorForTokenClassification DataCollatorWithFlattening DataCollatorWithPadding "
                         "DefaultDataCollator default_data_collator",
    "trainer.command_line": "HfArgumentParser",
    "trainer.greedy": "GreedyLR",
    "trainer.language_modeling": "DataCollatorForLanguageModeling DataCollatorForWholeWordMask",
    "trainer.names": "IntervalStrategy OptimizerNames SaveStrategy SchedulerType",
    "trainer.reporting": "TensorBoardCallback",
    "trainer.results": "EvalLoopOutput EvalPrediction PredictionOutput TrainOutput enable_full_determinism get_last_checkpoint set_seed",
    "trainer.schedules": "get_constant_schedule get_constant_schedule_with_warmup get_cosine_schedule_with_warmup "
                         "get_cosine_with_hard_restarts_schedule_with_warmup get_cosine_with_min_lr_schedule_with_warmup "
                         "get_cosine_with_min_lr_schedule_with_warmup_lr_rate get_greedy_schedule get_inverse_sqrt_schedule "
                         "get_linear_schedule_with_warmup get_polynomial_decay_schedule_with_warmup get_reduce_on_plateau_schedule get_scheduler "
                         "get_wsd_schedule",
    "trainer.seq2seq": "Seq2SeqTrainer",
    "trainer.state": "ExportableState TrainerControl TrainerState",
    "trainer.trainer": "Trainer",
}
_HOME = {name: module for module, names in _NAMES.items() for name in names.split()}
# modules that make classes by name: from the registry of models, and from the tables of families
_MAKERS = ("modeling", "auto", "configuration", "tokenization", "image_processing")


def __getattr__(name: str) -> Any:
    if name.startswith("__"):
        raise AttributeError(f"module 'tenon' has no attribute {name!r}")
    module = _HOME.get(name)
    if module is not None:
        value = getattr(importlib.import_module(f".{module}", __name__), name)
    elif name in _MODULES:
        value = importlib.import_module(f".{name}", __name__)
    else:
        for maker in map(lambda m: importlib.import_module(f".{m}", __name__), _MAKERS if name[:1].isupper() else ()):
            try:
                value = getattr(maker, name)
                break
            except AttributeError:
                continue
        else:
            raise AttributeError(f"module 'tenon' has no attribute {name!r}")
    globals()[name] = value
    return value


def __dir__() -> list[str]:
    made = [importlib.import_module(f".{m}", __name__).class_names() for m in _MAKERS]
    return sorted({*globals(), *_HOME, *_MODULES, *(name for names in made for name in names)})


importlib.import_module(".tensors", __name__)  # gives Tensor its methods
