#!/usr/bin/python3
"""Check the shape of the sources: who includes whom, and how long files and functions are.

usage: tools/layers.py [SRC]

SRC/LAYERS has one line a module, "module: modules it may use", and each may use only what stands above it.
A module's public header is <module>/<module>.h, but for base/, whose headers are all public.
Tests and fuzz targets keep to the layers but may be long.
"""
import pathlib
import re
import subprocess
import sys

FILE_LINES = 600
FUNCTION_LINES = 60
INCLUDE = re.compile(r'\s*#\s*include\s+"([^"]+)"')


def read_layers(path):
    """The table as {module: set of modules}, and what is wrong with it."""
    allowed, faults = {}, []
    for number, line in enumerate(path.read_text().splitlines(), 1):
        line = line.partition("#")[0].strip()
        if not line:
            continue
        module, colon, uses = line.partition(":")
        if not colon:
            faults.append(f"{path}:{number}: not of the form 'module: modules'")
            continue
        for used in uses.split():
            if used not in allowed:
                faults.append(f"{path}:{number}: {module} uses {used}, which does not stand above it")
        allowed[module.strip()] = set(uses.split())
    return allowed, faults


def is_test(path):
    return path.stem.endswith(("_test", "_fuzz", "_bench"))


def check_include(where, module, target, allowed):
    other, slash, rest = target.partition("/")
    if not slash:
        return [f'{where}: write "{module}/{target}": includes are relative to src/']
    if other == module:
        return []
    if other not in allowed[module]:
        return [f"{where}: {module} may not use {other} (see LAYERS)"]
    if other != "base" and rest != f"{other}.h":
        return [f"{where}: {target} is private to {other}"]
    return []


def check_file(path, src, allowed):
    module = path.relative_to(src).parts[0]
    if module not in allowed:
        return [f"{path}: the module {module} is not in LAYERS"]
    lines = path.read_text(errors="replace").splitlines()
    faults = []
    if len(lines) > FILE_LINES and not is_test(path):
        faults.append(f"{path}: {len(lines)} lines (at most {FILE_LINES})")
    for number, line in enumerate(lines, 1):
        found = INCLUDE.match(line)
        if found:
            faults += check_include(f"{path}:{number}", module, found[1], allowed)
    return faults


def check_functions(paths):
    command = ["ctags", "-f", "-", "--langmap=C:.c.h", "--kinds-C=f", "--fields=+ne", "--sort=no", "-L", "-"]
    tags = subprocess.run(command, input="\n".join(map(str, paths)), capture_output=True, text=True, check=True)
    faults = []
    for tag in tags.stdout.splitlines():
        name, path = tag.split("\t")[:2]
        place = re.search(r"\tline:(\d+).*\tend:(\d+)", tag)
        if not place:
            continue
        length = int(place[2]) - int(place[1]) + 1
        if length > FUNCTION_LINES:
            faults.append(f"{path}:{place[1]}: {name} has {length} lines (at most {FUNCTION_LINES})")
    return faults


def main():
    src = pathlib.Path(sys.argv[1] if len(sys.argv) > 1 else pathlib.Path(__file__).parent.parent / "src")
    allowed, faults = read_layers(src / "LAYERS")
    paths = sorted(src.rglob("*.[ch]"))
    for path in paths:
        faults += check_file(path, src, allowed)
    faults += check_functions([path for path in paths if not is_test(path)])
    print("\n".join(faults) or f"{len(paths)} files in {len(allowed)} modules keep to LAYERS")
    return 1 if faults or not paths else 0


if __name__ == "__main__":
    sys.exit(main())
