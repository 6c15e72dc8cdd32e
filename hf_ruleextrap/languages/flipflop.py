"""Write, read, ignore: one bit of memory."""

from __future__ import annotations

from hf_ruleextrap.formal import Regular, finite_automaton

# The allowed next symbols in each state, and the state after each of them.
EXPECTED = {
    "w": dict.fromkeys("w", "bit"),
    "bit": dict.fromkeys("01", "instruction"),
    "instruction": dict.fromkeys("wri", "bit"),
}


def follow(state: tuple[str, str, bool], symbol: str) -> tuple[str, str, bool] | None:
    """Return the memory, the instruction that a bit may follow, and whether the latest pair was a read."""
    memory, instruction, _ = state
    if symbol in ("w", "r", "i", ""):
        return memory, symbol, False
    if instruction == "w":
        return symbol, "", False
    if instruction == "r":
        return (memory, "", True) if symbol == memory else None
    return memory, "", False


class FlipFlop(Regular):
    """Instructions, each with a bit: w writes it, r reads it, i ignores it.

    Every read gives the bit that was last written, and the word ends with a read (R1); instructions and bits alternate,
    a w first (R2).

    In the language: ``w1r1``, ``w0i1r0``. Not: ``w1r0`` (R1), ``w1i1`` (R1), ``r1`` (both), ``w11`` (both).

    The prompt ``w1i1i`` is ID; ``w11`` breaks R2, and ``w11r1`` keeps R1.

    Sampler: the length is uniform among the lengths of words, and the words of a length are equally likely. Prompts:
    all strings of one length that leave R1 viable (4: 10 ID, 471 OOD).

    Source: Liu et al., NeurIPS 2023 (Exposing Attention Glitches with Flip-Flop Language Modeling); the cut into rules
    is ours.

    >>> lang = FlipFlop()
    >>> lang.contains(["w1r1", "w1r0"]).tolist(), lang.viable(["w1r", "w11"]).tolist()
    ([True, False], [True, False])
    """

    name = "flipflop"
    summary = "w, r and i with a bit each: every r has the bit of the last w, and the last is an r"
    tags = ("star-free",)
    alphabet = ("w", "r", "i", "0", "1")
    rules = (
        finite_automaton(
            "wri01",
            ("", "", False),
            follow,
            lambda state: state[2],
            name="reads_are_right",
            summary="every read gives the bit last written, and the word ends with a read",
        ),
        finite_automaton(
            "wri01",
            "w",
            lambda state, symbol: EXPECTED[state].get(symbol),
            lambda state: state == "instruction",
            name="instructions_and_bits",
            summary="instructions and bits alternate, a w first",
        ),
    )
    require_r1_viable = True
    prompt_length = 4
