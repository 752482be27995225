import dataclasses
import hashlib
import json
from pathlib import Path

import pytest

from ted.store import FeatureRequest, UnitSpec
from ted.store.errors import SchemaError

from .unit_inputs import make_spec

REQUEST = FeatureRequest(
    video="swan",
    frames="ab",
    backbone="svd",
    weights="sha256:1",
    frame_size=(480, 832),
    clip_length=14,
    clip_overlap=2,
    conditioning={"fps": 7},
    ensemble=4,
    seed=1,
    noise="n",
    compute_dtype="float16",
)


def test_digest_is_the_sha256_of_sorted_compact_json() -> None:
    values = dataclasses.asdict(REQUEST) | {"frame_size": [480, 832]}
    assert values.pop("overlap_rule") == "first"  # left out: requests without it were written before it existed
    expected = hashlib.sha256(json.dumps(values, sort_keys=True, separators=(",", ":")).encode()).hexdigest()
    assert REQUEST.digest() == expected


def test_the_overlap_rule_is_recorded_where_it_is_not_the_papers() -> None:
    """Requests in caches from before the overlap rule existed keep their digest."""
    assert REQUEST.digest() == "b19f93353a018d1b1a85a6f35e306225904d20dd8729881f6d0f8ea901b1cdfb"
    assert "overlap_rule" not in REQUEST.to_json()
    averaged = dataclasses.replace(REQUEST, overlap_rule="mean")
    assert averaged.to_json()["overlap_rule"] == "mean"
    assert FeatureRequest.from_json(json.loads(json.dumps(averaged.to_json()))) == averaged
    assert (REQUEST.field_text("overlap_rule"), averaged.field_text("overlap_rule")) == ("first", "mean")


@pytest.mark.parametrize("field", [item.name for item in dataclasses.fields(FeatureRequest)])
def test_every_field_changes_the_digest(field: str) -> None:
    value = getattr(REQUEST, field)
    other = {"fps": 8} if field == "conditioning" else (481, 832) if field == "frame_size" else value * 2
    assert dataclasses.replace(REQUEST, **{field: other}).digest() != REQUEST.digest()


def test_requests_and_specs_survive_json() -> None:
    assert FeatureRequest.from_json(json.loads(json.dumps(REQUEST.to_json()))) == REQUEST
    spec = make_spec()
    assert UnitSpec.from_json(json.loads(json.dumps(spec.to_json())), Path("x")) == spec


def test_a_newer_schema_is_refused_with_advice() -> None:
    values = make_spec().to_json() | {"schema_version": 2}
    with pytest.raises(SchemaError, match=r"format 2.*reads up to 1.*upgrade"):
        UnitSpec.from_json(values, Path("x"))


def test_an_unknown_request_is_refused() -> None:
    values = make_spec().to_json()
    values["request"] = values["request"] | {"surprise": 1}
    with pytest.raises(SchemaError, match="surprise"):
        UnitSpec.from_json(values, Path("x"))


def test_the_noise_level_is_no_part_of_what_a_unit_is() -> None:
    plain, leveled = make_spec(), make_spec(alpha_bar=0.25)
    assert (leveled.digest(), leveled.folder(Path()), leveled.label) == (
        plain.digest(),
        plain.folder(Path()),
        plain.label,
    )
    assert leveled == plain
    assert UnitSpec.from_json(json.loads(json.dumps(leveled.to_json())), Path("x")).alpha_bar == 0.25
    assert make_spec(alpha_bar=0.0).to_json()["alpha_bar"] == 0  # pure noise, not an unknown level


def test_descriptions_of_earlier_versions_are_read_and_stay_as_they_are() -> None:
    """A group's description from before noise levels were recorded."""
    earlier = {
        "schema_version": 1,
        "kind": "features",
        "dataset": "davis",
        "video": "swan",
        "timestep": 300,
        "tap": "up_blocks[2]",
        "form": "float16",
        "frame_names": ["00000", "00001"],
        "source_size": [480, 854],
        "request": REQUEST.to_json(),
        "digest": "b19f93353a018d1b1a85a6f35e306225904d20dd8729881f6d0f8ea901b1cdfb",
    }
    spec = UnitSpec.from_json(earlier, Path("x"))
    assert spec.alpha_bar is None
    assert spec.to_json() == earlier


@pytest.mark.parametrize("level", [-0.1, 1.5, float("nan"), float("inf"), "much", [0.5]])
def test_a_level_that_is_no_share_is_refused(level: object) -> None:
    with pytest.raises(SchemaError, match="no readable description"):
        UnitSpec.from_json(make_spec().to_json() | {"alpha_bar": level}, Path("x"))
