"""The SAM family: preprocessing, embeddings and masks equal those of the library's processors and models."""

import json
import shutil
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
import transformers
from transformers import SamHQModel, SamImageProcessorPil, SamModel, SamProcessor, ViTImageProcessorPil

from ted.extract.backbones import BACKBONES, load_backbone
from ted.extract.backbones.sam import Sam
from ted.extract.frames import FrameSize
from ted.extract.plan import plan_video
from ted.extract.random_weights import draw_parameters
from ted.extract.settings import ExtractionSettings
from ted.extract.worker import extract_video
from ted.store import Unit, open_cache
from ted.store.errors import WeightsError
from tests.extract.conftest import random_frames
from tests.extract.small_folders import SmallFolders

CPU = torch.device("cpu")
SIDE, SIZE = 64, (60, 90)
BOX, POINTS = (12.0, 8.0, 61.0, 47.0), ((30.0, 20.0, True), (70.0, 50.0, False))
FAMILY = ("sam", "sam_hq", "sam2")
Load = Callable[..., Sam]


@pytest.fixture(scope="module")
def folders(tmp_path_factory: pytest.TempPathFactory, small_folder: SmallFolders) -> Mapping[str, Path]:
    """Small models of three kinds, by their type; SAM 2 is that of `ted small-weights`."""
    vision = {"hidden_size": 16, "num_hidden_layers": 2, "num_attention_heads": 2, "output_channels": 16}
    vision |= {"image_size": SIDE, "patch_size": 16, "mlp_dim": 16, "global_attn_indexes": [1], "window_size": 2}
    prompts = {"hidden_size": 16, "image_size": SIDE, "image_embedding_size": 4, "mask_input_channels": 4}
    decoder = {"hidden_size": 16, "mlp_dim": 16, "num_hidden_layers": 2, "num_attention_heads": 2}
    decoder |= {"iou_head_hidden_dim": 8}
    made = {"sam2": small_folder("sam")}
    for kind, cls, more in (("sam", SamModel, {}), ("sam_hq", SamHQModel, {"vit_dim": 16})):
        config = cls.config_class(
            vision_config=vision | {"num_pos_feats": 8},
            prompt_encoder_config=prompts | {"patch_size": 16},
            mask_decoder_config=decoder | more,
        )
        model = cls(config)
        draw_parameters(model, torch.Generator().manual_seed(0))
        made[kind] = tmp_path_factory.mktemp("models") / kind
        model.save_pretrained(made[kind])
        size = {"size": {"longest_edge": SIDE}, "pad_size": {"height": SIDE, "width": SIDE}}
        SamImageProcessorPil(**size).save_pretrained(made[kind])
    return made


@pytest.fixture(scope="module")
def load(folders: Mapping[str, Path]) -> Load:
    def of_kind(kind: str) -> Sam:
        backbone = load_backbone("sam", folders[kind], device=CPU, dtype=torch.float32)
        assert isinstance(backbone, Sam)
        return backbone

    return of_kind


def picture(size: tuple[int, int] = SIZE) -> np.ndarray:
    return np.random.default_rng(0).integers(0, 256, (*size, 3), np.uint8)


@pytest.mark.parametrize("kind", FAMILY)
@pytest.mark.parametrize("size", [SIZE, (150, 70)])  # enlarged, reduced
def test_pixels_are_those_of_the_processor(
    kind: str, size: tuple[int, int], load: Load, folders: Mapping[str, Path]
) -> None:
    sam = load(kind)
    # SAM 2's own processor needs torchvision; this one resizes and normalises in the same way.
    cls = ViTImageProcessorPil if kind == "sam2" else SamImageProcessorPil
    expected = cls.from_pretrained(folders[kind], resample=2)(picture(size), return_tensors="pt")["pixel_values"]
    pixels = sam.encode(torch.from_numpy(sam.to_pixels(picture(size), (SIDE, SIDE)))[None])
    torch.testing.assert_close(pixels, expected, rtol=0, atol=1e-5)


@pytest.mark.parametrize(("kind", "taps"), [
    ("sam", {"embedding": 16}),
    ("sam_hq", {"embedding": 16, "intermediate": 16}),
    ("sam2", {"high_resolution[0]": 4, "high_resolution[1]": 8, "embedding": 16}),
])  # fmt: skip
def test_masks_are_those_of_the_library(
    kind: str, taps: dict[str, int], load: Load, folders: Mapping[str, Path]
) -> None:
    """Embeddings first, and prompts on them later, give what the model gives for the picture and the prompts."""
    sam = load(kind)
    assert {name: tap.stride for name, tap in sam.taps.items()} == taps
    cls = {"sam": "SamModel", "sam_hq": "SamHQModel", "sam2": "Sam2Model"}[kind]
    model: Any = getattr(transformers, cls).from_pretrained(folders[kind]).eval()
    embeddings = sam.embed(picture())
    sam.drop_encoder()
    for box, points in ((BOX, POINTS), (BOX, ()), (None, POINTS)):
        for several in (True, False):
            shown: dict[str, Any] = {} if box is None else {"input_boxes": [[list(box)]]}
            if points:
                shown["input_points"] = [[[[x, y] for x, y, _ in points]]]
                shown["input_labels"] = [[[int(inside) for *_, inside in points]]]
            found = sam.masks(embeddings, SIZE, box=box, points=points, several=several)
            with torch.no_grad():
                if kind == "sam2":  # its processor: stretched coordinates, and one interpolation
                    scale = torch.tensor([SIDE / SIZE[1], SIDE / SIZE[0]])
                    prompt = {name: torch.tensor(value) for name, value in shown.items()}
                    if points:
                        prompt["input_points"] = prompt["input_points"] * scale
                    if box is not None:
                        prompt["input_boxes"] = prompt["input_boxes"] * scale.repeat(2)
                    pixels = ViTImageProcessorPil.from_pretrained(folders[kind])(picture(), return_tensors="pt")
                    output = model(**pixels, **prompt, multimask_output=several)
                    logits = torch.nn.functional.interpolate(output.pred_masks[0], SIZE, mode="bilinear")[0]
                else:
                    processor = SamProcessor(SamImageProcessorPil.from_pretrained(folders[kind]))
                    inputs = processor(images=picture(), return_tensors="pt", **shown)
                    sizes = inputs.pop("original_sizes"), inputs.pop("reshaped_input_sizes")
                    output = model(**inputs, multimask_output=several)
                    logits = processor.post_process_masks(output.pred_masks, *sizes, binarize=False)[0][0]
            assert found.shape == logits.shape == (3 if several else 1, *SIZE)
            torch.testing.assert_close(found, logits, rtol=1e-3, atol=1e-4)
            assert logits.std() > 0.02
    with pytest.raises(AttributeError, match="vision_encoder"):
        sam.embed(picture())


def test_extraction(load: Load, tmp_path: Path) -> None:
    """Units hold the embeddings of each frame at the network's size, whatever frame size the run's settings have."""
    sam, source = load("sam2"), random_frames(3, size=SIZE)
    settings = ExtractionSettings(frame_size=FrameSize(short_side=480), ensemble=4, seed=9)
    plan = plan_video(sam, source, dataset="d", video="v", timesteps=[0], taps=list(sam.taps), settings=settings)
    assert plan.request.frame_size == (SIDE, SIDE)
    assert (plan.request.noise, plan.request.ensemble) == ("none", 1)
    cache = open_cache(tmp_path / "cache", create=True)
    extract_video(cache, sam, source, plan)
    for frame in range(3):
        expected = sam.embed(source.frames[frame])
        for (_, tap), spec in plan.specs.items():
            found = Unit(spec.folder(cache.root)).features[frame].compute().astype(np.float32)
            np.testing.assert_allclose(found, expected[tap].permute(1, 2, 0), rtol=2e-3, atol=2e-3)  # float16


def test_the_outline_is_that_of_the_published_model() -> None:
    outline, config = BACKBONES["sam"].outline, transformers.Sam2Config()  # of facebook/sam2.1-hiera-tiny
    assert outline is not None
    side = config.prompt_encoder_config.image_size
    strides = [side // rows for rows, _ in config.vision_config.backbone_feature_sizes]
    width = config.mask_decoder_config.hidden_size
    assert outline.fixed_size == (side, side) == outline.processed_size((480, 854), FrameSize(short_side=240))
    assert [*outline.taps.values()] == [*zip((width // 8, width // 4, width), strides, strict=True)]


def test_random_weights_are_a_function_of_the_seed(small_folder: SmallFolders) -> None:
    """Also SAM 2's positional embedding, which is random but no parameter."""
    states = [
        load_backbone("sam", f"random:{seed}:{small_folder('sam')}", device=CPU, dtype=torch.float32).network
        for seed in (0, 0, 1)
    ]
    name = "model.prompt_encoder.shared_embedding.positional_embedding"
    first, again, other = (network.state_dict() for network in states)
    assert all(torch.equal(first[key], again[key]) for key in first)
    assert not torch.equal(first[name], other[name])


def test_wrong_folders(folders: Mapping[str, Path], small_folder: SmallFolders, tmp_path: Path) -> None:
    def load_from(folder: Path) -> None:
        load_backbone("sam", folder, device=CPU, dtype=torch.float32)

    with pytest.raises(WeightsError, match="a model of type dinov2; backbone 'sam' needs one of the types sam, sam_hq"):
        load_from(small_folder("dinov2"))
    with pytest.raises(WeightsError, match=r"no config\.json, no model\.safetensors .*sam2\.1-hiera-tiny \(156 MB"):
        load_from(tmp_path)
    folder = shutil.copytree(folders["sam"], tmp_path / "copy")
    processor = folder / "preprocessor_config.json"
    settings = json.loads(processor.read_text())
    # Newer versions of the library save the settings inside another file.
    (folder / "processor_config.json").write_text(json.dumps({"image_processor": settings}))
    processor.unlink()
    load_from(folder)
    processor.write_text(json.dumps({**settings, "size": {"height": 64, "width": 32}}))
    with pytest.raises(WeightsError, match="no usable size"):
        load_from(folder)
