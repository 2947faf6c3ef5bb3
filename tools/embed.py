#!/usr/bin/python3
"""Turn text files into a C header: `static const char springcore_policy[] = "…";` for springcore.policy.

usage: embed.py OUT FILE...
"""
import pathlib
import re
import sys


def literal(line):
    """One line of the file as a C string literal; what is not plain ASCII becomes octal, which cannot run on."""
    out = []
    for byte in line:
        char = chr(byte)
        if char in '"\\':
            out.append('\\' + char)
        elif char == '\n':
            out.append('\\n')
        elif 32 <= byte < 127 and char != '?':
            out.append(char)
        else:
            out.append('\\%03o' % byte)
    return '\t"' + ''.join(out) + '"'


def main():
    out, files = sys.argv[1], sys.argv[2:]
    text = ['/* Made by tools/embed.py; edit the files it was made of. */']
    for name in map(pathlib.Path, files):
        symbol = re.sub(r'\W', '_', name.name)
        lines = name.read_bytes().splitlines(keepends=True)
        text.append('static const char %s[] =\n%s;' % (symbol, '\n'.join(map(literal, lines)) or '\t""'))
    pathlib.Path(out).write_text('\n'.join(text) + '\n', encoding='ascii')


main()
