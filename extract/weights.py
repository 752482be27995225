"""Find published weights on this machine, check which files are missing, and identify weights. Downloads nothing."""

import hashlib
import json
import os
import re
from collections.abc import Mapping
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path, PurePosixPath

from ..store.errors import ConfigError, Hint, WeightsError
from .placeholders import read_placeholders

_REPOSITORY = re.compile(r"[A-Za-z0-9][\w.-]*/[\w.-]+")
_RANDOM = "random:"

#: File that every part of this name has; all other parts are models.
_PART_FILES = {
    "tokenizer": "tokenizer_config.json",
    "scheduler": "scheduler_config.json",
    "feature_extractor": "preprocessor_config.json",
}


@dataclass(frozen=True, kw_only=True)
class PublishedWeights:
    """Description of a backbone's published weights.

    Attributes
    ----------
    name
        Repository on the Hugging Face hub (``organisation/name``), or name of a single file.
    size
        Size of the download, as text.
    licence
        Licence of the weights, as text.
    download
        Shell command that downloads exactly the needed files.
    expects
        Description of the file or folder that the weights' path must be.
    on_hub
        Whether `name` is a repository on the hub.
    config
        A file of the repository whose presence shows that it was downloaded.
    bundled
        Whether the weights are part of this package, in a folder `name`.
    parts
        Required contents of the folder, checked before anything is loaded: subfolders of a pipeline, ``""`` for a model
        in the folder itself, or files.
    """

    name: str
    size: str
    licence: str
    download: str
    expects: str
    on_hub: bool = True
    config: str = "unet/config.json"
    bundled: bool = False
    parts: tuple[str, ...] = ()

    def how_to_get(self) -> str:
        """Return instructions of a few lines: the download, its size and licence."""
        if self.bundled:
            return f"The weights of {self.name} are part of this package."
        return (
            f"The published weights are {self.name} ({self.size}; licence: {self.licence}), downloaded by:\n"
            f"  {self.download}\n"
            f"Expected is {self.expects}."
        )

    def error(self, problem: str) -> WeightsError:
        """Return an error about absent or wrong weights, with instructions to get them."""
        hint = Hint("use-bundled-weights") if self.bundled else Hint("give-weights")
        return WeightsError(f"{problem}. {self.how_to_get()}", hint=hint)


@dataclass(frozen=True, kw_only=True)
class WeightFiles:
    """The weights of one model in its folder."""

    names: tuple[str, ...]  # name of the file, or names of the index and its shards
    variant: str | None  # name of a precision in the files' names, such as ``"fp16"``; None for full precision
    safetensors: bool  # whether they are safetensors, rather than pickles of tensors


def split_random(weights: Path | str | None) -> tuple[int | None, Path | str | None]:
    """Split ``random:SEED`` or ``random:SEED:PATH``: the seed of an untrained network, the path of its other parts.

    The seed is None for trained weights, which a `Path` always means; the path is None for the published weights.
    Raises ConfigError when the seed is not a whole number below 2^32.
    """
    if not isinstance(weights, str) or not weights.startswith(_RANDOM):
        return None, weights
    seed, _, location = weights.removeprefix(_RANDOM).partition(":")
    # torch's CPU generator uses only 32 bits of a seed.
    if not re.fullmatch("[0-9]{1,10}", seed) or int(seed) >= 2**32:
        raise ConfigError(
            f"weights {weights!r} are not random:SEED or random:SEED:PATH with a whole number below 2^32 as SEED"
        )
    return int(seed), location or None


def random_id(seed: int, digest: str) -> str:
    """Return the identity of random weights: the seed, and the digest of all other files that affect features."""
    return f"{_RANDOM}{seed}:{digest}"


def find_weights(backbone: str, published: PublishedWeights, weights: Path | str | None) -> Path:
    """Return the path of a backbone's weights on this machine, an existing folder or file; download nothing.

    `weights` is a local folder or file; or, as a string, a hub repository; or None for the published weights in the
    hub's cache (a single file: in PyTorch's cache). Raises WeightsError when there are none; the message has the
    download, its size and its licence.
    """
    if weights is None and published.bundled:
        return Path(__file__).parent / "bundled" / published.name
    if weights is None:
        found = _in_hub_cache(published.name, published.config) if published.on_hub else _in_torch_cache(published.name)
        if found is None:
            raise published.error(f"no weights for backbone {backbone!r} on this machine")
        return found
    path = Path(weights).expanduser()
    if path.exists():
        return path
    if published.on_hub and isinstance(weights, str) and _REPOSITORY.fullmatch(weights):
        found = _in_hub_cache(weights, published.config)
        if found is not None:
            return found
        raise published.error(
            f"no weights for backbone {backbone!r} at {weights}: no local folder, and no model in the hub's cache"
        )
    raise published.error(f"no weights for backbone {backbone!r} at {path}: it does not exist")


def check_files(backbone: str, published: PublishedWeights, path: Path, *, untrained: bool = False) -> None:
    """Raise WeightsError if a folder of weights lacks files; the message names all of them. Loads nothing.

    Of an untrained network, which is the first part, only the configuration is required.
    """
    missing: list[str] = []
    if path.is_dir() and not published.on_hub:
        suffix = PurePosixPath(published.name).suffix
        missing = [] if untrained or any(path.glob(f"*{suffix}")) else [f"no {suffix} file"]
    elif path.is_dir():
        try:
            replaced = read_placeholders(path).parts
        except WeightsError:
            return  # loading reports it, with what the backbone takes
        for part in published.parts:
            if part in replaced:
                continue
            if part and not (path / part).exists():
                missing.append(f"no {'' if '.' in part else 'folder '}{part}")
            elif not (path / part).is_file():
                file = _PART_FILES.get(part, "config.json")
                if not (path / part / file).is_file():
                    missing.append(f"no {PurePosixPath(part, file)}")
                if part not in _PART_FILES and not (untrained and part == published.parts[0]):
                    missing += [f"no {PurePosixPath(part, name)}" for name in _missing_weights(path / part)]
    if missing:
        raise published.error(f"{', '.join(missing)} in {path}, which backbone {backbone!r} needs")


def model_files(folder: Path, stem: str, pickled: str) -> WeightFiles | None:
    """Return a model's best weight files: full precision before half, safetensors before pickles; None without any.

    A single file is preferred to shards, which an index (``*.safetensors.index.json``) lists. `stem` and `pickled` are
    file names without endings, of safetensors and of pickles: ``("model", "pytorch_model")`` for transformers,
    ``"diffusion_pytorch_model"`` twice for diffusers. Raises WeightsError if an index cannot be read, or shards are
    absent.
    """
    for name, ending, safe in ((stem, "safetensors", True), (pickled, "bin", False)):
        for variant in (None, "fp16"):
            middle = f".{variant}" if variant else ""
            single = f"{name}{middle}.{ending}"
            if (folder / single).is_file():
                return WeightFiles(names=(single,), variant=variant, safetensors=safe)
            index = f"{name}.{ending}.index{middle}.json"
            if (folder / index).is_file():
                return WeightFiles(names=(index, *_shards(folder / index)), variant=variant, safetensors=safe)
    return None


def _shards(index: Path) -> list[str]:
    try:
        shards = sorted(set(json.loads(index.read_text(encoding="utf-8"))["weight_map"].values()))
        plain = all(isinstance(shard, str) and Path(shard).name == shard for shard in shards)
    except (OSError, ValueError, KeyError, TypeError, AttributeError, RecursionError) as error:
        raise WeightsError(f"{index} is no index of weights: {error!r}") from error
    if not plain:
        raise WeightsError(f"{index} names shards outside of its folder")
    absent = [shard for shard in shards if not (index.parent / shard).is_file()]
    if absent:
        raise WeightsError(f"{index.parent} lacks {len(absent)} of {len(shards)} shards: {', '.join(absent)}")
    return shards


def _missing_weights(folder: Path) -> list[str]:
    diffusers, transformers = "diffusion_pytorch_model", "model"
    try:
        found = model_files(folder, diffusers, diffusers) or model_files(folder, transformers, "pytorch_model")
    except WeightsError as error:
        return [str(error)]
    by_diffusers = folder.name in ("unet", "vae", "transformer")
    return [] if found else [f"{diffusers if by_diffusers else transformers}.safetensors"]


def digest_files(files: Mapping[str, Path]) -> str:
    """Return the identity of weights, ``"sha256:"`` and 64 hex digits, from the contents of their files.

    The files' names (keys of `files`, relative to the weights: ``unet/config.json``) are part of the digest, their
    paths are not.
    """

    def sha256(name: str) -> str:
        with files[name].open("rb") as file:
            return hashlib.file_digest(file, "sha256").hexdigest()

    names = sorted(files)
    with ThreadPoolExecutor(max_workers=4) as pool:  # hashing gigabytes releases the interpreter's lock
        digests = list(pool.map(sha256, names))
    lines = "".join(f"{digest}  {name}\n" for name, digest in zip(names, digests, strict=True))
    return f"sha256:{hashlib.sha256(lines.encode()).hexdigest()}"


def _in_hub_cache(repository: str, file: str) -> Path | None:
    from huggingface_hub import try_to_load_from_cache

    # Look up one file, since the lookup of a snapshot fails for a partial download. Missing parts are reported later.
    found = try_to_load_from_cache(repository, file)
    return Path(found).parents[len(PurePosixPath(file).parts) - 1] if isinstance(found, str) else None


def _in_torch_cache(name: str) -> Path | None:
    # As torch.hub.get_dir, without the seconds that importing torch takes.
    caches = os.environ.get("XDG_CACHE_HOME", "~/.cache")
    home = os.environ.get("TORCH_HOME", f"{caches}/torch")
    path = Path(home).expanduser() / "hub" / "checkpoints" / name
    return path if path.is_file() else None
