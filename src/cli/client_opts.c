/* From argv to struct client_opts: each word through the table of flags, then the rules between
 * flags. */
#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "base/file.h"
#include "base/num.h"
#include "base/secret.h"
#include "base/text.h"
#include "cli/client_flags.h"
#include "cli/format.h"
#include "passwd/passwd.h"
#include "topic/topic.h"

enum { PASSWORD_MAX = 65535, FLAG_TEXT_MAX = 48 };

/* ---- parsers of single flags ---- */

static bool
from(struct client_opts *o, enum payload_from from, struct err *err)
{
	if (o->from != PAYLOAD_NONE)
		return err_set(err, ERR_USAGE,
		    "only one kind of message can be sent: one of -m, -f, -l, -n, -s");
	o->from = from;
	return true;
}

bool
flag_message(struct client_opts *o, struct flag_args *a, struct err *err)
{
	o->message = a->v[0];
	return from(o, PAYLOAD_MESSAGE, err);
}

bool
flag_file(struct client_opts *o, struct flag_args *a, struct err *err)
{
	o->file = a->v[0];
	return from(o, PAYLOAD_FILE, err);
}

bool
flag_null(struct client_opts *o, struct flag_args *a, struct err *err)
{
	(void)a;
	return from(o, PAYLOAD_EMPTY, err);
}

bool
flag_stdin(struct client_opts *o, struct flag_args *a, struct err *err)
{
	(void)a;
	return from(o, PAYLOAD_STDIN, err);
}

bool
flag_lines(struct client_opts *o, struct flag_args *a, struct err *err)
{
	(void)a;
	return from(o, PAYLOAD_LINES, err);
}

/* A copy of <n> bytes as password; what was there is wiped. */
static bool
set_password(struct client_opts *o, const void *p, size_t n, struct err *err)
{
	char *copy = malloc(n + 1);

	if (n > PASSWORD_MAX) {
		free(copy);
		return err_set(
		    err, ERR_USAGE, "the password is longer than %d bytes", PASSWORD_MAX);
	}
	if (copy == NULL)
		return err_set(err, ERR_MEMORY, "out of memory");
	memcpy(copy, p, n);
	copy[n] = '\0';
	secret_free(o->password, o->password_n);
	o->password = copy;
	o->password_n = n;
	return true;
}

bool
flag_password(struct client_opts *o, struct flag_args *a, struct err *err)
{
	size_t n = strlen(a->v[0]);
	bool ok = set_password(o, a->v[0], n, err);

	/* argv is what the list of processes shows. */
	secret_wipe(a->v[0], n);
	return ok;
}

bool
flag_url(struct client_opts *o, struct flag_args *a, struct err *err)
{
	bool ok = client_url_parse(o, a->v[0], err);

	if (o->password != NULL)
		secret_wipe(a->v[0], strlen(a->v[0]));
	return ok;
}

bool
flag_version(struct client_opts *o, struct flag_args *a, struct err *err)
{
	static const struct {
		const char *text;
		uint32_t version;
	} names[] = {
		{ "mqttv5", MQTT_V5 },
		{ "5", MQTT_V5 },
		{ "mqttv311", MQTT_V311 },
		{ "311", MQTT_V311 },
		{ "mqttv31", MQTT_V31 },
		{ "31", MQTT_V31 },
	};

	for (size_t i = 0; i < ARRAY_LEN(names); i++) {
		if (strcmp(a->v[0], names[i].text) == 0) {
			o->version = names[i].version;
			return true;
		}
	}
	return err_set(
	    err, ERR_USAGE, "%s: the versions are mqttv5, mqttv311 and mqttv31", a->flag);
}

bool
flag_property(struct client_opts *o, struct flag_args *a, struct err *err)
{
	bool pair = a->n >= 2 && client_prop_is_pair(a->v[1]);

	a->used = pair ? 4 : 3;
	if (a->n < a->used)
		return err_set(err, ERR_USAGE,
		    "%s wants PACKET NAME VALUE, and for user-property PACKET user-property NAME "
		    "VALUE",
		    a->flag);
	o->version = MQTT_V5; /* properties are new in 5 */
	return client_prop_add(o, a->v[0], a->v[1], a->v[2], pair ? a->v[3] : NULL, err);
}

bool
flag_auth_method(struct client_opts *o, struct flag_args *a, struct err *err)
{
	if (strcasecmp(a->v[0], SCRAM_METHOD) != 0)
		return err_set(err, ERR_USAGE, "%s: the only method is " SCRAM_METHOD, a->flag);
	o->version = MQTT_V5;
	return o->scram = true;
}

bool
flag_expiry(struct client_opts *o, struct flag_args *a, struct err *err)
{
	struct mqtt_props *p = &o->props[PROP_CONNECT].p;
	const char *s = a->v[0];
	uint64_t n = UINT32_MAX;

	if (strcmp(s, "-1") != 0 && strcmp(s, "∞") != 0 &&
	    !text_u64(slice_str(s), 0, UINT32_MAX, &n))
		return err_set(
		    err, ERR_USAGE, "%s: seconds from 0 to 4294967295, or -1 for ever", a->flag);
	p->session_expiry = (uint32_t)n;
	mqtt_set(p, MQTT_P_SESSION_EXPIRY);
	return true;
}

/* A decimal fraction, times <scale>, within [min, max] after scaling. */
static bool
scaled(const char *s, double scale, double min, double max, uint32_t *ret)
{
	char *end;
	double v = strtod(s, &end) * scale;

	if (end == s || *end != '\0' || !isfinite(v) || v < min || v > max)
		return false;
	*ret = (uint32_t)(v + 0.5);
	return true;
}

bool
flag_delay(struct client_opts *o, struct flag_args *a, struct err *err)
{
	if (!scaled(a->v[0], 1000, 0, 4e9, &o->repeat_delay_ms))
		return err_set(err, ERR_USAGE, "%s: seconds, 0 or more", a->flag);
	return true;
}

bool
flag_random(struct client_opts *o, struct flag_args *a, struct err *err)
{
	if (!scaled(a->v[0], 10, 1, 1000, &o->random_permille))
		return err_set(err, ERR_USAGE, "%s: percent from 0.1 to 100.0", a->flag);
	return true;
}

bool
flag_keyform(struct client_opts *o, struct flag_args *a, struct err *err)
{
	if (strcmp(a->v[0], "pem") != 0)
		return flag_refuse_engine(o, a, err);
	return true;
}

bool
flag_refuse_srv(struct client_opts *o, struct flag_args *a, struct err *err)
{
	(void)o;
	return err_set(err, ERR_USAGE,
	    "%s is not supported: look the record up ('host -t SRV _mqtt._tcp.DOMAIN') and give "
	    "its host and port with -h and -p",
	    a->flag);
}

bool
flag_refuse_proxy(struct client_opts *o, struct flag_args *a, struct err *err)
{
	(void)o;
	return err_set(err, ERR_USAGE,
	    "%s is not supported: SOCKS proxies are not implemented; forward a port "
	    "('ssh -L') and connect to it",
	    a->flag);
}

bool
flag_refuse_engine(struct client_opts *o, struct flag_args *a, struct err *err)
{
	(void)o;
	return err_set(err, ERR_USAGE,
	    "%s is not supported: OpenSSL engines are not implemented; use a key file in PEM form",
	    a->flag);
}

/* ---- the table ---- */

static bool
list_add(struct text_list *l, const char *text)
{
	const char **grown = realloc(l->v, (l->n + 1) * sizeof *grown);

	if (grown == NULL)
		return false;
	l->v = grown;
	l->v[l->n++] = text;
	return true;
}

static bool
take_number(uint32_t *at, const struct flag *f, const struct flag_args *a, struct err *err)
{
	uint64_t n;
	char shown[64];

	if (!text_u64(slice_str(a->v[0]), f->min, f->max, &n))
		return err_set(err, ERR_USAGE, "%s: a number from %u to %u, not '%s'", a->flag,
		    f->min, f->max, text_show(slice_str(a->v[0]), shown, sizeof shown));
	*at = (uint32_t)n;
	return true;
}

static bool
apply(struct client_opts *o, const struct flag *f, struct flag_args *a, struct err *err)
{
	void *at = (uint8_t *)o + f->at;

	a->used = f->arg != NULL ? 1 : 0;
	if (a->n < a->used)
		return err_set(err, ERR_USAGE, "%s wants %s behind it", a->flag, f->arg);
	switch (f->kind) {
	case FLAG_ON:
		*(bool *)at = true;
		return true;
	case FLAG_TEXT:
		*(const char **)at = a->v[0];
		return true;
	case FLAG_NUMBER:
		return take_number(at, f, a, err);
	case FLAG_LIST:
		return list_add(at, a->v[0]) || err_set(err, ERR_MEMORY, "out of memory");
	case FLAG_OTHER:
		break;
	}
	return f->parse(o, a, err);
}

static const struct flag *
find(enum client_cmd cmd, const char *word)
{
	bool is_long = word[0] == '-' && word[1] == '-';

	for (const struct flag *f = client_flags; f->name != NULL || f->letter != 0; f++) {
		if ((f->cmds & (unsigned)cmd) == 0)
			continue;
		if (is_long && f->name != NULL && strcmp(f->name, word + 2) == 0)
			return f;
		if (word[0] == '-' && word[1] != '\0' && word[1] == f->letter && word[2] == '\0')
			return f;
	}
	return NULL;
}

/* ---- rules between flags ---- */

static bool
check_topics(const struct client_opts *o, struct err *err)
{
	char shown[128];

	for (size_t i = 0; o->cmd != CLIENT_SUB && i < o->topics.n; i++)
		if (!topic_name_ok(slice_str(o->topics.v[i])))
			return err_set(err, ERR_USAGE,
			    "one cannot publish to the topic '%s': it is empty, too deep, or has a "
			    "+ or #",
			    text_show(slice_str(o->topics.v[i]), shown, sizeof shown));
	for (size_t i = 0; i < o->topics.n; i++)
		if (!utf8_ok(slice_str(o->topics.v[i])) || strlen(o->topics.v[i]) > UINT16_MAX)
			return err_set(err, ERR_USAGE, "a topic is UTF-8 of at most 65535 bytes");
	return true;
}

static bool
check_filters(const struct text_list *l, const char *what, struct err *err)
{
	struct slice name, inner;
	char shown[128];

	for (size_t i = 0; i < l->n; i++) {
		struct slice f = slice_str(l->v[i]);
		enum topic_share share = topic_share_split(f, &name, &inner);

		if (share == TOPIC_SHARE_BAD || (share == TOPIC_SHARE_NO && !topic_filter_ok(f)) ||
		    !utf8_ok(f) || f.n > UINT16_MAX)
			return err_set(err, ERR_USAGE,
			    "%s '%s' is not a valid filter: + and # stand for whole levels, # only "
			    "at the end",
			    what, text_show(f, shown, sizeof shown));
	}
	return true;
}

static bool
check_sub(const struct client_opts *o, struct err *err)
{
	if (o->topics.n == 0)
		return err_set(err, ERR_USAGE, "no topic to subscribe to; give -t");
	if (o->no_retained && o->retained_only)
		return err_set(
		    err, ERR_USAGE, "-R and --retained-only together leave nothing to show");
	return check_filters(&o->topics, "-t", err) && check_filters(&o->unsubscribe, "-U", err) &&
	       check_filters(&o->filter_out, "-T", err);
}

static bool
check_sending(const struct client_opts *o, struct err *err)
{
	if (o->cmd == CLIENT_RR &&
	    (o->topics.n == 0 || o->from == PAYLOAD_NONE || o->response_topic == NULL))
		return err_set(err, ERR_USAGE,
		    "a request needs a topic (-t), a message (-m, -f, -n or -s) and a response "
		    "topic (-e)");
	if (o->topics.n == 0 || o->from == PAYLOAD_NONE)
		return err_set(err, ERR_USAGE,
		    "topic (-t) and message (-m, -f, -l, -n or -s) must both be given");
	if (o->response_topic != NULL && !topic_name_ok(slice_str(o->response_topic)))
		return err_set(err, ERR_USAGE, "-e: a response topic has no + or #");
	return true;
}

static bool
check_will(const struct client_opts *o, struct err *err)
{
	if (o->will_topic == NULL && (o->will_payload != NULL || o->will_qos > 0 ||
					 o->will_retain || o->props[PROP_WILL].p.present != 0))
		return err_set(err, ERR_USAGE, "a will needs --will-topic");
	if (o->will_topic != NULL &&
	    (!topic_name_ok(slice_str(o->will_topic)) || !utf8_ok(slice_str(o->will_topic))))
		return err_set(err, ERR_USAGE, "--will-topic: a topic without + and #");
	if (o->will_payload != NULL && strlen(o->will_payload) > UINT16_MAX)
		return err_set(err, ERR_USAGE, "--will-payload is longer than 65535 bytes");
	return true;
}

static bool
settle_tls(struct client_opts *o, struct err *err)
{
	const struct wire_tls_opts *t = &o->tls;

	if ((t->cert == NULL) != (t->key == NULL))
		return err_set(err, ERR_USAGE, "--cert and --key belong together; give both");
	if ((t->psk == NULL) != (t->psk_identity == NULL))
		return err_set(
		    err, ERR_USAGE, "--psk and --psk-identity belong together; give both");
	if (t->psk != NULL && (t->cafile != NULL || t->capath != NULL || t->cert != NULL))
		return err_set(err, ERR_USAGE,
		    "--psk is instead of certificates; leave out --cafile, --capath and --cert");
	/* Any word about TLS means TLS: nothing that was meant to be secret goes out in plain
	 * because one flag was missing. */
	o->use_tls = o->use_tls || t->cafile != NULL || t->capath != NULL || t->cert != NULL ||
		     t->psk != NULL || t->os_certs || t->insecure || t->version != NULL ||
		     t->ciphers != NULL || t->alpn != NULL ||
		     (o->port == 8883 && o->unix_path == NULL);
	if (o->port == 0)
		o->port = o->use_tls ? 8883 : 1883;
	return true;
}

static bool
settle_password(struct client_opts *o, struct err *err)
{
	char *env = getenv("SIGNET_MQTT_PASSWORD");
	uint8_t *file = NULL;
	size_t n = 0;
	bool ok = true;

	if (o->pw_file != NULL) {
		if (!file_read(o->pw_file, PASSWORD_MAX + 2, &file, &n, err))
			return err_prefix(err, "--pw-file");
		ok = set_password(o, file, strcspn((char *)file, "\r\n"), err);
		secret_free(file, n);
	} else if (o->password == NULL && o->username != NULL && env != NULL) {
		ok = set_password(o, env, strlen(env), err);
	}
	if (env != NULL) {
		secret_wipe(env, strlen(env));
		unsetenv("SIGNET_MQTT_PASSWORD");
	}
	/* [MQTT-3.1.2-22] of 3.1.1; 5 allows it. */
	if (ok && o->scram && (o->password == NULL || o->username == NULL))
		return err_set(err, ERR_USAGE, "--auth-method needs a user name (-u) and a password (--pw-file)");
	if (ok && o->scram && o->version != MQTT_V5)
		return err_set(err, ERR_USAGE, "--auth-method needs MQTT 5 (-V mqttv5)");
	if (ok && o->password != NULL && o->username == NULL && o->version != MQTT_V5)
		return err_set(err, ERR_USAGE, "a password needs a user name (-u) before MQTT 5");
	return ok;
}

static bool
settle_id(struct client_opts *o, struct err *err)
{
	static const char letters[] =
	    "0123456789ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz";
	const struct mqtt_props *p = &o->props[PROP_CONNECT].p;
	bool for_ever = mqtt_has(p, MQTT_P_SESSION_EXPIRY) && p->session_expiry == UINT32_MAX;
	uint8_t random[16];

	if (o->id != NULL && o->id_prefix != NULL)
		return err_set(err, ERR_USAGE, "-i and -I cannot be used together");
	if (o->id != NULL)
		return (utf8_ok(slice_str(o->id)) && strlen(o->id) <= UINT16_MAX) ||
		       err_set(err, ERR_USAGE, "-i: a client id is UTF-8 of at most 65535 bytes");
	if (o->id_prefix != NULL) {
		if (snprintf(o->id_made, sizeof o->id_made, "%s%d", o->id_prefix, (int)getpid()) >=
		    (int)sizeof o->id_made)
			return err_set(err, ERR_USAGE, "-I: the prefix is too long");
		return utf8_ok(slice_str(o->id_prefix)) ||
		       err_set(err, ERR_USAGE, "-I: a client id is UTF-8");
	}
	if (o->tls.cert != NULL)
		return wire_cert_name(o->tls.cert, o->id_made, sizeof o->id_made, err);
	if (o->keep_session || (for_ever && o->version == MQTT_V5))
		return err_set(err, ERR_USAGE, "a session that is kept needs a client id: give -i");
	if (o->version != MQTT_V31)
		return true;
	/* 3.1 has no empty ids; at most 23 characters. */
	random_bytes(random, sizeof random);
	memcpy(o->id_made, "signet-", 7);
	for (size_t i = 0; i < sizeof random; i++)
		o->id_made[7 + i] = letters[random[i] % (sizeof letters - 1)];
	return true;
}

static void
settle_session(struct client_opts *o)
{
	struct mqtt_props *p = &o->props[PROP_CONNECT].p;

	/* What -c says in MQTT 5 words. */
	if (o->version == MQTT_V5 && o->keep_session && !mqtt_has(p, MQTT_P_SESSION_EXPIRY)) {
		p->session_expiry = UINT32_MAX;
		mqtt_set(p, MQTT_P_SESSION_EXPIRY);
	}
}

static bool
settle(struct client_opts *o, struct err *err)
{
	bool ok = o->cmd == CLIENT_SUB ? check_sub(o, err) : check_sending(o, err);

	if (ok && o->format != NULL)
		ok = format_check(o->format, err);
	return ok && check_topics(o, err) && check_will(o, err) && settle_tls(o, err) &&
	       settle_password(o, err) && (settle_session(o), settle_id(o, err));
}

bool
client_opts_parse(
    struct client_opts *o, enum client_cmd cmd, int argc, char **argv, struct err *err)
{
	char flag[FLAG_TEXT_MAX];

	*o = (struct client_opts){
		.cmd = cmd,
		.host = "localhost",
		.version = cmd == CLIENT_RR ? MQTT_V5 : MQTT_V311,
		.keep_alive = 60,
		.max_inflight = 20,
		.repeat = 1,
		.random_permille = 1000,
	};
	for (int i = 1; i < argc; i++) {
		const struct flag *f = find(cmd, argv[i]);
		struct flag_args a = { flag, argv + i + 1, argc - i - 1, 0 };

		text_show(slice_str(argv[i]), flag, sizeof flag);
		if (f == NULL)
			return err_set(err, ERR_USAGE, "unknown flag '%s'", flag);
		if (!apply(o, f, &a, err))
			return false;
		if (o->help || o->show_version)
			return true;
		i += a.used;
	}
	return settle(o, err);
}

void
client_opts_done(struct client_opts *o)
{
	free(o->topics.v);
	free(o->unsubscribe.v);
	free(o->filter_out.v);
	for (size_t i = 0; i < PROP_PACKETS; i++)
		free(o->props[i].user);
	secret_free(o->password, o->password_n);
	free(o->url);
	*o = (struct client_opts){ 0 };
}
