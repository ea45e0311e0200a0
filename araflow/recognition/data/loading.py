"""How windows travel from loading processes: our errors as values, and batches of what is none."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from araflow.core.errors import AraflowError


class Guarded:
    """Windows whose errors travel as values: a loading process would wrap them in its own traceback.

    Args:
        windows: A dataset; ``collate`` makes batches of its items.
    """

    def __init__(self, windows: Any) -> None:  # noqa: ANN401 - any dataset
        self._windows = windows

    def __len__(self) -> int:
        return len(self._windows)

    def __getitem__(self, index: Any) -> Mapping[str, Any] | AraflowError:  # noqa: ANN401 - its own kind of index
        try:
            found: Mapping[str, Any] = self._windows[index]
            return found
        except AraflowError as error:
            return error


def collate(items: list[Any]) -> Any:  # noqa: ANN401 - a dict of tensors, or an error
    """Return ``Guarded`` items as a batch, or the first error among them."""
    from torch.utils.data import default_collate

    return next((item for item in items if isinstance(item, AraflowError)), None) or default_collate(items)
