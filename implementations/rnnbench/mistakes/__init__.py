"""The catalogue of mistakes: each a small, faithful variant of the reference.

    >>> import rnnbench
    >>> from rnnbench.mistakes import CATALOGUE, candidate
    >>> spec = rnnbench.Spec("gru", 3, 4)
    >>> print(CATALOGUE["gru_update_inverted"].wrong)
    h_t = z ⊙ n + (1 − z) ⊙ h_{t−1}
    >>> rnnbench.check(candidate(spec, "gru_update_inverted"), spec=spec).passed
    False

planting   `CATALOGUE`; the network with any of its mistakes, as a function or as numbers
limiting   a mistake made in one layer or direction alone
network    the network that they are planted in, and the places at which they act
catalogue  the class of a mistake, and the conditions under which it changes anything
weights, cells, gated, loops, layers, sequences, derivatives, gradients
           the mistakes, a function each, whose docstring says what is wrong
changes    what several of them do to weights and to gradients
"""

from rnnbench.mistakes.catalogue import Mistake
from rnnbench.mistakes.limiting import limited
from rnnbench.mistakes.planting import CATALOGUE, answers, applicable, candidate, variant

__all__ = ["CATALOGUE", "Mistake", "answers", "applicable", "candidate", "limited", "variant"]
