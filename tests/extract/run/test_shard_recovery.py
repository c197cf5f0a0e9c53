"""A shard on which workers die: all segments that kill workers are found, and no others fail."""

import dataclasses
from collections import Counter
from pathlib import Path

import pytest
from hypothesis import assume, given
from hypothesis import strategies as st

from mmcache.extract.media.base.source import Source
from mmcache.extract.run.shard_recovery import Death, ShardRecovery, Step, Trial
from mmcache.extract.run.worker import Job, ShardTask
from mmcache.store.ground.errors import MmcacheError

CRASH = Death("crashes the process (Segmentation fault)", certain=True)
KILLED = Death("ends the process, as the kernel does where memory runs out")


def source_of(name: str) -> Source:
    return Source("audio", (Path("/data") / name,))


def case_of(sources: list[Source | None], window: int = 4, blamed: set[Source] | None = None) -> ShardRecovery:
    jobs = [Job(i, f"s{i}", 0.0, 1.0, source) for i, source in enumerate(sources)]
    windows = tuple(tuple(jobs[i : i + window]) for i in range(0, len(jobs), window))
    task = ShardTask(Path("s.zarr"), "audio", "ast_demo", "random", None, 0, windows)
    return ShardRecovery(task, set() if blamed is None else blamed)


@dataclasses.dataclass
class Log:
    """What workers did: how often each row was written, why it failed, and how many workers died."""

    written: Counter[int]
    failed: dict[int, str]
    deaths: int
    steps: list[Step]


def work(
    case: ShardRecovery,
    killers: set[int],
    accidents: set[int] | None = None,
    hangs: bool = False,
    together: frozenset[int] = frozenset(),
) -> Log:
    """Do the steps of a case with workers that die over the rows `killers`, and at the steps numbered `accidents`.

    Args:
        hangs: the workers hang instead, and are known to hang over those rows.
        together: rows that kill only where all of them are in one step.
    """
    log = Log(Counter(), {}, 0, [])
    while not case.is_done:
        assert len(log.steps) < 2000, "it never ends"
        step = case.next()
        log.steps.append(step)
        jobs = [job for window in step.task.windows for job in window]
        read = {job.row for job in jobs if job.failed is None and job.source is not None}
        lethal = read & killers if step.trial is not Trial.CONTROL else set()
        if together and together <= read:
            lethal |= together
        if len(log.steps) - 1 in (accidents or ()):
            log.deaths += 1
            case.died(KILLED)
        elif lethal:
            log.deaths += 1
            case.died(dataclasses.replace(CRASH, suspects=tuple(lethal)) if hangs else CRASH)
        else:
            if step.trial is Trial.RUN:
                log.written.update(job.row for job in jobs)
                log.failed |= {job.row: job.failed for job in jobs if job.failed is not None}
            case.passed()
    return log


@given(
    n=st.integers(1, 40),
    window=st.integers(1, 9),
    killers=st.sets(st.integers(0, 39), max_size=8),
    absent=st.sets(st.integers(0, 39), max_size=8),
    accident=st.none() | st.integers(0, 30),
    hangs=st.booleans(),
    files=st.integers(1, 40),
)
def test_exactly_the_killers_fail_and_every_row_is_written_once(
    n: int, window: int, killers: set[int], absent: set[int], accident: int | None, hangs: bool, files: int
) -> None:
    """Also where a worker is killed once by hand on the way, and where several segments are of one file."""
    sources = [None if i in absent else source_of(f"{i % files}.wav") for i in range(n)]
    log = work(case_of(sources, window), killers, None if accident is None else {accident}, hangs)
    assert set(log.failed) == {row for row in killers - absent if row < n}
    assert log.written == Counter(range(n))
    for row, reason in log.failed.items():
        assert reason.startswith(f"reading {row % files}.wav crashes the process (Segmentation fault), seen ")


@given(
    deaths=st.sets(st.integers(0, 40), max_size=10),
    n=st.integers(1, 30),
)
def test_accidents_alone_blame_nobody_who_did_not_die_alone_twice(deaths: set[int], n: int) -> None:
    case = case_of([source_of(f"{i}.wav") for i in range(n)])
    try:
        log = work(case, set(), deaths)
    except MmcacheError:
        assume(False)
    assert log.written == Counter(range(n))
    for row in log.failed:
        alone = [
            i for i, step in enumerate(log.steps) if step.trial is Trial.ALONE and step.task.windows[0][0].row == row
        ]
        assert len(deaths & set(alone)) >= 2


def test_one_poisonous_file_costs_a_few_workers_and_not_many() -> None:
    log = work(case_of([source_of(f"{i}.wav") for i in range(64)]), {37})
    assert log.failed == {
        37: "reading 37.wav crashes the process (Segmentation fault), seen twice with nothing else running in it"
    }
    assert log.deaths == 1 + 4 + 2  # the shard, its halves down to a window of 4, and the segment alone


def test_where_a_reading_hangs_its_row_is_known_and_nothing_is_divided() -> None:
    log = work(case_of([source_of(f"{i}.wav") for i in range(64)]), {3, 37}, hangs=True)
    assert set(log.failed) == {3, 37}
    assert log.deaths == 1 + 2 + 2
    assert len(log.steps) == log.deaths + 2 + 1  # controls, and the shard


def test_other_segments_of_a_file_that_kills_are_read_alone_first_and_blamed_once() -> None:
    film = source_of("film.wav")
    blamed: set[Source] = set()
    work(case_of([film, *(source_of(f"{i}.wav") for i in range(7))], blamed=blamed), {0})
    assert blamed == {film}
    log = work(case_of([source_of("x.wav"), film, film, source_of("y.wav")], blamed=blamed), {2})
    assert [step.trial for step in log.steps] == [Trial.ALONE, Trial.ALONE, Trial.CONTROL, Trial.RUN]
    assert log.deaths == 1
    assert log.failed[2].endswith("seen once (as with other segments) with nothing else running in it")


def test_what_may_have_been_for_want_of_memory_is_tried_again_with_no_other_worker_running() -> None:
    case = case_of([source_of("0.wav")], window=1)
    case.died(KILLED)
    assert (case.next().trial, case.next().quiet) == (Trial.ALONE, False)
    case.died(KILLED)
    assert (case.next().trial, case.next().quiet) == (Trial.ALONE, True)
    case.died(CRASH)  # the second time it is seen to crash by itself: nobody else can be the cause
    assert (case.next().trial, case.next().quiet) == (Trial.CONTROL, False)


def test_segments_that_kill_only_together_end_the_run_with_advice() -> None:
    with pytest.raises(MmcacheError, match=r"shard 0 of audio, and no segment explains it.*--batch-size"):
        work(case_of([source_of(f"{i}.wav") for i in range(8)]), set(), together=frozenset({4, 5, 6, 7}))


def test_an_encoder_that_kills_by_itself_blames_no_segment() -> None:
    case = case_of([source_of(f"{i}.wav") for i in range(8)])
    with pytest.raises(MmcacheError, match="no segment explains it"):
        work(case, set(), accidents=set(range(100)))
