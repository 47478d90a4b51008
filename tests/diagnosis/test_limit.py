"""The time limit of `rnnbench.diagnose`: what hangs gets an account, and nothing is left behind."""

from __future__ import annotations

import signal
import sys
import threading
import time
from contextlib import suppress

import pytest
import torch
from torch import nn

import rnnbench
from rnnbench import InputError, Spec
from rnnbench.diagnosis.limit import THREAD, TimeLimit, TimeUpError

SPEC = Spec("rnn_tanh", 3, 4)
WORDS = "did not finish within 0.3 s: it was cut off in call 1 of it (rnn_tanh-I3-H4-L1-D1-"


def loops(x, state, weights):
    while True:
        pass


def sleeps(x, state, weights):
    time.sleep(1e6)


def catches(x, state, weights):
    for _ in range(2):
        with suppress(BaseException):
            time.sleep(1e6)
    return x


def raises_another(x, state, weights):
    try:
        time.sleep(1e6)
    except BaseException as error:
        raise ValueError("mine") from error


@pytest.mark.parametrize("hangs", [loops, sleeps, catches, raises_another])
def test_what_hangs_is_cut_off_and_the_handler_is_as_it_was(hangs):
    before = signal.getsignal(signal.SIGALRM)
    timer = signal.getitimer(signal.ITIMER_REAL)
    found = rnnbench.diagnose(hangs, spec=SPEC, time_limit=0.3)
    assert (found.status, found.passed, found.first_divergence) == ("raised", False, None)
    assert WORDS in str(found)
    assert signal.getsignal(signal.SIGALRM) == before
    assert bool(signal.getitimer(signal.ITIMER_REAL)[0]) == bool(timer[0])


@pytest.mark.parametrize("traced", [False, True])
def test_in_another_thread_a_loop_is_cut_off(traced):
    """Traced, as by a debugger or by coverage, it once never came back."""
    found = []

    def run():
        if traced:
            sys.settrace(lambda *_: None)
        found.append(rnnbench.diagnose(loops, spec=SPEC, time_limit=0.3))

    thread = threading.Thread(target=run, daemon=True)
    thread.start()
    thread.join(60)
    assert not thread.is_alive()
    assert WORDS in str(found[0])


def test_a_module_that_hangs_in_one_problem_keeps_its_own_weights():
    class OneStep(nn.LSTM):
        def forward(self, x, hx=None):
            while len(x) == 1:
                pass
            return super().forward(x, hx)

    net = OneStep(3, 4)
    own = [id(p) for p in net.parameters()]
    x = torch.randn(5, 2, 3)
    y, _ = net(x)
    found = rnnbench.diagnose(net, time_limit=3)
    assert found.status == "raised"
    assert "-T1-" in found.raised
    assert [id(p) for p in net.parameters()] == own
    assert torch.equal(net(x)[0], y)
    assert torch.is_grad_enabled()


def test_an_alarm_of_others_rings_with_them():
    """The limit sends the signal and sets no alarm."""
    rang = []
    old = signal.signal(signal.SIGALRM, lambda *_: rang.append(1))
    kept = signal.setitimer(signal.ITIMER_REAL, 0.05)
    try:
        with pytest.raises(TimeUpError), TimeLimit(1.0).running("x"):
            time.sleep(1e6)
        assert rang == [1]
    finally:
        signal.signal(signal.SIGALRM, old)
        signal.setitimer(signal.ITIMER_REAL, *kept)


def test_the_limit_is_of_all_calls_together():
    limit = TimeLimit(1.5)
    for _ in range(3):
        with limit.running("x"):
            pass
    with pytest.raises(TimeUpError), limit.running("a call"):
        time.sleep(1e6)
    assert "cut off in call 4 of it (a call)" in limit.words
    with pytest.raises(TimeUpError), limit.running("another"):
        raise AssertionError("it is not begun")
    assert not watching()


def watching():
    return [thread for thread in threading.enumerate() if thread.name == THREAD]


def test_without_a_limit_nothing_is_watched():
    before = signal.getsignal(signal.SIGALRM)
    with TimeLimit(10.0).running("x"):
        assert watching()
        assert signal.getsignal(signal.SIGALRM) != before
    with TimeLimit(None).running("x"):
        assert not watching()
        assert signal.getsignal(signal.SIGALRM) == before


@pytest.mark.parametrize("seconds", [0, -1.0, float("nan")])
def test_a_limit_that_is_none_is_refused(seconds):
    with pytest.raises(InputError, match="time_limit must be seconds above 0, or None"):
        rnnbench.diagnose(loops, spec=SPEC, time_limit=seconds)
