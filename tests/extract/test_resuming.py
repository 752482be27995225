"""Resumed extractions compute only missing features, with the same bytes."""

from pathlib import Path
from typing import Any

import pytest

from ted.extract.backbones.base import Backbone
from ted.extract.worker import extract_video
from ted.store import Cache, UnitSpec, demote

from .conftest import random_frames
from .videos import ADM_TAP, features, new_cache, plan, tree


class _Interrupted(Exception):
    pass


def test_an_interrupted_extraction_resumes_to_the_same_bytes(tmp_path: Path, adm: Backbone) -> None:
    source = random_frames(7)
    choice: dict[str, Any] = {"timesteps": (51, 200), "batch_size": 2}
    features(new_cache(tmp_path, "a"), adm, source, **choice)
    cache, planned = new_cache(tmp_path, "b"), plan(adm, source, **choice)
    for stop_after in (1, 2):
        batches = 0

        def progress(_frames: int, stop_after: int = stop_after) -> None:
            nonlocal batches
            batches += 1
            if batches > stop_after:
                raise _Interrupted

        with pytest.raises(_Interrupted):
            extract_video(cache, adm, source, planned, progress=progress)
        assert {cache.state(spec) for spec in planned.specs.values()} == {"incomplete"}
    report = extract_video(cache, adm, source, planned)
    assert report.frames_computed == 7 - 3  # three frames were on the disk: each batch is one, at two timesteps
    assert tree(tmp_path / "a") == tree(tmp_path / "b")


def test_complete_units_are_left_alone_and_damaged_ones_repaired(tmp_path: Path, adm: Backbone) -> None:
    source, cache = random_frames(4), new_cache(tmp_path)
    planned = plan(adm, source, timesteps=(51, 200), batch_size=1)
    extract_video(cache, adm, source, planned)
    before = tree(cache.root)
    again = extract_video(cache, adm, source, planned)
    assert (len(again.written), len(again.skipped), again.frames_computed) == (0, 2, 0)
    (planned.specs[51, ADM_TAP].folder(cache.root) / "features/c/2/0/0/0").unlink()
    repaired = extract_video(cache, adm, source, planned)
    assert (len(repaired.written), len(repaired.skipped), repaired.frames_computed) == (1, 1, 1)
    assert tree(cache.root) == before


def test_a_damaged_marker_means_the_unit_is_made_again(tmp_path: Path, adm: Backbone) -> None:
    source, cache = random_frames(2), new_cache(tmp_path)
    planned = plan(adm, source)
    extract_video(cache, adm, source, planned)
    before = tree(cache.root)
    marker = planned.specs[51, ADM_TAP].folder(cache.root) / "features/ted/complete.json"
    marker.write_text(marker.read_text().replace('"files"', '"fires"'))
    extract_video(cache, adm, source, planned)
    assert tree(cache.root) == before


def test_a_unit_that_lags_behind_is_completed_to_the_same_bytes(tmp_path: Path, adm: Backbone) -> None:
    source = random_frames(6)
    choice: dict[str, Any] = {"timesteps": (51, 200), "taps": (ADM_TAP, "mid_block"), "ensemble": 2, "batch_size": 3}
    planned = plan(adm, source, **choice)
    cache = new_cache(tmp_path)
    extract_video(cache, adm, source, planned)
    before = tree(cache.root)
    # Of four units one lacks a frame, one lacks all, and two are complete: each pass holds what it always held.
    (planned.specs[51, "mid_block"].folder(cache.root) / "features/c/4/0/0/0").unlink()
    cache.remove(planned.specs[200, ADM_TAP].folder(cache.root))
    report = extract_video(cache, adm, source, planned)
    assert len(report.written) == 2
    assert tree(cache.root) == before


def test_units_that_others_complete_between_look_and_claim_are_left_alone(
    tmp_path: Path, adm: Backbone, monkeypatch: pytest.MonkeyPatch
) -> None:
    source, cache = random_frames(2), new_cache(tmp_path)
    planned = plan(adm, source, timesteps=(51, 200))
    extract_video(cache, adm, source, planned)
    looks: list[UnitSpec] = []
    state = Cache.state

    def before(self: Cache, spec: UnitSpec) -> str:
        looks.append(spec)
        return "incomplete" if looks.count(spec) == 1 else state(self, spec)

    monkeypatch.setattr(Cache, "state", before)
    report = extract_video(cache, adm, source, planned)
    assert (len(report.written), len(report.skipped)) == (0, 2)
    assert not list(cache.root.rglob("claim.json"))


def test_a_damaged_unit_that_others_prepare_for_repair_is_resumed(
    tmp_path: Path, adm: Backbone, monkeypatch: pytest.MonkeyPatch
) -> None:
    source, cache = random_frames(3), new_cache(tmp_path)
    planned = plan(adm, source)
    extract_video(cache, adm, source, planned)
    expected = tree(cache.root)
    ((_, spec),) = planned.specs.items()
    (spec.folder(cache.root) / "features/c/1/0/0/0").unlink()
    demote(spec.folder(cache.root))
    monkeypatch.setattr(Cache, "state", lambda self, spec: "damaged")
    assert extract_video(cache, adm, source, planned).frames_computed > 0
    assert tree(cache.root) == expected
