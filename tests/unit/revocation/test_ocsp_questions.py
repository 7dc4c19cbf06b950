"""Questions as files: an answer survives as it came, and what is damaged is removed."""

import json
from datetime import date, timedelta

import pytest

from relay.pki.revocation import Answer, Outcome
from relay.revocation.ocsp_questions import Question, QuestionFolder
from tests.kit.pki import Authority
from tests.kit.revocation import NOW, make_answer

CA = Authority("CA")
ISSUED = CA.issue("leaf")
LEAF = ISSUED.certificates[0]
SKEW = timedelta(minutes=5)
ANSWER = Answer(Outcome.GOOD, "good", NOW, NOW + timedelta(hours=1))


def question(**values):
    return Question(LEAF, CA.certificate, **{"wanted": date(2026, 11, 21), **values})


@pytest.mark.parametrize("wanted", [date(2026, 11, 21), None])
def test_what_is_written_is_read(tmp_path, wanted):
    folder = QuestionFolder(tmp_path / "ocsp")
    assert folder.read() == []
    written = question(wanted=wanted, response=make_answer(ISSUED, CA))
    folder.write(written)
    assert folder.read() == [written]
    folder.remove(written)
    folder.remove(written)
    assert folder.read() == []


@pytest.mark.parametrize(
    "damage",
    [
        lambda text: b"",
        lambda text: text[:-1],
        lambda text: b"\xff" + text,
        lambda text: b"[]",
        lambda text: json.dumps({**json.loads(text), "certificate": "MAA="}).encode(),
        lambda text: json.dumps({**json.loads(text), "issuer": "?"}).encode(),
        lambda text: json.dumps({**json.loads(text), "wanted": 5}).encode(),
        # the certificate of another question
        lambda text: json.dumps(
            {**json.loads(text), "certificate": json.loads(text)["issuer"]}
        ).encode(),
    ],
)
def test_what_is_damaged_is_removed(tmp_path, damage):
    folder = QuestionFolder(tmp_path)
    folder.write(question(response=b"x"))
    (path,) = tmp_path.iterdir()
    path.write_bytes(damage(path.read_bytes()))
    assert folder.read() == []
    assert list(tmp_path.iterdir()) == []


def test_a_file_of_another_name_is_removed(tmp_path):
    (tmp_path / ".half.new").write_bytes(b"x")
    assert QuestionFolder(tmp_path).read() == []
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize(
    ("answer", "after", "counts"),
    [
        (None, timedelta(0), False),
        (ANSWER, timedelta(minutes=64), True),
        (ANSWER, timedelta(minutes=66), False),
        (ANSWER._replace(outcome=Outcome.REVOKED), timedelta(days=99), True),
    ],
)
def test_how_long_an_answer_counts(answer, after, counts):
    assert question(answer=answer).counts((NOW + after).timestamp(), SKEW) is counts


def test_news_are_the_answer_and_why_there_is_no_newer_one():
    asked = question(answer=ANSWER, problem="down", again_at=7.0)
    answer, failure = asked.news(SKEW, timedelta(seconds=5))
    end = (NOW + timedelta(minutes=65)).timestamp()
    assert answer == (asked.key, Outcome.GOOD, "good", end)
    assert failure == (asked.key, Outcome.UNREACHABLE, "down", 12.0)
    assert list(question().news(SKEW, SKEW)) == []
