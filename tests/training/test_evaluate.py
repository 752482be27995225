"""Evaluation of the small models on a few videos."""

import json
from pathlib import Path

from click.testing import CliRunner

from training.evaluate import main


def test_the_video_model_knows_which_object_is_which_by_motion(tmp_path: Path) -> None:
    """The trained network tells identical, crossing objects apart; its controls do not."""
    options = ["--videos", "6", "--taus", "700", "--taps", "up_blocks[1]", "--ensemble", "1"]
    result = CliRunner().invoke(main, ["probe", str(tmp_path), *options], catch_exceptions=False)
    assert result.exit_code == 0
    rows = json.loads((tmp_path / "probe.json").read_text())
    trained, untrained, still = (
        rows[f"demo-video:700:up_blocks[1], {name}"] for name in ("trained", "untrained", "no-temporal")
    )
    assert trained["remembered"] > 80
    assert max(untrained["remembered"], still["remembered"]) < 60
    assert trained["velocity"] > max(untrained["velocity"], still["velocity"]) + 0.3
