"""Whether a source tensor can become a target tensor, and by which steps."""

from __future__ import annotations

import math
from collections.abc import Container, Iterable
from dataclasses import dataclass

from regraft.linking.finding.unit import Shape, Unit
from regraft.linking.recipe import Step

_DENSE = ("linear", "conv", "matrix", "embedding", "conv_transpose")
_NORMS = ("layer_norm", "group_norm", "rms_norm", "instance_norm", "norm")
_EXTRA = (0, 1, 2, 5)  # class token, distillation token, registers before the patches of a position table


@dataclass(frozen=True)
class Fit:
    """How a source tensor becomes a target tensor.

    Attributes
    ----------
    quality
        1 where nothing is lost and nothing could be meant otherwise, less where the values are adapted.
    steps
        For the recipe; none where the tensor is taken as it is.
    """

    quality: float
    steps: tuple[Step, ...] = ()


def same_family(target: Unit, source: Unit) -> bool:
    """Whether units of these kinds can stand for each other."""
    one, other = target.kind.partition(":")[0], source.kind.partition(":")[0]
    if one == other:
        return True
    if one in _DENSE and other in _DENSE:
        return "embedding" not in (one, other) or "matrix" in (one, other)
    if one in _NORMS and other in _NORMS:
        return "norm" in (one, other) or {one, other} <= {"layer_norm", "group_norm"}
    # A table of positions may be looked up in one network and added as it is in the other.
    pair = {one, other}
    return pair in ({"table", "embedding"}, {"table", "norm"}, {"table", "matrix"}, {"table", "conv"})


def fit_units(
    target: Unit, source: Unit, *, layout: str = "torch", grids: bool = True
) -> dict[str, tuple[str, Fit]] | None:
    """For each role of the target the source's role and how it fits; None where the weight does not fit.

    ``layout`` is how the checkpoint stores its layers: ``keras`` and ``numpy`` have inputs before outputs.
    ``grids`` says that positions are those of patches: those of words are never resampled as an image.
    """
    if not same_family(target, source) or (target.part and source.part and target.part != source.part):
        return None
    shared_roles = set(source.shapes) & set(target.shapes)
    if (target.joined == "norm") != (source.joined == "norm") and not {"weight", "bias"} <= shared_roles:
        return None
    roles = _pair_roles(target, source)
    if roles is None:
        return None
    found: dict[str, tuple[str, Fit]] = {}
    for role, other in roles.items():
        fit = fit_shapes(
            target.shapes[role], source.shapes[other], target, source, layout=layout, grids=grids
        )
        if fit is None:
            return None
        found[role] = (other, fit)
    return found


def _pair_roles(target: Unit, source: Unit) -> dict[str, str] | None:
    """Target roles to source roles: by name, and single tables whatever they are called."""
    if target.kind.startswith("table") or source.kind.startswith("table"):
        left = [role for role in target.shapes if not _computed(role)]
        right = [role for role in source.shapes if not _computed(role)]
        named = {role: role for role in left if role in right}
        # Several tables that meet the activation at once, as two first tokens: the rest in order.
        rest = zip(
            (role for role in left if role not in named),
            (role for role in right if role not in named),
            strict=False,
        )
        return {**named, **dict(rest)} or None
    shared = {role: role for role in target.shapes if role in source.shapes}
    first = "weight" if "weight" in target.shapes else next(iter(target.shapes), "")
    return shared if first in shared else None


def _computed(role: str) -> bool:
    """Index tables that a network makes for itself."""
    return role.endswith(("_index", "position_ids", "attn_mask"))


def fit_shapes(
    target: Shape, source: Shape, unit: Unit, other: Unit, *, layout: str = "torch", grids: bool = True
) -> Fit | None:
    """How a tensor of shape ``source`` becomes one of shape ``target``; None where it cannot."""
    if (
        layout in ("keras", "numpy")
        and unit.kind in (*_DENSE,)
        and len(source) in (2, 4)
        and not other.traced
        and not other.tensors.get("weight", "").endswith("weight")  # what torch wrote, in another container
    ):
        return _from_inputs_first(target, source, unit)
    if len(target) == len(source) == 2 and unit.orientation != other.orientation and other.traced:
        return Fit(1.0, (Step("permute", {"dims": [1, 0]}),)) if target == source[::-1] else None
    if target == source:
        return Fit(1.0)
    return (
        _reshaped(target, source)
        or _transposed(target, source, unit, other)
        or _flattened_kernel(target, source)
        or _other_channels(target, source, unit)
        or (_other_positions(target, source, unit, other) if grids else None)
    )


def _from_inputs_first(target: Shape, source: Shape, unit: Unit) -> Fit | None:
    """A layer of Keras or JAX: ``(in, out)``, ``(height, width, in, out)``."""
    if unit.kind == "embedding":
        return Fit(1.0) if target == source else None
    orders = [[1, 0]] if len(source) == 2 else [[3, 2, 0, 1], [2, 3, 0, 1]]
    for dims in orders:
        moved = tuple(source[place] for place in dims)
        step = Step("permute", {"dims": dims})
        if moved == target:
            return Fit(0.98, (step,))
        if _squeezed(moved) == _squeezed(target) and math.prod(moved) == math.prod(target):
            return Fit(0.95, (step, Step("reshape", {"shape": list(target)})))
    return None


def _squeezed(shape: Shape) -> Shape:
    return tuple(length for length in shape if length != 1)


def _reshaped(target: Shape, source: Shape) -> Fit | None:
    """Axes of length 1 more or fewer: a linear layer as a 1x1 convolution, a scale per channel."""
    if _squeezed(target) != _squeezed(source):
        return None
    return Fit(0.98, (Step("reshape", {"shape": list(target)}),))


def _transposed(target: Shape, source: Shape, unit: Unit, other: Unit) -> Fit | None:
    if len(target) != 2 or target != source[::-1] or unit.kind == "embedding":
        return None
    return None if unit.traced and other.traced else Fit(0.9, (Step("permute", {"dims": [1, 0]}),))


def _flattened_kernel(target: Shape, source: Shape) -> Fit | None:
    """A linear layer over a flattened map against a convolution over all of it; patches as rows."""
    longer, shorter = (target, source) if len(target) > len(source) else (source, target)
    if len(shorter) != 2 or len(longer) < 3 or longer[0] != shorter[0]:
        return None
    if math.prod(longer[1:]) != shorter[1]:
        return None
    return Fit(0.9, (Step("reshape", {"shape": list(target)}),))


def _other_channels(target: Shape, source: Shape, unit: Unit) -> Fit | None:
    """The first convolution for images with other channels."""
    same = len(target) == len(source) == 4 and target[0] == source[0] and target[2:] == source[2:]
    grouped = unit.attributes.get("groups", 1) != 1
    if not same or grouped or source[1] not in (1, 3, 4) or (unit.traced and unit.depth > 0):
        return None
    return Fit(0.5, (Step("channels", {"to": target[1]}),))


def _other_positions(target: Shape, source: Shape, unit: Unit, other: Unit) -> Fit | None:
    """A table of positions for another grid of patches, or of relative positions for another window."""
    flat, given = _squeezed(target), _squeezed(source)
    tables = all(one.kind.partition(":")[0] in ("table", "embedding", "matrix") for one in (unit, other))
    if not tables or len(flat) != 2 or len(given) != 2 or flat[1] != given[1] or flat[0] == given[0]:
        return None
    if not _says_position(unit, other):
        return None
    relative = _relative(flat[0], given[0], unit, other)
    if relative is not None:
        return relative
    for extra_to, extra in _extras(flat[0], given[0]):
        size, to = math.isqrt(given[0] - extra), math.isqrt(flat[0] - extra_to)
        options = {"size": [size, size], "to": [to, to], "extra": extra, "extra_to": extra_to}
        return Fit(0.5, (Step("grid", options),))
    return None


def _says_position(unit: Unit, other: Unit) -> bool:
    words = " ".join([unit.name, other.name, *unit.tensors.values(), *other.tensors.values()]).lower()
    return "pos" in words or "relative" in words or "bias_table" in words


def _extras(target: int, source: int) -> list[tuple[int, int]]:
    """Numbers of rows before the patches that leave a square grid on both sides, equal numbers first."""
    pairs = [
        (one, other)
        for one in _EXTRA
        for other in _EXTRA
        if _square(target - one) and _square(source - other)
    ]
    return sorted(pairs, key=lambda pair: (pair[0] != pair[1], pair[0] + pair[1]))


def _square(number: int) -> bool:
    return number > 0 and math.isqrt(number) ** 2 == number


def _relative(target: int, source: int, unit: Unit, other: Unit) -> Fit | None:
    words = " ".join([*unit.tensors.values(), *other.tensors.values()]).lower()
    if "relative" not in words and "bias_table" not in words:
        return None
    if not (_square(target) and _square(source)):
        return None
    size, to = math.isqrt(source), math.isqrt(target)
    return Fit(0.5, (Step("bias_table", {"size": [size, size], "to": [to, to]}),))


def quality(fits: dict[str, tuple[str, Fit]] | None, target: Unit, source: Unit) -> float:
    """How well a whole unit fits, between 0 and 1."""
    if not fits:
        return 0.0
    missing = _missing(target.shapes, fits) + _missing(source.shapes, [name for name, _ in fits.values()])
    return min(fit.quality for _, fit in fits.values()) * (0.9**missing)


def _missing(roles: Iterable[str], found: Container[str]) -> int:
    return sum(role not in found and role != "num_batches_tracked" and not _computed(role) for role in roles)
