/* What --help is made of, for programs. */
#include "cli/describe.h"

#include <stdio.h>

void
describe(const char *key, const char *value)
{
	if (value == NULL)
		return;
	(void)printf("%s\t", key);
	for (; *value != '\0'; value++) {
		(void)putchar(*value);
		if (*value == '\n')
			(void)putchar('\t');
	}
	(void)putchar('\n');
}

void
describe_option(const struct described *o)
{
	const char letter[] = { '-', o->letter, '\0' };
	char name[64];

	describe("option", o->letter != '\0' ? letter : "");
	if (o->name != NULL) {
		(void)snprintf(name, sizeof(name), "--%s", o->name);
		describe("name", name);
	}
	describe("value", o->value);
	describe("choices", o->choices);
	describe("help", o->help);
}
