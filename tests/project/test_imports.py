import ast
from graphlib import TopologicalSorter

import pytest

from tests.support.embedded import ROOT

SOURCES = {"c7n_ingress": ROOT / "actions", "c7n_ingress_tools": ROOT / "mode"}
BELOW = {
    "c7n_ingress": ("c7n_ingress_tools",),
    "c7n_ingress.decide": ("c7n_ingress.actions", "c7n_ingress.filters", "c7n_ingress.aws"),
    "c7n_ingress.aws": ("c7n_ingress.actions", "c7n_ingress.filters"),
    "c7n_ingress_tools.embedded_aws": ("c7n_ingress_tools.rehearsal", "c7n_ingress_tools.report"),
    "c7n_ingress_tools.functions": ("c7n_ingress_tools.rehearsal", "c7n_ingress_tools.report"),
    "c7n_ingress_tools.report": ("c7n_ingress_tools.rehearsal",),
}
"""Packages, and those above them, which they must not import."""


def modules():
    """Return the pack's modules by name, each with its syntax tree."""
    found = {}
    for package, root in SOURCES.items():
        for path in (root / package).rglob("*.py"):
            parts = path.relative_to(root).with_suffix("").parts
            found[".".join(parts).removesuffix(".__init__")] = ast.parse(path.read_text(encoding="utf-8"))
    return found


def imported(tree, known):
    """Return which of the known modules a syntax tree imports, wherever the import is."""
    for node in ast.walk(tree):
        if isinstance(node, ast.ImportFrom):
            for alias in node.names:
                name = f"{node.module}.{alias.name}"
                yield from [name] if name in known else [node.module] if node.module in known else []
        elif isinstance(node, ast.Import):
            yield from (alias.name for alias in node.names if alias.name in known)


@pytest.fixture(scope="module")
def graph():
    """Return the modules that each module imports."""
    known = modules()
    return {name: set(imported(tree, known)) for name, tree in known.items()}


def is_in(module, package):
    """Whether a module is in a package."""
    return f"{module}.".startswith(f"{package}.")


def test_no_import_circle(graph):
    """No module of the pack imports itself through others, not even for types or inside a function."""
    assert len(list(TopologicalSorter(graph).static_order())) == len(graph) > 50


@pytest.mark.parametrize("package", BELOW)
def test_imports_point_one_way(graph, package):
    """A package imports none of those above it."""
    arrows = [(name, each) for name, of_it in graph.items() if is_in(name, package) for each in sorted(of_it)]
    assert arrows
    assert [arrow for arrow in arrows if any(is_in(arrow[1], above) for above in BELOW[package])] == []
