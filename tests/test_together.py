"""A test that holds several cases fails where one of them does, and says which."""

import inspect

import pytest
from together import together


def test_every_case_runs_and_failures_are_named():
    seen = []

    @together("number", [1, 2, 3, 4])
    def test(number, fixture):
        seen.append((number, fixture))
        assert number % 2
        if number == 3:
            pytest.fail("three")

    assert list(inspect.signature(test).parameters) == ["fixture"]
    with pytest.raises(BaseExceptionGroup, match="3 of 4 cases fail: 2; 3; 4") as error:
        test(fixture="given")
    assert seen == [(number, "given") for number in (1, 2, 3, 4)]
    assert [type(one) for one in error.value.exceptions] == [AssertionError, pytest.fail.Exception, AssertionError]


def test_cases_of_several_arguments_nest_and_have_names():
    seen = []

    @together("letter", "xy")
    @together(("a", "b"), [(1, 2), (3, 4)], ids=["small", "large"])
    def test(letter, a, b):
        seen.append((letter, a, b))
        assert a < 3, "too large"

    with pytest.raises(BaseExceptionGroup, match="2 of 2 cases fail: 'x'; 'y'") as error:
        test()
    assert seen == [("x", 1, 2), ("x", 3, 4), ("y", 1, 2), ("y", 3, 4)]
    assert "1 of 2 cases fail: large" in str(error.value.exceptions[0])


def test_a_case_that_is_skipped_skips_the_item():
    @together("number", [1, 2])
    def test(number):
        pytest.skip("not here")

    with pytest.raises(pytest.skip.Exception):
        test()
