"""Arithmetic of timings: given samples and a clock that the contenders move themselves."""

import pytest

from widebasin.benchmarks import Benchmark, Measured, Timing, interleave


class Clock:
    def __init__(self):
        self.now, self.calls = 100.0, []

    def __call__(self):
        return self.now

    def contender(self, name, *durations):
        """Takes these seconds, one number per call."""
        remaining = iter(durations)

        def call():
            self.calls.append(name)
            self.now += next(remaining)

        return call


def test_median_and_quartiles_of_given_samples():
    timing = Timing((5.0, 1.0, 2.0, 4.0, 3.0))
    assert timing.median == 3.0
    assert timing.quartiles == (2.0, 4.0)


def test_median_of_an_even_number_lies_between_the_middle_two():
    assert Timing((4.0, 1.0, 3.0, 100.0)).median == 3.5


def test_one_sample_is_its_own_quartiles():
    assert Timing((2.0,)).quartiles == (2.0, 2.0)


def test_no_sample_is_refused():
    with pytest.raises(ValueError, match="at least one"):
        Timing(())


def test_ratio_is_that_of_the_medians():
    assert Timing((6.0, 2.0, 60.0)).over(Timing((3.0, 30.0, 1.0))) == 2.0


def test_contenders_take_turns_after_a_call_that_is_not_timed():
    clock = Clock()
    timings = interleave(
        {"a": clock.contender("a", 50.0, 1.0, 3.0), "b": clock.contender("b", 70.0, 2.0, 6.0)}, 2, clock=clock
    )
    assert "".join(clock.calls) == "ab" + "abab"
    assert timings == {"a": Timing((1.0, 3.0)), "b": Timing((2.0, 6.0))}
    assert timings["b"].over(timings["a"]) == 2.0


def test_times_are_per_unit_of_work():
    clock = Clock()
    timings = interleave({"a": clock.contender("a", 9.0, 8.0)}, 1, units=4, clock=clock)
    assert timings["a"].seconds == (2.0,)


def test_cold_contenders_are_timed_from_their_first_call():
    clock = Clock()
    timings = interleave({"a": clock.contender("a", 9.0, 1.0)}, 2, warm=False, clock=clock)
    assert timings["a"].seconds == (9.0, 1.0)


@pytest.mark.parametrize(("seconds", "rounds"), [(0.0, 1), (5.0, 3), (6.0, 3), (100.0, 4)])
def test_no_round_begins_after_the_time_is_up_and_every_contender_has_as_many(seconds, rounds):
    clock = Clock()
    contenders = {name: clock.contender(name, *[1.0] * 5) for name in "ab"}
    timings = interleave(contenders, 4, seconds=seconds, clock=clock)
    assert [len(t.seconds) for t in timings.values()] == [rounds, rounds]


def test_no_round_is_refused():
    with pytest.raises(ValueError, match="rounds must be at least 1, got 0"):
        interleave({}, 0)


def test_table_shows_milliseconds_ratios_and_whether_a_target_is_met():
    found = Benchmark(
        name="step",
        title="one step",
        rounds=3,
        rows=(
            Measured("one", Timing((0.001, 0.002, 0.003))),
            Measured("two", Timing((0.004,)), ratio=2.0, against="one", target=2.1),
            Measured("slow", Timing((0.005,)), ratio=2.5, against="one", target=2.1, more=(("threads", "4"),)),
            Measured("absent", None, missing="torch not installed"),
        ),
        note="",
    )
    table = found.table()
    assert table.columns == ("what", "median ms", "quartiles ms", "threads", "ratio", "to", "target")
    assert table.rows == (
        ("one", "2", "1.5 to 2.5", "", "", "", ""),
        ("two", "4", "4 to 4", "", "2.00", "one", "≤ 2.1 (met)"),
        ("slow", "5", "5 to 5", "4", "2.50", "one", "≤ 2.1 (missed)"),
        ("absent", "torch not installed", "", "", "", "", ""),
    )
