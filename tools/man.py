#!/usr/bin/python3
"""Make a manual page of its text in docs/man/ and of the program's own tables.

usage: man.py DESCRIPTION PAGE     DESCRIPTION: what `signet --describe` printed; PAGE: docs/man/NAME.SECTION

PAGE is man(7) with lines that are replaced: @NAME@, @SYNOPSIS@, @DESCRIPTION@, @OPTIONS@ of the command that the page
is called after; @COMMANDS@: all of them; @DIRECTIVES@: those of the configuration. The date is that of
SOURCE_DATE_EPOCH, or of the page's text.
"""
import os
import pathlib
import re
import sys
import time

import described

SECTIONS = {"broker": 8}


def text(words):
    """Words that roff shows as they are, also at the beginning of a line."""
    out = words.replace("\\", "\\e").replace("-", "\\-")
    return re.sub(r"^([.'])", r"\\&\1", out, flags=re.M)


def paragraphs(words):
    """Prose; what is indented stays as it is."""
    out, literal = [], False
    for line in words.strip("\n").split("\n"):
        if line.startswith("  ") != literal:
            literal = not literal
            out.append(".EX" if literal else ".EE")
        out.append(text(line) if line.strip() else ".PP")
    return out + ([".EE"] if literal else [])


def without_doubles(lines):
    """roff has nothing to do with an empty paragraph, and mandoc says so."""
    out = []
    for at, line in enumerate(lines):
        after = lines[at + 1] if at + 1 < len(lines) else ".SH"
        if line != ".PP" or not (after.startswith((".SH", ".SS", ".PP", ".TP")) or (out and out[-1].startswith((".SH", ".SS")))):
            out.append(line)
    return out


def synopsis(command):
    lines = command.usage or "\n".join(re.findall(r"^  (.*)$", command.about, re.M))
    out = []
    for line in lines.split("\n"):
        words = [f"\\fB{text(word)}\\fR" if at < 2 or word.startswith("-") and not word.endswith("]") else text(word)
                 for at, word in enumerate(line.strip().split(" "))]
        out += [*([".br"] if out else []), " ".join(words)]
    return out


def about(command):
    """Without the lines that the synopsis has already."""
    return command.about if command.usage else "\n".join(
        line for line in command.about.split("\n") if not line.startswith("  ")).strip()


def options(entries):
    out = []
    for entry in entries:
        if isinstance(entry, str):
            out += [f".SS {text(entry)}"]
            continue
        names = ", ".join(f"\\fB{text(name)}\\fR" for name in (entry.letter, entry.name) if name)
        value = f" \\fI{text(entry.value)}\\fR" if entry.value else ""
        out += [".TP", names + value, *text(entry.help).replace("\n", "\n.br\n").split("\n")]
    # A heading above options of other commands only.
    return [line for at, line in enumerate(out)
            if not (line.startswith(".SS") and (at + 1 == len(out) or out[at + 1].startswith(".SS")))]


def all_options(command):
    out = options(command.options)
    for sub in command.subcommands:
        out += [f".SS signet {command.name} {sub.name}", *synopsis(sub), ".PP", *paragraphs(sub.about), *options(sub.options)]
    return out


def page_of(name):
    return f"signet-{name}", SECTIONS.get(name, 1)


def list_of_commands(commands):
    out = []
    for command in commands.values():
        page, section = page_of(command.name)
        out += [".TP", f".BR {text(page)} ({section})", text(command.summary[0].upper() + command.summary[1:]) + "."]
    return out


def list_of_directives(directives):
    out = []
    for d in directives:
        out += [".TP", f"\\fB{text(d.name)}\\fR \\fI{text(d.value)}\\fR", text(d.help) + "."]
        notes = [f"Default: {text(d.default)}." if d.default else "", "Each listener has its own." if d.scope == "listener" else
                 "Each listener has its own with per_listener_settings." if d.scope == "security" else "", d.note]
        out += [" ".join(note for note in notes if note)] if any(notes) else []
    return out


def main():
    description, path = sys.argv[1], pathlib.Path(sys.argv[2])
    version, commands, directives = described.read(description)
    name, section = path.name.rsplit(".", 1)
    command = commands.get(name.removeprefix("signet-"))
    date = time.strftime("%Y-%m-%d", time.gmtime(int(os.environ.get("SOURCE_DATE_EPOCH", path.stat().st_mtime))))
    parts = {
        "@COMMANDS@": lambda: list_of_commands(commands),
        "@DIRECTIVES@": lambda: list_of_directives(directives),
    }
    if command is not None:
        parts |= {
            "@NAME@": lambda: [f"{text(name)} \\- {text(command.summary)}"],
            "@SYNOPSIS@": lambda: synopsis(command),
            "@DESCRIPTION@": lambda: paragraphs(about(command)),
            "@OPTIONS@": lambda: all_options(command),
        }
    out = [f'.TH {name.upper()} {section} {date} "signet {version}" "Signet"']
    for line in path.read_text(encoding="utf-8").splitlines():
        out += parts[line]() if line in parts else [line]
    print("\n".join(without_doubles(out)))


main()
