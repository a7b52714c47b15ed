"""The guard of counts: what it lets pass and what it stops."""

import pytest

pytest.importorskip("palijet.export", reason="the guard exports the demo")

from benchmarks.guard import report


def test_counts_may_rise_by_two_percent(capsys: pytest.CaptureFixture[str]) -> None:
    recorded = {"instructions": 1000.0, "bytes": 0.0}
    assert report({"instructions": 1020.0, "bytes": 0.0}, recorded) == 0
    assert report({"instructions": 1021.0, "bytes": 0.0}, recorded) == 1
    assert "instructions: 1,021.00, recorded 1,000.00 has risen by more than 2 %" in capsys.readouterr().out


def test_a_first_byte_is_a_rise() -> None:
    assert report({"bytes": 0.5}, {"bytes": 0.0}) == 1


def test_what_was_never_recorded_is_asked_for(capsys: pytest.CaptureFixture[str]) -> None:
    assert report({"bytes": 0.0}, {}) == 1
    assert "not recorded: run python -m benchmarks.guard --record" in capsys.readouterr().out
