#!/usr/bin/python3
"""Make shell completion of the program's own tables.

usage: completion.py bash|zsh DESCRIPTION     DESCRIPTION: what `signet --describe` printed
"""
import re
import sys

import described

FILES = {"FILE", "PATH", "FILE..."}
FOLDERS = {"DIR", "DIRECTORY"}


def quoted(words):
    return "'" + words.replace("'", "'\\''") + "'"


def kind(value, choices):
    """Of what stands behind an option: words, "files", "folders", or nothing that a shell knows."""
    if choices:
        return choices
    return "files" if value in FILES else "folders" if value in FOLDERS else ""


def positional(key, command):
    """What the words that are no options may be, by the usage, which begins with "signet" and the key."""
    found = set()
    for line in command.usage.split("\n"):
        for word in re.sub(r"\[?--?[\w-]+ [A-Z]+\]?", "", line).split()[1 + len(key.split()):]:
            word = word.strip("[]")
            if re.fullmatch(r"[a-z]+", word):
                found.add(word)
            elif {"FILE", "FILE..."} & set(word.split("|")):
                found.add("files")
    return found - {"options"}


def words_of(command):
    names = [name for option in command.flags() for name in (option.letter, option.name) if name]
    return " ".join(names + [name for name in ["--help"] if not {"--help", "-h"} & set(names)])


def every(commands):
    """(key, command) of all commands and subcommands: "pub", "ca issue"."""
    for command in commands.values():
        yield command.name, command
        for sub in command.subcommands:
            yield f"{command.name} {sub.name}", sub


BASH = """\
# bash completion for signet. Made of what `signet --describe` prints.

_signet_files() {
	local found
	mapfile -t found < <(compgen "$1" -- "$2")
	COMPREPLY+=("${found[@]}")
	compopt -o filenames 2>/dev/null
}

_signet() {
	local cur=${COMP_WORDS[COMP_CWORD]} prev=${COMP_WORDS[COMP_CWORD-1]} key=${COMP_WORDS[1]} options= words= files= at
	COMPREPLY=()
	# "--dir=x" is three words here.
	if [[ $cur == = ]]; then
		cur=
	elif [[ $prev == = && COMP_CWORD -gt 1 ]]; then
		prev=${COMP_WORDS[COMP_CWORD-2]}
	fi
	if ((COMP_CWORD == 1)); then
		mapfile -t COMPREPLY < <(compgen -W %(commands)s -- "$cur")
		return
	fi
	case $key in
%(groups)s
	esac
	case "$key $prev" in
%(values)s
	esac
	case $key in
%(keys)s
	esac
	if [[ $cur == -* ]]; then
		mapfile -t COMPREPLY < <(compgen -W "$options" -- "$cur")
		return
	fi
	[[ -z $words ]] || mapfile -t COMPREPLY < <(compgen -W "$words" -- "$cur")
	[[ -z $files ]] || _signet_files -f "$cur"
}

complete -F _signet signet
"""


def bash_value(key, option):
    names = "|".join(f'"{key} {name}"' for name in (option.letter, option.name) if name)
    what = kind(option.value, option.choices)
    if isinstance(what, list):
        action = f'mapfile -t COMPREPLY < <(compgen -W {quoted(" ".join(what))} -- "$cur")'
    else:
        action = {"files": '_signet_files -f "$cur"', "folders": '_signet_files -d "$cur"'}.get(what, ":")
    return f"\t{names})\n\t\t{action}\n\t\treturn\n\t\t;;"


def bash(commands):
    groups, values, keys = [], [], []
    for command in commands.values():
        if command.subcommands:
            names = " ".join(sub.name for sub in command.subcommands)
            groups.append(f"\t{command.name})\n\t\tif ((COMP_CWORD == 2)); then\n"
                          f"\t\t\tmapfile -t COMPREPLY < <(compgen -W '{names}' -- \"$cur\")\n\t\t\treturn\n\t\tfi\n"
                          "\t\tkey+=\" ${COMP_WORDS[2]}\"\n\t\t;;")
    for key, command in every(commands):
        values += [bash_value(key, option) for option in command.flags() if option.value]
        found = positional(key, command)
        settings = [f"options={quoted(words_of(command))}"] if command.flags() else []
        if found - {"files"}:
            settings.append(f"words={quoted(' '.join(sorted(found - {'files'})))}")
        if "files" in found:
            settings.append("files=yes")
        if settings:
            keys.append(f"\t{quoted(key)})\n" + "".join(f"\t\t{line}\n" for line in settings) + "\t\t;;")
    return BASH % {"commands": quoted(" ".join(commands)), "groups": "\n".join(groups), "values": "\n".join(values),
                   "keys": "\n".join(keys)}


ZSH = """\
#compdef signet
# zsh completion for signet. Made of what `signet --describe` prints.

_signet() {
	local curcontext="$curcontext" state line key
	local -a commands
	commands=(
%(commands)s
	)
	if ((CURRENT == 2)); then
		_describe -t commands 'signet command' commands
		return
	fi
	key=$words[2]
	shift words
	((CURRENT--))
	case $key in
%(groups)s
	esac
	case $key in
%(keys)s
	esac
}

_signet "$@"
"""


def zsh_text(words):
    return re.sub(r"([:\[\]\\])", r"\\\1", words.split("\n")[0])


def zsh_action(what):
    if isinstance(what, list):
        return f"({' '.join(what)})"
    return {"files": "_files", "folders": "_files -/"}.get(what, " ")


def zsh_option(option):
    names = [name for name in (option.letter, option.name) if name]
    spec = f"[{zsh_text(option.help)}]"
    if option.value:
        spec += f":{zsh_text(option.value)}:{zsh_action(kind(option.value, option.choices))}"
    return [quoted("*" + name + spec) for name in names]


def zsh(commands):
    groups, keys = [], []
    for command in commands.values():
        if command.subcommands:
            names = "\n".join("\t\t\t\t" + quoted(f"{sub.name}:{zsh_text(sub.summary)}") for sub in command.subcommands)
            groups.append(f"\t{command.name})\n\t\tif ((CURRENT == 2)); then\n\t\t\tcommands=(\n{names}\n\t\t\t)\n"
                          f"\t\t\t_describe -t commands 'signet {command.name} command' commands\n\t\t\treturn\n\t\tfi\n"
                          "\t\tkey+=\" $words[2]\"\n\t\tshift words\n\t\t((CURRENT--))\n\t\t;;")
    for key, command in every(commands):
        specs = [spec for option in command.flags() for spec in zsh_option(option)]
        found = positional(key, command)
        if found - {"files"}:
            specs.append(quoted(f"1: :({' '.join(sorted(found - {'files'}))})"))
        specs.append(quoted("*:file:_files" if "files" in found else "*: : "))
        keys.append(f"\t{quoted(key)})\n\t\t_arguments \\\n" + " \\\n".join(f"\t\t\t{spec}" for spec in specs) + "\n\t\t;;")
    return ZSH % {"commands": "\n".join("\t\t" + quoted(f"{c.name}:{zsh_text(c.summary)}") for c in commands.values()),
                  "groups": "\n".join(groups), "keys": "\n".join(keys)}


def main():
    _, commands, _ = described.read(sys.argv[2])
    print({"bash": bash, "zsh": zsh}[sys.argv[1]](commands), end="")


main()
