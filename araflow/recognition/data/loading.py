"""How windows come from loading processes, batch by batch; our errors travel as values."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

from araflow.core.errors import AraflowError

if TYPE_CHECKING:
    from torch.utils.data import DataLoader


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


def loader(windows: Any, size: int, workers: int, *, sampler: Any = None, kept: bool = True) -> DataLoader[Any]:  # noqa: ANN401
    """Return what loads windows, ``size`` at a time; a batch is ``collate``'s.

    Args:
        windows: A dataset.
        size: Windows in a batch.
        workers: Loading processes; 0: none.
        sampler: Order of items; ``None``: as they are.
        kept: Whether the processes outlive an epoch.
    """
    import torch
    from torch.utils.data import DataLoader

    # Spawned: a forked process would share OpenCV's and OpenMP's threads in an unknown state.
    several = {"multiprocessing_context": "spawn", "persistent_workers": kept} if workers else {}
    return DataLoader(
        Guarded(windows),  # type: ignore[arg-type] # torch wants its own class, but asks for no more than this
        size,
        sampler=sampler,
        collate_fn=collate,
        num_workers=workers,
        pin_memory=kept and torch.cuda.is_available(),
        generator=torch.Generator(),  # the global one is dropout's, and is seeded by epoch
        **several,  # type: ignore[arg-type]
    )
