"""The main job and the same grid by hand, as processes."""

import pytest

from widebasin.benchmarks import by_hand, study


@pytest.mark.slow
def test_the_main_job_is_timed_cold_and_warm_beside_the_program_by_hand():
    found = study.measure(1, widths=(2,), epochs=1)
    assert [row.what for row in found.rows] == [study.OURS, study.AGAIN, study.BY_HAND]
    assert found.rows[2].ratio == 1.0
    assert all(row.timing.median > 0 for row in found.rows)


def test_by_hand_has_the_radii_and_seeds_of_the_workload():
    assert (0.0, *study.WORKLOAD.rhos) == by_hand.RADII
    assert (study.WORKLOAD.sizes.train, study.WORKLOAD.sizes.valid) == (by_hand.TRAIN, by_hand.VALID)
    assert study.WORKLOAD.label_noise == by_hand.NOISE
    assert study.WORKLOAD.recipe.batch_size == by_hand.BATCH
