"""Runs of a benchmark in processes side by side, until all are done or the time is up."""

import multiprocessing
from collections.abc import Callable, Sequence
from concurrent.futures import Future, ProcessPoolExecutor, as_completed


def collect(
    pool: ProcessPoolExecutor, waiting: Sequence[Future], seconds: float, report: Callable[[dict], None]
) -> None:
    """Call `report` with each result as it comes; after `seconds` the others are left out and their processes ended."""
    try:
        for future in as_completed(waiting, timeout=seconds):
            report(future.result())
    except TimeoutError:
        print("the time is up: the others are left out", flush=True)
    children = multiprocessing.active_children()
    pool.shutdown(wait=False, cancel_futures=True)
    for process in children:
        process.terminate()
