"""Which listener it is."""

from relay.checks import listener
from relay.model import Endpoint
from relay.policy.case import Case
from relay.policy.facts import Stage
from tests.kit.checks import tools


def test_a_listener_is_known_by_its_name():
    check = listener.build(listener.Settings(), tools())
    case = Case(Endpoint("192.0.2.1", 25), "partners")
    assert check.report(case, Stage.CONNECT, frozenset()) == {"listener.name": "partners"}
