"""What comes from what in a network, and which tensors separate its front from its back."""

import difflib
import math
from collections.abc import Collection, Iterable, Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import Protocol

from common.bundle import MAX_CUT_VALUES
from common.errors import BundleError

Shape = tuple[int, ...]


class Step(Protocol):
    """One operation: an ONNX node, or what a torch.fx node is made into. Names of tensors."""

    @property
    def input(self) -> Iterable[str]: ...

    @property
    def output(self) -> Iterable[str]: ...


@dataclass(frozen=True)
class Flow:
    """A network as steps in topological order, from one picture to its outputs."""

    name: str
    """As a person would type it."""
    steps: Sequence[Step]
    source: str
    outputs: Sequence[str]
    shapes: dict[str, Shape]
    """Of the tensors, for one picture."""

    @cached_property
    def seen(self) -> set[str]:
        """The tensors that depend on the picture."""
        return downstream(self.steps, {self.source})

    def bypasses(self, names: Collection[str]) -> list[str]:
        """What else the outputs need of the picture: where paths past these tensors meet those behind them.

        Empty if they separate the picture from the outputs.
        """
        needed = upstream(self.steps, self.outputs, names) & {*self.seen, self.source}
        if self.source not in needed:
            return []
        behind = downstream(self.steps, names)
        missing = needed - behind - {*names}
        meeting = [name for step in self.steps if behind & {*step.output} for name in step.input if name in missing]
        return list(dict.fromkeys(meeting)) or [self.source]

    def singles(self) -> list[str]:
        """The tensors that cut the network alone, in its order: all paths from the picture lead through each."""
        inner = [name for step in self.steps for name in step.output if name in self.seen and name not in self.outputs]
        return [name for name in inner if travels(self.shapes.get(name, ())) and not self.bypasses([name])]

    def front(self, names: Collection[str]) -> list[Step]:
        """The steps that these tensors need."""
        needed = upstream(self.steps, names)
        return [step for step in self.steps if needed & {*step.output}]

    def check(self, names: Sequence[str]) -> None:
        """Raise BundleError, saying what to do, unless these tensors make a cut."""
        if not names:
            raise BundleError(f"the cut must name at least one tensor: {self._hint}")
        if twice := [name for i, name in enumerate(names) if name in names[:i]]:
            raise BundleError(f"the cut {','.join(names)} names {', '.join(twice)} twice: leave one out")
        for name in names:
            self._check_tensor(name)
        if around := self.bypasses(names):
            more = f" and {len(around) - 4} more" if len(around) > 4 else ""
            raise BundleError(
                f"a cut at {', '.join(names)} leaves no back half of its own: that also needs {', '.join(around[:4])}"
                f"{more}. Add what is missing to the cut, or choose another: {self._hint}"
            )
        needed = upstream(self.steps, self.outputs, names)
        if idle := [name for name in names if name not in needed]:
            raise BundleError(f"the back half does not need {', '.join(idle)}: leave it out of the cut")
        if (values := sum(math.prod(self.shapes[name]) for name in names)) > MAX_CUT_VALUES:
            raise BundleError(f"the cut has {values} values, more than {MAX_CUT_VALUES}: cut later; {self._hint}")

    def _check_tensor(self, name: str) -> None:
        if name not in self.shapes:
            near = difflib.get_close_matches(name, [n for n in self.seen if n in self.shapes], 5, 0.3)
            nearest = f"the nearest are {', '.join(near)}; " if near else ""
            raise BundleError(f"{name!r} is no tensor of {self.name}; {nearest}{self._hint}")
        if name in self.outputs:
            raise BundleError(f"a cut at {name!r} leaves no back half: it is an output; {self._hint}")
        if name == self.source or name not in self.seen:
            raise BundleError(f"a cut at {name!r} leaves no front half: nothing is computed before it; {self._hint}")
        if not travels(shape := self.shapes[name]):
            raise BundleError(
                f"{name!r} is {list(shape)} for one picture; a cut is [1, ...] of 2 to 5 sizes: {self._hint}"
            )

    @property
    def _hint(self) -> str:
        return f"`midstream bundle cuts {self.name}` lists all tensors that cut it alone"


def travels(shape: Shape) -> bool:
    """Whether a tensor of this shape, for one picture, can be sent: a batch of one, then one to four sizes."""
    return 2 <= len(shape) <= 5 and shape[0] == 1 and min(shape) > 0


def upstream(steps: Sequence[Step], names: Iterable[str], stop: Collection[str] = ()) -> set[str]:
    """These tensors and all they come from, not looking behind those in `stop`."""
    needed, passed = set(names), set(stop)
    for step in reversed(steps):
        if (needed - passed) & {*step.output}:
            needed.update(step.input)
    return needed


def downstream(steps: Sequence[Step], names: Iterable[str]) -> set[str]:
    """All tensors that come from these, without them."""
    start = set(names)
    reached = set(start)
    for step in steps:
        if reached & {*step.input}:
            reached.update(step.output)
    return reached - start
