"""What the checkers of exercises say, and the checker for a function whose results are known."""

import copy
from collections.abc import Callable, Sequence

UNSOLVED = "not solved yet"
SOLVED = "solved"


def judge(function: Callable, cases: Sequence[tuple[tuple, object]], tolerance: float = 0.0) -> str:
    """The verdict on `function` after `cases`, pairs of arguments and expected result.

    Numbers may be off by `tolerance`, relative to the expected one; an error that the function raises is shown.
    """
    for arguments, expected in cases:
        shown = ", ".join(str(argument) for argument in arguments)
        try:
            found = function(*copy.deepcopy(arguments))
            if found is None:
                return UNSOLVED
            if isinstance(expected, float):
                right = abs(found - expected) <= tolerance * abs(expected)
            else:
                right = bool(found == expected)
        except Exception as error:  # the reader's code: whatever it raises is what has to be shown
            return f"not right yet: {shown} raised {type(error).__name__}: {error}"
        if not right:
            return f"not right yet: {shown} gave {found}"
    return SOLVED
