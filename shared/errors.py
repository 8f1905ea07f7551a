"""Errors that a reader can act on: one sentence that names the place and the remedy."""

FAILURES = "COURSE_FAILURES"  # names the folder in which a failed process of `make train` leaves its last words


class CourseError(Exception):
    """Something the reader can put right: the message says what is wrong, where, and what to do.

    Jupyter shows the message alone, without a traceback, because it is meant to be read.
    """

    def _render_traceback_(self) -> list[str]:
        # IPython calls this hook instead of formatting the traceback.
        return [f"{type(self).__name__}: {self}"]


class ProfileError(CourseError):
    """An environment variable holds a value that the course does not know."""


class WeightsError(CourseError):
    """Weights that cannot be found, fetched, trusted or loaded."""


class DataError(CourseError):
    """A data set that cannot be read as training examples."""


class QuantizationError(CourseError):
    """A model that was to be quantised and is not."""


class AdapterError(CourseError):
    """An adapter that would train nothing, or does not fit the model it is meant for."""


class RewardError(CourseError):
    """A reward function that cannot be called, or whose rewards cannot be trained on."""
