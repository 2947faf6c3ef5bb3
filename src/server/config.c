/* Reads the configuration: lines to options. What goes together and what does not is
 * config_finish()'s matter. */
#include "server/config.h"

#include <dirent.h>
#include <errno.h>
#include <limits.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <strings.h>

#include "base/file.h"
#include "base/num.h"
#include "base/text.h"
#include "server/server.h"

enum { SHOW_CAP = 120 };

static struct slice
trim_left(struct slice s)
{
	while (s.n > 0 && (s.p[0] == ' ' || s.p[0] == '\t'))
		s = slice_from(s, 1);
	return s;
}

static struct slice
trim(struct slice s)
{
	s = trim_left(s);
	while (s.n > 0 && (s.p[s.n - 1] == ' ' || s.p[s.n - 1] == '\t' || s.p[s.n - 1] == '\r'))
		s.n--;
	return s;
}

/* The first word; <s> keeps what follows it. */
struct slice
parse_word(struct slice *s)
{
	struct slice w = trim_left(*s);
	size_t n = 0;

	while (n < w.n && w.p[n] != ' ' && w.p[n] != '\t')
		n++;
	*s = trim_left(slice_from(w, n));
	w.n = n;
	return w;
}

const char *
config_place_text(const struct config *c, struct config_place p, char *out, size_t cap)
{
	if (p.line == 0 || p.file >= c->n_files)
		(void)snprintf(out, cap, "%s", "the configuration");
	else
		(void)snprintf(out, cap, "%s:%u", c->files[p.file], p.line);
	return out;
}

bool
parse_fail(struct parse *p, enum err_code code, const char *fmt, ...)
{
	char where[CONFIG_PLACE_CAP], what[480];
	va_list ap;

	va_start(ap, fmt);
	(void)vsnprintf(what, sizeof(what), fmt, ap);
	va_end(ap);
	(void)config_place_text(p->c, p->here, where, sizeof(where));
	return err_set(
	    p->err, code, "%s: %s%s%s", where, p->word, p->word[0] != '\0' ? ": " : "", what);
}

bool
config_warn(struct config *c, const char *fmt, ...)
{
	char text[640], **more;
	va_list ap;

	va_start(ap, fmt);
	(void)vsnprintf(text, sizeof(text), fmt, ap);
	va_end(ap);
	more = reallocarray(c->warnings, (size_t)c->n_warnings + 1, sizeof(*more));
	if (more == NULL)
		return false;
	c->warnings = more;
	more[c->n_warnings] = strdup(text);
	if (more[c->n_warnings] == NULL)
		return false;
	c->n_warnings++;
	return true;
}

/* ---- scopes ---- */

static struct config_listener *
current_listener(struct parse *p)
{
	return p->listener < 0 ? &p->c->fallback : &p->c->listeners[p->listener];
}

/* The struct that <o> belongs to at this place of the file, and its table of places. */
static void *
scope_base(struct parse *p, const struct option *o, struct config_place **ret_at)
{
	struct config_security *s;

	switch (o->scope) {
	case OPTION_LISTENER:
		*ret_at = current_listener(p)->at;
		return current_listener(p);
	case OPTION_SECURITY:
		s = p->c->per_listener_settings ? &current_listener(p)->own : &p->c->common;
		*ret_at = s->at;
		return s;
	case OPTION_BRIDGE:
		*ret_at = p->c->bridges[p->bridge].at;
		return &p->c->bridges[p->bridge];
	case OPTION_GLOBAL:
		break;
	}
	*ret_at = p->c->at;
	return p->c;
}

/* A text twice is an error as in mosquitto; of a number or truth the last one counts, and we say
 * so. */
static bool
check_repeat(struct parse *p, const struct option *o, struct config_place before)
{
	char where[CONFIG_PLACE_CAP], here[CONFIG_PLACE_CAP];

	if (before.line == 0 || (o->flags & OPTION_REPEATS) != 0)
		return true;
	(void)config_place_text(p->c, before, where, sizeof(where));
	if (o->type == OPTION_TEXT || o->type == OPTION_PATH)
		return parse_fail(
		    p, ERR_USAGE, "is set already at %s; remove one of the two lines", where);
	(void)config_place_text(p->c, p->here, here, sizeof(here));
	return config_warn(
		   p->c, "%s: %s is set already at %s; this line counts", here, o->name, where) ||
	       parse_fail(p, ERR_MEMORY, "out of memory");
}

static bool
apply(struct parse *p, const struct option *o, struct slice value)
{
	struct config_place *at = NULL, before;
	size_t index = (size_t)(o - options);
	void *base;

	if (o->scope == OPTION_BRIDGE && p->bridge < 0)
		return parse_fail(p, ERR_USAGE,
		    "belongs to a bridge: a `connection NAME` line must stand above it");
	base = scope_base(p, o, &at);
	before = at[index];
	if (value.n == 0)
		return parse_fail(p, ERR_USAGE, "a value is missing: %s %s", o->name, o->value);
	if (!check_repeat(p, o, before))
		return false;
	if (!parse_value(p, o, value, (char *)base + o->offset))
		return false;
	if (o->scope == OPTION_SECURITY)
		p->security_seen = true;
	/* include_dir may have moved the listeners in memory. */
	(void)scope_base(p, o, &at);
	at[index] = p->here;
	return true;
}

void
config_listener_default(struct config_listener *l)
{
	*l = (struct config_listener){ 0 };
	options_default(OPTION_LISTENER, l);
	options_default(OPTION_SECURITY, &l->own);
}

void
config_listener_done(struct config_listener *l)
{
	options_free(OPTION_LISTENER, l);
	options_free(OPTION_SECURITY, &l->own);
	free(l->host);
	free(l->path);
	while (l->n_origins > 0)
		free(l->origins[--l->n_origins]);
	free(l->origins);
	free(l->proxy_from);
	free(l->proxy_identity_from);
}

/* ---- files ---- */

static bool read_file(struct parse *p, const char *path);

/* The order that mosquitto.conf(5) describes: by letter, the upper case of each before the
 * lower. */
static int
name_order(const void *a, const void *b)
{
	const char *x = *(char *const *)a, *y = *(char *const *)b;
	int d = strcasecmp(x, y);

	return d != 0 ? d : strcmp(x, y);
}

static bool
is_conf(const char *name)
{
	size_t n = strlen(name);

	return n > 5 && strcmp(name + n - 5, ".conf") == 0;
}

static bool
include_all(struct parse *p, const char *dir, char *const *names, size_t n)
{
	struct config_place here = p->here;
	int listener = p->listener, bridge = p->bridge;
	char path[PATH_MAX];
	size_t i;

	for (i = 0; i < n; i++) {
		if (!is_conf(names[i]))
			continue;
		if (!path_join(path, sizeof(path), dir, names[i]))
			return parse_fail(p, ERR_LIMIT, "the path of a file in it is too long");
		/* Each file begins at the default listener, as mosquitto's do. */
		p->listener = p->bridge = -1;
		if (!read_file(p, path))
			return false;
		p->here = here;
		p->listener = listener;
		p->bridge = bridge;
		p->word = "include_dir";
	}
	return true;
}

bool
read_include_dir(struct parse *p, struct slice value)
{
	char **names = NULL, *dir = NULL;
	size_t n = 0, i;
	struct err err = { 0 };
	bool ok;

	if (p->depth >= CONFIG_DEPTH_MAX)
		return parse_fail(p, ERR_LIMIT, "nested more than %d deep", CONFIG_DEPTH_MAX);
	if (!read_text(p, value, &dir))
		return false;
	if (!p->reader->list(p->reader->ctx, dir, &names, &n, &err)) {
		free(dir);
		return parse_fail(p, err.code, "%s", err.text);
	}
	if (n > 0)
		qsort(names, n, sizeof(*names), name_order);
	p->depth++;
	ok = include_all(p, dir, names, n);
	p->depth--;
	for (i = 0; i < n; i++)
		free(names[i]);
	free(names);
	free(dir);
	return ok;
}

static bool
read_line(struct parse *p, struct slice line)
{
	struct slice name, value = trim(line);
	const struct option *o;
	const char *why;
	char show[SHOW_CAP];

	p->word = "";
	if (line.n > CONFIG_LINE_MAX)
		return parse_fail(
		    p, ERR_LIMIT, "the line is longer than %d bytes", CONFIG_LINE_MAX);
	if (line.n > 0 && memchr(line.p, '\0', line.n) != NULL)
		return parse_fail(
		    p, ERR_INPUT, "there is a NUL byte in the line; is this a text file?");
	if (value.n == 0 || value.p[0] == '#')
		return true;
	name = parse_word(&value);
	o = option_find(name);
	if (o != NULL) {
		p->word = o->name;
		return apply(p, o, value);
	}
	why = option_unsupported(name);
	(void)text_show(name, show, sizeof(show));
	if (why != NULL)
		return parse_fail(p, ERR_USAGE, "%s: %s", show, why);
	return parse_fail(
	    p, ERR_USAGE, "unknown directive \"%s\"; `signet broker --help` lists them all", show);
}

static bool
read_lines(struct parse *p, struct slice text, unsigned file)
{
	bool more = true;
	uint32_t n = 0;

	/* A byte order mark is what some editors leave at the beginning. */
	if (slice_starts(text, SL("\xef\xbb\xbf")))
		text = slice_from(text, 3);
	while (more) {
		struct slice line = slice_cut(&text, '\n', &more);

		p->here = (struct config_place){ (uint16_t)file, ++n };
		if (!read_line(p, line))
			return false;
	}
	return true;
}

static bool
read_file(struct parse *p, const char *path)
{
	struct err err = { 0 };
	uint8_t *text = NULL;
	unsigned file = p->c->n_files;
	size_t n = 0;
	bool ok;

	if (file >= CONFIG_FILES_MAX)
		return parse_fail(p, ERR_LIMIT, "more than %d files", CONFIG_FILES_MAX);
	if (!p->reader->read(p->reader->ctx, path, &text, &n, &err)) {
		if (p->here.line == 0)
			return err_set(p->err, err.code, "%s", err.text);
		return parse_fail(p, err.code, "%s", err.text);
	}
	p->c->files[file] = strdup(path);
	if (p->c->files[file] == NULL) {
		free(text);
		return parse_fail(p, ERR_MEMORY, "out of memory");
	}
	p->c->n_files++;
	ok = read_lines(p, slice_of(text, n), file);
	free(text);
	return ok;
}

static bool
real_read(void *ctx, const char *path, uint8_t **ret, size_t *ret_n, struct err *err)
{
	(void)ctx;
	return file_read(path, CONFIG_FILE_MAX, ret, ret_n, err);
}

static bool
real_list(void *ctx, const char *dir, char ***ret, size_t *ret_n, struct err *err)
{
	DIR *d = opendir(dir);
	char **names = NULL, **more;
	size_t n = 0;
	bool ok = true;
	const struct dirent *e;

	(void)ctx;
	if (d == NULL)
		return err_sys(err, "cannot open the directory %s", dir);
	while (ok && (e = readdir(d)) != NULL) {
		if (!is_conf(e->d_name))
			continue;
		more = reallocarray(names, n + 1, sizeof(*names));
		if (more != NULL)
			names = more;
		ok = more != NULL && (names[n] = strdup(e->d_name)) != NULL;
		n += ok;
	}
	(void)closedir(d); /* only read from */
	if (!ok) {
		while (n > 0)
			free(names[--n]);
		free(names);
		return err_set(err, ERR_MEMORY, "out of memory reading %s", dir);
	}
	*ret = names;
	*ret_n = n;
	return true;
}

const struct config_reader config_files = { NULL, real_read, real_list };

struct config *
config_read(const char *path, const struct config_reader *reader, struct err *err)
{
	struct config *c = calloc(1, sizeof(*c));
	struct parse p = { .c = c, .reader = reader, .listener = -1, .bridge = -1, .word = "", .err = err };

	if (c == NULL) {
		(void)err_set(err, ERR_MEMORY, "out of memory");
		return NULL;
	}
	options_default(OPTION_GLOBAL, c);
	options_default(OPTION_SECURITY, &c->common);
	config_listener_default(&c->fallback);
	c->log_level = LOG_LVL_INFO;
	if (path != NULL && !read_file(&p, path)) {
		config_free(c);
		return NULL;
	}
	return c;
}

void
config_free(struct config *c)
{
	unsigned i;

	if (c == NULL)
		return;
	for (i = 0; i < c->n_listeners; i++)
		config_listener_done(&c->listeners[i]);
	free(c->listeners);
	for (i = 0; c->bridges != NULL && i < c->n_bridges; i++)
		config_bridge_done(&c->bridges[i]);
	free(c->bridges);
	config_listener_done(&c->fallback);
	options_free(OPTION_GLOBAL, c);
	options_free(OPTION_SECURITY, &c->common);
	config_plugins_done(c);
	for (i = 0; i < c->n_role_cas; i++)
		free(c->role_cas[i].file);
	free(c->role_cas);
	for (i = 0; i < c->n_https; i++) {
		free(c->https[i].host);
		free(c->https[i].path);
	}
	for (i = 0; i < c->n_files; i++)
		free(c->files[i]);
	for (i = 0; i < c->n_warnings; i++)
		free(c->warnings[i]);
	free(c->warnings);
	free(c->log_file);
	free(c->log_timestamp_format);
	free(c->crl_url);
	free(c->ocsp_url);
	free(c->ca_issuers_url);
	free(c);
}
