"""What was last known of restrictions, for a start without the store."""

import pytest
import structlog

from relay.model import Restriction, RestrictionKind
from relay.state.last_known import LastKnown

KNOWN = (
    Restriction(RestrictionKind.BAN, "192.0.2.0/24", "why ü", "rule", 1.5, 9.25, 3),
    Restriction(RestrictionKind.SUSPENSION, "acme", "", "", 1.0),
)


def test_what_was_written_is_read(tmp_path):
    known = LastKnown(tmp_path / "restrictions.json")
    assert known.read() == ()
    known.write(KNOWN)
    assert known.read() == KNOWN
    known.write(())
    assert known.read() == ()
    assert [path.name for path in tmp_path.iterdir()] == ["restrictions.json"]


@pytest.mark.parametrize("text", ["", "{", "[1]", "[{}]", '{"kind": "ban"}', '[{"kind": "hex"}]'])
def test_a_file_that_cannot_be_read_is_logged_and_keeps_nobody_from_starting(tmp_path, text):
    path = tmp_path / "restrictions.json"
    path.write_text(text)
    with structlog.testing.capture_logs() as logs:
        assert LastKnown(path).read() == ()
    assert len(logs) == 1


def test_a_folder_that_is_gone_is_logged(tmp_path):
    with structlog.testing.capture_logs() as logs:
        LastKnown(tmp_path / "nowhere" / "restrictions.json").write(KNOWN)
    assert len(logs) == 1
