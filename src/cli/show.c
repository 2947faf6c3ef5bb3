/* Certificates on standard output, for people and as JSON. */
#include "cli/internal.h"

#include <stdlib.h>
#include <string.h>
#include "base/file.h"
#include "base/num.h"
#include "base/secret.h"
#include "base/text.h"

enum { SHOW_FILE_MAX = 256 << 20 }; /* a CRL may be large */

void
show_json_string(FILE *out, const char *s)
{
	(void)fputc('"', out);
	for (; *s != '\0'; s++) {
		unsigned char c = (unsigned char)*s;

		if (c == '"' || c == '\\')
			(void)fprintf(out, "\\%c", c);
		else if (c < 0x20 || c == 0x7f)
			(void)fprintf(out, "\\u%04x", c);
		else
			(void)fputc(c, out);
	}
	(void)fputc('"', out);
}

static void
close_list(struct show *s)
{
	if (s->json && s->list[0] != '\0')
		(void)printf("]");
	s->list[0] = '\0';
}

static void
close_object(struct show *s)
{
	close_list(s);
	if (s->open)
		(void)printf(s->json ? "}" : "");
	s->open = false;
}

struct viewing {
	struct show *s;
	const char *name;
};

static void
on_begin(void *ctx, const char *kind, unsigned line)
{
	struct viewing *v = ctx;

	close_object(v->s);
	if (v->s->json) {
		(void)printf(v->s->objects == 0 ? "[{\"file\":" : ",\n {\"file\":");
		show_json_string(stdout, v->name);
		(void)printf(",\"line\":%u,\"kind\":", line);
		show_json_string(stdout, kind);
	} else {
		(void)printf("%s%s", v->s->objects == 0 ? "" : "\n", v->name);
		if (line > 1)
			(void)printf(":%u", line);
		(void)printf(": %s\n", kind);
	}
	v->s->open = true;
	v->s->objects++;
}

static void
json_field(struct show *s, const char *name, const char *value, bool many)
{
	if (many && strcmp(s->list, name) == 0) {
		(void)printf(",");
	} else {
		close_list(s);
		(void)printf(",");
		show_json_string(stdout, name);
		(void)printf(many ? ":[" : ":");
		if (many)
			(void)snprintf(s->list, sizeof s->list, "%s", name);
	}
	show_json_string(stdout, value);
}

static void
on_field(void *ctx, const char *name, const char *value, bool many)
{
	struct show *s = ((struct viewing *)ctx)->s;
	char label[32];

	if (s->json) {
		json_field(s, name, value, many);
		return;
	}
	(void)snprintf(label, sizeof label, "%s", strcmp(s->list, name) == 0 ? "" : name);
	for (size_t i = 0; label[i] != '\0'; i++) {
		if (label[i] == '_')
			label[i] = ' ';
	}
	(void)printf("  %-19s %s\n", label, value);
	(void)snprintf(s->list, sizeof s->list, "%s", many ? name : "");
}

bool
show_bytes(struct show *s, struct slice data, const char *name, struct err *err)
{
	struct viewing v = { s, name };
	struct pki_view view = { on_begin, on_field, &v, s->secret };

	return pki_inspect(data, name, 0, &view, err);
}

bool
show_file(struct show *s, const char *path, struct err *err)
{
	uint8_t *data;
	size_t n;
	bool ok;

	if (!file_read(path, SHOW_FILE_MAX, &data, &n, err))
		return false;
	ok = show_bytes(s, slice_of(data, n), path, err);
	secret_free(data, n); /* it may be a key */
	return ok;
}

void
show_end(struct show *s)
{
	close_object(s);
	if (s->json)
		(void)printf(s->objects == 0 ? "[]\n" : "]\n");
}

struct search {
	const char *field;
	char *out;
	size_t cap;
	unsigned objects;
	bool found;
};

static void
count_object(void *ctx, const char *kind, unsigned line)
{
	struct search *s = ctx;

	(void)kind;
	(void)line;
	s->objects++;
}

static void
take_field(void *ctx, const char *name, const char *value, bool many)
{
	struct search *s = ctx;

	(void)many;
	if (s->objects == 1 && !s->found && strcmp(name, s->field) == 0) {
		s->found = true;
		(void)snprintf(s->out, s->cap, "%s", value);
	}
}

bool
show_field(const char *path, const char *field, char *out, size_t cap, struct err *err)
{
	struct search s = { field, out, cap, 0, false };
	struct pki_view view = { count_object, take_field, &s, NULL };
	uint8_t *data;
	size_t n;
	bool ok;

	out[0] = '\0';
	if (!file_read(path, PKI_FILE_MAX, &data, &n, err))
		return false;
	ok = pki_inspect(slice_of(data, n), path, 0, &view, err);
	secret_free(data, n);
	return ok;
}
