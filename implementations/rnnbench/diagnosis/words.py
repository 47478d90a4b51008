"""Words in the names of tensors and attributes that tell what they are."""

from __future__ import annotations

import itertools
import re
from collections.abc import Sequence

TORCH_NAME = re.compile(r"(?:^|\.)((?:weight|bias)_(?:ih|hh|hr)(?:_l\d+(?:_reverse)?)?)$")
REVERSE = re.compile(r"(?i)(^|[._\d])(bw|bwd|back|backward|rev|reverse|r2l)(?=$|[._\d])")
FORWARD = re.compile(r"(?i)(^|[._\d])(fw|fwd|forward|l2r)(?=$|[._\d])")
RECURRENT = re.compile(
    r"(?i)(hh|h2h|rec|(^|[._])h_?2|(^|[._])(w|b|weight|bias)_?h(?![a-z]*x)"
    r"|(^|[._])[hu](?=$|[._A-Z])|(^|[._])u)"
)
INPUT = re.compile(
    r"(?i)(ih|i2h|x2h|xh|in|(^|[._])(w|b|weight|bias)_?[xi](?=$|[._\d])|(^|[._])w$|(^|[._])x)"
)
NUMBER = re.compile(r"(?:^|[._\[a-zA-Z])(\d+)(?=$|[._\]])")
BIAS = re.compile(r"(?i)(^|[._])b(ias(es)?)?(?=$|[._\d]|[a-z]{1,2}(?=$|[._\d]))")
HEAD = re.compile(
    r"(?i)^(?:[fh]c\d*|fully_?connected|heads?|out|output|output_layer|out_layer|classifier|decoder"
    r"|[hi]2[oy]|hidden2\w+|linear\d*|lin|dense|w_?hy|w_?hq|w_?y|w_?o?ut|b_?y|b_?q|v|proj|logits"
    r"|to_\w+|emb\w*|encoder_emb|regressor|readout|predict\w*)$"
)
HIDDEN_SIZE = re.compile(
    r"(?i)^_?(n_?|num_?|d_?|dim_?)?(hidden|hid|units|h|state|rnn|lstm|gru)"
    r"(_?(size|dims?|sz|units|channels|features|n))?s?$"
)
INPUT_SIZE = re.compile(
    r"(?i)^_?(n_?|num_?|d_?|dim_?)?(input|inp|in|i|x|emb|embed|embedding|features|vocab)"
    r"(_?(size|dims?|sz|units|channels|features))?s?$"
)

_WORDS = {
    "ifgo": (
        ("f", r"forget|remember"), ("o", r"output|out_?gate|expose"),
        ("i", r"input|in_?gate|ignore|write"), ("g", r"cand|cell|new|content|tilde|hat|bar|mod"),
    ),
    "rzn": (
        ("r", r"reset"), ("z", r"update|upd"),
        ("n", r"cand|new|tilde|hat|bar|hidden|mem|cell|state"),
    ),
}  # fmt: skip
_LETTERS = {
    "ifgo": {"i": "i", "f": "f", "o": "o"} | dict.fromkeys("gcanuzjh", "g") | {"": "g"},
    "rzn": {"r": "r", "z": "z", "u": "z"} | dict.fromkeys("nhcgw", "n") | {"": "n"},
}


def gates_named(paths: Sequence[str], order: str) -> list[str] | None:
    """Return the letter of each path's gate, or None where names do not tell all of them."""
    bare = [re.sub(r"(?i)\.?(weight|bias)(es)?$", "", path) for path in paths]
    before = _shared(bare)
    after = _shared([one[before:][::-1] for one in bare])
    rests = [one[before : len(one) - after].strip("._") for one in bare]
    for named in (_by_word(bare, order), _by_letter(rests, order)):
        if named is not None and sorted(named) == sorted(order):
            return named
    return None


def _shared(names: Sequence[str]) -> int:
    """Return how many letters all names begin with."""
    letters = zip(*names, strict=False)
    return sum(1 for _ in itertools.takewhile(lambda column: len(set(column)) == 1, letters))


def _by_word(names: Sequence[str], order: str) -> list[str] | None:
    found = []
    for name in names:
        letters = [letter for letter, word in _WORDS[order] if re.search(f"(?i){word}", name)]
        if not letters:
            return None
        found.append(letters[0])
    return found


def _by_letter(rests: Sequence[str], order: str) -> list[str] | None:
    found = [_LETTERS[order].get(rest.lower()) for rest in rests]
    return None if None in found else [letter for letter in found if letter is not None]
