"""The hand-written pages keep up with the code: no RFC, package or file that only one of them knows."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[2]
PAGES = ["README.md", "docs/map.md", "docs/flow.md", "docs/standards.md"]


def test_every_rfc_in_the_code_is_in_the_table_of_standards() -> None:
    table = set(re.findall(r"^\| (\d+) \|", (ROOT / "docs/standards.md").read_text(), re.MULTILINE))
    used = {
        number
        for path in (ROOT / "relay").rglob("*.py")
        for number in re.findall(r"RFC (\d{3,5})", path.read_text())
    }
    assert used - table == set()


def test_every_package_and_top_level_module_is_on_the_map() -> None:
    text = (ROOT / "docs/map.md").read_text()
    packages = {f"relay/{path.parent.name}" for path in (ROOT / "relay").glob("*/__init__.py")}
    modules = {f"relay/{path.name}" for path in (ROOT / "relay").glob("*.py")} - {
        "relay/__init__.py"
    }
    assert {name for name in packages | modules if f"`{name}`" not in text} == set()


@pytest.mark.parametrize("page", PAGES)
def test_files_that_a_page_names_are_there(page: str) -> None:
    text = (ROOT / page).read_text()
    named = set(re.findall(r"`((?:relay|tests|bench|docs|examples|certs)/[\w./]*)`", text))
    links = {
        str((ROOT / page).parent.joinpath(link).resolve().relative_to(ROOT))
        for link in re.findall(r"\]\(([^)#:]+)\)", text)
    }
    assert {name for name in named | links if not (ROOT / name).exists()} == set()


def test_modules_that_the_flow_names_are_there() -> None:
    text = (ROOT / "docs/flow.md").read_text()
    packages = {path.name for path in (ROOT / "relay").iterdir() if path.is_dir()}
    named = re.findall(r"\b([a-z]+)/([a-z_]+)\b", text)
    missing = {
        f"{package}/{module}"
        for package, module in named
        if package in packages and not (ROOT / "relay" / package / f"{module}.py").exists()
    }
    assert missing == set()
    assert sum(package in packages for package, _ in named) > 15
