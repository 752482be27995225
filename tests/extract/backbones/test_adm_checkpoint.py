"""Read ADM checkpoints: precisions and formats, identity, and unusable files."""

import dataclasses
import json
import pickle
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from safetensors.torch import save_file

from ted.store.errors import WeightsError
from tests.extract.adm_files import TINY, load_cpu, random_tensors, relative_error, write


@pytest.mark.parametrize("stored", [torch.float16, torch.bfloat16, torch.float64])
def test_checkpoint_of_another_precision(tmp_path: Path, stored: torch.dtype) -> None:
    tensors = {name: value.to(stored) for name, value in random_tensors(TINY).items()}
    backbone = load_cpu(write(tmp_path, tensors))
    assert all(parameter.dtype == torch.float32 for parameter in backbone.network.parameters())
    torch.testing.assert_close(
        backbone.network.conv_in.weight, tensors["input_blocks.0.0.weight"].float(), rtol=0, atol=0
    )


def test_weights_outlive_their_file(tmp_path: Path) -> None:
    tensors = random_tensors(TINY)
    folder = write(tmp_path, tensors)
    backbone = load_cpu(folder)
    (folder / "model.pt").write_bytes(b"")
    assert relative_error(backbone.network.conv_in.weight, tensors["input_blocks.0.0.weight"]) == 0


def test_checkpoint_in_the_old_format(tmp_path: Path) -> None:
    folder = write(tmp_path, random_tensors(TINY))
    torch.save(random_tensors(TINY, seed=3), folder / "model.pt", _use_new_zipfile_serialization=False)
    expected = random_tensors(TINY, seed=3)["input_blocks.0.0.weight"]
    torch.testing.assert_close(load_cpu(folder).network.conv_in.weight.data, expected, rtol=0, atol=0)


def test_identity_is_of_the_content(tmp_path: Path) -> None:
    def identity(name: str, file: str = "model.pt", seed: int = 0, **changes: Any) -> str:
        folder = write(tmp_path / name, random_tensors(TINY, seed), dataclasses.replace(TINY, **changes))
        renamed = (folder / "model.pt").rename(folder / file)
        return load_cpu(renamed).weights_id

    first = identity("a")
    assert first.startswith("sha256:")
    assert len(first) == len("sha256:") + 64
    moved = tmp_path / "elsewhere"
    moved.mkdir()
    (moved / "renamed.pt").write_bytes((tmp_path / "a" / "model.pt").read_bytes())
    (moved / "config.json").write_text(json.dumps(dataclasses.asdict(TINY), indent=4, sort_keys=True))
    assert load_cpu(moved).weights_id == load_cpu(moved / "renamed.pt").weights_id == first
    assert identity("b", seed=1) != first
    assert identity("c", diffusion_steps=500) != first


def test_absent_weights_name_the_download(tmp_path: Path) -> None:
    for path in (tmp_path / "nothing.pt", tmp_path):
        with pytest.raises(WeightsError) as error:
            load_cpu(path)
        message = str(error.value)
        for part in (str(path), "256x256_diffusion_uncond.pt", "2.2 GB", "MIT", "github.com/openai/guided-diffusion"):
            assert part in message


def test_two_checkpoints_in_a_folder(tmp_path: Path) -> None:
    folder = write(tmp_path, random_tensors(TINY))
    (folder / "other.pt").write_bytes(b"")
    with pytest.raises(WeightsError, match=r"more than one \.pt file \(model\.pt, other\.pt\)"):
        load_cpu(folder)
    assert load_cpu(folder / "model.pt").weights_id


def test_without_description_the_published_model_is_expected(tmp_path: Path) -> None:
    folder = write(tmp_path, random_tensors(TINY))
    (folder / "config.json").unlink()
    with pytest.raises(WeightsError, match=r"not a checkpoint of the expected.*lacks .*more differences.*config\.json"):
        load_cpu(folder)


def _drop(tensors: dict[str, torch.Tensor]) -> None:
    del tensors["output_blocks.1.1.qkv.bias"]


def _add(tensors: dict[str, torch.Tensor]) -> None:
    tensors["label_emb.weight"] = torch.zeros(10, 128)


def _reshape(tensors: dict[str, torch.Tensor]) -> None:
    tensors["middle_block.1.proj_out.weight"] = tensors["middle_block.1.proj_out.weight"][..., 0]


def _integers(tensors: dict[str, torch.Tensor]) -> None:
    tensors["out.2.bias"] = torch.zeros(6, dtype=torch.int32)


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (_drop, "lacks output_blocks.1.1.qkv.bias"),
        (_add, "has label_emb.weight, which this architecture does not"),
        (_reshape, r"middle_block.1.proj_out.weight has the shape \(64, 64\), not \(64, 64, 1\)"),
        (_integers, "out.2.bias is of type torch.int32"),
    ],
)
def test_checkpoint_of_another_architecture(
    tmp_path: Path, change: Callable[[dict[str, torch.Tensor]], None], message: str
) -> None:
    tensors = random_tensors(TINY)
    change(tensors)
    with pytest.raises(WeightsError, match=message):
        load_cpu(write(tmp_path, tensors))


def test_only_the_first_differences_are_listed(tmp_path: Path) -> None:
    tensors = {"a": torch.zeros(1), "b": torch.zeros(1)}
    count = len(random_tensors(TINY)) + len(tensors)
    with pytest.raises(WeightsError, match=f"and {count - 4} more differences") as error:
        load_cpu(write(tmp_path, tensors))
    assert len(str(error.value)) < 700


class _Touch:
    """An object whose unpickling creates a file."""

    def __init__(self, path: Path) -> None:
        self.path = path

    def __reduce__(self) -> tuple[Any, ...]:
        return Path.touch, (self.path,)


def _plain_pickle(content: Any, path: Path) -> None:
    with path.open("wb") as file:
        pickle.dump(content, file, protocol=2)


def _modern_pickle(content: Any, path: Path) -> None:
    with path.open("wb") as file:
        pickle.dump(content, file, protocol=4)


def _old_format(content: Any, path: Path) -> None:
    torch.save(content, path, _use_new_zipfile_serialization=False)


@pytest.mark.parametrize(
    ("save", "message"),
    [
        (torch.save, "refused, because it holds more than tensors"),
        (_old_format, "refused, because it holds more than tensors"),
        (_plain_pickle, "refused, because it holds more than tensors"),
        (_modern_pickle, "not a PyTorch checkpoint"),
    ],
)
def test_code_in_a_checkpoint_does_not_run(tmp_path: Path, save: Callable[[Any, Path], None], message: str) -> None:
    folder, trace = write(tmp_path / "weights", {}), tmp_path / "trace"
    save({"extra": _Touch(trace)}, folder / "model.pt")
    with pytest.raises(WeightsError, match=rf"model\.pt: {message}"):
        load_cpu(folder)
    assert not trace.exists()
    _Touch(trace).__reduce__()[0](trace)  # unpickling would have created the file
    assert trace.exists()


@pytest.mark.parametrize("kept", [0, 3, 4, 100, 0.5, 0.999])
@pytest.mark.parametrize("save", [torch.save, _old_format])
def test_truncated_checkpoint(tmp_path: Path, save: Callable[[Any, Path], None], kept: float) -> None:
    folder = write(tmp_path, {})
    save(random_tensors(TINY), folder / "model.pt")
    content = (folder / "model.pt").read_bytes()
    (folder / "model.pt").write_bytes(content[: int(kept * len(content)) if isinstance(kept, float) else kept])
    with pytest.raises(WeightsError, match=r"model\.pt: not a PyTorch checkpoint, or cut short or damaged"):
        load_cpu(folder)


def test_other_formats(tmp_path: Path) -> None:
    folder = write(tmp_path, {})
    save_file(random_tensors(TINY), folder / "model.pt")
    with pytest.raises(WeightsError, match="not a PyTorch checkpoint"):
        load_cpu(folder)
    for content in (b"<html>not found</html>", b"version https://git-lfs.github.com/spec/v1\n", b"\x80\x02}q\x00."):
        (folder / "model.pt").write_bytes(content)
        with pytest.raises(WeightsError, match=r"model\.pt: not a "):
            load_cpu(folder)
    np.savez(folder / "array.npz", a=np.zeros(3))
    (folder / "array.npz").rename(folder / "model.pt")
    with pytest.raises(WeightsError, match="not a PyTorch checkpoint"):
        load_cpu(folder)


@pytest.mark.parametrize(
    "content", [torch.zeros(3), [torch.zeros(3)], {}, {"state_dict": {"a": torch.zeros(3)}}, {1: torch.zeros(3)}]
)
def test_other_contents(tmp_path: Path, content: Any) -> None:
    with pytest.raises(WeightsError, match="not a checkpoint of named tensors"):
        load_cpu(write(tmp_path, content))


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"class_cond": True}, "class_cond = true is not supported, only false"),
        ({"use_new_attention_order": True}, "use_new_attention_order = true is not supported"),
        ({"noise_schedule": "cosine"}, 'noise_schedule = "cosine" is not supported, only "linear"'),
        ({"resblock_updown": False}, "resblock_updown = false is not supported"),
        ({"use_scale_shift_norm": False}, "use_scale_shift_norm = false is not supported"),
        ({"num_channels": 48}, "num_channels must be a multiple of 32"),
        ({"num_channels": -32}, "num_channels must be a positive integer, not -32"),
        ({"num_channels": True}, "num_channels must be a positive integer, not True"),
        ({"num_head_channels": -1}, "num_head_channels must be a positive integer, not -1"),
        ({"num_head_channels": 48}, "num_head_channels = 48 does not divide the width 64"),
        ({"channel_mult": []}, "channel_mult is empty"),
        ({"channel_mult": "1,2"}, "channel_mult must be a list of positive integers"),
        ({"attention_downsample_factors": [3]}, "must be among the levels' strides"),
        ({"diffusion_steps": 20}, "diffusion_steps must be more than 20"),
        ({"learn_sigma": 1}, "learn_sigma must be true or false, not 1"),
        ({"use_fp16": True}, "has unknown use_fp16"),
    ],
)
def test_unsupported_description(tmp_path: Path, changes: dict[str, Any], message: str) -> None:
    folder = write(tmp_path, random_tensors(TINY), dataclasses.asdict(TINY) | changes)
    with pytest.raises(WeightsError, match="config.json: .*" + message.replace("(", r"\(")):
        load_cpu(folder)


@pytest.mark.parametrize(
    ("text", "message"),
    [("{", "cannot read"), ("[]", "must hold a JSON object"), ('{"image_size": 16}', "lacks num_channels")],
)
def test_unreadable_description(tmp_path: Path, text: str, message: str) -> None:
    folder = write(tmp_path, random_tensors(TINY))
    (folder / "config.json").write_text(text)
    with pytest.raises(WeightsError, match=f"config.json: .*{message}"):
        load_cpu(folder)


def test_model_that_predicts_no_variance(tmp_path: Path) -> None:
    config = dataclasses.replace(TINY, learn_sigma=False, diffusion_steps=500)
    backbone = load_cpu(write(tmp_path, random_tensors(config), config))
    frame = torch.zeros(1, 1, 3, 16, 16)
    with torch.inference_mode():
        assert backbone.network(**backbone.network_arguments(frame, 0, {}))[0].shape == (1, 3, 16, 16)
    assert (backbone.frame_multiple, len(backbone.schedule)) == (2, 500)
    # Half as many steps of twice the size.
    assert float(backbone.schedule.perturb(torch.zeros(1), torch.ones(1), 0)) ** 2 == pytest.approx(2e-4, rel=1e-5)
