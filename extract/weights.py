"""Published weights: where they are on this machine, what is missing, and their identity. Downloads nothing."""

import hashlib
import json
import re
from collections.abc import Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path, PurePosixPath

from ..store.errors import ConfigError, Hint, WeightsError

__all__ = [
    "PublishedWeights",
    "WeightFiles",
    "digest_files",
    "find_weights",
    "missing_files",
    "model_files",
    "random_id",
    "split_random",
]

_REPOSITORY = re.compile(r"[A-Za-z0-9][\w.-]*/[\w.-]+")
_RANDOM = "random:"

#: File that shows which kind of part a pipeline's subfolder is; every other part is a model.
_PART_FILES = {
    "tokenizer": "tokenizer_config.json",
    "scheduler": "scheduler_config.json",
    "feature_extractor": "preprocessor_config.json",
}

#: Parts for which each declaration in ted.json is a placeholder (see `placeholders`).
_PLACEHOLDERS = {
    "vae": ("vae",),
    "text": ("text_encoder", "tokenizer"),
    "image": ("image_encoder", "feature_extractor"),
}


@dataclass(frozen=True, kw_only=True)
class PublishedWeights:
    """The published weights of a backbone: what a person downloads.

    Attributes
    ----------
    name
        Repository on the Hugging Face hub (``organisation/name``), or name of a single file.
    size
        Size of the download, for people.
    licence
        Licence of the weights, for people.
    download
        Shell command that downloads exactly what is needed.
    expects
        What the path of the weights must hold.
    on_hub
        Whether `name` is a repository on the hub.
    config
        A file of the repository by which a download is recognised.
    bundled
        Whether the weights are part of this package, in a folder `name`.
    parts
        What the folder must hold, checked before anything is loaded: subfolders of a pipeline, ``""`` for a model in
        the folder itself, or files.
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
        """Return a few lines for people: what to download, its size and licence."""
        if self.bundled:
            return f"The weights of {self.name} are part of this package."
        return (
            f"The published weights are {self.name} ({self.size}; licence: {self.licence}), downloaded by:\n"
            f"  {self.download}\n"
            f"Expected is {self.expects}."
        )

    def error(self, problem: str) -> WeightsError:
        """Return an error about weights that are absent or wrong, with the way to get them."""
        hint = Hint("use-bundled-weights") if self.bundled else Hint("give-weights")
        return WeightsError(f"{problem}. {self.how_to_get()}", hint=hint)


@dataclass(frozen=True, kw_only=True)
class WeightFiles:
    """The weights of one model in its folder.

    Attributes
    ----------
    names
        The file, or the index and its shards.
    variant
        Name of a precision in the files' names, such as ``"fp16"``; None for full precision.
    safetensors
        Whether they are safetensors, rather than pickles of tensors.
    """

    names: tuple[str, ...]
    variant: str | None
    safetensors: bool


def split_random(weights: Path | str | None) -> tuple[int | None, Path | str | None]:
    """Split ``random:SEED`` or ``random:SEED:PATH``: an untrained network, and the path of its other parts.

    Parameters
    ----------
    weights
        What a user chose; a `Path` is never an untrained network.

    Returns
    -------
    seed
        Seed of the random weights; None for trained ones.
    location
        What is left: a folder, a file or a repository of the hub; None for the published one.

    Raises
    ------
    ConfigError
        When the seed is absent or no whole number below 2^32.
    """
    if not isinstance(weights, str) or not weights.startswith(_RANDOM):
        return None, weights
    seed, _, location = weights.removeprefix(_RANDOM).partition(":")
    # torch's generator on the CPU keeps 32 bits of a seed.
    if not re.fullmatch("[0-9]{1,10}", seed) or int(seed) >= 2**32:
        raise ConfigError(
            f"weights {weights!r} are not random:SEED or random:SEED:PATH with a whole number below 2^32 as SEED"
        )
    return int(seed), location or None


def random_id(seed: int, digest: str) -> str:
    """Return the identity of random weights: the seed, and the digest of all else that features depend on."""
    return f"{_RANDOM}{seed}:{digest}"


def find_weights(backbone: str, published: PublishedWeights, weights: Path | str | None) -> Path:
    """Find a backbone's weights without downloading anything.

    Parameters
    ----------
    backbone
        Name of the backbone, for messages.
    published
        Its published weights.
    weights
        A local folder or file; or, as a string, a repository of the hub; or None for the published weights in the
        hub's cache (in PyTorch's, for a single file).

    Returns
    -------
    Path
        An existing folder or file.

    Raises
    ------
    WeightsError
        When there is none; the message names the download, its size and its licence.
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


def missing_files(path: Path, published: PublishedWeights, *, untrained: bool = False) -> list[str]:
    """Return what a folder of weights lacks, without loading anything.

    Parameters
    ----------
    path
        The folder or file.
    published
        What it should hold.
    untrained
        The first part gets random weights: only its configuration is needed.

    Returns
    -------
    list of str
        ``"no folder vae"``, ``"no unet/config.json"`` and the like; empty if all is there.
    """
    if not path.is_dir():
        return []
    if not published.on_hub:
        suffix = PurePosixPath(published.name).suffix
        return [] if untrained or any(path.glob(f"*{suffix}")) else [f"no {suffix} file"]
    replaced = _declared_placeholders(path)
    missing: list[str] = []
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
    return missing


def model_files(folder: Path, stem: str, pickled: str) -> WeightFiles | None:
    """Return a model's weight files, best first: full precision before half, safetensors before pickles.

    A single file goes before shards of the same kind. Shards are listed in an index (``*.safetensors.index.json``).

    Parameters
    ----------
    folder
        The model's folder.
    stem, pickled
        Names without endings: ``("model", "pytorch_model")`` of transformers, ``"diffusion_pytorch_model"`` twice of
        diffusers.

    Raises
    ------
    WeightsError
        For an index that cannot be read, and for shards that are absent.
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


def _declared_placeholders(path: Path) -> Sequence[str]:
    try:
        declared = json.loads((path / "ted.json").read_text(encoding="utf-8"))
    except (OSError, ValueError, RecursionError):
        return ()  # absent, or reported when it is read in earnest
    return [part for name, parts in _PLACEHOLDERS.items() if name in declared for part in parts]


def digest_files(files: Mapping[str, Path]) -> str:
    """Return the identity of weights by the names and contents of their files.

    Parameters
    ----------
    files
        Paths by name. The names (relative to the weights, ``unet/config.json``) enter the digest, the paths do not.

    Returns
    -------
    str
        ``"sha256:"`` and 64 hexadecimal digits.
    """
    names = sorted(files)
    with ThreadPoolExecutor(max_workers=4) as pool:  # hashing gigabytes releases the interpreter's lock
        digests = list(pool.map(lambda name: _sha256(files[name]), names))
    lines = "".join(f"{digest}  {name}\n" for name, digest in zip(names, digests, strict=True))
    return f"sha256:{hashlib.sha256(lines.encode()).hexdigest()}"


def _sha256(path: Path) -> str:
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def _in_hub_cache(repository: str, file: str) -> Path | None:
    from huggingface_hub import try_to_load_from_cache

    # One file is looked up rather than a snapshot, whose lookup refuses a partial download. Missing parts are reported
    # by name.
    found = try_to_load_from_cache(repository, file)
    return Path(found).parents[len(PurePosixPath(file).parts) - 1] if isinstance(found, str) else None


def _in_torch_cache(name: str) -> Path | None:
    import torch

    path = Path(torch.hub.get_dir()) / "checkpoints" / name
    return path if path.is_file() else None
