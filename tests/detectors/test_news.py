"""Whose statistics are due: each at most twice a second, and all of them in turn where they are many."""

from detectors.news import EACH_MS, EVERY_MS, SAVED_MS, News

MANY = [(f"m{i:03d}", "1") for i in range(300)]


def told(news: News, now_ms: int) -> list[str]:
    return [model for model, _ in news.due(now_ms)]


def test_few_versions_are_told_of_every_half_second_together():
    news = News()
    for now_ms in range(0, 5_000, 100):
        for name in MANY[:50]:
            news.add(name)
        assert len(told(news, now_ms)) == (50 if now_ms % EVERY_MS == 0 else 0)


def test_many_versions_take_turns_and_none_waits_for_ever():
    news = News()
    rounds: list[list[str]] = []
    for now_ms in range(0, 9_001, 100):
        for name in MANY:  # all have news, all the time
            news.add(name)
        rounds.append(told(news, now_ms))
    assert max(map(len, rounds)) == SAVED_MS // EACH_MS  # at first; then a tenth of a second's worth at a time
    assert {len(each) for each in rounds[1:]} == {100 // EACH_MS}
    counts = [sum(model in each for each in rounds) for model, _ in MANY]
    assert min(counts) >= 3
    assert max(counts) - min(counts) <= 1


def test_time_that_nobody_needed_is_not_saved_up():
    news = News()
    assert told(news, 0) == []
    for name in MANY:
        news.add(name)
    assert len(told(news, 3_600_000)) == SAVED_MS // EACH_MS


def test_a_clock_that_stands_still_or_goes_back_lets_nobody_starve():
    news = News()
    for name in MANY:
        news.add(name)
    first = told(news, 10_000)
    assert told(news, 10_000) == told(news, 9_000) == []
    assert set(told(news, 11_000)).isdisjoint(first)


def test_a_state_goes_on_where_it_was_taken():
    news = News()
    for name in MANY:
        news.add(name)
    news.due(1_000)
    again = News()
    again.load(news.to_state())
    assert again.to_state() == news.to_state()
    assert [told(again, 1_500), told(again, 2_500)] == [told(news, 1_500), told(news, 2_500)]
