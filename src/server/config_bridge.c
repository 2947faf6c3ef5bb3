/* Bridges in the configuration: their lines that are more than a value, and what must go together. */
#include "server/config.h"

#include <stdio.h>
#include <stdlib.h>

#include "base/num.h"
#include "base/text.h"
#include "topic/topic.h"

enum { MQTT_PORT = 1883, SHOW_CAP = 120 };

static struct config_bridge *
current(struct parse *p)
{
	return &p->c->bridges[p->bridge];
}

void
config_bridge_done(struct config_bridge *b)
{
	options_free(OPTION_BRIDGE, b);
	for (unsigned i = 0; i < b->n_addresses; i++)
		free(b->addresses[i].host);
	for (unsigned i = 0; i < b->n_topics; i++)
		bridge_topic_done(&b->topics[i]);
	free(b->topics);
	free(b->name);
	*b = (struct config_bridge){ 0 };
}

bool
config_bridge_has_anchors(const struct config_bridge *b)
{
	return b->cafile != NULL || b->capath != NULL || b->use_os_certs;
}

bool
read_connection(struct parse *p, struct slice value)
{
	struct config *c = p->c;
	struct config_bridge *more;
	char where[CONFIG_PLACE_CAP];

	for (unsigned i = 0; i < c->n_bridges; i++)
		if (slice_eq(slice_str(c->bridges[i].name), value))
			return parse_fail(p, ERR_USAGE, "there is a bridge of this name already at %s",
			    config_place_text(c, c->bridges[i].place, where, sizeof(where)));
	if (c->n_bridges >= CONFIG_BRIDGES_MAX)
		return parse_fail(p, ERR_LIMIT, "more than %d bridges", CONFIG_BRIDGES_MAX);
	more = reallocarray(c->bridges, (size_t)c->n_bridges + 1, sizeof(*more));
	if (more == NULL)
		return parse_fail(p, ERR_MEMORY, "out of memory");
	c->bridges = more;
	more += c->n_bridges;
	*more = (struct config_bridge){ .place = p->here, .restart_base = 5, .restart_cap = 30 };
	options_default(OPTION_BRIDGE, more);
	if (!read_text(p, value, &more->name))
		return false;
	p->bridge = (int)c->n_bridges++;
	return true;
}

/* "HOST", "HOST:PORT" or "[ADDRESS]:PORT"; an IPv6 address without brackets has its port behind the last colon, as mosquitto's. */
static bool
split_address(struct slice word, struct slice *ret_host, uint16_t *ret_port)
{
	size_t colon = word.n;
	uint64_t port = MQTT_PORT;
	struct slice host = word;

	while (colon > 0 && word.p[colon - 1] != ':' && word.p[colon - 1] != ']')
		colon--;
	if (colon > 0 && word.p[colon - 1] == ':') {
		host.n = colon - 1;
		if (!text_u64(slice_from(word, colon), 1, 65535, &port))
			return false;
	}
	if (host.n > 1 && host.p[0] == '[' && host.p[host.n - 1] == ']')
		host = slice_of(host.p + 1, host.n - 2);
	*ret_host = host;
	*ret_port = (uint16_t)port;
	return host.n > 0 && host.n < 256;
}

bool
read_address(struct parse *p, struct slice value)
{
	struct config_bridge *b = current(p);
	struct slice word, host;
	char show[SHOW_CAP];

	while ((word = parse_word(&value)).n > 0) {
		struct config_address a = { 0 };

		if (b->n_addresses >= CONFIG_ADDRESSES_MAX)
			return parse_fail(p, ERR_LIMIT, "more than %d addresses", CONFIG_ADDRESSES_MAX);
		if (!split_address(word, &host, &a.port))
			return parse_fail(p, ERR_USAGE, "\"%s\" is not HOST or HOST:PORT",
			    text_show(word, show, sizeof(show)));
		if (!read_text(p, host, &a.host))
			return false;
		b->addresses[b->n_addresses++] = a;
	}
	return true;
}

bool
read_topic(struct parse *p, struct slice value)
{
	struct config_bridge *b = current(p);
	struct bridge_topic *more, t;
	const char *why;

	if (b->n_topics >= CONFIG_TOPICS_MAX)
		return parse_fail(p, ERR_LIMIT, "more than %d topics", CONFIG_TOPICS_MAX);
	if (!utf8_ok(value))
		return parse_fail(p, ERR_USAGE, "the value is not UTF-8 text");
	if (!bridge_topic_parse(value, &t, &why))
		return parse_fail(p, why != NULL ? ERR_USAGE : ERR_MEMORY, "%s", why != NULL ? why : "out of memory");
	more = reallocarray(b->topics, (size_t)b->n_topics + 1, sizeof(*more));
	if (more == NULL) {
		bridge_topic_done(&t);
		return parse_fail(p, ERR_MEMORY, "out of memory");
	}
	b->topics = more;
	more[b->n_topics++] = t;
	return true;
}

bool
read_restart(struct parse *p, struct slice value)
{
	struct config_bridge *b = current(p);
	struct slice first = parse_word(&value), second = parse_word(&value), third = parse_word(&value);
	uint64_t base = 0, cap = 0, stable = 0;
	bool ok = text_u64(first, 1, 3600, &base);

	cap = base;
	if (ok && second.n > 0)
		ok = text_u64(second, base, 7200, &cap);
	if (ok && third.n > 0)
		ok = text_u64(third, 1, 86400, &stable);
	if (!ok || value.n > 0)
		return parse_fail(p, ERR_USAGE, "SECONDS from 1 to 3600, or BASE CAP with CAP from BASE to 7200, and STABLE behind them");
	b->restart_base = (int64_t)base;
	b->restart_cap = (int64_t)cap;
	b->restart_stable = (int64_t)stable;
	return true;
}

bool
read_tcp_keepalive(struct parse *p, struct slice value)
{
	struct config_bridge *b = current(p);
	/* What Linux takes: MAX_TCP_KEEPIDLE, MAX_TCP_KEEPINTVL, MAX_TCP_KEEPCNT. */
	static const uint64_t max[] = { 32767, 32767, 127 };
	uint64_t n = 0;

	for (size_t i = 0; i < ARRAY_LEN(max); i++) {
		if (!text_u64(parse_word(&value), 1, max[i], &n))
			return parse_fail(p, ERR_USAGE, "three numbers are wanted: IDLE and INTERVAL in seconds, and COUNT up to 127");
		b->tcp_keepalive[i] = (unsigned)n;
	}
	return value.n == 0 || parse_fail(p, ERR_USAGE, "there is more behind the three numbers");
}

static bool
fail(const struct config *c, struct config_place at, const char *what, const char *name, const char *why, struct err *err)
{
	char where[CONFIG_PLACE_CAP];

	return err_set(err, ERR_USAGE, "%s: %s%s%s: %s", config_place_text(c, at, where, sizeof(where)), what,
	    name[0] != '\0' ? " " : "", name, why);
}

static bool
check_tls(const struct config *c, const struct config_bridge *b, struct err *err)
{
	static const char *const words[] = { "bridge_certfile", "bridge_keyfile", "bridge_insecure", "bridge_alpn",
		"bridge_tls_version", "bridge_ciphers", "bridge_ciphers_tls1.3" };

	if (config_bridge_has_anchors(b))
		return b->identity == NULL && b->psk == NULL
			   ? true
			   : fail(c, option_at(b->at, b->psk != NULL ? "bridge_psk" : "bridge_identity"), "bridge_psk", "",
				 "certificates or a pre-shared key, not both", err);
	if ((b->identity == NULL) != (b->psk == NULL))
		return b->psk == NULL ? fail(c, option_at(b->at, "bridge_identity"), "bridge_identity", "", "needs bridge_psk", err)
				      : fail(c, option_at(b->at, "bridge_psk"), "bridge_psk", "", "needs bridge_identity", err);
	for (size_t i = 0; i < ARRAY_LEN(words); i++)
		if (option_at(b->at, words[i]).line != 0 && (b->psk == NULL || i < 3))
			return fail(c, option_at(b->at, words[i]), words[i], "", "needs bridge_cafile, bridge_capath or bridge_tls_use_os_certs", err);
	return true;
}

static bool
warn(struct config *c, const struct config_bridge *b)
{
	char where[CONFIG_PLACE_CAP];
	bool ok = true;

	if (b->remote_password != NULL && !config_bridge_has_anchors(b) && b->psk == NULL)
		ok = config_warn(c, "%s: the bridge %s sends its password without TLS; set bridge_cafile",
		    config_place_text(c, b->place, where, sizeof(where)), b->name);
	if (ok && b->insecure)
		ok = config_warn(c, "%s: bridge_insecure: any server with a certificate of that CA can take the place of the remote broker",
		    config_place_text(c, option_at(b->at, "bridge_insecure"), where, sizeof(where)));
	if (ok && b->protocol_version == 5 && !b->cleansession && b->session_expiry == 0)
		ok = config_warn(c,
		    "%s: the bridge %s speaks MQTT 5 and sets no bridge_session_expiry_interval: the remote broker keeps nothing for it "
		    "while it is away",
		    config_place_text(c, b->place, where, sizeof(where)), b->name);
	return ok;
}

bool
config_bridges_finish(struct config *c, struct err *err)
{
	for (unsigned i = 0; i < c->n_bridges; i++) {
		const struct config_bridge *b = &c->bridges[i];

		if (b->n_addresses == 0)
			return fail(c, b->place, "connection", b->name, "an `address` line is missing", err);
		if (b->n_topics == 0)
			return fail(c, b->place, "connection", b->name, "a `topic` line is missing", err);
		if (b->remote_password != NULL && b->remote_username == NULL)
			return fail(c, option_at(b->at, option_at(b->at, "remote_password").line != 0 ? "remote_password" : "password"),
			    "remote_password", "", "needs remote_username", err);
		if (b->notification_topic != NULL && !topic_name_ok(slice_str(b->notification_topic)))
			return fail(c, option_at(b->at, "notification_topic"), "notification_topic", "", "is not a topic name", err);
		if (!check_tls(c, b, err))
			return false;
		if (!warn(c, b))
			return err_set(err, ERR_MEMORY, "out of memory");
	}
	return true;
}
