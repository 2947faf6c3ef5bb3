#!/usr/bin/python3
"""The web console's files: what npm brings, and all of it as a C source.

usage: tools/console.py modules [--all]      npm ci in console/ unless it was done; --all: with what only tests need
       tools/console.py embed OUT.c DEPFILE  OUT.c has every file, plain and compressed, with its media type and entity tag

Nothing is bundled: the browser loads the modules as they are, but for comments and indents, and those parts of MQTT.js
that no page reaches. `npm ci` takes exactly what console/package-lock.json names, by its hashes, and runs no script of a
package.
"""
import fcntl
import gzip
import hashlib
import os
import pathlib
import re
import shutil
import subprocess
import sys

ROOT = pathlib.Path(__file__).resolve().parent.parent
CONSOLE = ROOT / "console"
MODULES = CONSOLE / "node_modules"
STAMP = MODULES / ".signet"
SIZE_MAX = 200 * 1000  # compressed, of all files

TYPES = {".html": "text/html; charset=utf-8", ".js": "text/javascript; charset=utf-8", ".css": "text/css; charset=utf-8",
         ".svg": "image/svg+xml"}
# A bare name in an import means nothing to a browser, and a map of names would have to stand in the page (which the
# Content-Security-Policy forbids): so the names are written out here.
VENDOR = {
    "vendor/preact.js": ("preact/dist/preact.mjs", "", {}),
    "vendor/hooks.js": ("preact/hooks/dist/hooks.mjs", "", {'from"preact"': 'from"./preact.js"'}),
    "vendor/htm.js": ("htm/dist/htm.module.js", "", {}),
    "vendor/mqtt.js": ("mqtt/dist/mqtt.esm.js", "", {}),
    "vendor/uplot.js": ("uplot/dist/uPlot.iife.min.js", "\nexport default uPlot;\n", {}),  # half as large as the one that is a module
}


# What is left out of a vendored file: from the one mark to the other, with what stands there instead. The marks are those of the version in
# console/package-lock.json; with another one the build fails here and they are looked up anew.
CUTS = {
    "vendor/mqtt.js": [
        ("var Wu=H(", "var _y=H(", "var Wu=H(()=>{}),zu=H(()=>{});"),  # the sockets of two vendors' mini programs
        ("var Ia=H(", "var ei=H(", "var eg=H(()=>{});"),  # worker-timers, a worker of the worker's own: feed.js says timerVariant native
        # punycode, path and a URL parser in JavaScript: the browser has one, and what stands here is an address of this page's own host.
        ("function CE(", "var oy=H(", "var ny=()=>{},ry={default:{parse(t){let u=new URL(t);"
         "return{protocol:u.protocol,hostname:u.hostname,port:u.port||null,path:u.pathname+u.search}}}};"),
        # debug, which nobody turns on; what streams have like lists (map, filter, …)
        ("var Lh=H(", "var jh=H(", "var Xt=H((t,e)=>{e.exports=()=>()=>{}});"),
        ("var yh=H(", "var Hs=H(", "var yh=H((t,e)=>{e.exports={streamReturningOperators:{},promiseReturningOperators:{}}});"),
        # lru-cache, for the topic aliases of what is published: nobody publishes here.
        ("var _p=H(", "var ya=H(", "var _p=H(t=>{t.LRUCache=class extends Map{constructor(){super()}}});"),
    ],
}


def fail(text):
    sys.exit(f"tools/console.py: {text}")


def install(everything):
    lock = hashlib.sha256((CONSOLE / "package-lock.json").read_bytes()).hexdigest()
    with open(CONSOLE / ".lock", "w") as door:  # several builds may want it at once
        fcntl.flock(door, fcntl.LOCK_EX)
        have = STAMP.read_text().split() if STAMP.exists() else []
        if have[:1] == [lock] and (not everything or have[1:] == ["all"]):
            return
        if shutil.which("npm") is None:
            fail("npm is needed for the web console: apt-get install nodejs npm (tools/deps build), or configure with -Dconsole=disabled")
        command = ["npm", "ci", "--ignore-scripts", "--no-audit", "--no-fund", *([] if everything else ["--omit=dev"])]
        done = subprocess.run(command, cwd=CONSOLE, text=True, stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, stderr=subprocess.STDOUT)
        if done.returncode != 0:
            fail(f"{' '.join(command)} in {CONSOLE} failed; it fetches the console's modules once and needs the network for it.\n"
                 f"Without a network configure with -Dconsole=disabled.\n{done.stdout[-3000:]}")
        STAMP.write_text(f"{lock} {'all' if everything else 'few'}\n")


def own_files():
    top = {p for p in CONSOLE.iterdir() if p.suffix in TYPES}
    below = {p for folder in ("lib", "pages", "texts") for p in (CONSOLE / folder).rglob("*") if p.suffix in TYPES}
    return {p.relative_to(CONSOLE).as_posix(): p for p in sorted(top | below)}


def vendored(name):
    path, more, names = VENDOR[name]
    text = (MODULES / path).read_text()
    for old, new in names.items():
        if old not in text:
            fail(f"{path} has no {old} any more")
        text = text.replace(old, new)
    for begin, end, instead in CUTS.get(name, []):
        if text.count(begin) != 1 or text.count(end) != 1 or text.index(end) < text.index(begin):
            fail(f"{path} has no part from {begin} to {end} any more")
        text = text[:text.index(begin)] + instead + text[text.index(end):]
    return "\n".join(line for line in text.splitlines() if not line.startswith("//# sourceMappingURL=")).encode() + more.encode()


def lean(name, data):
    """A file of ours without what only its readers need: comments that stand alone, and indents."""
    if not name.endswith((".js", ".css")):
        return data
    text = re.sub(r"^[ \t]*/\*(?:(?!\*/).)*\*/[ \t]*\n", "", data.decode(), flags=re.S | re.M)
    text = re.sub(r"^[ \t]*//.*\n", "", text, flags=re.M)
    return re.sub(r"^[ \t]+", "", text, flags=re.M).encode()


def literal(data):
    """C string literals of at most 4000 bytes each."""
    plain = {c: chr(c) for c in range(32, 127) if chr(c) not in '"\\?'}
    pieces = []
    for start in range(0, len(data), 4000):
        # Three octal digits always: a digit behind them is one of its own.
        pieces.append('"' + "".join(plain.get(c) or f"\\{c:03o}" for c in data[start:start + 4000]) + '"')
    return "\n".join(pieces) or '""'


def embed(out, depfile):
    install(False)
    mine = own_files()
    files = {name: lean(name, path.read_bytes()) for name, path in mine.items()} | {name: vendored(name) for name in VENDOR}
    rows, total = [], 0
    for name, data in sorted(files.items()):
        packed = gzip.compress(data, 9, mtime=0)
        total += len(packed)
        tag = hashlib.sha256(data).hexdigest()[:24]
        rows.append(f'\t{{ "{name}", "{TYPES[pathlib.PurePath(name).suffix]}", "\\"{tag}\\"", "\\"{tag}-gzip\\"",\n'
                    f'\t    {{ (const uint8_t *){literal(data)}, {len(data)} }},\n\t    {{ (const uint8_t *){literal(packed)}, {len(packed)} }} }},\n')
    if total > SIZE_MAX:
        fail(f"the console has {total} bytes compressed, more than the {SIZE_MAX} that a page may cost")
    pathlib.Path(out).write_text("/* Made by tools/console.py of the files in console/. */\n#include \"console/console.h\"\n\n"
                                 "const struct console_file console_files[] = {\n" + "".join(rows) + "};\n"
                                 f"const size_t console_files_n = {len(rows)};\n", encoding="ascii")
    needs = [*map(str, mine.values()), str(CONSOLE / "package-lock.json"), str(CONSOLE / "lib"), str(CONSOLE / "pages"), str(CONSOLE / "texts")]
    pathlib.Path(depfile).write_text(f"{out}: {' '.join(needs)}\n")


def main():
    words = sys.argv[1:]
    os.umask(0o022)
    if words[:1] == ["modules"] and words[1:] in ([], ["--all"]):
        install(len(words) == 2)
    elif words[:1] == ["embed"] and len(words) == 3:
        embed(*words[1:])
    else:
        sys.exit(__doc__)


main()
