import jax
import jax.numpy as jnp
import numpy as np
import pytest

from widebasin.training import CheckpointError, Checkpoints


def tree(value=1.0, size=300):
    return {
        "weights": jnp.full((3, size), value),
        "history": np.arange(5.0) * value,
        "seconds": np.float64(0.1) * np.ones(()),
        "keys": jax.random.split(jax.random.key(0), 3),
        "epoch": jnp.arange(3, dtype=jnp.int32),
        "empty": jnp.zeros((3, 0)),
    }


def as_arrays(tree):
    return jax.tree.map(
        lambda leaf: np.asarray(jax.random.key_data(leaf) if jnp.issubdtype(leaf.dtype, jax.dtypes.prng_key) else leaf),
        tree,
    )


def test_what_is_restored_is_what_was_saved_bit_for_bit(tmp_path):
    Checkpoints(tmp_path / "c").save(3, tree(0.1))
    restored = Checkpoints(tmp_path / "c").restore(tree())
    jax.tree.map(np.testing.assert_array_equal, as_arrays(restored), as_arrays(tree(0.1)))
    assert jax.tree.map(lambda leaf: leaf.dtype, restored) == jax.tree.map(lambda leaf: leaf.dtype, tree())


def test_nothing_saved_is_none(tmp_path):
    assert Checkpoints(tmp_path / "c").restore(tree()) is None


def test_the_latest_and_the_one_before_are_kept_and_the_latest_is_read(tmp_path):
    checkpoints = Checkpoints(tmp_path / "c")
    for epoch in (1, 2, 5):
        checkpoints.save(epoch, tree(float(epoch)))
    assert sorted(p.name for p in (tmp_path / "c").iterdir()) == ["2", "2.seal", "5", "5.seal"]
    assert float(checkpoints.restore(tree())["weights"][0, 0]) == 5.0


def test_a_checkpoint_without_its_seal_does_not_count(tmp_path):
    checkpoints = Checkpoints(tmp_path / "c")
    for epoch in (1, 2):
        checkpoints.save(epoch, tree(float(epoch)))
    (tmp_path / "c" / "2.seal").unlink()
    assert float(Checkpoints(tmp_path / "c").restore(tree())["weights"][0, 0]) == 1.0


def test_checkpoints_go_on_after_one_that_was_never_sealed(tmp_path):
    first = Checkpoints(tmp_path / "c")
    first.save(1, tree(1.0))
    first.save(10, tree(10.0))
    (tmp_path / "c" / "10.seal").unlink()
    second = Checkpoints(tmp_path / "c")
    assert float(second.restore(tree())["weights"][0, 0]) == 1.0
    second.save(3, tree(3.0))
    assert float(Checkpoints(tmp_path / "c").restore(tree())["weights"][0, 0]) == 3.0


def test_removed_is_gone(tmp_path):
    checkpoints = Checkpoints(tmp_path / "c")
    checkpoints.save(1, tree())
    checkpoints.remove()
    assert not (tmp_path / "c").exists()
    assert Checkpoints(tmp_path / "c").restore(tree()) is None


@pytest.mark.parametrize("damage", ["truncate", "flip", "delete", "seal", "empty seal"])
def test_a_damaged_checkpoint_is_an_error_that_names_folder_and_remedy(tmp_path, damage):
    Checkpoints(tmp_path / "c").save(1, tree())
    largest = max((p for p in (tmp_path / "c" / "1").rglob("*") if p.is_file()), key=lambda p: p.stat().st_size)
    content = bytearray(largest.read_bytes())
    if damage == "truncate":
        largest.write_bytes(content[: len(content) // 2])
    elif damage == "flip":
        content[len(content) // 2] ^= 0xFF
        largest.write_bytes(content)
    elif damage == "delete":
        largest.unlink()
    else:
        (tmp_path / "c" / "1.seal").write_text({"seal": '{"format": 1, "sha', "empty seal": "{}"}[damage])
    with pytest.raises(CheckpointError, match="delete that folder") as error:
        Checkpoints(tmp_path / "c").restore(tree())
    assert str(tmp_path / "c") in str(error.value)


def test_a_checkpoint_of_another_format_is_refused(tmp_path):
    Checkpoints(tmp_path / "c").save(1, tree())
    seal = tmp_path / "c" / "1.seal"
    seal.write_text(seal.read_text().replace('"format": 1', '"format": 7'))
    with pytest.raises(CheckpointError, match="format 7"):
        Checkpoints(tmp_path / "c").restore(tree())


def test_a_checkpoint_of_another_shape_is_refused(tmp_path):
    Checkpoints(tmp_path / "c").save(1, tree(size=300))
    with pytest.raises(CheckpointError):
        Checkpoints(tmp_path / "c").restore(tree(size=301))
