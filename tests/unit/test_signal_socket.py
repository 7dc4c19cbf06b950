"""Signals as something to read."""

import selectors
import signal

import pytest

from relay.signal_socket import SignalSocket

NUMBERS = (signal.SIGUSR1, signal.SIGUSR2)


@pytest.fixture
def selector():
    before = {number: signal.getsignal(number) for number in NUMBERS}
    made = selectors.DefaultSelector()
    yield made
    made.close()
    for number, handler in before.items():
        signal.signal(number, handler)


def test_each_signal_is_heard_in_the_turn_of_the_selector(selector):
    heard = []
    signals = SignalSocket(selector, NUMBERS, heard.append)
    signal.raise_signal(signal.SIGUSR1)
    signal.raise_signal(signal.SIGUSR2)
    assert heard == []
    ((key, _),) = selector.select(5)
    key.data(key.fileobj)
    assert heard == [signal.SIGUSR1, signal.SIGUSR2]
    signals.close()


def test_after_its_end_signals_wake_nobody(selector):
    SignalSocket(selector, NUMBERS, lambda _: None).close()
    assert signal.set_wakeup_fd(-1) == -1
    signal.raise_signal(signal.SIGUSR1)  # and end nobody
