"""Where the keys of a TOML text stand."""

import tomllib

import pytest
from hypothesis import given
from hypothesis import strategies as st

from relay.toml_lines import index_lines

DOCUMENT = '''\
# a comment
hostname = "edge.example.org" # "not = a key"

[limits]
max_recipients = 200
"quoted key" = 1

[[listener]]
name = "one"
certificate = [
  { chain = "a.pem", key = "a.key" },   # the first
  # between
  { chain = "b.pem", key = "b.key" },

]

[[listener]]
name = """
two
lines""" # [nothing]
proxy_protocol_from = ["192.0.2.0/24", '2001:db8::/32']
  [listener.inner]
  deep.er = 2001-01-01T00:00:00Z

[route."example.org"]
hosts = []
[ route . "*" ]
'hosts' = [ [1, 2], {} ]
unsafe_plaintext = true
'''


@pytest.mark.parametrize(
    ("path", "line"),
    [
        ((), 1),
        (("hostname",), 2),
        (("limits",), 4),
        (("limits", "max_recipients"), 5),
        (("limits", "quoted key"), 6),
        (("listener",), 8),
        (("listener", 0), 8),
        (("listener", 0, "name"), 9),
        (("listener", 0, "certificate"), 10),
        (("listener", 0, "certificate", 0), 11),
        (("listener", 0, "certificate", 0, "key"), 11),
        (("listener", 0, "certificate", 1), 13),
        (("listener", 0, "certificate", 1, "key"), 13),
        (("listener", 1), 17),
        (("listener", 1, "name"), 18),
        (("listener", 1, "proxy_protocol_from", 1), 21),
        (("listener", 1, "inner"), 22),
        (("listener", 1, "inner", "deep"), 23),
        (("listener", 1, "inner", "deep", "er"), 23),
        (("route",), 25),
        (("route", "example.org", "hosts"), 26),
        (("route", "*"), 27),
        (("route", "*", "hosts", 0, 1), 28),
        (("route", "*", "hosts", 1), 28),
        (("route", "*", "unsafe_plaintext"), 29),
    ],
)
def test_every_key_has_its_line(path, line):
    assert index_lines(DOCUMENT)[path] == line


def paths_of(value, path=()):
    yield path
    if isinstance(value, dict):
        for key, inner in value.items():
            yield from paths_of(inner, (*path, key))
    if isinstance(value, list):
        for position, inner in enumerate(value):
            yield from paths_of(inner, (*path, position))


def test_exactly_the_places_that_tomllib_reads():
    assert set(index_lines(DOCUMENT)) == set(paths_of(tomllib.loads(DOCUMENT)))


@pytest.mark.parametrize(
    "text",
    [
        "",
        "\n\n# only a comment",
        'a = "\\"" # x\nb = 1',
        'a = """"quoted""""\nb = 1',
        'a = """x\\\n  y"""\nb = 1',
        "a = '''it's'''\nb = 1",
        "a = 1\r\nb = 2\r\n",
        '"\\u00e9" = 1',
        "a.b.c = 1\na.b.d = 2",
        "[a.b]\n[a]\nc = 1",
        "[[a]]\n[[a.b]]\n[[a.b]]\nc=1\n[[a]]\n[[a.b]]\nd=1",
        "a = [\n#]\n]\nb = {}",
        "a = [1,]",
        "a = -inf\nb = 07:32:00\nc = 1979-05-27 07:32:00",
    ],
)
def test_the_odd_corners_of_the_grammar(text):
    assert set(index_lines(text)) == set(paths_of(tomllib.loads(text)))


@given(st.text(alphabet="ab=[]{}.,\"'\n#\\ 1", max_size=40))
def test_it_agrees_with_tomllib_on_whatever_tomllib_reads(text):
    try:
        data = tomllib.loads(text)
    except tomllib.TOMLDecodeError:
        return
    assert set(index_lines(text)) == set(paths_of(data))


@pytest.mark.parametrize("text", ["[", "a", "a =", "a = [", "=", "a = { b", 'a = "x', "? = 1"])
def test_what_is_no_toml_is_a_value_error(text):
    with pytest.raises(ValueError, match="not a TOML text"):
        index_lines(text)


def test_ten_thousand_tables_are_no_work():
    text = "".join(f'[[identity]]\nname = "i{number}"\n' for number in range(10_000))
    assert index_lines(text)["identity", 9_999, "name"] == 20_000
