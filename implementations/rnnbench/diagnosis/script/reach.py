"""Say what each loss of a training script reaches, in the words of its data."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence

from rnnbench.diagnosis.script import trouble
from rnnbench.diagnosis.script.graph import Following, Loss, Used
from rnnbench.diagnosis.script.reached import Reach, Reached, spans
from rnnbench.diagnosis.script.run import Run


def reach_of(run: Run, follow: Following, name: str) -> Reach:
    """Return what a followed script did."""
    found = Reach(name, trouble=trouble.sentences(run))
    reads = [r for u in follow.used.values() for r in u.reads]
    if not reads:
        return found
    main = Counter(r.source for r in reads).most_common(1)[0][0]
    first = next(r for r in reads if r.source == main)
    found.data, found.size = first.name, first.size
    for number, one in enumerate(follow.passes, 1):
        for loss, used in one.losses:
            steps = _steps(used, main)
            own = [u.updates for u in used if _steps([u], main)]
            stale = one.updates - min(own, default=one.updates)
            row = Reached(number, one.line, _latest(loss, main), tuple(steps), stale)
            found.losses.append(row)
    found.losses.sort(key=lambda r: (r.backward, -1 if r.step is None else r.step))
    found.said = [*_window(found), *_refused(follow), *_again(follow, main), *_lost(follow),
                  *_unread(found, follow, main)]  # fmt: skip
    return found


def _steps(used: Sequence[Used], source: int) -> list[int]:
    return sorted({s for u in used for r in u.reads if r.source == source for s in r.steps})


def _latest(loss: Loss, source: int) -> int | None:
    """Return the last step of the data that went into the network before a loss was made."""
    return max(_steps([loss.latest], source), default=None) if loss.latest is not None else None


def _window(found: Reach) -> list[str]:
    """Say how far back the losses reach, in one sentence."""
    rows = [r for r in found.losses if r.back]
    if not rows:
        return ["no loss reaches any step of the data: every state was detached, or has no weight"]
    backs = sorted({r.back for r in rows})
    if backs == [1]:
        return ["each loss reaches its own step only: a window of 1"]
    if all(r.back == (r.step or 0) + 1 for r in rows):
        return ["each loss reaches back over all steps before it: nothing is truncated"]
    if len(backs) == 1:
        return [f"each loss reaches back over {backs[0]} steps"]
    full = [r for r in rows if r.back == backs[-1]]
    if all(r.back == min((r.step or 0) + 1, backs[-1]) for r in rows):
        return [f"each loss reaches back over {backs[-1]} steps, or to the first"]
    return [
        f"the losses reach back over {backs[0]} to {backs[-1]} steps, by where they stand; "
        f"{len(full)} of {len(rows)} over {backs[-1]}"
    ]


def _refused(follow: Following) -> list[str]:
    """Say why torch refused a pass."""
    said = []
    for number, one in enumerate(follow.passes, 1):
        old = [u for _, used in one.losses for u in used if u.updates < one.updates]
        if "modified by an inplace operation" in one.raised and old:
            said.append(
                f"torch refuses backward {number} (line {one.line}): it goes through steps "
                f"{spans(s for u in old for r in u.reads for s in r.steps)}, computed with the "
                "weights of before an update, and these are overwritten"
            )
        elif "second time" in one.raised:
            said.append(
                f"torch refuses backward {number} (line {one.line}): it goes through a graph that "
                "an earlier backward has freed"
            )
    return said


def _again(follow: Following, main: int) -> list[str]:
    """Say which losses are differentiated more than once, and which of these are added up."""
    passes: dict[int, list[int]] = {}
    losses: dict[int, Loss] = {}
    for number, one in enumerate(follow.passes, 1):
        for loss, _ in one.losses:
            passes.setdefault(id(loss.node), []).append(number)
            losses[id(loss.node)] = loss
    again = {key: numbers for key, numbers in passes.items() if len(numbers) > 1}
    if not again:
        return []
    key, numbers = max(again.items(), key=lambda item: len(item[1]))
    step = _latest(losses[key], main)
    which = f"the loss of step {step}" if step is not None else f"a loss of line {losses[key].line}"
    kept = _kept_between(follow, numbers[0], numbers[1])
    added = ", and its gradient is added each time" if kept else ""
    return [
        f"{len(again)} of {len(passes)} losses are differentiated more than once: {which} in "
        f"backward {spans(numbers)}{added}"
    ]


def _kept_between(follow: Following, first: int, second: int) -> bool:
    """Return whether gradients of one pass were still there in another."""
    numbers = [i for i, event in enumerate(follow.events) if event.kind == "pass"]
    between = follow.events[numbers[first - 1] : numbers[second - 1]]
    return not any(event.kind == "zero" for event in between)


def _lost(follow: Following) -> list[str]:
    """Say which passes' gradients were set to zero, or left, before an update used them."""
    said: list[str] = []
    pending: list[int] = []
    thrown: dict[int, list[int]] = {}
    number = 0
    for event in follow.events:
        if event.kind == "pass":
            number += 1
            pending.append(number)
        elif event.kind == "update":
            pending = []
        elif pending:
            thrown.setdefault(event.line, []).extend(pending)
            pending = []
    for line, numbers in thrown.items():
        said.append(
            f"the gradients of backward {spans(numbers)} are thrown away: zero_grad in line {line} "
            "comes before any update"
        )
    if pending and not follow.passes[-1].raised:
        said.append(f"no update uses the gradients of backward {spans(pending)}")
    return said


def _unread(found: Reach, follow: Following, main: int) -> list[str]:
    """Say which steps never go into the network, and which do and are reached by no loss."""
    read = set(_steps(list(follow.used.values()), main))
    reached = {s for r in found.losses for s in r.steps}
    said = []
    never = set(range(found.size)) - read
    if never and not found.trouble:
        said.append(f"steps {spans(never)} of {found.data} never go into the network")
    if unreached := read - reached:
        steps = f"steps {spans(unreached)} of {found.data}"
        said.append(f"{steps} go into the network and are reached by no loss")
    return said
