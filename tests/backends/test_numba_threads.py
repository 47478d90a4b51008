"""Several threads at one pass: the results of one thread, and no harm to the process."""

import os
import subprocess
import sys
import threading
from concurrent.futures import ThreadPoolExecutor
from functools import partial

import pytest
import torch
from backends.recurrences import make_inputs

from rnnbench.backends.numba import barrier, openmp, plan, threads
from rnnbench.backends.numba.backend import Numba
from rnnbench.backends.numba.microkernel import PANEL
from rnnbench.backends.numba.vector import Lanes
from rnnbench.bptt.recurrence import Layout
from rnnbench.spec import CELLS, Spec


@pytest.fixture
def lent():
    """Torch's threads."""
    if not openmp.usable():
        pytest.skip("torch has no OpenMP here whose threads could be lent")


@pytest.fixture(params=["lent", "pool"])
def route(request, monkeypatch):
    """Torch's threads, or the pool of a forked process."""
    if request.param == "pool":
        monkeypatch.setattr(openmp, "usable", lambda: False)
    else:
        request.getfixturevalue("lent")


@pytest.fixture
def two_threads(route, monkeypatch):
    """Two threads, and every part worth one."""
    monkeypatch.setattr(threads, "WORTH_IT", 0.1)
    before = torch.get_num_threads()
    torch.set_num_threads(2)
    yield
    torch.set_num_threads(before)


def results_of(spec, inputs):
    y, final = Numba().run(spec, inputs)
    loss = y.sum() + sum(part.sum() for part in final)
    return (y, *final, *torch.autograd.grad(loss, [inputs.x, *inputs.state, *inputs.weights]))


def random_inputs(spec, *, packed):
    sizes = [9, 9, 7, 5, 5, 2, 1]
    inputs = make_inputs(spec, T=len(sizes), B=9, training=True)
    if packed:
        rows = inputs.x.detach().reshape(-1, spec.input_size)[: sum(sizes)].requires_grad_()
        inputs = inputs._replace(x=rows, batch_sizes=torch.tensor(sizes))
    return inputs


@pytest.mark.parametrize("cell", CELLS)
@pytest.mark.parametrize("directions", [1, 2])
@pytest.mark.parametrize("packed", [False, True], ids=["dense", "packed"])
def test_two_threads_give_the_results_of_one(two_threads, cell, directions, packed):
    P = 5 if cell == "lstm" else 0
    spec = Spec(cell, 3, 20, layers=2, directions=directions, dtype="float64", proj_size=P)
    inputs = tame(random_inputs(spec, packed=packed))
    two = results_of(spec, inputs)
    torch.set_num_threads(1)
    for got, want in zip(two, results_of(spec, inputs), strict=True):
        torch.testing.assert_close(got, want, rtol=1e-12, atol=1e-12)


@pytest.fixture
def teams(two_threads, monkeypatch):
    """A team for every sequence alone, on two processors even where there is but one, and all else
    on one thread."""
    monkeypatch.setattr(threads, "WORTH_IT", float("inf"))
    monkeypatch.setattr(threads, "TEAM_WORTH", 0.1)
    monkeypatch.setattr(threads, "processors", lambda: 2)
    met = []
    real = threads.team
    monkeypatch.setattr(
        threads, "team", lambda size, member: met.append(size) or real(size, member)
    )
    return met


@pytest.mark.parametrize("cell", CELLS)
@pytest.mark.parametrize("dtype", ["float32", "float64"])
@pytest.mark.parametrize("packed", [False, True], ids=["dense", "packed"])
@pytest.mark.parametrize("directions", [1, 2])
def test_a_team_gives_several_sequences_the_bits_of_one_thread(
    teams, monkeypatch, cell, dtype, packed, directions
):
    monkeypatch.setattr(plan, "STREAMED", 0)
    monkeypatch.setattr(plan, "ROW_BYTES", 1)
    H = 5 * units_of_a_panel(dtype) // 2 + 3
    spec = Spec(cell, 3, H, layers=2, directions=directions, dtype=dtype)
    inputs = tame(random_inputs(spec, packed=packed))
    two = results_of(spec, inputs)
    assert teams == [2] * 4 * directions  # two layers, forward and backward
    torch.set_num_threads(1)
    for got, want in zip(two, results_of(spec, inputs), strict=True):
        assert torch.equal(got, want)


@pytest.mark.parametrize(
    ("spec", "B", "size"),
    [
        (Spec("rnn_tanh", 512, 512), 1, 2),
        (Spec("rnn_tanh", 512, 512), 16, 2),
        (Spec("rnn_tanh", 512, 512), 17, 1),
        (Spec("rnn_tanh", 256, 256, dtype="float64"), 8, 1),
        (Spec("gru", 256, 256), 1, 2),
        (Spec("gru", 256, 256), 8, 1),
        (Spec("gru", 512, 512), 48, 2),
        (Spec("gru", 512, 512), 49, 1),
        (Spec("lstm", 256, 256), 16, 2),
        (Spec("lstm", 512, 512, proj_size=100), 8, 1),
    ],
    ids=str,
)
def test_much_to_read_for_few_rows_makes_a_team(teams, spec, B, size):
    layout = Layout([B] * 21)
    assert (
        plan.team_size(spec, layout, plan.Plan.of(spec, spec.input_size), spec.input_size) == size
    )


@pytest.mark.parametrize("cell", ["gru", "lstm"])
@pytest.mark.parametrize("dtype", ["float32", "float64"])
@pytest.mark.parametrize("packed", [False, True], ids=["dense", "packed"])
def test_a_team_gives_one_sequence_the_bits_of_one_thread(teams, cell, dtype, packed):
    H = 5 * units_of_a_panel(dtype) // 2 + 3
    spec = Spec(cell, 3, H, layers=2, directions=1, dtype=dtype)
    inputs = make_inputs(spec, T=21, B=1, training=True)
    if packed:
        rows = inputs.x.detach().reshape(-1, 3).requires_grad_()
        inputs = inputs._replace(x=rows, batch_sizes=torch.ones(21, dtype=torch.int64))
    two = results_of(spec, inputs)
    assert teams == [2] * 4  # two layers, forward and backward
    torch.set_num_threads(1)
    for got, want in zip(two, results_of(spec, inputs), strict=True):
        assert torch.equal(got, want)
    assert teams == [2] * 4


def units_of_a_panel(dtype):
    return PANEL * Lanes.of(dtype).width


def tame(inputs):
    """With weights whose gradients do not overflow after so many steps."""
    weights = tuple([(0.05 * w).detach().requires_grad_() for w in inputs.weights])
    return inputs._replace(weights=weights)


def test_an_rnn_and_a_projection_make_no_team(teams):
    for spec in (Spec("rnn_tanh", 3, 200), Spec("lstm", 3, 200, proj_size=9)):
        Numba().run(spec, make_inputs(spec, T=21, B=1))
    assert not teams


def test_a_second_team_is_not_begun_beside_the_first(teams):
    spec = Spec("lstm", 3, 200)
    cases = [tame(make_inputs(spec, T=300, B=1, training=True)) for _ in range(3)]
    want = [results_of(spec, inputs) for inputs in cases]
    with ThreadPoolExecutor(3) as pool:
        for _ in range(10):
            for got, expected in zip(pool.map(partial(results_of, spec), cases), want, strict=True):
                assert all(map(torch.equal, got, expected))


@pytest.mark.parametrize("failing", [0, 1])
def test_a_member_that_fails_holds_nobody_up(route, failing):
    waited = []

    def member(who, counters):
        if who == failing:
            raise ZeroDivisionError
        barrier.meet(counters, who, 2, 1)
        waited.append(who)

    with pytest.raises(ZeroDivisionError):
        threads.team(2, member)
    assert waited == [1 - failing]
    assert threads.team(2, lambda who, counters: barrier.meet(counters, who, 2, 1))


def test_members_meet_at_every_step_on_one_processor_too(route):
    """Whoever waits for long gives its processor away."""
    before = os.sched_getaffinity(0)
    seen = []

    def member(who, counters):
        os.sched_setaffinity(0, {min(before)})
        try:
            for step in range(1, 201):
                seen.append((step, who))
                barrier.meet(counters, who, 2, step)
        finally:
            os.sched_setaffinity(0, before)

    assert threads.team(2, member)
    assert [step for step, _ in seen] == sorted(step for step, _ in seen)


def test_two_threads_give_the_same_bits_every_time(two_threads):
    spec = Spec("gru", 3, 40, layers=2)
    inputs = random_inputs(spec, packed=False)
    first = results_of(spec, inputs)
    for _ in range(10):
        assert all(map(torch.equal, results_of(spec, inputs), first))


def test_two_python_threads_may_call_at_once(two_threads):
    spec = Spec("lstm", 3, 20)
    cases = [random_inputs(spec, packed=False) for _ in range(2)]
    want = [results_of(spec, inputs) for inputs in cases]
    with ThreadPoolExecutor(2) as pool:
        for _ in range(20):
            for got, expected in zip(pool.map(partial(results_of, spec), cases), want, strict=True):
                assert all(map(torch.equal, got, expected))


@pytest.mark.parametrize("mode", [torch.no_grad, torch.inference_mode, torch.enable_grad])
def test_parts_run_in_the_callers_inference_mode_and_without_gradients(route, mode):
    def modes():
        return torch.is_grad_enabled(), torch.is_inference_mode_enabled()

    with mode():
        assert threads.run_as_here([modes] * 2) == [(False, mode is torch.inference_mode)] * 2


def test_inference_mode_and_no_grad_reach_the_results(two_threads):
    spec = Spec("lstm", 3, 20, directions=2)
    inputs = random_inputs(spec, packed=False)
    for mode in (torch.no_grad, torch.inference_mode):
        with mode():
            y, final = Numba().run(spec, inputs)
        assert not any(t.requires_grad for t in (y, *final))
        assert y.is_inference() == (mode is torch.inference_mode)


def test_an_error_in_a_part_is_raised_when_all_parts_are_over(route):
    over = []

    def fails():
        raise ZeroDivisionError

    def works():
        over.append(1)

    for parts in ([fails, works], [works, fails]):
        with pytest.raises(ZeroDivisionError):
            threads.run(parts)
    assert len(over) == 2


def test_torchs_threads_are_lent_on_linux():
    """GCC's OpenMP comes with torch's wheels."""
    if sys.platform != "linux":
        pytest.skip(f"{sys.platform}'s torch may have another OpenMP")
    seen = set()
    openmp.each(2, lambda who, count: seen.add((who, count, threading.get_ident())))
    assert openmp.usable()
    assert {(who, count) for who, count, _ in seen} == {(0, 2), (1, 2)}
    assert len({thread for *_, thread in seen}) == 2


@pytest.fixture
def lend(monkeypatch):
    """Put another ``each`` in the place of OpenMP's."""

    def put(each):
        monkeypatch.setattr(openmp, "usable", lambda: True)
        monkeypatch.setattr(openmp, "each", each)

    return put


def test_fewer_threads_than_parts_do_all_parts_but_no_team(lend):
    lend(lambda asked, work: work(0, 1))
    assert threads.run([lambda n=n: n for n in range(3)]) == [0, 1, 2]
    assert not threads.team(2, lambda who, counters: pytest.fail("a lone member began"))


def test_an_interrupt_before_the_first_part_is_raised_and_holds_nobody_up(lend, monkeypatch):
    """Python looks for signals at the very start of a function, where none can be caught."""
    monkeypatch.setattr(threads, "BEGIN_WITHIN", 0.05)
    lend(lambda asked, work: work(1, 2))
    done = []
    with pytest.raises(KeyboardInterrupt):
        threads.run([lambda: done.append(0), lambda: done.append(1)])
    assert done == [1]
    with pytest.raises(KeyboardInterrupt):
        threads.team(2, lambda who, counters: done.append("in a team"))
    assert done == [1]


@pytest.mark.parametrize("interrupted", [0, 1])
def test_an_interrupt_after_a_team_was_decided_on_holds_nobody_up(lent, monkeypatch, interrupted):
    real = threads._Start.begins

    def begins(self, who):
        decided = real(self, who)
        if who == interrupted:
            raise KeyboardInterrupt
        return decided

    monkeypatch.setattr(threads._Start, "begins", begins)
    with pytest.raises(KeyboardInterrupt):
        threads.team(2, lambda who, counters: barrier.meet(counters, who, 2, 1))


INTERRUPTED = """
import os, signal, threading, time, torch
import rnnbench
torch.set_num_threads(2)
signal.signal(signal.SIGINT, signal.default_int_handler)  # a parent may have it ignored
modules = [rnnbench.LSTM(256, 256, backend="numba"), rnnbench.GRU(64, 64, backend="numba")]
inputs = [torch.randn(64, 1, 256), torch.randn(64, 64, 64)]
with torch.no_grad():
    want = [module(x)[0] for module, x in zip(modules, inputs)]
    began = time.monotonic()
    for module, x in zip(modules, inputs):
        module(x)
    pause = max(0.02, 2 * (time.monotonic() - began))  # some calls come to their end

    def interrupt():
        while not over:
            time.sleep(pause)
            os.kill(os.getpid(), signal.SIGINT)

    over, caught, whole = [], 0, 0
    other = threading.Thread(target=interrupt)
    other.start()
    end = time.monotonic() + 5
    while time.monotonic() < end:
        try:
            for module, x, y in zip(modules, inputs, want):
                assert torch.equal(module(x)[0], y)
            whole += 1
        except KeyboardInterrupt:
            caught += 1
    while other.is_alive():
        try:
            over.append(1)
            other.join()
        except KeyboardInterrupt:
            pass
print(caught, whole)
"""


def test_ctrl_c_at_any_moment_stops_a_call_and_nothing_else():
    done = subprocess.run(
        [sys.executable, "-c", INTERRUPTED], capture_output=True, text=True, timeout=120, check=True
    )
    caught, whole = map(int, done.stdout.split())
    assert caught > 5
    assert whole > 0


FORKED = """
import os, sys, torch
from rnnbench.backends.numba import meeting, openmp, threads
import rnnbench
threads.WORTH_IT = threads.TEAM_WORTH = 0.1
threads.processors = lambda: 2
torch.set_num_threads(2)
module = rnnbench.GRU(3, 200, backend="numba")
batch, alone = torch.randn(5, 8, 3), torch.randn(5, 1, 3)

def results():
    with torch.no_grad():
        return module(batch)[0], module(alone)[0]

want = results() if "first" in sys.argv else None
if "first" in sys.argv or not os.path.isdir("/proc/self/task"):
    lent = False
else:
    lent = openmp.usable() and len(os.listdir("/proc/self/task")) == 1
child = os.fork()
if child == 0:
    assert openmp.usable() == lent, lent
    found = results()
    os._exit(0 if want is None or all(map(torch.equal, found, want)) else 1)
_, status = os.waitpid(child, 0)
print(os.waitstatus_to_exitcode(status))
"""


@pytest.mark.parametrize("before", ["first", "never"])
def test_threads_work_in_a_forked_process(before):
    """Whether or not the parent had its own at work, which the child has not."""
    done = subprocess.run(
        [sys.executable, "-c", FORKED, before],
        capture_output=True, text=True, timeout=120, check=True,
    )  # fmt: skip
    assert done.stdout.split() == ["0"]
