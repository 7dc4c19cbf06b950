"""The generated pages are as new as what they are made from."""

import importlib.util
import json
from pathlib import Path

import pytest

from relay.pki.identity_fields import FIELDS

FOLDER = Path(__file__).parents[2] / "docs"


def load_generator():
    spec = importlib.util.spec_from_file_location("docs_generate", FOLDER / "generate.py")
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


generate = load_generator()


@pytest.mark.parametrize("name", generate.PAGES)
def test_a_page_is_as_new_as_its_source(name):
    assert (FOLDER / name).read_text() == generate.PAGES[name](), "run `make docs`"


def test_every_key_of_an_identity_is_documented():
    assert list(generate.IDENTITY_KEYS) == list(FIELDS)


def test_the_schema_speaks_as_the_file_does():
    schema = json.loads(generate.schema())
    timeout = schema["$defs"]["Route"]["properties"]["command_timeout"]
    assert (timeout["type"], timeout["default"]) == ("string", "5m")
    assert set(schema["required"]) == {"hostname", "listener", "route"}
