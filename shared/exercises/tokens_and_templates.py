"""Exercises of 01-Foundations/Tokens-and-Templates."""

from collections.abc import Callable

from shared.exercises.verdict import judge


def check_bytes_per_token(function: Callable[[list[int], list[int]], float]) -> str:
    """`function(sizes, tokens)` -> bytes per token over all texts together."""
    cases = ((([10], [4]), 2.5), (([10, 10], [10, 2]), 20 / 12), (([300, 3, 5], [100, 3, 1]), 308 / 104))
    return judge(function, cases, tolerance=1e-6)


def check_pad_for_generation(
    function: Callable[[list[list[int]], int], tuple[list[list[int]], list[list[int]]]],
) -> str:
    """`function(rows, pad)` -> (rows padded on the left, masks)."""
    return judge(
        function,
        (
            (([[5, 6], [7]], 1), ([[5, 6], [1, 7]], [[1, 1], [0, 1]])),
            (([[5]], 0), ([[5]], [[1]])),
            (([[1, 5, 1], [7], [8, 9]], 1), ([[1, 5, 1], [1, 1, 7], [1, 8, 9]], [[1, 1, 1], [0, 0, 1], [0, 1, 1]])),
        ),
    )


def check_showable(function: Callable[[list[bytes]], str]) -> str:
    """`function(pieces)` -> the text of the bytes so far, without an unfinished character at the end."""
    return judge(
        function,
        (
            (([b"Leeds"],), "Leeds"),
            (([b"Z", b"\xc3"],), "Z"),
            (([b"Z", b"\xc3", b"\xbcrich"],), "Zürich"),
            (([b"ok ", b"\xf0\x9f", b"\x98"],), "ok "),
            (([b"\xf0\x9f", b"\x98\x80", b"!"],), "😀!"),
        ),
    )
