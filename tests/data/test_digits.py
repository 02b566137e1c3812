import numpy as np
from sklearn.datasets import load_digits

from widebasin.data import digits


def test_1797_images_of_64_pixels_between_0_and_1():
    data = digits()
    assert data.inputs.shape == (1797, 64)
    assert len(data) == 1797
    assert data.inputs.dtype == np.float32
    assert (data.inputs.min(), data.inputs.max()) == (0.0, 1.0)


def test_ten_classes_with_the_published_counts():
    data = digits()
    assert data.num_classes == 10
    assert data.targets.dtype == np.int32
    assert np.bincount(data.targets).tolist() == [178, 182, 177, 183, 181, 182, 181, 179, 174, 180]


def test_pixels_are_sixteenths_of_the_source():
    images, labels = load_digits(return_X_y=True)
    np.testing.assert_array_equal(digits().inputs * 16, images)
    np.testing.assert_array_equal(digits().targets, labels)


def test_there_is_no_official_test_set():
    assert digits().fixed_test == 0
    assert digits().name == "digits"


def test_is_read_once():
    assert digits() is digits()
