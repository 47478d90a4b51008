"""``rnnbench diagnose`` as a user runs it: exit codes, JSON, page, and programs that misbehave."""

from __future__ import annotations

import json
import os
import signal
import time
from pathlib import Path

import pytest
from diagnosis.scripts import TERMS, UNCHAINED
from typer.testing import CliRunner

from rnnbench.cli import app

FILE = """
import os, sys, time, threading
import torch
from torch import nn

net = nn.GRU(3, 4, batch_first=True)
print("loading")

class NoArguments(nn.LSTM):
    def __init__(self):
        super().__init__(3, 4)

class Arguments(nn.Module):
    def __init__(self, size):
        super().__init__()

def transposed(x, state, weights):
    h, ys = state[0][0], []
    for x_t in x:
        a = x_t @ weights["weight_ih_l0"].T + weights["bias_ih_l0"]
        h = torch.tanh(a + h @ weights["weight_hh_l0"] + weights["bias_hh_l0"])
        ys.append(h)
    return torch.stack(ys), (h[None],)

def hangs(x, state, weights):
    if os.fork() == 0:
        open(__file__ + ".pid", "w").write(str(os.getpid()))
    while True:
        time.sleep(0.1)

def ends(x, state, weights):
    os._exit(7)

def leaves(x, state, weights):
    sys.exit(3)

def raises(x, state, weights):
    raise ValueError("not today")

def interrupts(x, state, weights):
    raise KeyboardInterrupt

def aborts(x, state, weights):
    os.abort()

def threads(x, state, weights):
    threading.Thread(target=time.sleep, args=(600,)).start()
    return transposed(x, state, weights)

def gradient(x, state, weights):
    return {"weight_ih_l0": torch.zeros(2, 1)}
"""
NETWORK = ["--cell", "rnn_tanh", "--input-size", "3", "--hidden-size", "4"]


@pytest.fixture(scope="module")
def file(tmp_path_factory):
    path = tmp_path_factory.mktemp("diagnose") / "mine.py"
    path.write_text(FILE)
    return path


def invoke(target, *arguments):
    return CliRunner().invoke(app, ["diagnose", str(target), *arguments])


def test_what_is_right_exits_0(file):
    result = invoke(f"{file}:net")
    assert result.exit_code == 0, result.output
    assert "net is right" in result.output
    assert "it prints, last: 'loading'" in result.output


def test_what_departs_exits_1_with_cause_json_and_page(file, tmp_path):
    page = tmp_path / "page.html"
    result = invoke(f"{file}:transposed", *NETWORK, "--json", "--html", str(page))
    assert result.exit_code == 1, result.output
    data = json.loads(result.stdout)
    assert (data["passed"], data["cause"]) == (False, "transposed_w_hh")
    assert data["first_divergence"]["layer"] == 0
    assert data["candidate"] == "transposed"
    assert "transposed_w_hh" in page.read_text(encoding="utf-8")


def test_own_numbers_come_as_json(file):
    network = ["--cell", "rnn_tanh", "--input-size", "1", "--hidden-size", "2"]
    numbers = ["--kind", "gradient", "--x", "[[1],[2],[3]]", "--state", "[[0, 0]]"]
    result = invoke(f"{file}:gradient", *network, *numbers)
    assert result.exit_code == 1
    assert "of 3)" in result.output
    assert "What each step adds to the gradient of weight_ih_l0" in result.output


def test_a_script_alone_is_run_and_answered_without_options(tmp_path):
    script, page = tmp_path / "mine.py", tmp_path / "page.html"
    script.write_text(TERMS.format(columns=7, first=UNCHAINED))
    raised = invoke(script)
    assert raised.exit_code == 5
    assert raised.stdout.startswith("Line 7: start is (1, 7), the state of net is (1, 2)")
    found = invoke(script, "--repair", "--json", "--html", str(page))
    assert found.exit_code == 1, found.output
    data = json.loads(found.stdout)
    assert data["cause"] == "jacobians_not_chained"
    assert len(data["script"]["mended"]) == 2
    assert "from_1" in page.read_text(encoding="utf-8")
    assert script.read_text() == TERMS.format(columns=7, first=UNCHAINED)


def test_a_script_with_nothing_to_compare_exits_4(tmp_path):
    script = tmp_path / "mine.py"
    script.write_text("print('hello')\n")
    result = invoke(script)
    assert result.exit_code == 4
    assert "nothing could be compared" in result.stdout


@pytest.mark.parametrize(
    ("name", "words"),
    [
        ("ends", "the candidate ended its process with exit code 7"),
        ("leaves", "SystemExit: 3"),
        ("raises", "ValueError: not today"),
        ("interrupts", "the candidate raised KeyboardInterrupt"),
        ("aborts", "the candidate ended its process by signal SIGABRT"),
    ],
)
def test_what_cannot_be_compared_exits_5_with_a_sentence(file, name, words):
    result = invoke(f"{file}:{name}", *NETWORK)
    assert result.exit_code == 5
    assert words in result.output
    assert "Traceback" not in result.output


def test_what_hangs_is_ended_with_all_that_it_started(file):
    result = invoke(f"{file}:hangs", *NETWORK, "--time-limit", "15")
    assert result.exit_code == 5
    assert "did not finish within 15 s" in result.output
    pid = int(Path(f"{file}.pid").read_text())
    for _ in range(50):
        if not _runs(pid):
            break
        time.sleep(0.1)
    assert not _runs(pid)


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("while True: pass", "the file, still being loaded, did not finish within 4 s: put what"),
        ("import os; os._exit(0)", "the file, while it was loaded, ended its process with exit"),
        ("import sys; sys.exit(1)", "the file raised SystemExit: 1."),
        ("raise KeyboardInterrupt", "the file raised KeyboardInterrupt."),
    ],
)
def test_what_happens_on_import_is_said_of_the_file(tmp_path, text, words):
    file = tmp_path / "mine.py"
    file.write_text(text)
    limit = ["--time-limit", "4"] if text.startswith("while") else []
    result = invoke(f"{file}:net", *limit)
    assert (result.exit_code, words in result.output) == (5, True), result.output


def _runs(pid):
    try:
        os.kill(pid, signal.SIG_DFL)
    except ProcessLookupError:
        return False
    stat = Path(f"/proc/{pid}/stat")
    return not (stat.exists() and stat.read_text().split()[2] == "Z")


def test_a_thread_left_behind_does_not_hold_us_up(file):
    started = time.monotonic()
    result = invoke(f"{file}:threads", *NETWORK)
    assert result.exit_code == 1
    assert time.monotonic() - started < 110  # the thread sleeps for 600 s


@pytest.mark.parametrize(
    ("target", "arguments", "message"),
    [
        ("mine", [], "FILE.py[:NAME] must be a script, or name"),
        ("nosuch.py", [], "FILE must exist"),
        ("hang.py", ["--batch-first"], "--batch-first is for FILE.py:NAME"),
        ("hang.py", NETWORK, "--cell is for FILE.py:NAME"),
        ("hang.py:net", ["--repair"], "--repair is for a script"),
        ("nosuch.py:net", [], "FILE must exist"),
        ("mine.py:nosuch", [], "NAME must be defined in mine.py"),
        ("mine.py:Arguments", NETWORK, "a class without arguments"),
        ("mine.py:raises", [], "spec must be given"),
        ("mine.py:raises", ["--cell", "gru"], "--input-size is missing"),
        ("mine.py:raises", [*NETWORK, "--mapping", "{"], "--mapping must be JSON"),
        ("hang.py:net", [*NETWORK, "--mapping", "[1]"], "mapping must be a dict"),
        ("hang.py:net", [*NETWORK, "--mapping", '{"W": "U"}'], "mapping must have the names"),
        ("hang.py:net", [*NETWORK, "--arrays", "jax"], "arrays must be one of"),
        ("hang.py:net", [*NETWORK, "--x", '"abc"'], "x must be an array"),
        ("hang.py:net", [*NETWORK, "--x", "[[1]]", "--weights", "[1]"], "weights must be a dict"),
        ("hang.py:net", [*NETWORK, "--html", "/nosuch/page.html"], "html must be a path"),
        ("hang.py:net", [*NETWORK, "--html", "/"], "html must be a path"),
        ("mine.py:raises", [*NETWORK, "--layers", "0"], "layers must be an int of at least 1"),
    ],
)
def test_wrong_usage_exits_2_with_one_sentence(file, target, arguments, message):
    """Before any work: hang.py would never be done with."""
    (file.parent / "hang.py").write_text("while True:\n    pass\n")
    result = invoke(file.parent / target, *arguments)
    assert result.exit_code == 2, result.output
    assert message in result.output


def test_the_account_is_not_lost_where_the_page_cannot_be_written(file, tmp_path, monkeypatch):
    def full(self, data):
        raise OSError("no space left")

    monkeypatch.setattr(Path, "write_bytes", full)
    result = invoke(f"{file}:net", "--html", str(tmp_path / "page.html"))
    assert result.exit_code == 2
    assert "net is right" in result.output
    assert "no space left" in result.output
    assert not list(tmp_path.iterdir())


def test_what_an_import_changes_is_said_and_our_own_warnings_are_not(file):
    loud = file.parent / "loud.py"
    loud.write_text(
        "import sys, torch, numpy\nfrom torch import nn\ntorch.set_default_dtype(torch.float64)\n"
        "torch.set_default_device('meta')\ntorch.set_grad_enabled(False)\ntorch.manual_seed(1)\n"
        "torch.set_num_threads(2)\nnumpy.seterr(all='raise')\nsys.stdout = None\n"
        "net = nn.LSTM(3, 4, proj_size=2, dtype=torch.float32, device='cpu')\n"
    )
    result = invoke(f"{loud}:net")
    assert result.exit_code == 0, result.output
    said = "the default dtype and the default device and the number of threads and the grad mode"
    assert f"on import it changes {said} and the error handling of NumPy of" in result.output
    assert "it prints" not in result.output


def test_help_says_that_the_file_is_executed():
    text = " ".join(invoke("--help").output.split())
    assert "FILE.py IS EXECUTED" in text
    assert "5 it raised" in text
