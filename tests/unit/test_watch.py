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


@pytest.mark.parametrize("change", CHANGES.values(), ids=CHANGES)
def test_what_changes_while_it_is_read_again_is_seen(file, tmp_path, change):
    before = FileWatch([file])
    change(file)  # after it was read, and before all is known that is to be watched
    other = tmp_path / "other.toml"
    other.touch()
    assert before.of([file, other]).has_changed()
    assert not before.of([other]).has_changed()


def test_what_has_not_changed_is_not_seen_again(file):
    assert not FileWatch([file]).of([file]).has_changed()
