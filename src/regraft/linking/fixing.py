"""Setting a target's hyper-parameters as its fixes say."""

from __future__ import annotations

from collections.abc import Iterable

from torch import nn

from regraft.core.errors import LinkError
from regraft.linking.fix import Fix


def apply_fixes(module: nn.Module, fixes: Iterable[Fix]) -> None:
    """Set what the fixes say, in order; raises ``LinkError`` where the module has no such part."""
    for fix in fixes:
        for path in fix.modules:
            try:
                part = module.get_submodule(path)
            except AttributeError as error:
                raise LinkError(
                    f"the fix {fix.kind} names {path!r}, which the model does not have"
                ) from error
            _set(module, path, part, fix)


def _set(module: nn.Module, path: str, part: nn.Module, fix: Fix) -> None:
    if fix.kind != "eps":
        raise LinkError(f"there is no fix {fix.kind!r}; there is eps")
    if not isinstance(getattr(part, "eps", None), float):
        raise LinkError(f"the fix eps names {path!r}, a {type(part).__name__}, which has no eps")
    part.eps = fix.value
