"""Whether a worker gets on: what counts as moving, and what does not."""

import pytest

from streams.progress import Place, Progress, Seen

P: Place = ("predictions", 0)


def at(progress: Progress, second: float, *, position: int = 5, end: int = 5, committed: int | None = 5, age_s: float = 0.0) -> None:
    """Sample one partition; it is read to its end where position and end are the same."""
    ms = int(1000 * second)
    ended = {P} if position == end else set()
    progress.sample({P: Seen(position, end, ms - int(1000 * age_s), committed)}, ended, now_s=second, now_ms=ms)


def test_a_partition_at_its_end_gets_on_for_ever() -> None:
    progress = Progress()
    for second in range(0, 1000, 10):
        at(progress, second)
    assert progress.lags == {P: 0}
    assert progress.age_s(990) == 0
    assert progress.stalled(990, longest_s=60) == []


def test_records_that_nobody_commits_are_a_stall() -> None:
    progress = Progress()
    at(progress, 0)
    for second in range(10, 100, 10):
        at(progress, second, position=8, end=20)
    assert progress.lags == {P: 15}
    assert progress.age_s(90) == 90
    assert progress.stalled(90, longest_s=60) == [P]


def test_commits_that_move_are_none_however_far_behind() -> None:
    progress = Progress()
    for second in range(0, 1000, 10):
        at(progress, second, position=second, end=10**6, committed=second)
    assert progress.age_s(990) == 0
    assert progress.lags == {P: 10**6 - 990}


def test_a_consumer_that_has_stopped_to_fetch_is_a_stall_though_it_believes_to_be_at_the_end() -> None:
    progress = Progress()
    at(progress, 0)
    for second in range(10, 100, 10):
        at(progress, second, age_s=second)  # the broker has said nothing since the beginning
    assert progress.stalled(90, longest_s=60) == [P]


def test_no_samples_at_all_are_a_stall() -> None:
    progress = Progress()
    at(progress, 0)
    assert progress.stalled(59, longest_s=60) == []
    assert progress.stalled(61, longest_s=60) == [P]


def test_the_time_in_which_a_dependency_was_away_does_not_count() -> None:
    progress = Progress()
    at(progress, 0)
    assert progress.stalled(300, longest_s=60, since_s=250) == []
    assert progress.stalled(311, longest_s=60, since_s=250) == [P]


def test_markers_of_transactions_after_the_last_record_are_no_lag() -> None:
    progress = Progress()
    at(progress, 0, position=12, end=12, committed=10)
    assert progress.lags == {P: 0}


@pytest.mark.parametrize(("committed", "lag"), [(None, 30), (40, 60), (100, 0), (120, 0)])
def test_lag_counts_from_the_commit_or_where_reading_is(committed: int | None, lag: int) -> None:
    progress = Progress()
    at(progress, 1, position=70, end=100, committed=committed)
    assert progress.lags == {P: lag}


def test_a_partition_that_is_anothers_is_forgotten_and_new_when_it_comes_back() -> None:
    progress = Progress()
    at(progress, 0, position=5, end=100, committed=None)
    progress.sample({}, set(), now_s=50, now_ms=50_000)
    assert progress.lags == {}
    assert progress.age_s(50) == 0
    at(progress, 60, position=50, end=100, committed=None)
    assert progress.lags == {P: 50}
    assert progress.stalled(100, longest_s=60) == []


def test_what_is_not_known_yet_is_no_lag() -> None:
    progress = Progress()
    progress.sample({P: Seen(None, None, None, None)}, set(), now_s=0, now_ms=0)
    assert progress.lags == {P: 0}
    assert progress.stalled(61, longest_s=60) == [P]  # but it is no progress either


def test_how_long_the_oldest_record_waits_is_since_the_end_passed_what_is_committed():
    progress = Progress()

    def at(now_s, end, committed):
        progress.sample({P: Seen(end, end, now_s * 1000, committed)}, set(), now_s=float(now_s), now_ms=now_s * 1000)
        return progress.waits_s(float(now_s))[P]

    assert at(1, 10, 10) == 0
    assert at(2, 15, 10) == 0  # it has just come
    assert at(4, 20, 10) == 2
    assert at(7, 20, 14) == 5  # some of what came by second 2 is not committed
    assert at(8, 20, 15) == 4  # all of it is; what came by second 4 is not
    assert at(9, 20, 20) == 0
    progress.sample({}, set(), now_s=10.0, now_ms=10_000)
    assert progress.waits_s(10.0) == {}
