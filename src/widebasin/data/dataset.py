"""A data set: examples in memory, or image files on the disk."""

import hashlib
from dataclasses import dataclass

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Float, PyTree

from widebasin.data.image_files import ImageFiles


@dataclass(frozen=True)
class Normalization:
    """From the bytes of an image to what a network sees: ``(pixel / 255 - mean) / deviation``, channel by channel.

    Attributes:
        mean: of every channel, the last axis; one number serves all channels.
        deviation: standard deviation of every channel.
    """

    mean: tuple[float, ...] = (0.0,)
    deviation: tuple[float, ...] = (1.0,)

    def __call__(self, pixels: Array | np.ndarray) -> Float[Array, "..."]:
        """Normalized pixels, of JAX's default floating-point type."""
        scaled = jnp.asarray(pixels, float) / 255
        return (scaled - jnp.asarray(self.mean, float)) / jnp.asarray(self.deviation, float)


@dataclass(frozen=True)
class Dataset:
    """Examples in one pool; the split says which of them train, validate and test.

    Attributes:
        name: what to call it in tables.
        inputs: the examples along the first axis: float32, or the bytes (uint8) of images, channels last; or a pytree
            of arrays, such as the tokens of sentences beside their lengths, or the nodes and edges of graphs.
        targets: integer labels (classification) or float32 targets (regression); or a pytree of arrays, such as tags
            beside their weights.
        num_classes: number of classes of labels; ``None`` for everything else. One label per example is 0 to
            ``num_classes - 1``; where targets have more axes, such as one for the words of a sentence, -1 is a label
            that is missing.
        fixed_test: the last so many examples are the official test set; 0 if there is none, then the test set is
            drawn by seed like the others.
        shuffled: whether the split is drawn by seed; if not, the training examples come first, those to validate on
            next, and the test set last, for every seed.
        normalization: what is done to inputs on the device before a network sees them; nothing if ``None``.
        files: where the images are if they are not held in memory: ``inputs`` are then the numbers of the files
            (int32), and ``ImageReader`` reads what networks are given in their place, bytes [batch, size, size, 3].
        image_size: the size that it reads them in, in pixels.
        fixed_valid: so many examples before the official test set are the official validation set; 0 if there is none,
            then it is drawn by seed.
        training_classes: number of classes that training examples have, the first ones, if further ones only occur in
            an official validation or test set; wrong labels are drawn among them. ``None`` is all.
    """

    name: str
    inputs: PyTree[np.ndarray]
    targets: PyTree[np.ndarray]
    num_classes: int | None
    fixed_test: int = 0
    shuffled: bool = True
    normalization: Normalization | None = None
    files: ImageFiles | None = None
    image_size: int = 224
    fixed_valid: int = 0
    training_classes: int | None = None

    def __post_init__(self) -> None:
        """Raises ``ValueError`` unless all are arrays of as many examples, and labels are below the number of classes.

        A label below 0 would be read as one of the last, and one beyond the outputs makes the loss NaN; -1 is allowed
        where targets have more than one axis.
        """
        for name, tree in (("inputs", self.inputs), ("targets", self.targets)):
            for leaf in jax.tree.leaves(tree):
                if not np.ndim(leaf):
                    got = f"one of type {type(leaf).__name__}"
                    raise ValueError(f"{name} of {self.name} must be arrays of examples (numpy.asarray), got {got}")
                if leaf.dtype.kind in "USO":
                    remedy = "numpy.unique(..., return_inverse=True)[1] numbers texts"
                    raise ValueError(f"{name} of {self.name} must be numbers, got {leaf.dtype}: {remedy}")
                if leaf.dtype.kind == "c":
                    remedy = "give real and imaginary parts as numbers of their own"
                    raise ValueError(f"{name} of {self.name} must be real, got {leaf.dtype}: {remedy}")
                if leaf.dtype.kind in "iu" and leaf.dtype.itemsize > 4 and leaf.size:
                    fits = np.iinfo(np.uint32 if leaf.dtype.kind == "u" else np.int32)
                    if leaf.min() < fits.min or leaf.max() > fits.max:
                        remedy = "numpy.unique(..., return_inverse=True)[1] numbers them, float32 measures"
                        raise ValueError(f"{name} of {self.name} has integers beyond 32 bits, which wrap: {remedy}")
        lengths = {
            f"{name}{jax.tree_util.keystr(path)}": len(leaf)
            for name, tree in (("inputs", self.inputs), ("targets", self.targets))
            for path, leaf in jax.tree.leaves_with_path(tree)
        }
        if len(set(lengths.values())) > 1:
            found = ", ".join(f"{name} {length:,}" for name, length in lengths.items())
            raise ValueError(f"numbers of examples of {self.name} differ: {found}; give as many of each")
        if self.num_classes is None or not len(self):
            return
        if self.targets.dtype.kind not in "iu":
            remedy = "use astype(int32), or num_classes=None for numbers"
            raise ValueError(
                f"targets of {self.name} must be integers with num_classes, got {self.targets.dtype}: {remedy}"
            )
        lowest, highest = (int(one(self.targets)) for one in (np.min, np.max))
        several = self.targets.ndim > 1
        if lowest < -several or highest >= self.num_classes:
            missing = ", or -1 where one is missing" if several else ""
            raise ValueError(
                f"num_classes of {self.name} is {self.num_classes}, and targets run from {lowest} to {highest}; they "
                f"must be 0 to num_classes - 1{missing}"
            )

    def __len__(self) -> int:
        """Number of examples."""
        return len(jax.tree.leaves(self.inputs)[0])

    def digest(self) -> str:
        """SHA-256 of all that a network is trained and tested on: equal for equal data, whatever their name.

        Of image files it takes the paths below their root and the sizes in bytes (see ``ImageFiles.sizes`` for the time
        that needs), not the content: a file in whose place there is another of the very same size is not noticed.

        Raises:
            DataError: if an image file is no longer there.
        """
        arrays, structure = jax.tree.flatten((self.inputs, self.targets))
        description = (
            *((array.shape, array.dtype.str) for array in arrays),
            str(structure),
            self.num_classes,
            self.fixed_test,
            self.shuffled,
            self.normalization,
            self.image_size,
            *((self.fixed_valid,) if self.fixed_valid else ()),
            *(("training classes", self.training_classes) if self.training_classes else ()),
        )
        digest = hashlib.sha256(repr(description).encode())
        for array in arrays:
            digest.update(np.ascontiguousarray(array).data)
        if self.files is not None:
            # A name need not be UTF-8.
            digest.update("\n".join(self.files.paths).encode(errors="surrogateescape"))
            digest.update(self.files.sizes().data)
        return digest.hexdigest()

    def prepared(self, inputs: PyTree) -> PyTree:
        """Inputs as a network sees them: normalized, numbers of JAX's default floating-point type."""
        return jax.tree.map(self._prepared, inputs)

    def _prepared(self, inputs: Array | np.ndarray) -> Array:
        if self.normalization is not None:
            return self.normalization(inputs)
        return jnp.asarray(inputs, float if jnp.issubdtype(inputs.dtype, jnp.inexact) else None)
