"""A change on disk is seen, however it came about; nothing is seen twice."""

import os

import pytest

from relay.watch import FileWatch


@pytest.fixture
def file(tmp_path):
    path = tmp_path / "gatepost.toml"
    path.write_text("a")
    return path


def rename_over(path):
    other = path.with_suffix(".new")
    other.write_text("a")
    stat = path.stat()
    os.utime(other, ns=(stat.st_atime_ns, stat.st_mtime_ns))
    other.rename(path)


CHANGES = {
    "written": lambda path: path.write_text("bb"),
    "touched": lambda path: os.utime(path, (1, 1)),
    "removed": lambda path: path.unlink(),
    "replaced by one of the same size and time": rename_over,
}


@pytest.mark.parametrize("change", CHANGES.values(), ids=CHANGES)
def test_seen(file, change):
    watch = FileWatch([file])
    assert not watch.has_changed()
    change(file)
    assert watch.has_changed()
    assert not FileWatch([file]).has_changed()


def test_a_file_that_comes_is_a_change(tmp_path):
    watch = FileWatch([tmp_path / "new.toml"])
    assert not watch.has_changed()
    (tmp_path / "new.toml").touch()
    assert watch.has_changed()
