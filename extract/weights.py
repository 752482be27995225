"""Where a backbone's published weights are on this machine, and what identifies them. Downloads nothing."""

import hashlib
import re
from collections.abc import Mapping
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path

from ..store.errors import WeightsError

__all__ = ["PublishedWeights", "digest_files", "find_weights"]

_REPOSITORY = re.compile(r"[A-Za-z0-9][\w.-]*/[\w.-]+")


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
    """

    name: str
    size: str
    licence: str
    download: str
    expects: str
    on_hub: bool = True

    def how_to_get(self) -> str:
        """Say in a few lines what to download, how large it is and under which licence it comes."""
        return (
            f"The published weights are {self.name} ({self.size}; licence: {self.licence}). To download them:\n"
            f"  {self.download}\n"
            f"then give their path with --weights ({self.expects})."
        )


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
    if weights is None:
        found = _in_hub_cache(published.name) if published.on_hub else _in_torch_cache(published.name)
        if found is None:
            raise WeightsError(f"no weights for backbone {backbone!r} on this machine. {published.how_to_get()}")
        return found
    path = Path(weights).expanduser()
    if path.exists():
        return path
    if published.on_hub and isinstance(weights, str) and _REPOSITORY.fullmatch(weights):
        found = _in_hub_cache(weights)
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


def _in_hub_cache(repository: str) -> Path | None:
    from huggingface_hub import try_to_load_from_cache

    # One file is looked up rather than a snapshot: a snapshot's lookup refuses a repository of which only the parts
    # that are needed were downloaded. Parts that are missing are reported, by name, when they are loaded.
    config = try_to_load_from_cache(repository, "unet/config.json")
    return Path(config).parents[1] if isinstance(config, str) else None


def _in_torch_cache(name: str) -> Path | None:
    import torch

    path = Path(torch.hub.get_dir()) / "checkpoints" / name
    return path if path.is_file() else None
