"""Adding nodes to an ONNX graph, in a line each."""

from typing import Any

import numpy as np
from numpy.typing import NDArray
from onnx import ModelProto, helper, numpy_helper

PREFIX = "midstream/"
"""Of the names of all tensors that are added, so that they clash with none of the exporter's."""


class Nodes:
    """Nodes to be added to a model: `tensor = nodes("Sub", "image", np.float32(1))`; then `before` or `after` it."""

    def __init__(self, stage: str) -> None:
        self._prefix = f"{PREFIX}{stage}/"
        self.nodes: list[Any] = []
        self.constants: list[Any] = []

    def __call__(self, kind: str, *inputs: str | NDArray[Any], called: str = "", **attributes: Any) -> str:
        """Add a node whose inputs are tensors' names or constants; return its output's name, `called` if given."""
        name = called or f"{self._prefix}{len(self.nodes)}"
        sources = [i if isinstance(i, str) else self._constant(i) for i in inputs]
        self.nodes.append(helper.make_node(kind, sources, [name], **attributes))
        return name

    def _constant(self, value: NDArray[Any]) -> str:
        name = f"{self._prefix}constant{len(self.constants)}"
        self.constants.append(numpy_helper.from_array(np.asarray(value), name))
        return name

    def before(self, model: ModelProto) -> None:
        """Put the nodes before the model's own."""
        self._put(model, [*self.nodes, *model.graph.node])

    def after(self, model: ModelProto) -> None:
        """Put the nodes behind the model's own."""
        self._put(model, [*model.graph.node, *self.nodes])

    def _put(self, model: ModelProto, nodes: list[Any]) -> None:
        model.graph.initializer.extend(self.constants)
        ordered = list(nodes)
        del model.graph.node[:]
        model.graph.node.extend(ordered)
