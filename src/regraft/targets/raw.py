"""Examples without a source: what a linear model could read of them as they are."""

from __future__ import annotations

import numpy as np

from regraft.core.inputs import Inputs
from regraft.targets.image_inputs import ImageInputs
from regraft.targets.target import Target

_SIDE = 32


def raw_values(target: Target, inputs: Inputs, examples: np.ndarray) -> tuple[np.ndarray, str]:
    """Values ``float64 (N, D)`` of some examples, and what they are in words.

    Images are pixels of 32 x 32 under a Gaussian kernel, see :func:`gaussian_features`; texts are
    :func:`pieces_of_texts`.
    """
    if not isinstance(inputs, ImageInputs):
        return pieces_of_texts(
            [target.examples.raw(int(index)) for index in examples]
        ), "pieces of their texts"
    small = np.stack([_small(inputs.pixels[int(index)]) for index in examples])
    return gaussian_features(small), "their pixels under a Gaussian kernel"


def _small(pixels: np.ndarray) -> np.ndarray:
    from PIL import Image

    values = pixels.astype(np.float32)
    planes = [Image.fromarray(values[..., channel]) for channel in range(values.shape[2])]
    boxed = [plane.resize((_SIDE, _SIDE), Image.Resampling.BOX) for plane in planes]
    return np.concatenate([np.asarray(plane).ravel() for plane in boxed]).astype(np.float64)


def gaussian_features(pixels: np.ndarray) -> np.ndarray:
    """``float64 (N, N)``: rows whose inner products are the Gaussian kernel of standardised pixels.

    The width is scikit-learn's ``gamma="scale"``: one over the number of pixels that vary.
    """
    from scipy.spatial.distance import pdist, squareform

    spread = pixels.std(axis=0)
    varying = (pixels - pixels.mean(axis=0))[:, spread > 0] / spread[spread > 0]
    if not varying.shape[1]:
        return np.zeros((len(pixels), 1))
    kernel = np.exp(-squareform(pdist(varying, "sqeuclidean")) / varying.shape[1])
    values, vectors = np.linalg.eigh(kernel)
    return np.asarray(vectors * np.sqrt(np.clip(values, 0.0, None)))


def pieces_of_texts(texts: list[str]) -> np.ndarray:
    """``float64 (N, V)``: TF-IDF of pieces of 2 to 4 characters, the 20,000 most frequent."""
    from sklearn.feature_extraction.text import TfidfVectorizer

    words = TfidfVectorizer(analyzer="char_wb", ngram_range=(2, 4), sublinear_tf=True, max_features=20_000)
    return np.asarray(words.fit_transform(texts).toarray())
