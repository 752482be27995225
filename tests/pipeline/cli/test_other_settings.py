"""Warnings of features that were made with other settings than are preferred."""

import dataclasses
import re
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

from ted.extract.noising.keyed_noise import NOISE_SCHEME
from ted.pipeline.runs.propagating.units import find_units, warn_of_other_settings
from ted.store import FeatureChoice, FeatureRequest, open_cache
from ted.store.errors import UnitNotFoundError

IMAGE = FeatureRequest(
    video="v", frames="f", backbone="adm", weights="sha256:0", frame_size=(64, 64), ensemble=1, noise=NOISE_SCHEME
)


@pytest.mark.parametrize(
    ("changes", "fields"),
    [
        ({}, ["ensemble"]),
        ({"ensemble": 4}, []),
        ({"clip_length": 16}, ["ensemble", "clip_overlap"]),
        ({"noise": "ddim-inversion:steps=50"}, []),
        ({"noise": "none"}, []),  # nothing to average, as DINO
    ],
)
def test_only_settings_that_a_feature_has(
    changes: dict[str, Any], fields: list[str], caplog: pytest.LogCaptureFixture
) -> None:
    request = dataclasses.replace(IMAGE, **changes)
    spec = SimpleNamespace(label="unit", field_text=request.field_text)
    unit: Any = SimpleNamespace(request=request, spec=spec)
    warn_of_other_settings(unit, [("ensemble", "4"), ("clip_overlap", "2")])
    warn_of_other_settings(unit, [("ensemble", str(request.ensemble)), ("ensemble", "4")])  # the first one counts
    assert [record.getMessage().split()[3] for record in caplog.records] == fields


def test_missing_features_are_named_with_the_preferred_settings(tmp_path: Path) -> None:
    choices = [FeatureChoice(backbone="sd21", timestep=101, tap=tap) for tap in ("a", "b")]
    video: Any = SimpleNamespace(dataset="d", name="v", frames=SimpleNamespace(digest=lambda: "0"))
    preferred = [("ensemble", "1"), ("ensemble", "4"), ("noise", "ddim-inversion:steps=50")]
    command = "--feature 'sd21:101:a' --feature 'sd21:101:b' --ensemble 1 --noising ddim-inversion:steps=50"
    with pytest.raises(UnitNotFoundError, match=re.escape(command)):
        find_units(open_cache(tmp_path, create=True), video, choices, preferred)
