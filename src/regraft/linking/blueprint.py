"""Blueprint: the target model before it has weights."""

from __future__ import annotations

from dataclasses import dataclass

from torch import Tensor, nn

from regraft.core.task_spec import TaskSpec
from regraft.linking.grafted import Grafted, head_key
from regraft.sources import Source, build_trunk
from regraft.sources.skeleton import weightless
from regraft.tasks.task import Task


@dataclass(frozen=True)
class Blueprint:
    """The target model before it has weights: whose architecture, which heads.

    Attributes
    ----------
    source
        Whose network the trunk is.
    tasks
        One task for each named output; each brings its head.
    """

    source: Source
    tasks: tuple[Task, ...]

    def __post_init__(self) -> None:
        object.__setattr__(self, "tasks", tuple(self.tasks))

    def build(self) -> Grafted:
        """The model with fresh weights, as its own code initialises them.

        Under ``torch.device("meta")`` no tensor is allocated.
        """
        trunk = build_trunk(self.source)
        return Grafted(trunk, {task.spec.name: task.head(trunk.width) for task in self.tasks})

    def skeleton(self) -> Grafted:
        """The model with its parameters on the meta device and its buffers real."""
        with weightless():
            return self.build()

    def slots(self) -> tuple[Slot, ...]:
        """Every tensor that the model stores, in the order of its state dict."""
        return list_slots(self.skeleton(), self.tasks)


@dataclass(frozen=True)
class Slot:
    """A place for a tensor in the model: a parameter or a buffer that its state dict names.

    Attributes
    ----------
    name
        In the state dict: ``trunk.network.<name>`` or ``heads.output_<name>.<name>``.
    local
        Without ``trunk.network.``; the same as ``name`` for heads.
    block
        The trunk's block that owns it; empty for heads.
    kind
        ``parameter`` or ``buffer``.
    tied_to
        The slot whose tensor this one is, for weights that modules share; else empty.
    task
        For a head, the kind and classes of its output.
    """

    name: str
    local: str
    shape: tuple[int, ...]
    dtype: str
    block: str
    kind: str
    tied_to: str = ""
    task: TaskSpec | None = None

    @property
    def size(self) -> int:
        """Number of elements."""
        count = 1
        for length in self.shape:
            count *= length
        return count


TRUNK = "trunk.network."


def list_slots(model: Grafted, tasks: tuple[Task, ...]) -> tuple[Slot, ...]:
    """The slots of a built model."""
    specs = {f"heads.{head_key(task.spec.name)}.": task.spec for task in tasks}
    first: dict[int, str] = {}
    slots = []
    for name, tensor in model.state_dict(keep_vars=True).items():
        tied = first.setdefault(id(tensor), name)
        in_trunk = name.startswith(TRUNK)
        slots.append(
            Slot(
                name=name,
                local=name.removeprefix(TRUNK),
                shape=tuple(tensor.shape),
                dtype=dtype_name(tensor),
                block=model.trunk.block_of(name.removeprefix(TRUNK)) if in_trunk else "",
                kind="parameter" if isinstance(tensor, nn.Parameter) else "buffer",
                tied_to=tied if tied != name else "",
                task=next((spec for prefix, spec in specs.items() if name.startswith(prefix)), None),
            )
        )
    return tuple(slots)


def dtype_name(tensor: Tensor) -> str:
    """``float32`` for ``torch.float32``."""
    return str(tensor.dtype).removeprefix("torch.")
