"""What all tests share: the `slow` marker, which only `--slow` runs."""

import pytest


def pytest_addoption(parser):
    parser.addoption("--slow", action="store_true", help="run the tests marked slow, too")


def pytest_configure(config):
    config.addinivalue_line("markers", "slow: takes minutes or many connections (`make soak`)")


def pytest_collection_modifyitems(config, items):
    if config.getoption("--slow"):
        return
    skip = pytest.mark.skip(reason="slow; `make soak` runs it")
    for item in items:
        if "slow" in item.keywords:
            item.add_marker(skip)
