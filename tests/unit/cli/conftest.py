"""What most commands are about: what `gatepost init` makes."""

import pytest

from relay.cli.new_site import create_site


@pytest.fixture
def site(tmp_path):
    made = create_site(tmp_path, "edge.example.com")
    (tmp_path / "state").mkdir()
    return made
