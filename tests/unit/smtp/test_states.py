"""The table of states, as a whole."""

from __future__ import annotations

import pytest

from relay.smtp.commands import Command
from relay.smtp.conversation import Conversation
from relay.smtp.extensions import Extensions
from relay.smtp.sequence import LAST_IN_GROUP, objection
from relay.smtp.states import TRANSITIONS, State

OPEN = [state for state in State if TRANSITIONS[state]]
SILENT = {State.GREETING, State.CONTENT, State.HANDSHAKE, State.CLOSED}


def conversation(
    state: State = State.READY,
    offered: Extensions = Extensions(starttls=True),
    *,
    tls_required: bool = False,
    tls_active: bool = False,
) -> Conversation:
    it = Conversation(998, 100, tls_required=tls_required, tls_active=tls_active)
    it.state, it.offered = state, offered
    return it


def test_every_state_has_a_row_and_only_four_take_no_command() -> None:
    assert set(TRANSITIONS) == set(State)
    assert set(State) - set(OPEN) == SILENT


def test_every_state_but_the_first_can_be_reached() -> None:
    reached = {state for row in TRANSITIONS.values() for state in row.values()}
    # By the engine itself: the banner leads to START, a refused chunk to FAILED.
    assert reached | {State.START, State.FAILED} == set(State) - {State.GREETING}


@pytest.mark.parametrize("state", OPEN)
def test_some_commands_are_allowed_always(state: State) -> None:
    row = TRANSITIONS[state]
    assert row[Command.QUIT] is State.CLOSED
    for command in (Command.NOOP, Command.HELP, Command.VRFY):
        assert row[command] is state
    for command in (Command.EHLO, Command.HELO):
        assert row[command] is State.READY
    assert row[Command.RSET] is (State.START if state is State.START else State.READY)


@pytest.mark.parametrize(
    ("command", "states"),
    [
        (Command.MAIL, {State.READY, State.FAILED}),
        (Command.RCPT, {State.SENDER, State.RECIPIENT}),
        (Command.DATA, {State.RECIPIENT}),
        (Command.BDAT, {State.RECIPIENT, State.CHUNKS}),
        (Command.STARTTLS, {State.READY}),
    ],
)
def test_where_a_command_belongs(command: Command, states: set[State]) -> None:
    assert {state for state in State if command in TRANSITIONS[state]} == states


@pytest.mark.parametrize("state", OPEN)
@pytest.mark.parametrize("command", list(Command))
def test_what_is_not_in_the_table_is_out_of_sequence(state: State, command: Command) -> None:
    fault = objection(command, conversation(state))
    if command in TRANSITIONS[state]:
        assert fault is None
    else:
        assert fault is not None
        assert fault.kind == "sequence"
        assert fault.reply.enhanced == "5.5.1"
        without_recipient = state is State.SENDER and command in (Command.DATA, Command.BDAT)
        assert fault.reply.code == (554 if without_recipient else 503)


@pytest.mark.parametrize("command", list(Command))
def test_before_tls(command: Command) -> None:
    fault = objection(command, conversation(tls_required=True))
    allowed = {"EHLO", "HELO", "STARTTLS", "NOOP", "HELP", "QUIT"}
    assert (fault is None) == (command in allowed)
    if fault is not None:
        assert (fault.kind, fault.reply.code, fault.reply.enhanced) == ("plaintext", 530, "5.7.0")


def test_starttls_needs_an_offer_and_no_tls() -> None:
    not_offered = conversation(offered=Extensions(), tls_required=True)
    with_tls = conversation(tls_required=True, tls_active=True)
    for place, code in ((not_offered, 502), (with_tls, 503)):
        fault = objection(Command.STARTTLS, place)
        assert fault is not None
        assert fault.reply.code == code


def test_what_must_stand_last_in_a_group() -> None:
    assert set(LAST_IN_GROUP) == {Command.EHLO, Command.HELO, Command.DATA, Command.STARTTLS}
