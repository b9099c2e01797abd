"""YAML without surprises: safe, each key once, and no more values than its text suggests."""

from __future__ import annotations

from collections.abc import Hashable
from typing import Any

import yaml

MOST_VALUES = 100_000
"""Of a file. An alias counts as often as it is used: aliases of aliases make 1 GB of 300 bytes."""


class StrictLoader(yaml.SafeLoader):
    """Safe YAML with more errors: a key given twice, too many values, numbers that Python cannot print."""

    def get_single_node(self) -> Any:
        """Returns the file's tree. Raises ConstructorError where it has too many values."""
        node = super().get_single_node()
        if node is not None:
            _count_values(node, {})
        return node

    def construct_mapping(self, node: Any, deep: bool = False) -> dict[Any, Any]:
        """Returns a mapping. Raises ConstructorError where a key is given twice; plain PyYAML keeps the last."""
        keys: set[Any] = set()
        for key_node, _ in node.value:
            if key_node.tag == "tag:yaml.org,2002:merge":
                continue
            key = self.construct_object(key_node, deep=True)
            if not isinstance(key, Hashable):
                raise yaml.constructor.ConstructorError(None, None, "a key is a list or a mapping", key_node.start_mark)
            if key in keys:
                raise yaml.constructor.ConstructorError(None, None, f"{key} is given twice", key_node.start_mark)
            keys.add(key)
        mapping: dict[Any, Any] = super().construct_mapping(node, deep=deep)
        return mapping

    def construct_whole_number(self, node: Any) -> int:
        """Returns a whole number. Raises ConstructorError for one of any length, which hexadecimal digits may make."""
        number = int(self.construct_yaml_int(node))
        if abs(number) >= 2**64:
            raise yaml.constructor.ConstructorError(None, None, "a whole number is above 2^64", node.start_mark)
        return number


StrictLoader.add_constructor("tag:yaml.org,2002:int", StrictLoader.construct_whole_number)


def _count_values(node: Any, known: dict[int, int]) -> int:
    """Returns the values below a node, each alias in full. Raises ConstructorError above MOST_VALUES or in a circle.

    Args:
        node: Of PyYAML's tree.
        known: Counts by the nodes' ids; 0 while a node is being counted.
    """
    count = known.get(id(node))
    if count is None:
        known[id(node)] = 0
        children = [] if isinstance(node, yaml.ScalarNode) else node.value
        if isinstance(node, yaml.MappingNode):
            children = [child for pair in children for child in pair]
        count = known[id(node)] = 1 + sum(_count_values(child, known) for child in children)
    if count == 0 or count > MOST_VALUES:
        problem = "an alias contains itself" if count == 0 else f"it has more than {MOST_VALUES:,} values"
        raise yaml.constructor.ConstructorError(None, None, problem, node.start_mark)
    return count
