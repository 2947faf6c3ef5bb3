#!/usr/bin/python3
"""Find link cycles: object files of which each needs, directly or not, every other; and one name for two functions.

usage: tools/tangle.py BUILD

Reads the symbol tables below BUILD/src (strong symbols only). A cycle within one module is reported, since it is worth
knowing; a cycle between modules is an error: such modules cannot be tested, understood or replaced alone. A name that two
modules define is an error, too: of two static libraries the linker takes whichever comes first, and says nothing.
"""
import pathlib
import re
import subprocess
import sys


def symbols(path):
    """The strong symbols that an object file defines, and those it needs."""
    # gcc-nm also understands what link-time optimisation leaves in object files.
    out = subprocess.run(["gcc-nm", "-g", "--format=posix", path], capture_output=True, text=True, check=True).stdout
    defined, needed = set(), set()
    for line in out.splitlines():
        fields = line.split()
        if len(fields) < 2:
            continue
        if fields[1] in "Uw":
            needed.add(fields[0])
        elif fields[1] in "TDBRCGS":
            defined.add(fields[0])
    return defined, needed


def twins(tables):
    """[symbol, the objects that define it], where there are several."""
    owners = {}
    for path, (defined, _) in tables.items():
        for symbol in defined:
            owners.setdefault(symbol, []).append(path)
    return [(symbol, paths) for symbol, paths in sorted(owners.items()) if len(paths) > 1]


def link_graph(tables):
    """{object: set of objects it needs}."""
    owner = {symbol: path for path, (defined, _) in tables.items() for symbol in defined}
    return {path: {owner[s] for s in needed if s in owner} - {path} for path, (_, needed) in tables.items()}


def reachable(graph, start):
    seen, todo = set(), [start]
    while todo:
        for following in graph[todo.pop()]:
            if following not in seen:
                seen.add(following)
                todo.append(following)
    return seen


def cycles(graph):
    """Groups of nodes that reach each other, largest first."""
    reach = {node: reachable(graph, node) for node in graph}
    groups = {frozenset(other for other in reach[node] if node in reach[other]) for node in graph if node in reach[node]}
    return sorted(groups, key=len, reverse=True)


def module_of(path, build):
    return path.relative_to(build / "src").parts[0]


def main():
    build = pathlib.Path(sys.argv[1] if len(sys.argv) > 1 else "build")
    skip = re.compile(r"_(test|fuzz|bench)\.p/")
    paths = [p for p in sorted((build / "src").rglob("*.o")) if not skip.search(str(p))]
    if not paths:
        print(f"no object files below {build}/src: build it first")
        return 1
    tables = {path: symbols(path) for path in paths}
    graph = link_graph(tables)
    modules = {}
    for path, needed in graph.items():
        modules.setdefault(module_of(path, build), set()).update(module_of(n, build) for n in needed)
    for module in modules:
        modules[module].discard(module)
    print("module      objects  largest cycle  uses")
    groups = cycles(graph)
    for module in modules:
        own = [p for p in paths if module_of(p, build) == module]
        largest = max((len(g) for g in groups if all(module_of(p, build) == module for p in g)), default=0)
        print(f"{module:10} {len(own):8} {largest:14}  {' '.join(sorted(modules[module]))}")
    for group in groups:
        print("cycle:", " ".join(sorted(f"{module_of(p, build)}/{p.stem.removesuffix('.c')}" for p in group)))
    between, double = cycles(modules), twins(tables)
    for group in between:
        print("CYCLE BETWEEN MODULES:", " ".join(sorted(group)))
    for symbol, owners in double:
        print(f"DEFINED TWICE: {symbol} in", " ".join(str(path.relative_to(build)) for path in owners))
    return 1 if between or double else 0


if __name__ == "__main__":
    sys.exit(main())
