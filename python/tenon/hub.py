"""Where a checkpoint lies: a folder, or a hub name in the cache that huggingface_hub keeps."""
from __future__ import annotations

import os
from typing import Any

# Arguments of from_pretrained that say how files are fetched, and those that ask for what Tenon does anyway.
FETCH_ARGUMENTS = ("cache_dir", "revision", "subfolder", "local_files_only", "force_download", "token")
IGNORED_ARGUMENTS = frozenset({
    "resume_download", "proxies", "use_auth_token", "trust_remote_code", "use_safetensors", "weights_only", "low_cpu_mem_usage", "variant",
    "attn_implementation", "experts_implementation", "disable_mmap", "offload_folder", "use_fast", "_from_auto", "_commit_hash", "mirror",
    "tp_plan", "distributed_config", "use_kernels", "backend",
})


def cache_folder(cache_dir: Any = None) -> str:
    """The folder of huggingface_hub's cache, from the variables that it reads."""
    env = os.environ
    home = env.get("HF_HOME") or os.path.join(env.get("XDG_CACHE_HOME") or os.path.join("~", ".cache"), "huggingface")
    folder = cache_dir or env.get("HF_HUB_CACHE") or env.get("HUGGINGFACE_HUB_CACHE") or os.path.join(home, "hub")
    return os.path.expanduser(os.fspath(folder))


def find_cached(name: str, revision: str | None = None, cache_dir: Any = None, kind: str = "models") -> str | None:
    """The snapshot folder of a hub name, or None."""
    repo = os.path.join(cache_folder(cache_dir), "--".join([kind, *name.split("/")]))
    ref = os.path.join(repo, "refs", revision or "main")
    commit = revision or ""
    if os.path.isfile(ref):
        with open(ref, encoding="utf-8") as file:
            commit = file.read().strip()
    folder = os.path.join(repo, "snapshots", commit)
    return folder if commit and os.path.isdir(folder) else None


def _offline(local_files_only: bool) -> bool:
    return local_files_only or any(os.environ.get(v, "").upper() in ("1", "ON", "YES", "TRUE") for v in ("HF_HUB_OFFLINE", "TRANSFORMERS_OFFLINE"))


def _is_hub_name(name: str) -> bool:
    parts = name.split("/")
    return len(parts) <= 2 and all(p and p[0] not in ".~" and all(c.isalnum() or c in "-_." for c in p) for p in parts)


def resolve(path: "str | os.PathLike[str]", *, cache_dir: Any = None, revision: str | None = None, subfolder: str = "",
            local_files_only: bool = False, force_download: bool = False, token: Any = None) -> str:
    """The folder of a checkpoint. Errors: FileNotFoundError saying where was looked."""
    if not isinstance(path, (str, os.PathLike)):
        raise TypeError(f"[from_pretrained] expected a folder or a hub name, got {type(path).__name__}")
    name = os.fspath(path)
    folder = name if os.path.isdir(name) else None
    tried = "no such folder"
    if folder is None and _is_hub_name(name):
        folder = find_cached(name, revision, cache_dir)
        tried = f"no such folder, and nothing of that name in {cache_folder(cache_dir)}"
        if folder is None and not _offline(local_files_only):
            folder, tried = _fetch(name, revision, cache_dir, token, tried)
    if folder is None and os.path.isfile(name):
        return name
    if folder is None:
        raise FileNotFoundError(f"[from_pretrained] {name}: {tried}")
    return os.path.join(folder, subfolder) if subfolder else folder


def _fetch(name: str, revision: str | None, cache_dir: Any, token: Any, tried: str) -> tuple[str | None, str]:
    try:
        import huggingface_hub  # type: ignore[import-not-found,unused-ignore]
    except ImportError:
        return None, f"{tried}; to download it, install huggingface_hub (pip install 'tenon-ml[hub]') or fetch the files yourself"
    try:
        patterns = ["*.json", "*.txt", "*.model", "*.tiktoken", "*.safetensors", "*.jinja", "*.bin"]
        return huggingface_hub.snapshot_download(name, revision=revision, cache_dir=cache_dir, token=token, allow_patterns=patterns), ""
    except Exception as error:  # the client raises types of its own for every way in which a network fails
        return None, f"{tried}; downloading failed: {type(error).__name__}: {str(error).splitlines()[0] if str(error) else ''}"


def split_arguments(kwargs: dict[str, Any]) -> dict[str, Any]:
    """Takes the arguments of resolve() out of kwargs, and those that have no effect; returns the former."""
    if kwargs.get("token") is None and isinstance(kwargs.get("use_auth_token"), str):
        kwargs["token"] = kwargs["use_auth_token"]
    for name in IGNORED_ARGUMENTS:
        kwargs.pop(name, None)
    return {name: value for name in FETCH_ARGUMENTS if (value := kwargs.pop(name, None)) is not None}


def warn(message: str, once: bool = False) -> None:
    """Logs a warning under the logger "tenon"; `once` per process for each text."""
    if once and message in _said:
        return
    _said.add(message)
    import logging

    logging.getLogger("tenon").warning(message)


_said: set[str] = set()
