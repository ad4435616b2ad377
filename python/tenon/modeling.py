"""Models: PreTrainedModel and the concrete classes, which are made from the C++ registry."""
from __future__ import annotations

import copy
import os
import threading
import weakref
from typing import Any, Iterator

from . import _core, cache_utils, hub, model_node
from ._core import Precision, Tensor
from .autograd import without_gradient
from .configuration import PretrainedConfig, config_class
from .conversion import as_tensor, device, device_name, dtype, to_dtype
from .experts.mixin import RoutingMixin, has_experts
from .generation import GenerationConfig, GenerationMixin
from .model_parts import Part, load_composed, save_composed
from .nn.module import LoadResult, Module
from .outputs import BaseModelOutput, ModelOutput, first_tensor, ordered, output_class
from .peft.mixin import AdapterMixin, load_with_adapter
from .quantization import loading_of, precision_of
from .random import next_seed

_FLAGS = ("output_attentions", "output_hidden_states", "return_dict")
_FLAG_INPUTS = frozenset({"interpolate_pos_encoding", "return_loss", "output_router_logits"})
_NOT_TRAINED = "e_score_correction_bias"  # a router's bias, which the optimiser leaves alone (experts.LossFreeBalancing moves it)
# Arguments of Transformers that a family does without: None and False are accepted, and _IGNORED with any value.
_ABSENT = frozenset({"token_type_ids", "head_mask", "past_key_values", "use_cache", "encoder_hidden_states", "encoder_attention_mask", "bool_masked_pos",
                     "cache_position", "num_items_in_batch"})
_IGNORED = frozenset({"token_type_ids", "num_items_in_batch"})  # DistilBERT takes the former since Transformers 5


class Embeddings:
    """What get_input_embeddings() returns: the table of word vectors."""

    def __init__(self, weight: Tensor) -> None:
        self.weight = weight
        self.num_embeddings, self.embedding_dim = weight.shape

    def __call__(self, ids: Any) -> Tensor:
        return self.weight[as_tensor(ids)]


class PreTrainedModel(Module, GenerationMixin, AdapterMixin, RoutingMixin):
    """A model with its configuration. Several threads may call one model at once.

    The concrete classes (BertModel, ViTForImageClassification, ...) exist for every row of the registry.
    """

    core_name: str = ""
    model_type: str = ""
    config_class: type[PretrainedConfig] = PretrainedConfig
    main_input_name: str = "input_ids"
    config: PretrainedConfig

    def __init__(self, config: PretrainedConfig, *, dtype: Any = None, quantization_config: Any = None, **kwargs: Any) -> None:
        """A model with fresh weights, drawn as tenon.manual_seed says."""
        if not isinstance(config, PretrainedConfig):
            raise TypeError(f"[{type(self).__name__}] expected a configuration, got {type(config).__name__}; from_pretrained opens checkpoints")
        if not self.core_name:  # a class of the user's: its parts are models and modules
            super().__init__()
            self._take(None, config)
            self.training = True
            return
        options = _core.LoadOptions()
        options.class_name = self.core_name
        options.seed = next_seed()
        loading = loading_of(dtype, quantization_config)
        options.precision, options.fp8_rows = loading.precision or Precision.float32, loading.fp8_rows
        unused = [name for name in kwargs if name != "add_pooling_layer"]
        if unused:
            raise TypeError(f"[{type(self).__name__}] unknown arguments: {', '.join(unused)}")
        self._take(_core.from_config({**config.to_diff_dict(), **kwargs}, options), config)
        self.training = True

    def _take(self, core: Any, config: PretrainedConfig) -> None:
        self._start()
        self._core: _core.Model = core
        self._adapters: Any = None  # peft.attached.Attached, if it has adapters
        self.config = config
        self.training = False
        self.is_gradient_checkpointing = False
        self._weights: "dict[str, Tensor] | None" = {} if core is None else None
        self._trainable = core is None  # the weights are plain float32 that may be written to
        self._records = False           # gradients were asked for: eval() mode records at once, too
        self._lock = threading.Lock()
        self._generation_config: GenerationConfig | None = None

    # Opening and saving
    @classmethod
    def from_pretrained(cls, pretrained_model_name_or_path: "str | os.PathLike[str]", *model_args: Any, **kwargs: Any) -> Any:
        """Opens a checkpoint folder or a cached hub name.

        dtype: float32 (default), bfloat16 or "auto" (the checkpoint's), of quantised checkpoints that of all else and of the activations;
        quantization_config: Int8Config(), Int4Config() or Fp8Config(); AwqConfig(exact=True) and its kin say how a checkpoint that is quantised
        so is computed, opening it needs none; exact: the same for any quantised checkpoint, True multiplies activations as they are, False rounds
        them to int8 where that is faster (the default, but for FP8, whose products are exact unless False is given: then a GPU rounds rows that meet
        FP8 weights to e4m3 per token and 128 columns); config: a configuration in place of the checkpoint's; ignore_mismatched_sizes: initialises
        weights of another shape anew; output_loading_info: returns a pair. Other arguments override settings (num_labels=3,
        output_hidden_states=True).
        Errors: FileNotFoundError; ValueError for an unknown architecture and damaged files; TypeError for unknown arguments.
        """
        if cls.__dict__.get("core_name") is None and cls is not PreTrainedModel:
            return load_composed(cls, pretrained_model_name_or_path, model_args, kwargs)
        return load_model(cls.core_name, pretrained_model_name_or_path, kwargs)

    @classmethod
    def from_config(cls, config: PretrainedConfig, **kwargs: Any) -> Any:
        """A model with fresh weights."""
        return cls(config, **kwargs)

    _from_config = from_config

    def save_pretrained(self, save_directory: "str | os.PathLike[str]", max_shard_size: "int | str" = "50GB", safe_serialization: bool = True,
                        push_to_hub: bool = False, **kwargs: Any) -> None:
        """Writes config.json and model.safetensors (or shards), which Transformers opens; atomically."""
        if push_to_hub:
            raise ValueError("[save_pretrained] push_to_hub is not supported; upload the folder with huggingface_hub")
        if not safe_serialization:
            raise ValueError("[save_pretrained] expected safe_serialization=True, the only format that is written")
        if self._modules or self._parameters:
            return save_composed(self, os.fspath(save_directory))
        if self._adapters is not None:
            return self._save_adapters(os.fspath(save_directory))
        self._sync_config()
        _core.save(self._core, os.fspath(save_directory), _bytes(max_shard_size))
        if self.can_generate():
            self.generation_config.save_pretrained(save_directory)

    def _sync_config(self) -> None:
        parts = {name for name, _ in self._core.quantized_parts()}
        stored = max((t for name, t in self._core.parameters() if name not in parts), key=lambda t: t.numel()).dtype
        kept = {"quantization_config": self._core.config.get("quantization_config")} if parts else {}
        self._core.config = {**self.config.to_diff_dict(), **kept, "architectures": [type(self).__name__], "dtype": str(stored).rpartition(".")[2]}

    # Running
    def forward(self, *args: Any, **kwargs: Any) -> Any:
        """Runs the model; arguments and outputs are named as in Transformers.

        Tensors may be NumPy arrays, tenon or torch tensors, or nested lists. Returns a ModelOutput, or a tuple for return_dict=False.
        With past_key_values of an earlier call (see cache_utils.Cache) only the new tokens are given and computed; attention_mask, if
        given, covers the past. Such calls, and those with use_cache=True, have no gradient:
        asking for it is an error.
        Errors: TypeError for unknown arguments; ValueError for shapes, for ids outside the vocabulary and for texts that are too long.
        """
        caches = cache_utils.has_cache(self)
        past, use_cache = cache_utils.split(self, kwargs) if caches else (None, None)
        flags, inputs = self._arguments(args, kwargs)
        if "labels" in inputs and self._core.config.get("problem_type") != self.config.problem_type:
            self._sync_config()
        inputs["output_hidden_states"], inputs["output_attentions"] = flags["output_hidden_states"], flags["output_attentions"]
        if past is not None or (use_cache and "labels" not in inputs):
            outputs = cache_utils.forward(self, inputs, past)
            model_node.refuse_gradients(self, outputs)
        else:
            outputs = model_node.forward(self, inputs)
            if self.training and "expert_loads" in outputs:
                self.router_log.add(outputs, self.num_active_experts)
            if caches and use_cache is None and "labels" not in inputs and getattr(self.config, "use_cache", True):
                outputs["past_key_values"] = cache_utils.Cache._later(self, inputs)
        result = ordered(output_class(self.core_name), outputs)
        return result if flags["return_dict"] else result.to_tuple()

    def _arguments(self, args: tuple[Any, ...], kwargs: dict[str, Any]) -> tuple[dict[str, bool], dict[str, Any]]:
        names = self._input_names()
        if len(args) > len(names):
            raise TypeError(f"[{type(self).__name__}] expected at most {len(names)} positional arguments, got {len(args)}")
        given = dict(zip(names, args))
        twice = given.keys() & kwargs.keys()
        if twice:
            raise TypeError(f"[{type(self).__name__}] got two values for {', '.join(sorted(twice))}")
        given.update(kwargs)
        flags = {}
        for name in _FLAGS:
            value = given.pop(name, None)
            flags[name] = bool(getattr(self.config, name, False) if value is None else value)
        unknown = [k for k, v in given.items() if k not in names and not (k in _ABSENT and (v is None or v is False or k in _IGNORED))]
        if unknown:
            raise TypeError(f"[{type(self).__name__}] unknown arguments: {', '.join(sorted(unknown))}; known are: {', '.join((*names, *_FLAGS))}")
        inputs = {}
        for name, value in given.items():
            if value is None or name not in names:
                continue
            inputs[name] = bool(value) if name in _FLAG_INPUTS else _input(name, value)
        return flags, inputs

    def _input_names(self) -> tuple[str, ...]:
        names = self.config.family.inputs
        if not any(part in type(self).__name__ for part in ("For", "LMHead", "MTModel")):  # base models have no loss
            names = tuple(n for n in names if n != "labels")
        if "EncoderModel" in type(self).__name__:
            names = tuple(n for n in names if "coder_" not in n)
        return names

    def get_text_features(self, input_ids: Any = None, attention_mask: Any = None, position_ids: Any = None, **kwargs: Any) -> Tensor:
        """CLIP: the projected features of texts, not normalised. Shapes: -> (texts, projection)."""
        return self._features(input_ids=input_ids, attention_mask=attention_mask, position_ids=position_ids, **kwargs)

    def get_image_features(self, pixel_values: Any = None, interpolate_pos_encoding: bool = False, **kwargs: Any) -> Tensor:
        """CLIP: the projected features of images, not normalised. Shapes: -> (images, projection)."""
        return self._features(pixel_values=pixel_values, interpolate_pos_encoding=interpolate_pos_encoding, **kwargs)

    def _features(self, **kwargs: Any) -> Tensor:
        _, inputs = self._arguments((), kwargs)
        # A loss on features takes them from the model's own call, as text_embeds and image_embeds.
        features = without_gradient("get_text_features or get_image_features", self._core.features(**inputs), list(self.parameters()))
        features.pooler_output = features.detach()  # Transformers 5 returns an output with this field, 4 the tensor itself
        return features

    def get_encoder(self) -> Any:
        """Encoder-decoders: a callable that runs the encoder alone; its output is what encoder_outputs= takes. Others: the model itself."""
        if not getattr(self.config, "is_encoder_decoder", False) or "EncoderModel" in type(self).__name__:
            return self
        return _Encoder(self)

    # Parameters
    def _tensors(self) -> dict[str, Tensor]:
        if self._weights is None:
            owner = weakref.ref(self)

            def prepare() -> None:
                model = owner()
                if model is not None:
                    model._make_trainable()

            weights = dict(self._core.parameters())
            stored = {name for name, _ in self._core.quantized_parts()}
            for name, t in weights.items():
                t.__dict__.update(_requires_grad=name not in stored and not name.endswith(_NOT_TRAINED), _parameter=True, _prepare=prepare)
                if name in stored:
                    t.__dict__["_quantized"] = name
            self.__dict__["_weights"] = weights
        return self._weights  # type: ignore[return-value]

    def _own_parameters(self) -> "Iterator[tuple[str, Tensor | None]]":
        """The weights under the names that the checkpoint has on disk, tied ones once; then what a subclass added. With adapters, PEFT's names."""
        yield from self._tensors().items() if self._adapters is None else self._adapters.named()
        yield from self._parameters.items()

    def _make_trainable(self) -> None:
        """Turns the weights into plain float32 that may be written to. The parameters stay the same objects."""
        with self._lock:
            if not self._trainable:
                self._core.unpack()
                self._bind_parameters()
                self._trainable = True

    def _bind_parameters(self) -> None:
        """Lets the parameters that were given out stand for the core's tensors of today."""
        lent = () if self._adapters is None else self._adapters.lent  # an adapter's tensor stands in their place
        for name, t in self._core.parameters() if self._weights else ():
            if name in lent:
                continue
            own = self._tensors()[name]
            if own.data_ptr() != t.data_ptr():
                own.__dict__["_former"] = own._handle()  # arrays over it do not keep its memory alive
            own._rebind(t)

    def _repack(self, precision: Precision) -> None:
        self._core.pack(precision)
        self._trainable = False

    def __getattr__(self, name: str) -> Any:
        try:
            return super().__getattr__(name)
        except AttributeError:
            if not name.startswith("_"):
                found = Part.find(self, name)
                if found is not None:
                    return found
            raise

    def __setattr__(self, name: str, value: Any) -> None:
        if isinstance(value, (Module, Tensor)) and name in Part.names(self):
            raise RuntimeError(f"[{type(self).__name__}] {name} is computed by the compiled model and cannot be replaced; make a Module that holds the "
                               "model and the new part")
        super().__setattr__(name, value)

    def __deepcopy__(self, memo: Any) -> "PreTrainedModel":
        if self._core is None:
            copied = type(self).__new__(type(self))
            copied.__dict__.update({k: copy.deepcopy(v, memo) for k, v in self.__dict__.items() if k not in ("_lock", "_weights")})
            copied.__dict__.update(_lock=threading.Lock(), _weights={})
            return copied
        options = _core.LoadOptions()
        options.class_name, options.precision, options.fp8_rows = self.core_name, self._core.precision, self._core.fp8_rows
        self._sync_config()
        copied = type(self).__new__(type(self))
        if self._core.quantized_parts():
            options.pack = not self._trainable
            copied._take(_core.copy(self._core, options), copy.deepcopy(self.config))
            copied._trainable = self._trainable
        else:  # made where fresh weights are made
            copied._take(_core.from_config(self._core.config, options), copy.deepcopy(self.config))
            copied.load_state_dict({name: t for name, t in self._tensors().items()})
        copied._move(self._core.device)
        if has_experts(self):
            copied.set_routing(**self.routing)
        for name, value in self.__dict__.items():
            if name in ("_modules", "_parameters", "_buffers") or name not in copied.__dict__:
                copied.__dict__[name] = copy.deepcopy(value, memo)
        copied.__dict__.update(training=self.training, is_gradient_checkpointing=self.is_gradient_checkpointing)
        for (_, t), mine in zip(self._tensors().items(), copied._tensors().values()):
            if mine.requires_grad != t.requires_grad:
                mine.requires_grad = t.requires_grad
        return copied

    def load_state_dict(self, state_dict: Any, strict: bool = True, assign: bool = False) -> LoadResult:
        """Copies weights into the model. Errors: RuntimeError naming what is missing, superfluous or of another shape."""
        values = {n: as_tensor(v).clone() for n, v in state_dict.items()}  # they may be views of this model's own weights
        packed = None if self._trainable else self._core.precision
        result = super().load_state_dict(values, strict)
        if packed is not None:
            self._repack(packed)
        return result

    def _assign(self, name: str, t: Tensor, value: Any) -> None:
        if "_quantized" not in t.__dict__:
            return super()._assign(name, t, value)
        import numpy as np  # here, for a process that only computes needs no NumPy
        if t.dtype != value.dtype or not np.array_equal(t.numpy(), value.numpy(), equal_nan=t.dtype.is_floating_point):
            raise RuntimeError(f"[load_state_dict] {name} is part of a quantised weight, which stays as the checkpoint holds it; open the other "
                               "checkpoint instead")

    def num_parameters(self, only_trainable: bool = False, exclude_embeddings: bool = False) -> int:
        """The number of weights; tied ones count once."""
        stands_for = dict(self._core.quantized_parts()) if self._core is not None else {}
        return sum(stands_for.get(name, t.numel()) for name, t in self.named_parameters()
                   if not (only_trainable and not t.requires_grad) and not (exclude_embeddings and "embedding" in name))

    def get_input_embeddings(self) -> Embeddings:
        for name, t in self._tensors().items():
            if name.endswith(("word_embeddings.weight", "token_embedding.weight", "embed_tokens.weight", "wte.weight", "shared.weight")):
                return Embeddings(t)
        raise NotImplementedError(f"[{type(self).__name__}] has no table of word vectors")

    # Precision and modes
    def to(self, *args: Any, dtype: Any = None, device: Any = None, **kwargs: Any) -> "PreTrainedModel":
        """Changes the precision, to(tenon.bfloat16), or moves the model: to("cuda"), where tenon.cuda.is_available().

        Errors: RuntimeError if the device cannot be used or has no kernel for the weights; MemoryError. The model is then as before.
        """
        for arg in args:
            if isinstance(arg, _core.dtype) or (hasattr(arg, "itemsize") and not isinstance(arg, str)):
                dtype = arg
            else:
                device = arg
        if dtype is not None:
            self._cast(to_dtype(dtype))
        if device is not None:
            self._move(device_name(device))
        return self

    def _move(self, where: str) -> None:
        if self._core is None:
            return super()._move(where)
        for module in self.children():
            module._move(where)
        super()._move_own(where)
        if where == self._core.device:
            return
        with self._lock:
            if self._adapters is None:
                self._core.to(where)
            else:
                self._adapters.to(where)
            self._bind_parameters()

    def cpu(self) -> "PreTrainedModel":
        return self.to(device="cpu")

    def _cast(self, kind: Any) -> None:
        """Packs the weights in another precision; what a subclass added is converted."""
        super()._cast(kind)
        if self._core is not None and self._core.precision in (Precision.float32, Precision.bfloat16):
            precision = precision_of(kind, None) or Precision.float32
            if precision != self._core.precision:
                self._repack(precision)

    def gradient_checkpointing_enable(self, gradient_checkpointing_kwargs: Any = None) -> None:
        """From now on recording keeps the inputs of each layer alone and computes the rest again for the gradient."""
        self.is_gradient_checkpointing = True

    def gradient_checkpointing_disable(self) -> None:
        self.is_gradient_checkpointing = False

    @property
    def device(self) -> device:
        """Where it computes."""
        if self._core is not None:
            return device(self._core.device)
        first = next(self.parameters(), None)
        return device("cpu") if first is None else first.device

    @property
    def dtype(self) -> dtype:
        """The type of the activations between layers."""
        return dtype.bfloat16 if self._core is not None and self._core.precision == Precision.bfloat16 else dtype.float32

    @property
    def name_or_path(self) -> str:
        return self.config.name_or_path

    @property
    def base_model_prefix(self) -> str:
        return "" if self._core is None else self._core.base_prefix

    def post_init(self) -> None:
        """What Transformers calls at the end of __init__(); nothing is left to do here."""

    def __repr__(self) -> str:
        if self._modules:
            return super().__repr__()
        precision = str(self._core.precision).rpartition(".")[2]
        return f"{type(self).__name__}(model_type={self.config.model_type!r}, parameters={self.num_parameters():,}, precision={precision})"


class _Encoder:
    """What get_encoder() returns."""

    def __init__(self, model: PreTrainedModel) -> None:
        self._model = model
        self.config = model.config

    def __call__(self, input_ids: Any = None, attention_mask: Any = None, inputs_embeds: Any = None, **kwargs: Any) -> Any:
        """Shapes: input_ids (B,S) -> last_hidden_state (B,S,C). Without gradients. Errors: as the model's."""
        flags, inputs = self._model._arguments((), {**kwargs, "input_ids": input_ids, "attention_mask": attention_mask, "inputs_embeds": inputs_embeds})
        result = BaseModelOutput(self._model._core.encode(**inputs, output_hidden_states=flags["output_hidden_states"],
                                                          output_attentions=flags["output_attentions"]))
        return result if flags["return_dict"] else result.to_tuple()

    forward = __call__


def _input(name: str, value: Any) -> Tensor:
    if name == "encoder_outputs":
        value = first_tensor(value)
    try:
        t = as_tensor(value)
    except (TypeError, ValueError) as error:
        raise type(error)(f"[forward] {name}: {error}") from None
    wide = name in ("pixel_values", "inputs_embeds", "decoder_inputs_embeds", "encoder_outputs") and t.dtype.is_floating_point
    return t.to(dtype.float32) if wide else t


def _bytes(size: "int | str") -> int:
    """A number of bytes from 1000, "200MB" or "5GiB"."""
    units = {"KIB": 2**10, "MIB": 2**20, "GIB": 2**30, "TIB": 2**40, "KB": 10**3, "MB": 10**6, "GB": 10**9, "TB": 10**12}
    if isinstance(size, int):
        return size
    for unit, factor in units.items():
        if size.upper().endswith(unit):
            return int(float(size[: -len(unit)]) * factor)
    raise ValueError(f"[save_pretrained] max_shard_size: expected bytes or a text like \"5GB\", got {size!r}")


def load_model(class_name: str, path: "str | os.PathLike[str]", kwargs: dict[str, Any]) -> Any:
    """from_pretrained for a concrete or an Auto class, named as the registry names it."""
    kwargs = dict(kwargs)
    folder = hub.resolve(path, **hub.split_arguments(kwargs))
    if os.path.isfile(os.path.join(folder, "adapter_config.json")) and not os.path.isfile(os.path.join(folder, "config.json")):
        return load_with_adapter(class_name, path, folder, kwargs)
    where, device_map = kwargs.pop("device", None), kwargs.pop("device_map", None)
    where = device_map if where is None else where
    where = device_name(where if not isinstance(where, dict) else next(iter(where.values()), None))
    options = _core.LoadOptions()
    options.class_name = class_name
    torch_dtype = kwargs.pop("torch_dtype", None)
    kind, quantization = kwargs.pop("dtype", torch_dtype), kwargs.pop("quantization_config", None)
    exact = kwargs.pop("exact", None)
    options.allow_missing = True
    options.ignore_mismatched_sizes = bool(kwargs.pop("ignore_mismatched_sizes", False))
    wants_info = kwargs.pop("output_loading_info", False)
    config = kwargs.pop("config", None)
    if isinstance(config, (str, os.PathLike)):
        config = PretrainedConfig.from_pretrained(config)
    overrides: dict[str, Any] = {}
    if config is not None:
        overrides = {**config.to_diff_dict(), "id2label": config.id2label, "label2id": config.label2id}
    known = PretrainedConfig.from_pretrained(folder) if config is None else config
    loading = loading_of(kind, quantization, folder, known, exact)
    options.automatic_precision = loading.precision is None
    options.precision = loading.precision or Precision.float32
    options.exact_products, options.fp8_rows = loading.exact, loading.fp8_rows
    unknown = [name for name in kwargs if name not in known and name not in ("num_labels", "add_pooling_layer")]
    if unknown:
        raise TypeError(f"[from_pretrained] unknown arguments: {', '.join(sorted(unknown))}")
    overrides.update(kwargs)
    core, report = _core.load(folder, options, overrides, where)
    cls = model_class(core.class_name)
    model = cls.__new__(cls)
    model._take(core, config if config is not None else _config_of(core, cls, os.fspath(path)))
    if config is not None and kwargs:
        model.config.override(kwargs)
    model.__dict__["_exact_products"] = loading.exact
    if model.can_generate():
        model.generation_config = GenerationConfig.of_checkpoint(folder, core.config)
    if core.config.get("model_type") not in (None, cls.model_type):  # a tower of a larger model: the rest is not superfluous
        report.unexpected = []
    _report(cls.__name__, os.fspath(path), report)
    if not wants_info:
        return model
    return model, {"missing_keys": report.missing, "unexpected_keys": report.unexpected, "mismatched_keys": report.mismatched, "error_msgs": []}


def _config_of(core: _core.Model, cls: type[PreTrainedModel], name: str) -> PretrainedConfig:
    values = core.config
    for key, model_type in config_class(values.get("model_type") or cls.model_type).family.sub_configs.items():
        if model_type == cls.model_type:
            values = values.get(key) or values
    return cls.config_class.from_dict(values, name_or_path=name)


def _listed(names: list[str], most: int = 12) -> str:
    return ", ".join(names[:most]) + (f" and {len(names) - most} more" if len(names) > most else "")


def _report(class_name: str, path: str, report: _core.LoadReport) -> None:
    if report.unexpected:
        hub.warn(f"{class_name}: weights of {path} that are not used: {_listed(report.unexpected)}")
    fresh = [*report.missing, *report.mismatched]
    if fresh:
        hub.warn(f"{class_name}: weights that {path} lacks were newly initialized: {_listed(fresh)}. "
                 "Train this model before using its predictions.")


_classes: dict[str, type[PreTrainedModel]] = {}


def class_names() -> list[str]:
    """The concrete model classes, in the order of the registry."""
    return list(dict.fromkeys(row[1] for row in _core.registry()))


def model_class(name: str) -> type[PreTrainedModel]:
    """A concrete class by its name. Errors: AttributeError if the registry has none."""
    if name not in _classes:
        row = next((row for row in _core.registry() if row[1] == name), None)
        if row is None:
            raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
        config_type = config_class(row[0])
        _classes[name] = type(name, (PreTrainedModel,), {
            "core_name": name, "model_type": row[0], "config_class": config_type, "main_input_name": config_type.family.inputs[0],
            "__module__": __name__, "__doc__": f"Transformers' {name}; see PreTrainedModel.",
        })
    return _classes[name]


def _base_class(name: str) -> Any:
    """BertPreTrainedModel and its kin, for classes of the user's own."""
    prefix = name.removesuffix("PreTrainedModel")
    row = next((row for row in _core.registry() if prefix and row[1].startswith(prefix + "Model")), None)
    if row is None:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    config_type = config_class(row[0])
    return type(name, (PreTrainedModel,), {
        "core_name": "", "model_type": row[0], "config_class": config_type, "main_input_name": config_type.family.inputs[0],
        "__module__": __name__, "__doc__": "Base of models that are made of others; see PreTrainedModel.",
    })


def __getattr__(name: str) -> Any:
    if name.endswith("PreTrainedModel"):
        if name not in _classes:
            _classes[name] = _base_class(name)
        return _classes[name]
    return model_class(name)
