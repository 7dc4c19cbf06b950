"""What the supervisor remembers of the keeper's work, for workers and keepers to come."""

import selectors

import pytest

from relay import keeper_process
from relay.keeper_process import KeeperProcess


@pytest.fixture
def keeper():
    return KeeperProcess(selectors.DefaultSelector(), lambda _: None, lambda _: None)


def news(key, outcome="good", reason=""):
    return [key, outcome, reason, 5.0]


def question(key):
    return {"event": "ask", "key": key, "certificate": "QQ==", "issuer": "Qg=="}


def test_news_are_told_to_those_who_live_and_to_those_to_come(keeper):
    assert keeper.take_news([news("a"), news("b")]) == {
        "order": "ocsp",
        "news": [news("a"), news("b")],
    }
    keeper.take_news([news("a", "revoked")])
    (order,) = keeper.knowledge()
    assert sorted(order["news"]) == [news("a", "revoked"), news("b")]


def test_an_answer_and_why_there_is_no_newer_one_belong_together(keeper):
    keeper.take_news([news("a"), news("a", "unreachable")])
    assert keeper.knowledge()[0]["news"] == [news("a"), news("a", "unreachable")]
    keeper.take_news([news("a")])
    assert keeper.knowledge()[0]["news"] == [news("a")]


def test_the_newest_answer_about_a_certificate_of_ours_is_remembered(keeper):
    for until in (1.0, 2.0):
        order = keeper.take_staple(
            {"event": "staple", "certificate": "ours", "response": "QQ==", "until": until}
        )
    assert order["order"] == "staple"
    assert keeper.knowledge()[1:] == [order]
    assert keeper.shown_until() == {"ours": 2.0}


def test_the_state_counts_certificates_and_names_what_is_stapled(keeper):
    keeper.take_news([news("a"), news("a", "unreachable"), news("b"), news("c", "revoked")])
    keeper.take_staple({"event": "staple", "certificate": "ours", "response": "", "until": 60.0})
    assert keeper.ocsp_state() == {
        "outcomes": {"good": 2, "revoked": 1},
        "staples": [{"certificate": "ours", "until": "1970-01-01T00:01:00Z"}],
    }


def test_a_keeper_that_is_forked_anew_is_told_what_is_not_answered_yet(keeper):
    keeper.ask(question("a"))
    keeper.ask(question("b"))
    keeper.ask(question("b"))
    keeper.take_news([news("a")])
    assert [each["key"] for each in keeper._first_orders()] == ["b"]
    assert {each["order"] for each in keeper._first_orders()} == {"ask"}


def test_there_is_an_end_to_what_is_remembered(keeper, monkeypatch):
    monkeypatch.setattr(keeper_process, "MAX_KNOWN", 2)
    monkeypatch.setattr(keeper_process, "MAX_WANTED", 2)
    for key in "abc":
        keeper.ask(question(key))
        keeper.take_news([news(f"of {key}")])
    assert keeper.knowledge()[0]["news"] == [news("of b"), news("of c")]
    assert [each["key"] for each in keeper._first_orders()] == ["a", "b"]
