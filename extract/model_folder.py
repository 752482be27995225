"""Loading the parts of a published pipeline, one by one, from its folder."""

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
from .weights import digest_files, random_id

__all__ = ["ModelFolder", "quiet_libraries"]

#: Names of weight files, best first: (file, variant, safetensors). Full precision before half, tensors before pickles
#: (which the libraries read with an unpickler that admits tensors only).
_DIFFUSERS_FILES = (
    ("diffusion_pytorch_model.safetensors", None, True),
    ("diffusion_pytorch_model.fp16.safetensors", "fp16", True),
    ("diffusion_pytorch_model.bin", None, False),
    ("diffusion_pytorch_model.fp16.bin", "fp16", False),
)
_TRANSFORMERS_FILES = (
    ("model.safetensors", None, True),
    ("model.fp16.safetensors", "fp16", True),
    ("pytorch_model.bin", None, False),
    ("pytorch_model.fp16.bin", "fp16", False),
)

_TOKENIZER_FILES = (
    "tokenizer_config.json",
    "vocab.json",
    "merges.txt",
    "special_tokens_map.json",
    "added_tokens.json",
    "tokenizer.json",
)


class ModelFolder:
    """A pipeline's folder, which remembers what was read from it.

    Parameters
    ----------
    path
        The folder with the parts as subfolders (``unet``, ``vae``, ...); a part ``""`` lies in the folder itself.
    backbone
        Name of the backbone whose weights it should hold.
    declarable
        What its `ted.json` may declare (see `standins`).
    seed
        Of a network of random weights (see `network`); None for the trained one.

    Attributes
    ----------
    placeholders
        What the folder declares.

    Raises
    ------
    WeightsError
        When it is no folder, or declares what makes no sense.
    """

    placeholders: Placeholders

    def __init__(self, path: Path, *, backbone: str, declarable: Sequence[str] = (), seed: int | None = None) -> None:
        self._path = path
        self._seed = seed
        self._info = backbone_info(backbone)
        self._backbone = backbone
        self._files: dict[str, Path] = {}
        if not path.is_dir():
            raise WeightsError(f"{path} is not a folder. {self._info.how_to_get()}")
        self.placeholders = read_placeholders(path, declarable)
        if (path / DECLARATIONS).is_file():
            self._files[DECLARATIONS] = path / DECLARATIONS

    def weights_id(self) -> str:
        """Identify the weights: a digest of the files that were read so far, wherever they lie, and any seed."""
        digest = digest_files(self._files)
        return digest if self._seed is None else random_id(self._seed, digest)

    def check_absent(self, part: str) -> None:
        """Refuse a folder that has a part although it declares a stand-in for it."""
        if (self._path / part).exists():
            raise WeightsError(f"{self._path / DECLARATIONS} declares a stand-in for {part}, but {part} is there too")

    def config(self, part: str, name: str = "config.json") -> dict[str, Any]:
        """Read a part's configuration."""
        path = self._file(part, name)
        try:
            config = json.loads(path.read_text(encoding="utf-8"))
        except ValueError as error:
            raise WeightsError(f"{path} is not JSON: {error}") from error
        if not isinstance(config, dict):
            raise WeightsError(f"{path} does not hold a configuration")
        return config

    def model(self, part: str, cls: Any, *, device: torch.device, dtype: torch.dtype) -> Any:
        """Load a diffusers or transformers model, in evaluation mode, without gradients.

        Parameters
        ----------
        part
            The subfolder.
        cls
            The model's class.
        device, dtype
            Where and in which precision it runs.

        Raises
        ------
        WeightsError
            When the part is missing, incomplete, damaged or another model.
        """
        self._config_of(part, cls)
        candidates = _DIFFUSERS_FILES if issubclass(cls, diffusers.ModelMixin) else _TRANSFORMERS_FILES
        present = [entry for entry in candidates if (self._path / part / entry[0]).is_file()]
        if not present:
            raise WeightsError(f"{self._path / part} has no {candidates[0][0]}. {self._info.how_to_get()}")
        name, variant, safe = present[0]
        file = self._file(part, name)
        try:
            with quiet_libraries():
                model, info = cls.from_pretrained(
                    self._path / part,
                    variant=variant,
                    use_safetensors=safe,
                    local_files_only=True,
                    output_loading_info=True,
                )
        except Exception as error:  # the libraries raise whatever a damaged file or a wrong shape leads to
            raise WeightsError(f"cannot load {file} as {cls.__name__}: {error}") from error
        if info["missing_keys"]:
            missing = sorted(info["missing_keys"])
            raise WeightsError(
                f"{file} lacks {len(missing)} of the tensors of {cls.__name__}: {', '.join(missing[:3])}"
                + (", ..." if len(missing) > 3 else "")
            )
        with quiet_libraries():
            return model.to(device=device, dtype=dtype).eval().requires_grad_(False)

    def network(self, part: str, cls: Any, *, device: torch.device, dtype: torch.dtype) -> Any:
        """Load the network whose features are read; with a seed, make one of the same configuration.

        Then its weights are random (see `drawing`), and none of its files but the configuration is read or needed.
        Parameters, result and errors are those of `model`.
        """
        if self._seed is None:
            return self.model(part, cls, device=device, dtype=dtype)
        config = self._config_of(part, cls)
        try:
            with quiet_libraries(), torch.random.fork_rng(devices=[]):  # the library draws weights, too
                of_diffusers = issubclass(cls, diffusers.ModelMixin)
                model = cls.from_config(config) if of_diffusers else cls(cls.config_class.from_dict(config))
        except Exception as error:  # as above
            raise WeightsError(f"cannot make {cls.__name__} by {self._path / part / 'config.json'}: {error}") from error
        draw_parameters(model, torch.Generator().manual_seed(self._seed))
        with quiet_libraries():
            return model.to(device=device, dtype=dtype).eval().requires_grad_(False)

    def tokenizer(self) -> Any:
        """Load the CLIP tokenizer.

        Raises
        ------
        WeightsError
            When it is missing or damaged.
        """
        self._file("tokenizer", "tokenizer_config.json")
        folder = self._path / "tokenizer"
        self._files |= {f"tokenizer/{name}": folder / name for name in _TOKENIZER_FILES if (folder / name).is_file()}
        try:
            with quiet_libraries():
                return transformers.CLIPTokenizer.from_pretrained(folder, local_files_only=True)
        except Exception as error:  # as above
            raise WeightsError(f"cannot load the tokenizer in {folder}: {error}") from error

    def scheduler(self, cls: Any) -> Any:
        """Make a noise scheduler of a class by the model's own configuration."""
        config = self.config("scheduler", "scheduler_config.json")
        try:
            with quiet_libraries():
                return cls.from_config(config)
        except Exception as error:  # as above
            path = self._path / "scheduler" / "scheduler_config.json"
            raise WeightsError(f"cannot make a noise schedule from {path}: {error}") from error

    def _config_of(self, part: str, cls: Any) -> dict[str, Any]:
        """Read a model's configuration, which must be of its class (transformers' do not name it reliably)."""
        config = self.config(part)
        if issubclass(cls, diffusers.ModelMixin) and config.get("_class_name") != cls.__name__:
            raise WeightsError(
                f"{self._path / part} is of class {config.get('_class_name')}; backbone {self._backbone!r} needs "
                f"{cls.__name__}. {self._info.how_to_get()}"
            )
        return config

    def _file(self, part: str, name: str) -> Path:
        path = self._path / part / name
        if not path.is_file():
            what = f"no {name} in {path.parent}" if path.parent.is_dir() else f"no folder {part} in {self._path}"
            raise WeightsError(f"{what}, which backbone {self._backbone!r} needs. {self._info.how_to_get()}")
        self._files[str(PurePosixPath(part, name))] = path
        return path


@contextmanager
def quiet_libraries() -> Iterator[None]:
    """Silence the model libraries' progress bars and advice; what matters of it is checked and raised here."""
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
