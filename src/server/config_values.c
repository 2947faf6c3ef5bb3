/* Values and the directives that are more than a value. */
#include "server/config.h"

#include <stdio.h>
#include <stdlib.h>
#include <strings.h>

#include "base/num.h"
#include "base/text.h"

enum { SHOW_CAP = 120 };

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
	return parse_fail(
	    p, ERR_USAGE, "\"%s\" is neither true nor false", text_show(value, show, sizeof(show)));
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
		return parse_fail(p, ERR_USAGE, "\"%s\" is not a whole number",
		    text_show(value, show, sizeof(show)));
	n = minus ? -(int64_t)v : (int64_t)v;
	if (n < o->min || n > o->max)
		return parse_fail(p, ERR_USAGE, "%lld is not within %lld and %lld", (long long)n,
		    (long long)o->min, (long long)o->max);
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
	} units[] = { { 's', 1 }, { 'h', 3600 }, { 'd', 86400 }, { 'w', 604800 }, { 'm', 2592000 },
		{ 'y', 31536000 } };
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
			return parse_fail(p, ERR_USAGE, "\"%s\" is more than 136y",
			    text_show(value, show, sizeof(show)));
		return true;
	}
	return parse_fail(p, ERR_USAGE,
	    "\"%s\" is not a number followed by s, h, d, w, m or y, as 14d",
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
	return parse_fail(
	    p, ERR_USAGE, "\"%s\" is none of %s", text_show(value, show, sizeof(show)), o->value);
}

bool
parse_value(struct parse *p, const struct option *o, struct slice value, void *field)
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

/* ---- directives that are more than a value ---- */

bool
read_listener(struct parse *p, struct slice value)
{
	struct slice port = parse_word(&value);
	struct config_listener l, *more;
	uint64_t n = 0;
	char show[SHOW_CAP];

	if (!text_u64(port, 0, 65535, &n))
		return parse_fail(p, ERR_USAGE,
		    "\"%s\" is not a port number (1 to 65535; 0 for a unix socket)",
		    text_show(port, show, sizeof(show)));
	if (n == 0 && value.n == 0)
		return parse_fail(p, ERR_USAGE,
		    "port 0 is for unix sockets and needs a path: listener 0 /run/signet.sock");
	if (n != 0 && memchr(value.p, ' ', value.n) != NULL)
		return parse_fail(p, ERR_USAGE, "one address a listener, not \"%s\"",
		    text_show(value, show, sizeof(show)));
	if (p->c->n_listeners >= CONFIG_LISTENERS_MAX)
		return parse_fail(p, ERR_LIMIT, "more than %d listeners", CONFIG_LISTENERS_MAX);
	more = reallocarray(p->c->listeners, (size_t)p->c->n_listeners + 1, sizeof(*more));
	if (more == NULL)
		return parse_fail(p, ERR_MEMORY, "out of memory");
	p->c->listeners = more;
	config_listener_default(&l);
	l.port = (uint16_t)n;
	l.place = p->here;
	if (value.n > 0 && !read_text(p, value, n == 0 ? &l.path : &l.host)) {
		config_listener_done(&l);
		return false;
	}
	p->listener = (int)p->c->n_listeners;
	more[p->c->n_listeners++] = l;
	return true;
}

static bool
add_https(struct parse *p, struct slice value, bool plain)
{
	struct slice port = parse_word(&value);
	struct config_https *h = &p->c->https[p->c->n_https];
	uint64_t n = 0;
	char show[SHOW_CAP];

	if (!text_u64(port, plain ? 1 : 0, 65535, &n))
		return parse_fail(p, ERR_USAGE, "\"%s\" is not a port number (1 to 65535%s)", text_show(port, show, sizeof(show)),
		    plain ? "" : "; 0 for a unix socket");
	if (n == 0 && value.n == 0)
		return parse_fail(p, ERR_USAGE, "port 0 is for unix sockets and needs a path: https_listener 0 /run/signet-api.sock");
	if (n != 0 && memchr(value.p, ' ', value.n) != NULL)
		return parse_fail(p, ERR_USAGE, "one address a listener, not \"%s\"", text_show(value, show, sizeof(show)));
	if (p->c->n_https >= CONFIG_HTTPS_MAX)
		return parse_fail(p, ERR_LIMIT, "more than %d listeners of control", CONFIG_HTTPS_MAX);
	if (value.n > 0 && !read_text(p, value, n == 0 ? &h->path : &h->host))
		return false;
	h->port = (uint16_t)n;
	h->place = p->here;
	h->plain = plain;
	if (n == 0)
		(void)snprintf(h->name, sizeof(h->name), "%s", h->path);
	else
		(void)snprintf(h->name, sizeof(h->name), "%s %s%s%u", plain ? "http" : "https", h->host != NULL ? h->host : "", h->host != NULL ? ":" : "",
		    (unsigned)n);
	p->c->n_https++;
	return true;
}

bool
read_https_listener(struct parse *p, struct slice value)
{
	return add_https(p, value, false);
}

bool
read_http_listener(struct parse *p, struct slice value)
{
	return add_https(p, value, true);
}

bool
read_per_listener(struct parse *p, struct slice value)
{
	bool on = false;

	if (!read_bool(p, value, &on))
		return false;
	/* What stood before it has gone to another place than the reader of the file would
	 * think. */
	if (p->security_seen && on != p->c->per_listener_settings)
		return parse_fail(p, ERR_USAGE,
		    "must stand before all security directives (allow_anonymous, acl_file, …)");
	p->c->per_listener_settings = on;
	return true;
}

bool
read_log_dest(struct parse *p, struct slice value)
{
	static const struct {
		const char *name;
		unsigned bit;
	} dests[] = { { "stderr", CONFIG_LOG_STDERR }, { "stdout", CONFIG_LOG_STDOUT },
		{ "syslog", CONFIG_LOG_SYSLOG }, { "none", CONFIG_LOG_NONE },
		{ "topic", CONFIG_LOG_TOPIC }, { "journald", CONFIG_LOG_JOURNAL } };
	struct slice kind = parse_word(&value);
	char show[SHOW_CAP];
	size_t i;

	if (slice_eq(kind, SL("file"))) {
		if (value.n == 0)
			return parse_fail(p, ERR_USAGE, "a path is missing: log_dest file PATH");
		if (p->c->log_file != NULL)
			return parse_fail(p, ERR_USAGE,
			    "there is a log file already, %s; remove one of the two lines",
			    p->c->log_file);
		return read_text(p, value, &p->c->log_file);
	}
	for (i = 0; i < ARRAY_LEN(dests); i++) {
		if (value.n == 0 && slice_eq(kind, slice_str(dests[i].name))) {
			p->c->log_dest |= dests[i].bit;
			return true;
		}
	}
	if (slice_eq(kind, SL("dlt")) || slice_eq(kind, SL("android")))
		return parse_fail(p, ERR_USAGE, "\"%s\" is not supported; syslog and journald are",
		    text_show(kind, show, sizeof(show)));
	return parse_fail(p, ERR_USAGE, "\"%s\" is none of stderr, stdout, syslog, journald, topic, none, file PATH",
	    text_show(kind, show, sizeof(show)));
}

bool
read_log_type(struct parse *p, struct slice value)
{
	static const struct {
		const char *name;
		enum log_level level;
	} levels[] = { { "error", LOG_LVL_ERROR }, { "warning", LOG_LVL_WARNING },
		{ "notice", LOG_LVL_NOTICE }, { "information", LOG_LVL_INFO },
		{ "debug", LOG_LVL_DEBUG } };
	struct config *c = p->c;
	char show[SHOW_CAP];
	size_t i;

	for (i = 0; i < ARRAY_LEN(levels); i++) {
		if (!slice_eq(value, slice_str(levels[i].name)))
			continue;
		c->log_level =
		    c->log_type_set ? NUM_MAX(c->log_level, levels[i].level) : levels[i].level;
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
		    "\"%s\" is none of error, warning, notice, information, debug, subscribe, "
		    "unsubscribe, all, none",
		    text_show(value, show, sizeof(show)));
	}
	return true;
}

/* A format that writes nothing, or a page, is a mistake. */
bool
read_timestamp_format(struct parse *p, struct slice value)
{
	if (!read_text(p, value, &p->c->log_timestamp_format))
		return false;
	return log_timestamp_format_ok(p->c->log_timestamp_format) ||
	       parse_fail(p, ERR_USAGE, "writes nothing, or more than %d bytes", LOG_STAMP_MAX - 1);
}

bool
read_only_false(struct parse *p, struct slice value)
{
	bool on = false;

	return read_bool(p, value, &on) &&
	       (!on || parse_fail(p, ERR_USAGE, "%s", option_find(slice_str(p->word))->help));
}

bool
read_role_ca(struct parse *p, struct slice value)
{
	struct slice name = parse_word(&value);
	struct config_role_ca *more, rc = { .place = p->here };
	char show[SHOW_CAP];

	rc.factory = slice_eq(name, SL("factory"));
	if (rc.factory)
		rc.role = AUTHZ_ROLE_CLIENT;
	else if (!authz_role_parse(name, &rc.role))
		return parse_fail(p, ERR_USAGE, "\"%s\" is no role (cloud, client, watch, control, factory)",
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

static bool
is_separator(uint8_t c)
{
	return c == ' ' || c == '\t' || c == ',';
}

/* Levels as CONNECT has them: 3 is MQTT 3.1, 4 is 3.1.1, 5 is 5.0. */
bool
read_versions(struct parse *p, struct slice value)
{
	struct config_listener *l =
	    p->listener < 0 ? &p->c->fallback : &p->c->listeners[p->listener];
	unsigned bits = 0;
	char show[SHOW_CAP];
	size_t i, n;

	for (i = 0; i < value.n; i += n) {
		for (n = 0; i + n < value.n && !is_separator(value.p[i + n]); n++)
			;
		if (n == 1 && value.p[i] >= '3' && value.p[i] <= '5')
			bits |= 1u << (value.p[i] - '0');
		else if (n > 0)
			return parse_fail(p, ERR_USAGE, "\"%s\" is none of 3, 4 and 5",
			    text_show(slice_of(value.p + i, n), show, sizeof(show)));
		else
			n = 1;
	}
	if (bits == 0)
		return parse_fail(p, ERR_USAGE, "no version is left; write some of 3, 4 and 5");
	l->accept_versions = (uint8_t)bits;
	return true;
}

bool
read_websockets_origin(struct parse *p, struct slice value)
{
	struct config_listener *l =
	    p->listener < 0 ? &p->c->fallback : &p->c->listeners[p->listener];
	char **more, show[SHOW_CAP];

	if (memchr(value.p, ' ', value.n) != NULL || value.p[value.n - 1] == '/')
		return parse_fail(p, ERR_USAGE,
		    "\"%s\" is not what a browser sends: SCHEME://HOST or SCHEME://HOST:PORT, one "
		    "a "
		    "line and without a slash at the end",
		    text_show(value, show, sizeof(show)));
	if (l->n_origins >= CONFIG_ORIGINS_MAX)
		return parse_fail(
		    p, ERR_LIMIT, "more than %d origins of one listener", CONFIG_ORIGINS_MAX);
	more = reallocarray(l->origins, (size_t)l->n_origins + 1, sizeof(*more));
	if (more == NULL)
		return parse_fail(p, ERR_MEMORY, "out of memory");
	l->origins = more;
	more[l->n_origins] = NULL;
	if (!read_text(p, value, &more[l->n_origins]))
		return false;
	l->n_origins++;
	return true;
}
