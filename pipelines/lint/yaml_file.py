"""YAML of others, read with a bound: a short text may name a large value many times, and such a value again."""

from __future__ import annotations

from typing import Any

import yaml

# Maximum values and characters that aliases add to a file, about as many bytes as the largest specs have.
MAXIMUM_REPEATED = 4 << 20


def load_documents(content: bytes) -> list[Any]:
    """The documents of a YAML or JSON text that are not null.

    Raises:
        yaml.YAMLError: it is not YAML; an alias names a value that holds it; or aliases stand for more than
            `MAXIMUM_REPEATED` values and characters.
        ValueError, RecursionError: a value cannot be read, or is nested too deeply.
    """
    return [one for one in yaml.load_all(content, Loader=_Loader) if one is not None]


class _Loader(yaml.SafeLoader):
    """A loader that counts what aliases stand for before any value is made."""

    def __init__(self, stream: bytes) -> None:
        super().__init__(stream)
        self._passed = 0
        self._repeated = 0
        self._sizes: dict[yaml.Node, int] = {}

    def compose_node(self, parent: yaml.Node | None, index: Any) -> yaml.Node | None:
        """A node of the document, or the node that an alias names."""
        before, alias = self._passed, self.check_event(yaml.AliasEvent)
        line = self.peek_event().start_mark.line + 1
        node: yaml.Node = super().compose_node(parent, index)
        if alias:
            if node not in self._sizes:
                raise yaml.YAMLError(f"the alias in line {line} names a value that holds it")
            self._passed += self._sizes[node]
            self._repeated += self._sizes[node]
            if self._repeated > MAXIMUM_REPEATED:
                raise yaml.YAMLError(
                    f"aliases stand for more than {MAXIMUM_REPEATED:,} values and characters up to line {line}"
                )
        else:
            self._passed += 1 + (len(node.value) if isinstance(node, yaml.ScalarNode) else 0)
            self._sizes[node] = self._passed - before
        return node
