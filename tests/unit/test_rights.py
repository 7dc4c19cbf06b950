"""What a user may do with files is asked of the kernel, which knows of folders above, groups and all else."""

import os
import tempfile
from pathlib import Path

import pytest

from relay.rights import withheld_from

USER = "nobody"

as_root = pytest.mark.skipif(os.geteuid() != 0, reason="only root can become another user")


@pytest.fixture
def folder():
    with tempfile.TemporaryDirectory() as made:  # pytest's own folders are closed to others
        path = Path(made)
        path.chmod(0o755)
        (path / "open").write_bytes(b"")
        (path / "open").chmod(0o644)
        (path / "closed").write_bytes(b"")
        (path / "closed").chmod(0o600)
        (path / "cellar").mkdir(mode=0o700)
        (path / "cellar/open").write_bytes(b"")
        (path / "cellar/open").chmod(0o666)
        yield path


@as_root
def test_what_a_user_cannot_use_is_told_in_order(folder):
    wanted = {
        "open": os.R_OK,
        "closed": os.R_OK,
        ".": os.W_OK,
        "cellar/open": os.R_OK,
        "missing": os.R_OK,
    }
    found = withheld_from(USER, [(folder / name, mode) for name, mode in wanted.items()])
    assert found == [folder / name for name in ("closed", ".", "cellar/open", "missing")]


@as_root
def test_asking_changes_nothing_for_us(folder):
    withheld_from(USER, [(folder, os.R_OK)])
    assert os.geteuid() == 0
    assert (folder / "closed").read_bytes() == b""


@pytest.mark.parametrize("user", ["", "no-such-user"])
def test_there_has_to_be_somebody_to_ask_for(folder, user):
    assert withheld_from(user, [(folder / "closed", os.R_OK)]) == []
