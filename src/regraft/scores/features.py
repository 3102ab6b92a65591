"""What a source makes of N examples, and what every score needs of it, computed once and when asked for."""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property

import numpy as np

from regraft.core.console import say
from regraft.core.errors import DataError, UsageError
from regraft.core.linalg import Decomposition, decompose
from regraft.core.randomness import numpy_generator


@dataclass(frozen=True, eq=False)
class Features:
    """Features ``float64 (N, D)`` of N examples.

    Everything beside the values is computed when it is first asked for, and kept.

    Attributes
    ----------
    values
        ``float64 (N, D)``, finite.
    reduced_from
        The width before a reduction, None where there was none.
    """

    values: np.ndarray
    reduced_from: int | None = None

    @classmethod
    def of(cls, values: np.ndarray) -> Features:
        """Check features and turn them into float64.

        Raises :class:`DataError` for an array that is not ``(examples, width)``, an empty one, and numbers
        that are not finite.
        """
        wide = np.asarray(values, dtype=np.float64)
        if wide.ndim != 2 or 0 in wide.shape:
            raise DataError(f"scores need features of shape (examples, width), found {wide.shape}")
        bad = np.flatnonzero(~np.isfinite(wide).all(axis=1))
        if len(bad):
            raise DataError(
                f"the features of {len(bad)} of {len(wide)} examples are not finite, the first in row "
                f"{bad[0]}; leave these examples out or look at what the source makes of them"
            )
        return cls(wide)

    @property
    def count(self) -> int:
        """N, the number of examples."""
        return len(self.values)

    @property
    def width(self) -> int:
        """D, the number of features."""
        return int(self.values.shape[1])

    @cached_property
    def decomposition(self) -> Decomposition:
        """Of the centred features: the smaller Gram matrix, once."""
        return decompose(self.values)

    @cached_property
    def components(self) -> np.ndarray:
        """``float64 (N, R)``: centred features in their principal axes, largest variance first.

        All inner products are kept, so whatever looks at lengths and angles alone may use these R columns.
        """
        return self.decomposition.components()

    def reduced(self, width: int = 768, *, seed: int = 0) -> Features:
        """The same examples in ``width`` random orthonormal directions, said out loud.

        Distances are kept within some percent (Johnson and Lindenstrauss 1984; scaled by ``sqrt(D /
        width)``). They stay as they are where they are narrower. This buys speed where D is far above
        ``width``: a score of reduced features is an estimate and not comparable with one of whole ones.
        Raises :class:`UsageError` for a width below 1.
        """
        if width < 1:
            raise UsageError(
                f"features are reduced to a width of at least 1, as in reduced(768); found {width}"
            )
        if width >= self.width:
            return self
        say(f"scores: {self.width:,} features reduced to {width:,} random directions; values are estimates")
        random = numpy_generator(seed, "scores: reduced features", self.width, width)
        directions = np.linalg.qr(random.normal(size=(self.width, width)))[0]
        return Features(self.values @ directions * np.sqrt(self.width / width), reduced_from=self.width)

    def principal(self, width: int) -> Features:
        """The same examples in their first ``width`` principal components, or in all that there are.

        Raises :class:`UsageError` for a width below 1 and :class:`DataError` for constant features.
        """
        if width < 1:
            raise UsageError(f"there are principal components from 1 on, as in width=64; found {width}")
        if not self.decomposition.rank:
            raise DataError(f"constant features have no principal components, and {width} were asked for")
        return Features(self.components[:, :width], reduced_from=self.width)
