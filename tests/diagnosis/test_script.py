"""Scripts as they are: what is found in one run, what is said of errors, and who is not accused."""

from __future__ import annotations

import json

import pytest
import torch
from diagnosis import scripts
from diagnosis.scripts import RIGHT, WRONG, changed

from rnnbench.diagnosis.result import Diagnosis
from rnnbench.diagnosis.script.answer import answer
from rnnbench.diagnosis.script.mend import mended
from rnnbench.diagnosis.script.run import run


@pytest.fixture
def asked(tmp_path):
    """Return a function that runs a text as a script in this process and gives the answer."""

    def ask(text, seconds=60.0):
        return answer(run(tmp_path / "mine.py", text, seconds))

    return ask


@pytest.mark.parametrize("name", WRONG)
def test_a_wrong_script_is_found_placed_and_explained(name, asked):
    wrong = WRONG[name]
    found = asked(wrong.text)
    place = found.first_divergence
    assert found.status == "departs"
    assert found.cause == wrong.cause
    assert (place.layer, place.direction, place.time_step) == wrong.place
    assert "mine.py departs from" in str(found)


@pytest.mark.parametrize("name", RIGHT)
def test_a_right_script_is_not_accused(name, asked):
    found = asked(RIGHT[name])
    assert found.status == "right", str(found)
    assert not any(c.failed for c in found.script.compared)
    assert "is right" in str(found)


@pytest.mark.parametrize("name", [n for n in RIGHT if n not in ("training", "classifier")])
def test_of_a_right_script_its_own_tensor_is_named(name, asked):
    assert asked(RIGHT[name]).script.compared


def test_the_terms_of_a_gradient_are_told_apart_in_the_scripts_own_names(asked):
    found = asked(WRONG["unchained"].text)
    terms = {term.name: term for term in found.script.terms}
    assert {name: (t.time_step, t.departs) for name, t in terms.items()} == {
        "from_3": (2, False), "from_2": (1, False), "from_1": (0, True),
    }  # fmt: skip
    right = asked(RIGHT["terms"])  # other weights, so not the same numbers
    assert not any(term.departs for term in right.script.terms)
    text = str(found)
    assert "from_1 (line 17) is no step's contribution to the gradient of weight_ih_l0" in text
    assert "and step 1 adds" in text


def test_what_a_step_adds_is_what_the_chain_rule_says(asked):
    text = WRONG["unchained"].text
    torch.manual_seed(11)
    wrong = asked(text).script.terms
    torch.manual_seed(11)
    chained = asked(changed(text, scripts.UNCHAINED, scripts.CHAINED).replace("1e-6", "0"))
    by_name = {c.name: c for c in chained.script.compared}
    term = next(t for t in wrong if t.departs)
    others = [t for t in wrong if not t.departs]
    total = [sum(numbers) for numbers in zip(term.right, *(t.theirs for t in others), strict=True)]
    assert total == pytest.approx(list(by_name["total.T"].right), abs=1e-6)


def test_terms_that_a_loop_adds_are_found_too(asked):
    found = asked(WRONG["not transposed back"].text)
    assert [t.time_step for t in sorted(found.script.terms, key=lambda t: t.time_step)] == [
        0, 1, 2, 3,
    ]  # fmt: skip
    assert [t.time_step for t in found.script.terms if not t.departs] == [3]
    assert {t.name for t in found.script.terms} == {"torch.outer(dz, x[t])"}


def test_a_state_of_a_wrong_shape_and_a_missing_import_are_named_with_what_is_right(asked):
    found = asked(scripts.TERMS.format(columns=7, first=scripts.CHAINED))
    assert found.status == "raised"
    assert found.script.trouble[0].startswith("line 7: start is (1, 7), the state of net is (1, 2)")
    assert found.script.trouble[1] == (
        "line 12: copy is used and never imported: `import copy` is missing"
    )
    assert str(found).startswith("Line 7: start is (1, 7)")


def test_repair_mends_both_and_keeps_the_lines(tmp_path):
    text = scripts.TERMS.format(columns=7, first=scripts.UNCHAINED)
    first = run(tmp_path / "mine.py", text, 60.0)
    better, said = mended(first)
    assert (
        said == "line 6 reads `start = torch.zeros(1, 2)` in place of `start = torch.zeros(1, 7)`"
    )
    second = run(tmp_path / "mine.py", better, 60.0)
    best, said = mended(second)
    assert said == "`import copy` was added"
    assert len(best.splitlines()) == len(text.splitlines())
    found = run(tmp_path / "mine.py", best, 60.0)
    assert mended(found) is None
    assert answer(found).cause == "jacobians_not_chained"


def test_a_state_that_is_not_zero_is_not_mended(tmp_path):
    text = scripts.TERMS.format(columns=7, first=scripts.CHAINED)
    text = changed(text, "start = torch.zeros(1, 7)", "start = torch.zeros(1, 7); start[0, 0] = 1")
    assert mended(run(tmp_path / "mine.py", text, 60.0)) is None


TROUBLE = {
    "state of a network": (
        "import torch\nnet = torch.nn.GRU(4, 6, 2)\nx, h0 = torch.randn(5, 3, 4), "
        "torch.zeros(2, 5, 6)\nout, h = net(x, h0)\n",
        "line 4: h0 is (2, 5, 6), the state of net is (2, 3, 6)",
    ),
    "input of a network": (
        "import torch\nnet = torch.nn.LSTM(4, 6, batch_first=True)\nx = torch.randn(5, 3, 2)\n"
        "out, h = net(x)\n",
        "line 4: x is (5, 3, 2), the input of net is (B, T, 4)",
    ),
    "input of a product": (
        "import torch\nnet = torch.nn.RNN(4, 6)\nx = torch.randn(3, 5)\n"
        "y = x @ net.weight_ih_l0.T\n",
        "line 4: x is (3, 5), the input of net is (3, 4)",
    ),
    "a name too early": (
        "import torch\nnet = torch.nn.RNN(4, 6)\nnet(y)\ny = torch.randn(3, 4)\n",
        "line 3: y is used before it has a value (line 4 gives it one)",
    ),
    "a name nowhere": (
        "import torch\nprint(data)\n", "line 2: data is used and defined nowhere",
    ),
    "no such module": (
        "import nosuchmodule_\n", "line 1: nosuchmodule_ is imported, which is not installed here",
    ),
    "no Python": ("import torch\nx = (1 2)\n", "line 2: this is no Python: invalid syntax"),
    "anything": ("import torch\n1 / 0\n", "line 2: it raised ZeroDivisionError: division by zero"),
}  # fmt: skip


@pytest.mark.parametrize("name", TROUBLE)
def test_an_error_is_the_first_answer(name, asked):
    text, sentence = TROUBLE[name]
    found = asked(text)
    assert found.status == "raised"
    assert found.script.trouble[0].startswith(sentence)
    assert found.raised == found.script.trouble[0]


def test_a_departure_before_the_error_is_shown_too(asked):
    found = asked(WRONG["gates"].text + "print(nosuch)\n")
    assert found.status == "raised"
    assert found.cause == "lstm_gates_ifog"
    assert str(found).startswith("Line 18: nosuch is used and defined nowhere")


def test_a_script_without_a_network_gets_one_sentence(asked):
    found = asked("import torch\nmodel = torch.nn.Linear(2, 3)\nprint(model(torch.ones(2)))\n")
    assert found.status == "nothing"
    assert str(found).count("\n") == 0
    assert "makes no nn.RNN, nn.GRU, nn.LSTM" in str(found)
    assert "FILE.py:model" in str(found)


def test_a_script_that_never_ends_is_judged_by_what_it_did(asked):
    found = asked(WRONG["gates"].text + "while True:\n    pass\n", seconds=1.0)
    assert found.cause == "lstm_gates_ifog"
    assert "it was stopped when its time was up" in str(found)


def test_a_script_that_ends_itself_is_judged_by_what_it_did(asked):
    found = asked(WRONG["gates"].text + "raise SystemExit(3)\n")
    assert (found.status, found.cause) == ("departs", "lstm_gates_ifog")
    assert "it ends itself in line 18 with exit code 3" in str(found)


def test_what_a_library_compares_is_no_comparison_of_the_script(asked):
    text = """\
import torch
rnn = torch.nn.RNN(2, 3).double()
x = torch.randn(3, 1, 2, dtype=torch.double, requires_grad=True)
print(torch.autograd.gradcheck(lambda x: rnn(x)[0], (x,)))
"""
    assert asked(text).status == "right"


def test_two_answers_of_one_network_are_remarked_upon(asked):
    text = """\
import torch
gru = torch.nn.GRU(3, 4, num_layers=2, batch_first=True)
out, h_n = gru(torch.randn(2, 5, 3))
print(torch.allclose(out[:, -1], h_n[0]))
"""
    found = asked(text)
    assert found.status == "right"
    assert "line 4 compares" in str(found)
    assert "h_n of layer 1" in str(found)


def test_the_last_step_taken_for_the_final_state_of_both_directions_is_a_known_mistake(asked):
    text = """\
import torch
gru = torch.nn.GRU(3, 4, bidirectional=True)
out, h_n = gru(torch.randn(5, 2, 3))
print(torch.allclose(out[-1], torch.cat([h_n[0], h_n[1]], dim=1)))
"""
    found = asked(text)
    assert (found.status, found.cause) == ("departs", "h_n_of_reverse_at_last_step")
    assert "the reverse one has seen only one step there" in str(found)


def test_printed_lists_of_numbers_are_read(asked):
    text = RIGHT["numpy"].partition("np.testing")[0] + (
        "print(np.array(hs).tolist())\nprint(out[:, 0].tolist())\n"
    )
    assert asked(text).script.compared
    wrong = changed(text, "rnn.bias_ih_l0 + rnn.bias_hh_l0", "rnn.bias_ih_l0 + 0")
    assert asked(wrong).cause == "bias_hh_missing"


def test_targets_are_no_attempt_to_compute_the_output(asked):
    text = """\
import torch
rnn = torch.nn.RNN(2, 3)
x, wanted = torch.randn(5, 4, 2), torch.randn(5, 4, 3)
out, _ = rnn(x)
print((wanted == out).sum(), 1 - wanted > out)
print(torch.nn.functional.mse_loss(out, wanted), (out - wanted).abs().max())
print(out[0])
print(wanted[0])
"""
    assert asked(text).status == "right"


def test_a_student_that_learns_from_a_network_is_no_copy_of_it(asked):
    text = """\
import torch
teacher = torch.nn.RNN(3, 4)
class Student(torch.nn.Module):
    def __init__(self):
        super().__init__()
        self.first = torch.nn.Parameter(teacher.weight_ih_l0.detach().clone())
    def forward(self, x):
        return torch.tanh(x @ self.first.T)
student, x = Student(), torch.randn(5, 2, 3)
for _ in range(2):
    loss = ((student(x) - teacher(x)[0].detach()) ** 2).mean()
    loss.backward()
"""
    assert asked(text).status == "right"


def test_an_experiment_beside_the_comparison_is_not_accused(asked):
    right = scripts.by_hand("LSTM", scripts.LSTM, "")
    tried = changed(changed(right, "mine = ", "tried = "), "* torch.tanh(c)", "* c")
    beside = tried + "h, c = " + right.partition("h, c = ")[2].partition("mine = ")[0]
    assert asked(tried).cause == "lstm_no_output_tanh"
    assert asked(beside + "print(torch.allclose(c, last[1][0], atol=1e-6))\n").status == "right"


def test_two_networks_of_torchs_with_other_weights_are_both_right(asked):
    text = """\
import torch
one, two = torch.nn.RNN(2, 3), torch.nn.RNN(2, 3)
x = torch.randn(4, 1, 2)
print(torch.allclose(one(x)[0], two(x)[0]))
"""
    found = asked(text)
    assert found.status == "right"
    assert "all weights of the two networks differ" in str(found)


def test_weights_that_were_not_copied_are_said_so(asked):
    start, end = (scripts.MODULE.index(line) for line in ("with torch.no_grad", "x = torch.randn"))
    text = scripts.MODULE[:start] + scripts.MODULE[end:]
    found = asked(text + "print(torch.allclose(got, wanted))\n")
    assert found.status == "departs"
    assert found.cause is None
    assert "no weight of reference went into got" in str(found)


PADDED = "x = torch.randn(8, 5, 4)\nx[2, 3:] = 0\nx[5, 1:] = 0"


@pytest.mark.parametrize(
    ("old", "new", "sentence"),
    [
        ("", "", "right for sequences of one length, as here"),
        ("x = torch.randn(8, 5, 4)", PADDED, "2 of 8 sequences end in steps of zeros"),
        (", batch_first=True)", ")", "takes the last sequence of the batch, not the last step"),
        ("out[:, -1, :]", "out[-1]", "takes the last sequence of the batch, not the last step"),
    ],
)
def test_advice_on_the_last_step_is_given_where_it_applies(old, new, sentence, asked):
    text = changed(scripts.CLASSIFIER, old, new) if old else scripts.CLASSIFIER
    if new in (")", "out[-1]"):
        text = text.replace("torch.randn(8, 5, 4)", "torch.randn(5, 5, 4)")
    found = asked(text)
    assert found.status == "right"
    assert sentence in str(found)


def test_no_advice_on_steps_that_nobody_takes(asked):
    assert asked(scripts.TRAINING).script.advice == []


def test_gradients_of_several_losses_are_held_against_nothing(asked):
    """The second call's gradients are added to the first one's: no one call explains the sum."""
    text = """\
import torch
rnn = torch.nn.RNN(2, 3)
rnn(torch.randn(4, 2))[0].sum().backward()
rnn(torch.randn(4, 2))[0].pow(2).sum().backward()
print(rnn.weight_ih_l0.grad)
print(torch.zeros(3, 2) + rnn.weight_hh_l0.grad[:, :2])
"""
    assert asked(text).status == "right"


@pytest.mark.parametrize("name", ["unchained", "time outside"])
def test_a_scripts_diagnosis_survives_json_and_has_a_page(name, asked):
    found = asked(WRONG[name].text)
    back = Diagnosis.from_dict(json.loads(json.dumps(found.to_dict(), allow_nan=False)))
    assert str(back) == str(found)
    page = found.to_html()
    assert found.script.compared[0].name in page
    for term in found.script.terms:
        assert term.name in page


HAND_MADE = """\
import torch
torch.manual_seed(0)
I, H = 3, 4
W = torch.nn.Parameter(torch.randn(I + H, 4 * H) * 0.3)
ref = torch.nn.LSTM(I, H, bias=False)
with torch.no_grad():
    ref.weight_ih_l0.copy_(W[:I].t())
    ref.weight_hh_l0.copy_(W[I:].t())
x = torch.randn(5, 2, I)
h = c = torch.zeros(2, H)
for x_t in x:
    i, f, g, o = (torch.cat([x_t, h], 1) @ W).chunk(4, 1)
    c = torch.sigmoid(f) * {c} + torch.sigmoid(i) * torch.tanh(g)
    h = torch.sigmoid(o) * torch.tanh(c)
_, (h_n, _) = ref(x)
h.sum().backward()
h_n.sum().backward()
print((W.grad[I:].t() - ref.weight_hh_l0.grad).abs().max())
"""


@pytest.mark.parametrize(("c", "status"), [("c", "right"), ("c.detach()", "departs")])
def test_parts_of_gradients_that_have_no_name_are_compared(asked, c, status):
    """The loss goes through h_n alone, so that the output has no gradient to be watched."""
    found = asked(HAND_MADE.format(c=c))
    assert found.status == status
    if status == "departs":
        assert found.cause == "cell_state_detached_each_step"
        assert "W.grad[I:].t()" in str(found)


def test_what_another_network_of_torchs_answered_is_not_accused(asked):
    text = """\
import torch
cell, rnn = torch.nn.RNNCell(3, 4), torch.nn.RNN(3, 4)
for p, q in zip(cell.parameters(), rnn.parameters()):
    q.data = p.data
x, h = torch.randn(6, 2, 3), torch.zeros(2, 4)
for x_t in x:
    h = cell(x_t, h)
out, _ = rnn(x)
print(torch.allclose(h, out[-1]), torch.allclose(h, out[0]))
"""
    found = asked(text)
    assert found.status == "right"
    assert "nothing says that they are equal" in str(found)


@pytest.mark.parametrize(
    "compare",
    [
        "print(torch.allclose({a}, {b}))",
        "assert torch.allclose({a}, {b})",
        "torch.testing.assert_close({a}, {b})",
        "print(({a} - {b}).abs().max())",
        "assert ({a} - {b}).abs().max().item() < 1e-5",
        "assert float(({a})[0, 0]) == 7",
    ],
)
def test_an_unequal_comparison_that_cannot_be_traced_is_never_called_right(asked, compare):
    """The hand-written network is right; what is compared besides is no answer of torch's."""
    text = """\
import torch
rnn = torch.nn.RNN(3, 4, bias=False)
x, h, ys = torch.randn(5, 2, 3), torch.zeros(2, 4), []
for x_t in x:
    h = torch.tanh(x_t @ rnn.weight_ih_l0.T + h @ rnn.weight_hh_l0.T)
    ys.append(h)
mine, (y, _) = torch.stack(ys), rnn(x)
print(torch.allclose(mine, y, atol=1e-6))
"""
    line = compare.format(a="(mine**2).sum(0) * 1.5", b="(y**2).sum(0)")
    found = asked(text + line + "\n")
    assert found.status == "nothing"
    assert "line 9" in str(found)


@pytest.mark.parametrize(
    ("text", "said"),
    [
        (
            "rnn, h = torch.nn.LSTM(3, 4, 2), torch.zeros(2, 1, 4)\nrnn(torch.zeros(5, 1, 3), h)\n",
            "h is one tensor, the state of rnn is a pair (h_0, c_0), h_0 of (2, 1, 4)",
        ),
        (
            "rnn, h = torch.nn.GRU(3, 4), torch.zeros(1, 1, 4)\nrnn(torch.ones(5, 1, 3), (h, h))\n",
            "is a tuple, the state of rnn is one tensor of (1, 1, 4)",
        ),
        (
            "rnn, h = torch.nn.GRU(3, 4), torch.zeros(1, 1, 4)\nfor _ in range(2):\n"
            "    y, h = rnn(torch.zeros(5, 1, 3), h)\n    y.sum().backward()\n",
            "h carries the graph of one pass into the next, which the pass before has freed: "
            "`h = h.detach()` cuts it",
        ),
        (
            "rnn, x = torch.nn.LSTM(3, 4, 2, dropout=0.5), torch.randn(5, 1, 3)\n"
            "print(torch.allclose(rnn(x)[0], rnn(x)[0]))\n",
            "rnn has dropout=0.5 and is in training mode",
        ),
    ],
    ids=["one tensor for an LSTM", "a pair for a GRU", "a graph twice", "dropout"],
)
def test_what_torch_refuses_or_draws_is_said_with_what_would_be_right(asked, text, said):
    assert said in str(asked(f"import torch\n{text}"))
