"""What `signet --describe` prints, as objects: see src/cli/describe.h."""
import collections
import re

Option = collections.namedtuple("Option", "letter name value choices help")
Directive = collections.namedtuple("Directive", "name value scope default help note old")


class Command:
    """A command or a subcommand of one; <options> has headings (strings) between the options."""

    def __init__(self, name):
        self.name, self.summary, self.usage, self.about = name, "", "", ""
        self.options, self.subcommands = [], []

    def flags(self):
        return [option for option in self.options if isinstance(option, Option)]


def records(text):
    """(key, value) in order."""
    found = []
    for line in text.splitlines():
        if line.startswith("\t"):
            key, value = found[-1]
            found[-1] = (key, value + "\n" + line[1:])
        else:
            key, tab, value = line.partition("\t")
            if not tab:
                raise ValueError(f"not of the form key, tab, value: {line!r}")
            found.append((key, value))
    return found


def choices(value, words):
    """What may stand behind an option: its own list, or the a|b of its placeholder."""
    if words:
        return words.split()
    return value.split("|") if value and re.fullmatch(r"[a-z0-9.]+(\|[a-z0-9.]+)+", value) else []


def read(path):
    """(version, {name: Command}, [Directive])."""
    version, commands, directives = "", {}, []
    command = target = item = None
    fields = {}

    def finish():
        if item == "option":
            target.options.append(Option(fields["option"], fields.get("name", ""), fields.get("value", ""),
                                         choices(fields.get("value"), fields.get("choices")), fields.get("help", "")))
        elif item == "directive":
            directives.append(Directive(fields["directive"], fields["value"], fields["scope"], fields["default"],
                                        fields["help"], fields.get("note", ""), "old" in fields))

    with open(path, encoding="utf-8") as file:
        text = file.read()
    for key, value in records(text):
        if key in ("command", "subcommand", "option", "directive", "heading", "usage", "about", "more"):
            finish()
            item, fields = None, {}
        if key == "version":
            version = value
        elif key == "command":
            command = target = commands[value] = Command(value)
        elif key == "subcommand":
            target = Command(value)
            command.subcommands.append(target)
        elif key in ("option", "directive"):
            item, fields = key, {key: value}
        elif item is not None:
            fields[key] = value
        elif key == "heading":
            target.options.append(value)
        elif key in ("summary", "usage", "about"):
            setattr(target, key, value)
    finish()
    return version, commands, directives
