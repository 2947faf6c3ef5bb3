/* Reads the configuration: lines to options. What goes together and what does not is config_finish()'s matter. */
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
static struct slice
take_word(struct slice *s)
{
	struct slice w = trim_left(*s);
	size_t n = 0;

	while (n < w.n && w.p[n] != ' ' && w.p[n] != '\t')
		n++;
	*s = trim_left(slice_from(w, n));
	w.n = n;
	return w;
}

static char *
copy_text(struct slice s)
{
	char *t = malloc(s.n + 1);

	if (t != NULL) {
		if (s.n > 0)
			memcpy(t, s.p, s.n);
		t[s.n] = '\0';
	}
	return t;
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
	return err_set(p->err, code, "%s: %s%s%s", where, p->word, p->word[0] != '\0' ? ": " : "", what);
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

/* ---- values ---- */

bool
read_bool(struct parse *p, struct slice value, bool *ret)
{
	char text[8], show[SHOW_CAP];

	if (text_copy(text, sizeof(text), value)) {
		if (strcasecmp(text, "true") == 0 || strcmp(text, "1") == 0) {
			*ret = true;
			return true;
		}
		if (strcasecmp(text, "false") == 0 || strcmp(text, "0") == 0) {
			*ret = false;
			return true;
		}
	}
	return parse_fail(p, ERR_USAGE, "\"%s\" is neither true nor false", text_show(value, show, sizeof(show)));
}

bool
read_text(struct parse *p, struct slice value, char **ret)
{
	char *copy;

	if (!utf8_ok(value))
		return parse_fail(p, ERR_USAGE, "the value is not UTF-8 text");
	copy = copy_text(value);
	if (copy == NULL)
		return parse_fail(p, ERR_MEMORY, "out of memory");
	free(*ret);
	*ret = copy;
	return true;
}

static bool
read_number(struct parse *p, const struct option *o, struct slice value, int64_t *ret)
{
	bool minus = value.n > 0 && value.p[0] == '-';
	uint64_t v = 0;
	char show[SHOW_CAP];
	int64_t n;

	if (!text_u64(slice_from(value, minus ? 1 : 0), 0, INT64_MAX, &v))
		return parse_fail(p, ERR_USAGE, "\"%s\" is not a whole number", text_show(value, show, sizeof(show)));
	n = minus ? -(int64_t)v : (int64_t)v;
	if (n < o->min || n > o->max)
		return parse_fail(p, ERR_USAGE, "%lld is not within %lld and %lld", (long long)n, (long long)o->min,
		    (long long)o->max);
	*ret = n;
	return true;
}

/* As mosquitto has it: a month is 30 days. */
static bool
read_duration(struct parse *p, const struct option *o, struct slice value, int64_t *ret)
{
	static const struct {
		char unit;
		int64_t s;
	} units[] = { { 'h', 3600 }, { 'd', 86400 }, { 'w', 604800 }, { 'm', 2592000 }, { 'y', 31536000 } };
	struct slice number = { value.p, value.n > 0 ? value.n - 1 : 0 };
	uint64_t v = 0;
	char show[SHOW_CAP];
	size_t i;

	for (i = 0; i < ARRAY_LEN(units); i++) {
		if (value.n == 0 || value.p[value.n - 1] != (uint8_t)units[i].unit)
			continue;
		if (!text_u64(number, 1, INT32_MAX, &v))
			break;
		*ret = (int64_t)v * units[i].s;
		if (*ret > o->max)
			return parse_fail(p, ERR_USAGE, "\"%s\" is more than 136y", text_show(value, show, sizeof(show)));
		return true;
	}
	return parse_fail(p, ERR_USAGE, "\"%s\" is not a number followed by h, d, w, m or y, as 14d",
	    text_show(value, show, sizeof(show)));
}

static bool
read_choice(struct parse *p, const struct option *o, struct slice value, int64_t *ret)
{
	const struct option_choice *ch;
	char show[SHOW_CAP];

	for (ch = o->choices; ch->name != NULL; ch++) {
		if (!slice_eq(value, slice_str(ch->name)))
			continue;
		if (ch->refused != NULL)
			return parse_fail(p, ERR_USAGE, "%s", ch->refused);
		*ret = ch->value;
		return true;
	}
	return parse_fail(p, ERR_USAGE, "\"%s\" is none of %s", text_show(value, show, sizeof(show)), o->value);
}

static bool
read_value(struct parse *p, const struct option *o, struct slice value, void *field)
{
	bool truth = false;

	switch (o->type) {
	case OPTION_BOOL:
		if (!read_bool(p, value, &truth))
			return false;
		if ((o->flags & OPTION_TRISTATE) != 0)
			*(int64_t *)field = truth;
		else
			*(bool *)field = truth;
		return true;
	case OPTION_INT:
		return read_number(p, o, value, field);
	case OPTION_DURATION:
		return read_duration(p, o, value, field);
	case OPTION_CHOICE:
		return read_choice(p, o, value, field);
	case OPTION_TEXT:
	case OPTION_PATH:
		return read_text(p, value, field);
	case OPTION_CALL:
		break;
	}
	return o->call(p, value);
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
	case OPTION_GLOBAL:
		break;
	}
	*ret_at = p->c->at;
	return p->c;
}

/* A text twice is an error as in mosquitto; of a number or truth the last one counts, and we say so. */
static bool
check_repeat(struct parse *p, const struct option *o, struct config_place before)
{
	char where[CONFIG_PLACE_CAP], here[CONFIG_PLACE_CAP];

	if (before.line == 0 || (o->flags & OPTION_REPEATS) != 0)
		return true;
	(void)config_place_text(p->c, before, where, sizeof(where));
	if (o->type == OPTION_TEXT || o->type == OPTION_PATH)
		return parse_fail(p, ERR_USAGE, "is set already at %s; remove one of the two lines", where);
	(void)config_place_text(p->c, p->here, here, sizeof(here));
	return config_warn(p->c, "%s: %s is set already at %s; this line counts", here, o->name, where) ||
	    parse_fail(p, ERR_MEMORY, "out of memory");
}

static bool
apply(struct parse *p, const struct option *o, struct slice value)
{
	struct config_place *at = NULL, before;
	void *base = scope_base(p, o, &at);
	size_t index = (size_t)(o - options);

	before = at[index];
	if (value.n == 0)
		return parse_fail(p, ERR_USAGE, "a value is missing: %s %s", o->name, o->value);
	if (!check_repeat(p, o, before))
		return false;
	if (!read_value(p, o, value, (char *)base + o->offset))
		return false;
	if (o->scope == OPTION_SECURITY)
		p->security_seen = true;
	/* include_dir may have moved the listeners in memory. */
	(void)scope_base(p, o, &at);
	if (o->call == NULL || o->call == read_per_listener)
		at[index] = p->here;
	return true;
}

/* ---- directives that are more than a value ---- */

static void
listener_default(struct config_listener *l)
{
	*l = (struct config_listener){ 0 };
	options_default(OPTION_LISTENER, l);
	options_default(OPTION_SECURITY, &l->own);
}

static void
listener_done(struct config_listener *l)
{
	options_free(OPTION_LISTENER, l);
	options_free(OPTION_SECURITY, &l->own);
	free(l->host);
	free(l->path);
}

bool
read_listener(struct parse *p, struct slice value)
{
	struct slice port = take_word(&value);
	struct config_listener l, *more;
	uint64_t n = 0;
	char show[SHOW_CAP];

	if (!text_u64(port, 0, 65535, &n))
		return parse_fail(p, ERR_USAGE, "\"%s\" is not a port number (1 to 65535; 0 for a unix socket)",
		    text_show(port, show, sizeof(show)));
	if (n == 0 && value.n == 0)
		return parse_fail(p, ERR_USAGE, "port 0 is for unix sockets and needs a path: listener 0 /run/signet.sock");
	if (n != 0 && memchr(value.p, ' ', value.n) != NULL)
		return parse_fail(p, ERR_USAGE, "one address a listener, not \"%s\"", text_show(value, show, sizeof(show)));
	if (p->c->n_listeners >= CONFIG_LISTENERS_MAX)
		return parse_fail(p, ERR_LIMIT, "more than %d listeners", CONFIG_LISTENERS_MAX);
	more = reallocarray(p->c->listeners, (size_t)p->c->n_listeners + 1, sizeof(*more));
	if (more == NULL)
		return parse_fail(p, ERR_MEMORY, "out of memory");
	p->c->listeners = more;
	listener_default(&l);
	l.port = (uint16_t)n;
	l.place = p->here;
	if (value.n > 0 && !read_text(p, value, n == 0 ? &l.path : &l.host)) {
		listener_done(&l);
		return false;
	}
	p->listener = (int)p->c->n_listeners;
	more[p->c->n_listeners++] = l;
	return true;
}

bool
read_per_listener(struct parse *p, struct slice value)
{
	bool on = false;

	if (!read_bool(p, value, &on))
		return false;
	/* What stood before it has gone to another place than the reader of the file would think. */
	if (p->security_seen && on != p->c->per_listener_settings)
		return parse_fail(p, ERR_USAGE, "must stand before all security directives (allow_anonymous, acl_file, …)");
	p->c->per_listener_settings = on;
	return true;
}

bool
read_log_dest(struct parse *p, struct slice value)
{
	static const struct {
		const char *name;
		unsigned bit;
	} dests[] = { { "stderr", CONFIG_LOG_STDERR }, { "stdout", CONFIG_LOG_STDOUT }, { "syslog", CONFIG_LOG_SYSLOG },
		{ "none", CONFIG_LOG_NONE } };
	struct slice kind = take_word(&value);
	char show[SHOW_CAP];
	size_t i;

	if (slice_eq(kind, SL("file"))) {
		if (value.n == 0)
			return parse_fail(p, ERR_USAGE, "a path is missing: log_dest file PATH");
		if (p->c->log_file != NULL)
			return parse_fail(p, ERR_USAGE, "there is a log file already, %s; remove one of the two lines",
			    p->c->log_file);
		return read_text(p, value, &p->c->log_file);
	}
	for (i = 0; i < ARRAY_LEN(dests); i++) {
		if (value.n == 0 && slice_eq(kind, slice_str(dests[i].name))) {
			p->c->log_dest |= dests[i].bit;
			return true;
		}
	}
	if (slice_eq(kind, SL("topic")) || slice_eq(kind, SL("dlt")))
		return parse_fail(p, ERR_USAGE, "\"%s\" is not supported yet", text_show(kind, show, sizeof(show)));
	return parse_fail(p, ERR_USAGE, "\"%s\" is none of stderr, stdout, syslog, none, file PATH",
	    text_show(kind, show, sizeof(show)));
}

bool
read_log_type(struct parse *p, struct slice value)
{
	static const struct {
		const char *name;
		enum log_level level;
	} levels[] = { { "error", LOG_LVL_ERROR }, { "warning", LOG_LVL_WARNING }, { "notice", LOG_LVL_NOTICE },
		{ "information", LOG_LVL_INFO }, { "debug", LOG_LVL_DEBUG } };
	struct config *c = p->c;
	char show[SHOW_CAP];
	size_t i;

	for (i = 0; i < ARRAY_LEN(levels); i++) {
		if (!slice_eq(value, slice_str(levels[i].name)))
			continue;
		c->log_level = c->log_type_set ? NUM_MAX(c->log_level, levels[i].level) : levels[i].level;
		c->log_type_set = true;
		return true;
	}
	if (slice_eq(value, SL("all"))) {
		c->log_level = LOG_LVL_DEBUG;
		c->log_type_set = c->log_subscribe = c->log_unsubscribe = true;
	} else if (slice_eq(value, SL("none"))) {
		c->log_none = true;
	} else if (slice_eq(value, SL("subscribe"))) {
		c->log_subscribe = true;
	} else if (slice_eq(value, SL("unsubscribe"))) {
		c->log_unsubscribe = true;
	} else if (!slice_eq(value, SL("websockets"))) {
		return parse_fail(p, ERR_USAGE,
		    "\"%s\" is none of error, warning, notice, information, debug, subscribe, unsubscribe, all, none",
		    text_show(value, show, sizeof(show)));
	}
	return true;
}

bool
read_role_ca(struct parse *p, struct slice value)
{
	struct slice name = take_word(&value);
	struct config_role_ca *more, rc = { .place = p->here };
	char show[SHOW_CAP];

	if (!authz_role_parse(name, &rc.role))
		return parse_fail(p, ERR_USAGE, "\"%s\" is no role (cloud, client, watch, control)",
		    text_show(name, show, sizeof(show)));
	if (value.n == 0)
		return parse_fail(p, ERR_USAGE, "the CA's file is missing: role_ca ROLE FILE");
	if (p->c->n_role_cas >= CONFIG_ROLE_CAS_MAX)
		return parse_fail(p, ERR_LIMIT, "more than %d role CAs", CONFIG_ROLE_CAS_MAX);
	more = reallocarray(p->c->role_cas, (size_t)p->c->n_role_cas + 1, sizeof(*more));
	if (more == NULL)
		return parse_fail(p, ERR_MEMORY, "out of memory");
	p->c->role_cas = more;
	if (!read_text(p, value, &rc.file))
		return false;
	more[p->c->n_role_cas++] = rc;
	return true;
}

/* ---- files ---- */

static bool read_file(struct parse *p, const char *path);

/* The order that mosquitto.conf(5) describes: by letter, the upper case of each before the lower. */
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
	int listener = p->listener;
	char path[PATH_MAX];
	size_t i;

	for (i = 0; i < n; i++) {
		if (!is_conf(names[i]))
			continue;
		if (!path_join(path, sizeof(path), dir, names[i]))
			return parse_fail(p, ERR_LIMIT, "the path of a file in it is too long");
		/* Each file begins at the default listener, as mosquitto's do. */
		p->listener = -1;
		if (!read_file(p, path))
			return false;
		p->here = here;
		p->listener = listener;
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
		return parse_fail(p, ERR_LIMIT, "the line is longer than %d bytes", CONFIG_LINE_MAX);
	if (line.n > 0 && memchr(line.p, '\0', line.n) != NULL)
		return parse_fail(p, ERR_INPUT, "there is a NUL byte in the line; is this a text file?");
	if (value.n == 0 || value.p[0] == '#')
		return true;
	name = take_word(&value);
	o = option_find(name);
	if (o != NULL) {
		p->word = o->name;
		return apply(p, o, value);
	}
	why = option_unsupported(name);
	(void)text_show(name, show, sizeof(show));
	if (why != NULL)
		return parse_fail(p, ERR_USAGE, "%s: %s", show, why);
	return parse_fail(p, ERR_USAGE, "unknown directive \"%s\"; `signet broker --help` lists them all", show);
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
	struct parse p = { .c = c, .reader = reader, .listener = -1, .word = "", .err = err };

	if (c == NULL) {
		(void)err_set(err, ERR_MEMORY, "out of memory");
		return NULL;
	}
	options_default(OPTION_GLOBAL, c);
	options_default(OPTION_SECURITY, &c->common);
	listener_default(&c->fallback);
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
		listener_done(&c->listeners[i]);
	free(c->listeners);
	listener_done(&c->fallback);
	options_free(OPTION_GLOBAL, c);
	options_free(OPTION_SECURITY, &c->common);
	for (i = 0; i < c->n_role_cas; i++)
		free(c->role_cas[i].file);
	free(c->role_cas);
	for (i = 0; i < c->n_files; i++)
		free(c->files[i]);
	for (i = 0; i < c->n_warnings; i++)
		free(c->warnings[i]);
	free(c->warnings);
	free(c->log_file);
	free(c);
}
