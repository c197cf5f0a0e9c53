"""The Pareto front of cost and accuracy."""

from collections.abc import Mapping


def pareto(costs: Mapping[str, float], accuracies: Mapping[str, float]) -> list[str]:
    """The methods that no other one beats in one of the two without losing in the other, cheapest first."""
    front: list[str] = []
    for label in sorted(accuracies, key=lambda name: (costs[name], -accuracies[name])):
        level = accuracies[front[-1]] if front else float("-inf")
        same = bool(front) and costs[label] == costs[front[-1]] and accuracies[label] == level
        if accuracies[label] > level or same:
            front.append(label)
    return front
