"""Blueprint: the target model before it has weights."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field, replace
from typing import Any

from torch import Tensor, nn

from regraft.core.errors import PlanError
from regraft.core.task_spec import TaskSpec
from regraft.linking.fixes.applying import apply_fixes
from regraft.linking.fixes.fix import Fix
from regraft.linking.grafted import Grafted, head_key
from regraft.linking.network import Call, Network, Whole, tensors_in
from regraft.sources import NativeHead, Source, build_trunk, example_batch, open_weights
from regraft.sources.skeleton import weightless
from regraft.tasks import Task, build_head, make_task


@dataclass(frozen=True)
class Blueprint:
    """The target model before it has weights: whose architecture, which heads.

    Attributes
    ----------
    source
        Whose network the trunk is.
    tasks
        One task for each named output; each brings its head.
    fixes
        Hyper-parameters of the network that are set after it is built.
    heads
        By output, what rebuilds a head that is not its task's own; see :func:`regraft.tasks.build_head`.
    native
        Whether the heads are the source's own, see :func:`native_blueprint`.
    """

    source: Source
    tasks: tuple[Task, ...]
    fixes: tuple[Fix, ...] = ()
    heads: Mapping[str, dict[str, Any]] = field(default_factory=dict)
    native: bool = False

    def __post_init__(self) -> None:
        object.__setattr__(self, "tasks", tuple(self.tasks))

    @property
    def name(self) -> str:
        """Whose architecture it is."""
        return self.source.name

    def build(self) -> Grafted:
        """The model with fresh weights, as its own code initialises them.

        Under ``torch.device("meta")`` no tensor is allocated.
        """
        trunk = build_trunk(self.source)
        model = Grafted(trunk, {task.spec.name: self._head(task, trunk.width) for task in self.tasks})
        apply_fixes(model, self.fixes)
        return model

    def _head(self, task: Task, width: int) -> nn.Module:
        facts = self.heads.get(task.spec.name)
        return task.head(width) if facts is None else build_head(facts, task.spec)

    def skeleton(self) -> Grafted:
        """The model with its parameters on the meta device and its buffers real."""
        with weightless():
            return self.build()

    def slots(self) -> tuple[Slot, ...]:
        """Every tensor that the model stores, in the order of its state dict."""
        return list_slots(self.skeleton(), self.tasks)

    def network(self, model: nn.Module) -> Network:
        """A built model's trunk as one side of a link; its heads are new and compute nothing yet."""
        assert isinstance(model, Grafted)
        trunk = model.trunk
        whole = Whole(trunk).eval()
        names = {name: name for name in whole.state_dict()}
        example = Call((example_batch(self.source),))
        return Network(whole, names, example, lambda name: trunk.block_of(name.removeprefix(TRUNK)))

    def fixed(self, fixes: tuple[Fix, ...]) -> Blueprint:
        """With these hyper-parameters set as well."""
        return replace(self, fixes=(*self.fixes, *fixes))


NATIVE = "native"
"""What the one head is called that comes with a network."""


def native_blueprint(source: Source, network: Source) -> Blueprint:
    """The model of ``network`` with the heads of ``source`` itself, those for classes.

    An output has the name that it had in the run that the source is, or ``native``. Raises ``PlanError``
    where the source brings no such head.
    """
    tasks = tuple(make_task(_native_spec(source, head)) for head in source.heads if head.kind != "regression")
    if source.weights is None or not tasks:
        raise PlanError(
            f"a model is to have the own head of {source.name} (heads: source), which brings none that tells "
            "classes apart. Take a source with a head (packaged:efficientnet-lite0, torchvision:.., timm:.., "
            "or the folder of a run), or leave its classes out: the strategies l2sp and bss, and the term "
            "distil-features, need none"
        )
    return Blueprint(network, tasks, native=True)


def _native_spec(source: Source, head: NativeHead) -> TaskSpec:
    shape = open_weights(source).shape(head.weight)
    count = shape[0] if shape else 0
    names = head.classes if len(head.classes) == count else tuple(str(number) for number in range(count))
    return TaskSpec(head.output or NATIVE, head.kind, names)


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
HEADS = "heads.output_"


def list_slots(model: Grafted, tasks: tuple[Task, ...]) -> tuple[Slot, ...]:
    """The slots of a built model."""
    specs = {f"heads.{head_key(task.spec.name)}.": task.spec for task in tasks}

    def block_of(name: str) -> str:
        return model.trunk.block_of(name.removeprefix(TRUNK)) if name.startswith(TRUNK) else ""

    def task_of(name: str) -> TaskSpec | None:
        return next((spec for prefix, spec in specs.items() if name.startswith(prefix)), None)

    return tuple(replace(slot, task=task_of(slot.name)) for slot in list_tensors(model, block_of))


def list_tensors(model: nn.Module, block_of: Callable[[str], str]) -> tuple[Slot, ...]:
    """Every tensor of a module as a slot; of those that modules share all but the first say which it is."""
    first: dict[int, str] = {}
    slots = []
    for name, tensor in tensors_in(model).items():
        tied = first.setdefault(id(tensor), name)
        slots.append(
            Slot(
                name=name,
                local=name.removeprefix(TRUNK),
                shape=tuple(tensor.shape),
                dtype=dtype_name(tensor),
                block=block_of(name),
                kind="parameter" if isinstance(tensor, nn.Parameter) else "buffer",
                tied_to=tied if tied != name else "",
            )
        )
    return tuple(slots)


def dtype_name(tensor: Tensor) -> str:
    """``float32`` for ``torch.float32``."""
    return str(tensor.dtype).removeprefix("torch.")
