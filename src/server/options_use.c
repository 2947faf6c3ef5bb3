/* What is done with the table of options: found by name, set to defaults, shown, printed for people. */
#include "server/config.h"
#include "server/server.h"

#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>

#include "base/num.h"
#include "base/text.h"

const struct option *
option_find(struct slice name)
{
	unsigned i;

	for (i = 0; i < options_n; i++)
		if (slice_eq(name, slice_str(options[i].name)))
			return &options[i];
	return NULL;
}

struct config_place
option_at(const struct config_place *at, const char *name)
{
	const struct option *o = option_find(slice_str(name));

	return o != NULL ? at[o - options] : (struct config_place){ 0 };
}

void
options_default(enum option_scope scope, void *base)
{
	unsigned i;

	for (i = 0; i < options_n; i++) {
		const struct option *o = &options[i];
		char *field = (char *)base + o->offset;

		if (o->scope != scope)
			continue;
		if (o->type == OPTION_BOOL && (o->flags & OPTION_TRISTATE) == 0)
			*(bool *)(void *)field = o->def != 0;
		else if (o->type == OPTION_BOOL || o->type == OPTION_INT ||
			 o->type == OPTION_DURATION || o->type == OPTION_CHOICE)
			*(int64_t *)(void *)field = o->def;
	}
}

void
options_free(enum option_scope scope, void *base)
{
	unsigned i;

	for (i = 0; i < options_n; i++) {
		const struct option *o = &options[i];
		char **field = (char **)(void *)((char *)base + o->offset);

		if (o->scope != scope || (o->type != OPTION_TEXT && o->type != OPTION_PATH))
			continue;
		free(*field);
		*field = NULL;
	}
}

const char *
option_show(const struct option *o, const void *base, char *out, size_t cap)
{
	const void *field = (const char *)base + o->offset;
	const struct option_choice *ch;
	int64_t v;

	switch (o->type) {
	case OPTION_TEXT:
	case OPTION_PATH:
		(void)snprintf(
		    out, cap, "%s", *(char *const *)field != NULL ? *(char *const *)field : "");
		return out;
	case OPTION_BOOL:
		v = (o->flags & OPTION_TRISTATE) != 0 ? *(const int64_t *)field
						      : *(const bool *)field;
		(void)snprintf(out, cap, "%s", v < 0 ? "" : v > 0 ? "true" : "false");
		return out;
	case OPTION_CHOICE:
		for (ch = o->choices; ch->name != NULL; ch++)
			if (ch->value == *(const int64_t *)field) {
				(void)snprintf(out, cap, "%s", ch->name);
				return out;
			}
		break;
	case OPTION_INT:
	case OPTION_DURATION:
		(void)snprintf(out, cap, "%" PRId64, *(const int64_t *)field);
		return out;
	case OPTION_CALL:
		break;
	}
	(void)snprintf(out, cap, "%s", "");
	return out;
}

/* The default in words. */
static const char *
default_text(const struct option *o, char *out, size_t cap)
{
	const struct option_choice *ch;

	if (o->def_text != NULL)
		return o->def_text;
	if (o->type == OPTION_BOOL)
		return o->def > 0 ? "true" : "false";
	if (o->type == OPTION_CHOICE)
		for (ch = o->choices; ch->name != NULL; ch++)
			if (ch->value == o->def)
				return ch->name;
	if (o->type != OPTION_INT)
		return "";
	(void)snprintf(out, cap, "%" PRId64, o->def);
	return out;
}

static const char *
scope_text(const struct option *o)
{
	static const char *const scopes[] = { "global", "listener", "security", "bridge" };

	return (o->flags & OPTION_CONTROL) != 0 ? "control" : scopes[o->scope];
}

void
options_each(void (*each)(void *ctx, const struct server_directive *d), void *ctx)
{
	char number[32];
	unsigned i;

	for (i = 0; i < options_n; i++) {
		const struct option *o = &options[i];
		struct server_directive d = { o->name, o->value, scope_text(o),
			default_text(o, number, sizeof(number)), o->help,
			(o->flags & OPTION_NEXT_START) != 0, (o->flags & OPTION_OLD) != 0 };

		each(ctx, &d);
	}
}

void
options_print(bool markdown, void (*line)(void *ctx, const char *text), void *ctx)
{
	char text[512], number[32];
	const char *def;
	unsigned i;

	if (markdown) {
		line(ctx, "| Directive | Scope | Default | Meaning |");
		line(ctx, "|---|---|---|---|");
	}
	for (i = 0; i < options_n; i++) {
		const struct option *o = &options[i];

		def = default_text(o, number, sizeof(number));
		if (!markdown) {
			(void)snprintf(text, sizeof(text), "  %s %s%s%s%s", o->name, o->value,
			    def[0] != '\0' ? "  [" : "", def, def[0] != '\0' ? "]" : "");
			line(ctx, text);
			(void)snprintf(text, sizeof(text), "      %s", o->help);
		} else {
			char value[96];
			size_t at = 0;
			const char *c;

			/* A bar ends a cell of the table. */
			for (c = o->value; *c != '\0' && at < sizeof(value) - 2; c++) {
				if (*c == '|')
					value[at++] = '\\';
				value[at++] = *c;
			}
			value[at] = '\0';
			(void)snprintf(text, sizeof(text), "| `%s` %s | %s%s | %s | %s |", o->name,
			    value, scope_text(o),
			    (o->flags & OPTION_NEXT_START) != 0 ? ", at start" : "", def, o->help);
		}
		line(ctx, text);
	}
}
