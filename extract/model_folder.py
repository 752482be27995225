"""Load the parts of a published pipeline from its folder, one by one."""

import json
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path, PurePosixPath
from typing import Any

import diffusers
import torch
import transformers

from ..store.errors import WeightsError
from .backbones import backbone_info
from .placeholders import DECLARATIONS, Placeholders, read_placeholders
from .random_weights import draw_parameters
from .weights import check_files, digest_files, model_files, random_id

_TOKENIZER_FILES = (
    "tokenizer_config.json",
    "vocab.json",
    "merges.txt",
    "special_tokens_map.json",
    "added_tokens.json",
    "tokenizer.json",
    "tokenizer.model",
    "spiece.model",
)


class ModelFolder:
    """The folder of a pipeline or a single model. It records which files were read.

    Parameters
    ----------
    path
        The folder with the parts as subfolders (``unet``, ``vae``, ...); the part ``""`` is the folder itself.
    backbone
        Name of the backbone whose weights are expected.
    declarable
        Declarations that its `ted.json` may contain (see `placeholders`).
    seed
        Seed of an untrained network (see `network`); None for the trained one.

    Attributes
    ----------
    placeholders
        The placeholders that the folder declares.

    Raises
    ------
    WeightsError
        When it is not a folder, when parts are missing (the message names all), and for an invalid declaration.
    """

    placeholders: Placeholders

    def __init__(self, path: Path, *, backbone: str, declarable: Sequence[str] = (), seed: int | None = None) -> None:
        self._path = path
        self._seed = seed
        self._info = backbone_info(backbone)
        self._backbone = backbone
        self._files: dict[str, Path] = {}
        if not path.is_dir():
            raise self._info.error(f"{path} is not a folder")
        self.placeholders = read_placeholders(path, declarable)
        if (path / DECLARATIONS).is_file():
            self._files[DECLARATIONS] = path / DECLARATIONS
        if self._info.published is not None:
            check_files(backbone, self._info.published, path, untrained=seed is not None)

    def weights_id(self) -> str:
        """Return the identity of the weights, from the files read so far and the seed of random weights."""
        digest = digest_files(self._files)
        return digest if self._seed is None else random_id(self._seed, digest)

    def check_absent(self, part: str) -> None:
        """Raise WeightsError if a part exists although the folder declares a placeholder for it."""
        if (self._path / part).exists():
            raise WeightsError(f"{self._path / DECLARATIONS} declares a stand-in for {part}, but {part} is there too")

    def file(self, part: str, name: str) -> Path:
        """Return the path of a part's file, and add it to the identity; raise WeightsError if it is absent."""
        path = self._path / part / name
        if not path.is_file():
            what = f"no {name} in {path.parent}" if path.parent.is_dir() else f"no folder {part} in {self._path}"
            raise self._info.error(f"{what}, which backbone {self._backbone!r} needs")
        self._files[str(PurePosixPath(part, name))] = path
        return path

    def config(self, part: str, name: str = "config.json") -> dict[str, Any]:
        """Read a part's configuration."""
        path = self.file(part, name)
        try:
            config = json.loads(path.read_text(encoding="utf-8"))
        except (ValueError, RecursionError) as error:
            raise WeightsError(f"{path} is not JSON: {error}") from error
        if not isinstance(config, dict):
            raise WeightsError(f"{path} does not hold a configuration")
        return config

    def model(self, part: str, cls: Any, *, device: torch.device, dtype: torch.dtype) -> Any:
        """Load a diffusers or transformers model from a subfolder, in evaluation mode, without gradients.

        Raises
        ------
        WeightsError
            When the part is missing, incomplete, damaged or of another model.
        """
        self._config_of(part, cls)
        folder = self._path / part
        stem = "diffusion_pytorch_model" if _is_diffusers(cls) else "model"
        files = model_files(folder, stem, stem if _is_diffusers(cls) else "pytorch_model")
        if files is None:
            raise self._info.error(f"{folder} has no {stem}.safetensors")
        paths = [self.file(part, name) for name in files.names]
        with _calling_library(f"load {paths[0]} as {cls.__name__}"):
            model, info = cls.from_pretrained(
                folder,
                variant=files.variant,
                use_safetensors=files.safetensors,
                local_files_only=True,
                output_loading_info=True,
            )
        if info["missing_keys"]:
            missing = sorted(info["missing_keys"])
            raise WeightsError(
                f"{paths[0]} lacks {len(missing)} of the tensors of {cls.__name__}: {', '.join(missing[:3])}"
                + (", ..." if len(missing) > 3 else "")
            )
        return _ready(model, device, dtype)

    def network(self, part: str, cls: Any, *, device: torch.device, dtype: torch.dtype) -> Any:
        """Load the network whose features are read; with a seed, build it with random weights.

        A network with random weights (see `random_weights`) only needs the part's configuration. Parameters, result and
        errors are those of `model`.
        """
        if self._seed is None:
            return self.model(part, cls, device=device, dtype=dtype)
        config = self._config_of(part, cls)
        with (
            _calling_library(f"make {cls.__name__} by {self._path / part / 'config.json'}"),
            torch.random.fork_rng(devices=[]),  # the library draws initial weights
        ):
            torch.manual_seed(self._seed)  # for random buffers, such as SAM 2's positional embedding
            model = cls.from_config(config) if _is_diffusers(cls) else cls(cls.config_class.from_dict(config))
        draw_parameters(model, torch.Generator().manual_seed(self._seed))
        return _ready(model, device, dtype)

    def tokenizer(self, cls: Any, part: str = "tokenizer") -> Any:
        """Load a tokenizer of a transformers class; raise WeightsError if it is missing or damaged."""
        self.file(part, "tokenizer_config.json")
        folder = self._path / part
        self._files |= {f"{part}/{name}": folder / name for name in _TOKENIZER_FILES if (folder / name).is_file()}
        with _calling_library(f"load the tokenizer in {folder}"):
            return cls.from_pretrained(folder, local_files_only=True)

    def scheduler(self, cls: Any) -> Any:
        """Create a diffusers scheduler of a class from the model's configuration."""
        name = "scheduler_config.json"
        config = self.config("scheduler", name)
        with _calling_library(f"make a noise schedule from {self._path / 'scheduler' / name}"):
            return cls.from_config(config)

    def _config_of(self, part: str, cls: Any) -> dict[str, Any]:
        """Read a model's configuration; check the class name that diffusers records (transformers may not)."""
        config = self.config(part)
        if _is_diffusers(cls) and config.get("_class_name") != cls.__name__:
            raise self._info.error(
                f"{self._path / part} is of class {config.get('_class_name')}; backbone {self._backbone!r} needs "
                f"{cls.__name__}"
            )
        return config


def _is_diffusers(cls: Any) -> bool:
    return issubclass(cls, diffusers.ModelMixin)


def _ready(model: Any, device: torch.device, dtype: torch.dtype) -> Any:
    with quiet_libraries():
        return model.to(device=device, dtype=dtype).eval().requires_grad_(False)


@contextmanager
def _calling_library(action: str) -> Iterator[None]:
    """Turn the library's errors, of many kinds for damaged files and wrong shapes, into WeightsError; silence it."""
    try:
        with quiet_libraries():
            yield
    except Exception as error:
        raise WeightsError(f"cannot {action}: {error}") from error


@contextmanager
def quiet_libraries() -> Iterator[None]:
    """Silence the progress bars and warnings of the model libraries; this module raises errors of its own."""
    libraries = (diffusers.utils.logging, transformers.utils.logging)
    before = [(log.get_verbosity(), log.is_progress_bar_enabled()) for log in libraries]
    for log in libraries:
        log.set_verbosity_error()
        log.disable_progress_bar()
    try:
        yield
    finally:
        for log, (verbosity, bar) in zip(libraries, before, strict=True):
            log.set_verbosity(verbosity)
            if bar:
                log.enable_progress_bar()
