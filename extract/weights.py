"""Where a backbone's published weights are on this machine, and what identifies them. Downloads nothing."""

import hashlib
import re
from collections.abc import Mapping
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path, PurePosixPath

from ..store.errors import ConfigError, WeightsError

__all__ = ["PublishedWeights", "digest_files", "find_weights", "random_id", "split_random"]

_REPOSITORY = re.compile(r"[A-Za-z0-9][\w.-]*/[\w.-]+")
_RANDOM = "random:"


@dataclass(frozen=True, kw_only=True)
class PublishedWeights:
    """What a person must download to use a backbone.

    Attributes
    ----------
    name
        Repository on the Hugging Face hub (``organisation/name``), or the name of a single file.
    size
        Size of the download, for people.
    licence
        Licence of the weights, for people.
    download
        Command that downloads exactly what is needed.
    expects
        What must lie at the given path.
    on_hub
        Whether `name` is a repository on the hub.
    config
        A file of the repository by which a download is recognised.
    bundled
        Whether the weights come with this package, in a folder `name` of its own.
    """

    name: str
    size: str
    licence: str
    download: str
    expects: str
    on_hub: bool = True
    config: str = "unet/config.json"
    bundled: bool = False

    def how_to_get(self) -> str:
        """Say in a few lines what to download, how large it is and under which licence it comes."""
        if self.bundled:
            return f"The weights of {self.name} come with this package: leave --weights out, or install it again."
        return (
            f"The published weights are {self.name} ({self.size}; licence: {self.licence}). To download them:\n"
            f"  {self.download}\n"
            f"then give their path with --weights ({self.expects})."
        )


def split_random(weights: Path | str | None) -> tuple[int | None, Path | str | None]:
    """Take ``random:SEED`` or ``random:SEED:PATH`` apart: a network of random weights, and where its other parts are.

    Parameters
    ----------
    weights
        What a user gave; a `Path` is never a random network.

    Returns
    -------
    seed
        Of the random weights, or None for trained ones.
    place
        What is left: a folder, a file, a repository of the hub; None for the published one.

    Raises
    ------
    ConfigError
        Where a seed must stand and none does.
    """
    if not isinstance(weights, str) or not weights.startswith(_RANDOM):
        return None, weights
    seed, _, place = weights.removeprefix(_RANDOM).partition(":")
    # torch's generator on the CPU keeps 32 bits of a seed.
    if not re.fullmatch("[0-9]{1,10}", seed) or int(seed) >= 2**32:
        raise ConfigError(
            f"weights {weights!r} are not random:SEED or random:SEED:PATH with a whole number below 2^32 as SEED"
        )
    return int(seed), place or None


def random_id(seed: int, digest: str) -> str:
    """Identify random weights: by their seed, and the digest of all else that features depend on."""
    return f"{_RANDOM}{seed}:{digest}"


def find_weights(backbone: str, published: PublishedWeights, weights: Path | str | None) -> Path:
    """Find a backbone's weights without downloading anything.

    Parameters
    ----------
    backbone
        Name of the backbone, for messages.
    published
        What is published for it.
    weights
        A local folder or file; or, as a string, a repository of the hub; or None for the published weights in the
        hub's cache (in PyTorch's, where they are a single file).

    Returns
    -------
    Path
        An existing folder or file.

    Raises
    ------
    WeightsError
        When there is none, naming the download, its size and its licence.
    """
    if weights is None and published.bundled:
        return Path(__file__).parent / "bundled" / published.name
    if weights is None:
        found = _in_hub_cache(published.name, published.config) if published.on_hub else _in_torch_cache(published.name)
        if found is None:
            raise WeightsError(f"no weights for backbone {backbone!r} on this machine. {published.how_to_get()}")
        return found
    path = Path(weights).expanduser()
    if path.exists():
        return path
    if published.on_hub and isinstance(weights, str) and _REPOSITORY.fullmatch(weights):
        found = _in_hub_cache(weights, published.config)
        if found is not None:
            return found
        raise WeightsError(
            f"no weights for backbone {backbone!r} at {weights}: no local folder, and no model in the hub's cache. "
            + published.how_to_get()
        )
    raise WeightsError(f"no weights for backbone {backbone!r} at {path}: it does not exist. {published.how_to_get()}")


def digest_files(files: Mapping[str, Path]) -> str:
    """Identify weights by the names and contents of their files.

    Parameters
    ----------
    files
        Paths by name; the names (relative to the weights, ``unet/config.json``) enter the digest, the paths do not.

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

    # One file is looked up rather than a snapshot: a snapshot's lookup refuses a repository of which only the parts
    # that are needed were downloaded. Parts that are missing are reported, by name, when they are loaded.
    found = try_to_load_from_cache(repository, file)
    return Path(found).parents[len(PurePosixPath(file).parts) - 1] if isinstance(found, str) else None


def _in_torch_cache(name: str) -> Path | None:
    import torch

    path = Path(torch.hub.get_dir()) / "checkpoints" / name
    return path if path.is_file() else None
