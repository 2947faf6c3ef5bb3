/* The tables behind --help for programs: `signet --describe` prints them, and man pages and shell
 * completion are made of that. One "key<TAB>value" a line; a line that begins with a tab goes on
 * with the value above it. */
#ifndef CLI_DESCRIBE_H
#define CLI_DESCRIBE_H

#include <stdbool.h>
#include <string.h>

/* Was this asked for? It takes no other words. */
static inline bool
describe_asked(int argc, char *argv[])
{
	return argc == 2 && strcmp(argv[1], "--describe") == 0;
}

/* NULL: nothing. */
void describe(const char *key, const char *value);
/* <letter> 0, <name> NULL: it has none; <value> NULL: nothing stands behind it; <choices>: words
 * with spaces between them that may stand there, or NULL. */
struct described {
	char letter;
	const char *name, *value, *choices, *help;
};
void describe_option(const struct described *o);

#endif
