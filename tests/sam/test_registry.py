import jax.numpy as jnp
import numpy as np
import pytest
from together import together

from widebasin import sam

AT_RADIUS = {
    "sgd": sam.SGD(),
    "sam": sam.SAM(rho=0.2),
    "unnormalized-sam": sam.SAM(rho=0.2, normalize=False),
    "multi-step-sam": sam.MultiStepSAM(rho=0.2, steps=2),
    "random-perturbation": sam.RandomPerturbation(rho=0.2),
    "asam": sam.ASAM(rho=0.2, eta=0.01),
    "gsam": sam.GSAM(rho=0.2, alpha=0.1),
    "looksam": sam.LookSAM(rho=0.2, k=5, alpha=0.7),
    "sam-every-5": sam.SAMEveryK(rho=0.2, k=5),
    "esam": sam.ESAM(rho=0.2, beta=0.6, gamma=0.5),
    "friendly-sam": sam.FriendlySAM(rho=0.2, sigma=1.0, decay=0.9),
    "wsam": sam.WSAM(rho=0.2, gamma=0.9),
    "ssam": sam.SSAM(rho=0.2, sparsity=0.5, every=100),
    "random-ssam": sam.SSAM(rho=0.2, sparsity=0.5, scores="random", every=100),
    "linearized-sam": sam.LinearizedSAM(rho=0.2, normalize=False, fixed_point=False),
}


def test_the_names_are_these():
    assert set(sam.METHODS) == set(AT_RADIUS)


@together("name", AT_RADIUS)
def test_a_name_builds_the_method_at_the_radius_with_the_hyperparameters_that_its_summary_tells(name):
    assert sam.METHODS[name].with_radius(0.2) == AT_RADIUS[name]


@together("name", sorted(set(AT_RADIUS) - {"sgd"}))
def test_the_radius_may_be_an_array(name):
    assert float(sam.METHODS[name].with_radius(jnp.asarray(0.25)).rho) == 0.25


def test_titles_and_summaries_tell_the_methods_apart():
    entries = sam.METHODS.values()
    assert len({entry.title for entry in entries}) == len({entry.summary for entry in entries}) == len(sam.METHODS)


@together(
    ("name", "expected"),
    [("sgd", [3.0, 4.0]), ("sam", [3.3, 4.4]), ("unnormalized-sam", [4.5, 6]), ("multi-step-sam", [3.3, 4.4])],
)
def test_names_compute_what_they_say(name, expected):
    """On 0.5 ||w||^2 at (3, 4) with radius 1/2."""
    method = sam.METHODS[name].with_radius(0.5)
    w = jnp.array([3.0, 4.0])
    _, gradient, _ = method.value_and_grad(lambda w: 0.5 * jnp.sum(w**2))(w, method.init(w))
    np.testing.assert_allclose(gradient, expected, rtol=1e-6)


@together(
    ("name", "canonical", "title", "method"),
    [
        ("gsam:alpha=.40", "gsam:alpha=0.4", "GSAM (alpha 0.4)", sam.GSAM(0.2, alpha=0.4)),
        ("looksam:alpha=1,k=3", "looksam:k=3,alpha=1", "LookSAM (k 3, alpha 1)", sam.LookSAM(0.2, k=3, alpha=1.0)),
        ("sam-every-5:k=10", "sam-every-5:k=10", "SAM every 10", sam.SAMEveryK(0.2, k=10)),
        ("sam:normalize=False", "sam:normalize=false", "SAM (normalize false)", sam.SAM(0.2, normalize=False)),
        ("esam:gamma=1", "esam:gamma=1", "ESAM (gamma 1)", sam.ESAM(0.2, gamma=1.0)),
        ("gsam:alpha=0.1", "gsam", "GSAM", sam.GSAM(0.2)),
        ("looksam:k=5,alpha=1", "looksam:alpha=1", "LookSAM (alpha 1)", sam.LookSAM(0.2, alpha=1.0)),
    ],
)
def test_hyperparameters_in_a_name_are_those_of_the_method(name, canonical, title, method):
    named = sam.method_named(name)
    assert (sam.canonical_name(name), named.title, named.with_radius(0.2)) == (canonical, title, method)
    assert sam.canonical_name(canonical) == canonical


@together(
    ("name", "message"),
    [
        ("gsan", "no method 'gsan'"),
        ("gsam:", "hyperparameters of gsam once each, as in alpha=0.1"),
        ("gsam:alpha=1,alpha=2", "once each"),
        ("gsam:rho=1", "by rhos or radii"),
        ("sgd:alpha=1", "sgd has no hyperparameters"),
        ("gsam:alpha=x", "alpha must be a number, got 'x'"),
        ("looksam:k=2.5", "k must be a whole number"),
        ("looksam:k=0", "k must be a whole number of at least 1"),
        ("sam:normalize=1", "normalize must be true or false"),
    ],
)
def test_names_that_set_nothing_that_there_is_are_refused(name, message):
    with pytest.raises(ValueError, match=message):
        sam.method_named(name)
