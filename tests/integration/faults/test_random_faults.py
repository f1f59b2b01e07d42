"""Syncs against an upstream that does whatever it likes: each ends right, or in a clear error that
leaves nothing behind.
"""

import os
from pathlib import Path

import pytest

from tests.integration.faults.playing import play
from tests.integration.faults.scenes import draw_scene

SCENES = int(os.environ.get("FLOWSYNC_FAULTS", "8"))
SEED = int(os.environ.get("FLOWSYNC_SEED", "0"))
"""How many scenes of one to twelve syncs, and the first seed; a scene that fails alone:
FLOWSYNC_FAULTS=1 FLOWSYNC_SEED=n.
"""


@pytest.mark.parametrize("seed", range(SEED, SEED + SCENES))
async def test_every_sync_ends_right_or_in_a_clear_error_that_leaves_nothing(
    seed: int, conninfo: str, tmp_path: Path
) -> None:
    """Faults of manifests and files are drawn at random."""
    scene = draw_scene(seed)

    model = await play(scene, conninfo, tmp_path / "home")

    assert model.states.keys() == {plan.repository for plan in scene.rounds[0]}
