"""kill -9 under load, a few times; `make crash` does it 200 times. What is compared: tests/crash/harness.py."""
import pathlib
import sys

import pytest

import kit

sys.path.insert(0, str(pathlib.Path(__file__).resolve().parent / "crash"))
import harness  # noqa: E402


@pytest.mark.parametrize("workers", [1, 3])
def test_what_was_acknowledged_survives_kill_9(tmp_path, workers):
    world = harness.crash(tmp_path, kit.free_port(), 5, workers)
    assert world.acks > 0
