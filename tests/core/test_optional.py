"""A package that is not there is named with the line that installs it."""

from __future__ import annotations

import json as expected

import pytest

from regraft.core.errors import MissingPackageError, UsageError
from regraft.core.optional import is_installed, require


def test_what_is_there_is_imported() -> None:
    assert require("json", "Reading", "regraft") is expected
    assert is_installed("json")


def test_what_is_missing_is_named_with_the_line_to_type() -> None:
    message = (
        r"Reading smells needs the package 'no_such_nose', which is not installed\. "
        r"Run: pip install 'regraft\[smell\]'"
    )
    with pytest.raises(MissingPackageError, match=message) as caught:
        require("no_such_nose", "Reading smells", "regraft[smell]")
    assert isinstance(caught.value, UsageError)
    assert not is_installed("no_such_nose")
    with pytest.raises(MissingPackageError, match="no_such_nose"):
        require("no_such_nose.tip", "Reading smells", "regraft[smell]")
