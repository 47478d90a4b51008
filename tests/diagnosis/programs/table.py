"""Sixty programs beside what is wrong with them, and the table of what `diagnose` says.

    python tests/diagnosis/programs/table.py

Each row: a name, the program, the options that it is asked with, and the accepted causes: none for
a right program, `UNKNOWN` where no known mistake is in it.
"""

from __future__ import annotations

import statistics
import sys
import time
from pathlib import Path
from typing import Any

import torch

sys.path[:0] = [str(Path(__file__).parents[2])]

from diagnosis.programs import functions as f  # noqa: E402
from diagnosis.programs import modules as m  # noqa: E402
from diagnosis.programs import posts as p  # noqa: E402

import rnnbench  # noqa: E402
from rnnbench import Spec  # noqa: E402

UNKNOWN = "unknown"
RNN, GRU, LSTM = (Spec(cell, f.N, f.K) for cell in ("rnn_tanh", "gru", "lstm"))
RELU = Spec("rnn_relu", f.K, f.K, 2)
ONE = {"spec": RNN}
POST = Spec("rnn_tanh", p.N, p.K)
HAND = {"spec": RNN, "kind": "gradient"}
FUSED = {
    "weight_ih_l0": "W[:, :3]", "weight_hh_l0": "W[:, 3:]", "bias_ih_l0": "b", "bias_hh_l0": None,
}  # fmt: skip
LISTS = {
    name: where
    for k in range(2)
    for name, where in (
        (f"weight_ih_l{k}", f"w_ih[{k}]"), (f"weight_hh_l{k}", f"w_hh[{k}]"),
        (f"bias_ih_l{k}", f"b[{k}]"), (f"bias_hh_l{k}", None),
    )
}  # fmt: skip


def programs() -> list[tuple[str, Any, dict[str, Any], str]]:
    """Every program: name, candidate, options, accepted causes separated by blanks."""
    torch.manual_seed(0)
    rows = [
        (m.TutorialRNN, {}, ""), (m.TutorialRNNSigmoid, {}, "sigmoid_for_tanh"),
        (m.TutorialRNNLinear, {}, "no_nonlinearity"), (m.TwoLinears, {}, ""),
        (m.TwoLinearsResidual, {}, "state_added_to_candidate"),
        (m.TwoLinearsSoftsign, {}, "softsign_for_tanh"),
        (m.TwoLinearsNoState, {}, "state_not_carried"),
        (m.LSTMFused, {}, ""), (m.LSTMFusedOtherOrder, {}, ""), (m.LSTMFusedHFirst, {}, ""),
        (m.LSTMFusedNoTanh, {}, "lstm_no_output_tanh"),
        (m.LSTMFusedForgetOne, {}, "forget_bias_one"),
        (m.LSTMFusedOldCell, {}, "lstm_output_from_old_cell"),
        (m.LSTMFusedSigmoidCandidate, {}, "sigmoid_candidate"),
        (m.LSTMGates, {}, ""), (m.LSTMGatesExchanged, {}, ""),
        (m.LSTMGatesCoupled, {}, "lstm_gates_coupled"), (m.LSTMParameters, {}, ""),
        (m.LSTMParametersBug, {}, ""), (m.LSTMPeephole, {}, "lstm_peephole"),
        (m.GRUSix, {}, ""), (m.GRUSixInverted, {}, "gru_update_inverted"),
        (m.GRUSixNoReset, {}, "gru_reset_gate_unused"),
        (m.GRUSixResetFirst, {}, "reset_gate_before_product"),
        (m.ConvGRUStyle, {}, "reset_gate_before_product"), (m.GRUChunked, {}, ""),
        (m.GRUChunkedResetOnInput, {}, "gru_reset_gate_unused"),
        (m.Stack, {}, ""), (m.StackGRU, {}, ""),
        (m.StackLastState, {}, "layer_reads_last_state"),
        (m.StackRunsOn, {}, "state_runs_on_between_layers"),
        (m.StackResidual, {}, "residual_between_layers"),
        (m.StackDetached, {}, "state_detached_each_step"), (m.TwoCells, {}, ""),
        (m.TwoCellsExchanged, {}, "h_and_c_swapped_each_step"),
        (m.BatchFirstWrongAxis, {}, "time_loop_over_batch"),
        (m.Bidirectional, {}, ""), (m.BidirectionalNotTurned, {}, "reverse_not_turned_back"),
        (m.Classifier, {}, ""), (m.Tagger, {}, ""), (m.TaggerForgetsState, {}, "h0_ignored"),
        (m.Aliased, {}, "outputs_are_last_state"), (m.LastStepSkipped, {}, "last_step_skipped"),
        (m.Scaled, {}, "weights_changed_in_place"), (m.NanAtThree, {}, "not_finite_from_one_step"),
        (m.LayerNormRNN, {}, "layer_norm"), (m.StackedTensors, {}, ""),
        (f.unrolled_three, ONE, ""), (f.unrolled_three_wrong, ONE, "bias_hh_missing"),
        (f.unrolled_gradient_three, HAND, "jacobians_not_chained"), (f.state_alone, ONE, ""),
        (f.state_alone_transposed, ONE, "transposed_w_hh"),
        (f.backward_raises, ONE, "bias_hh_missing"),
        (f.no_grad_forward, {"spec": GRU}, "gru_update_inverted"),
        (f.lstm_float16, {"spec": Spec("lstm", f.N, f.K, 2)}, "float16_preactivation"),
        (f.h_c_returned_exchanged, {"spec": LSTM}, "h_n_and_c_n_swapped"),
        (f.NumpyRNN, {}, ""), (f.NumpyRNNRelu, {}, ""), (f.NumpyRows, {}, ""),
        (f.NumpyRowsWrong, {}, "transposed_w_hh"), (f.assignment_function, ONE, ""),
        (f.assignment_function_torch, ONE, "h0_ignored"), (f.slipped(None), HAND, ""),
        (f.slipped("no_output"), HAND, "gradient_of_last_output_only gradient_of_output_ignored"),
        (f.slipped("no_derivative"), HAND, "tanh_derivative_left_out"),
        (f.slipped("twice"), HAND, "tanh_derivative_activated_twice"),
        (f.slipped("last_only"), HAND, "weight_gradient_of_last_step"),
        (f.slipped("new_h"), HAND, "weight_hh_gradient_with_new_state"),
        (f.slipped("transposed"), HAND, "backward_not_transposed"),
        (f.slipped("half"), HAND, UNKNOWN), (f.gradient_third, HAND, UNKNOWN),
        (f.lstm_by_hand(None), {"spec": LSTM}, ""),
        (f.lstm_by_hand("new_c"), {"spec": LSTM}, "lstm_forget_gradient_with_new_cell"),
        (f.lstm_by_hand("no_forget"), {"spec": LSTM}, "lstm_cell_gradient_without_forget_gate"),
        (f.gru_reset_detached, {"spec": GRU}, "gru_reset_gate_constant"),
        (f.aliased_function, ONE, "outputs_are_last_state"),
        (f.first_step_only, ONE, "only_last_step_read"),
        (f.slices, {"spec": LSTM, "mapping": FUSED}, ""),
        (f.stacked, {"spec": Spec("rnn_tanh", f.N, f.K, 2), "mapping": LISTS}, ""),
        (f.extra_constant, ONE, UNKNOWN),
        (p.EmbeddingLM, {}, ""), (p.CellWithInit, {}, ""),
        (p.CellWithInitForgets, {}, "transposed_w_hh"),
        (p.D2LGRU, {}, "reset_gate_before_product"), (p.D2LLSTM, {}, ""),
        (p.D2LLSTMSigmoidOut, {}, "sigmoid_candidate"), (p.DeepWithCells, {}, ""),
        (p.DeepSharesState, {}, UNKNOWN), (p.RightMany, {}, ""), (p.ManyLastStep, {}, ""),
        (p.BackwardOnly, {}, ""), (p.FlaxStyle, {}, ""), (p.KerasStyle, {}, ""),
        (p.KerasHard, {}, "hard_sigmoid"), (p.KerasGRU, {}, "reset_gate_before_product"),
        (p.Unbatched, {}, ""), (p.MinimalGated, {}, ""),
        (p.MinimalGatedInverted, {}, "gru_update_inverted"),
        (p.OutputsShort, {}, "loop_one_step_short"),
        (p.OutputsLong, {}, "output_with_initial_state"),
        (p.OutputsLate, {}, "output_one_step_late"), (p.LastOfBatch, {}, ""),
        (p.SumDirections, {}, "directions_summed"),
        (p.ScriptedStyle, {}, "lstm_gates_figo"), (p.ListsOfLinears, {}, ""),
        (p.rnn_forward, {"spec": POST}, "state_not_carried"),
        (p.gru_cell, {"spec": Spec("gru", p.N, p.K)}, ""),
        (p.lstm_args, {"spec": Spec("lstm", p.N, p.K)}, ""),
    ]  # fmt: skip
    return [
        (what.__name__, what() if isinstance(what, type) else what, options, causes)
        for what, options, causes in rows
    ]


def verdict(candidate: Any, options: dict[str, Any], causes: str) -> tuple[str, Any]:
    """One word of what came of it, and the diagnosis or the refusal."""
    try:
        found = rnnbench.diagnose(candidate, **options)
    except rnnbench.InputError as error:
        return "refused", error
    if found.passed:
        return ("right" if not causes else "called right"), found
    if not causes:
        return "accused", found
    if found.status == "raised":
        return "refused", found
    if causes == UNKNOWN:
        return ("unknown" if found.cause is None else "wrong cause"), found
    named = {*(found.cause or "").split("+"), *found.same_numbers}
    if named & set(causes.split()):
        return "caused", found
    if found.cause is not None:
        return "wrong cause", found
    return ("placed" if found.first_divergence is not None else "found"), found


def main() -> None:
    seconds, counts = [], {}
    for name, candidate, options, causes in programs():
        if sys.argv[1:] and name not in sys.argv[1:]:
            continue
        began = time.monotonic()
        word, found = verdict(candidate, options, causes)
        seconds.append(time.monotonic() - began)
        counts[word] = counts.get(word, 0) + 1
        cause = getattr(found, "cause", None) or ""
        print(f"{name:<28} {word:<13} {cause:<34} {seconds[-1]:5.1f} s")
        if sys.argv[1:]:
            print(found)
        elif word == "refused":
            print(f"    {getattr(found, 'raised', '') or repr(found)}"[:400])
    print(", ".join(f"{word} {n}" for word, n in sorted(counts.items())))
    print(f"median {statistics.median(seconds):.1f} s, longest {max(seconds):.1f} s")


if __name__ == "__main__":
    main()
