"""A bar for what takes long."""

from collections.abc import Iterable, Iterator
from typing import TypeVar

from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeElapsedColumn

T = TypeVar("T")


def track(things: Iterable[T], title: str, console: Console) -> Iterator[T]:
    """The things, with a bar that is gone when they are done; no bar where nobody sees it move."""
    columns = TextColumn("{task.description}"), BarColumn(), MofNCompleteColumn(), TimeElapsedColumn()
    with Progress(*columns, console=console, transient=True, disable=not console.is_terminal) as progress:
        total = len(things) if hasattr(things, "__len__") else None  # type: ignore[arg-type]
        yield from progress.track(things, total=total, description=title)
