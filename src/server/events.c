/* What happens, in lines of the log. Lines that mosquitto has look like its own; a refusal is
 * one line that says who, what, why and what to do, and a flood of them is rationed. */
#include "server/control.h"

#include <inttypes.h>
#include <stdio.h>
#include <time.h>

#include "base/num.h"
#include "base/text.h"
#include "server/succeed.h"

enum {
	RATION_BURST = 20,     /* refusals of one listener that are logged at once */
	RATION_EVERY_MS = 200, /* and one more each so often */
	SHOW_CAP = 200,
	NAME_CAP = 320,
};

uint64_t
server_now_ms(void)
{
	struct timespec t;

	(void)clock_gettime(CLOCK_MONOTONIC, &t); /* cannot fail for this clock */
	return (uint64_t)t.tv_sec * 1000 + (uint64_t)t.tv_nsec / 1000000;
}

bool
event_ration(struct listener *l, uint64_t now_ms, uint32_t *ret_suppressed)
{
	uint64_t due;
	bool ok;

	(void)pthread_mutex_lock(&l->log_lock);
	if (l->log_last_ms == 0) {
		l->log_last_ms = now_ms;
		l->log_tokens = RATION_BURST;
	}
	due = (now_ms - l->log_last_ms) / RATION_EVERY_MS;
	l->log_last_ms += due * RATION_EVERY_MS;
	l->log_tokens = (uint32_t)NUM_MIN(due + l->log_tokens, (uint64_t)RATION_BURST);
	ok = l->log_tokens > 0;
	if (ok) {
		l->log_tokens--;
		*ret_suppressed = l->log_suppressed;
		l->log_suppressed = 0;
	} else {
		l->log_suppressed++;
	}
	(void)pthread_mutex_unlock(&l->log_lock);
	return ok;
}

static void
say_suppressed(const struct listener *l, uint32_t n)
{
	if (n > 0)
		log_warning(
		    "Refusals on listener %s: %" PRIu32 " similar suppressed.", l->config->name, n);
}

void
events_flush(struct server *s)
{
	unsigned i;

	for (i = 0; i < s->n_listeners; i++) {
		struct listener *l = &s->listeners[i];
		uint32_t n;

		(void)pthread_mutex_lock(&l->log_lock);
		n = l->log_suppressed;
		l->log_suppressed = 0;
		(void)pthread_mutex_unlock(&l->log_lock);
		say_suppressed(l, n);
	}
}

/* Who was refused what. Texts are ready to be shown. */
struct line {
	const char *what, *peer, *subject, *issuer, *serial, *client_id;
	const char *sni, *tls_version; /* or NULL */
	const uint8_t *fingerprint;    /* or NULL */
	int alert;
	int64_t not_before, not_after;
};

static void
copy(char *out, size_t cap, const char *text)
{
	(void)snprintf(out, cap, "%s", text != NULL ? text : "");
}

/* For `signet why`. */
static void
keep(const struct listener *l, const struct line *x, const struct refusal *r)
{
	struct diary_note n = { .time = (int64_t)time(NULL), .not_before = x->not_before, .not_after = x->not_after, .alert = x->alert,
		.cause = r->name };

	copy(n.what, sizeof(n.what), x->what);
	copy(n.peer, sizeof(n.peer), x->peer);
	copy(n.listener, sizeof(n.listener), l->config->name);
	copy(n.tls_version, sizeof(n.tls_version), x->tls_version);
	copy(n.serial, sizeof(n.serial), x->serial);
	copy(n.client_id, sizeof(n.client_id), x->client_id);
	if (x->sni != NULL)
		(void)text_show(slice_str(x->sni), n.sni, sizeof(n.sni));
	copy(n.subject, sizeof(n.subject), x->subject);
	copy(n.issuer, sizeof(n.issuer), x->issuer);
	copy(n.text, sizeof(n.text), r->text);
	copy(n.remedy, sizeof(n.remedy), r->remedy);
	if (x->fingerprint != NULL)
		(void)text_hex(slice_of(x->fingerprint, 32), n.fingerprint, sizeof(n.fingerprint));
	diary_write(l->server->diary, &n);
	if (feed_is_on(l->server->feed))
		feed_put(l->server->feed, "refusal", control_refusal_json(&n));
}

/* ", TLSv1.3, SNI 'broker.example'", as far as there is something to say. */
static const char *
transport_text(const struct line *x, char *out, size_t cap)
{
	char name[SHOW_CAP];
	int n = snprintf(out, cap, "%s%s", x->tls_version != NULL ? ", " : "", x->tls_version != NULL ? x->tls_version : "");

	if (x->sni != NULL && n >= 0 && (size_t)n < cap)
		(void)snprintf(out + n, cap - (size_t)n, ", SNI '%s'", text_show(slice_str(x->sni), name, sizeof(name)));
	return out;
}

static void
write_refusal(struct listener *l, const struct line *x, const struct refusal *r)
{
	char transport[SHOW_CAP + 40];
	uint32_t suppressed = 0;

	if (r->cause == REFUSAL_NONE) {
		log_debug(
		    "%s from %s on listener %s: %s.", x->what, x->peer, l->config->name, r->text);
		return;
	}
	keep(l, x, r);
	metrics_count_refusal(l->server->counters, r);
	/* It was told of once, when it began. */
	if (r->cause == REFUSAL_FLAPPING)
		return;
	if (!event_ration(l, server_now_ms(), &suppressed))
		return;
	say_suppressed(l, suppressed);
	log_warning("Refused %s from %s on listener %s: %s [%s]; client '%s', subject '%s', issuer "
		    "'%s', serial %s%s. Remedy: %s.",
	    x->what, x->peer, l->config->name, r->text, r->name, x->client_id, x->subject,
	    x->issuer, x->serial, transport_text(x, transport, sizeof(transport)), r->remedy);
}

void
event_of_failure(struct listener *l, const struct net_peer *peer, const struct net_failure *f)
{
	const struct pki_peer *p = peer->identity;
	struct refusal r;
	char addr[80];
	struct line x = { .what = "TLS handshake", .peer = net_addr_text(&peer->addr, addr, sizeof(addr)), .subject = "-", .issuer = "-",
		.serial = "-", .client_id = "-", .sni = peer->sni, .tls_version = peer->tls_version, .alert = f->alert };

	refusal_of_failure(f, p, &r);
	if (config_is_tls(l->config) && f->kind <= NET_FAIL_TLS)
		metrics_count_handshake(l->server->counters, &r);
	if (r.cause == REFUSAL_NONE && !log_on(LOG_LVL_DEBUG))
		return;
	if (r.cause == REFUSAL_HTTP_ON_TLS && l->config->protocol != CONFIG_MQTT)
		r.remedy = "this port speaks TLS: use wss:// or https://";
	if (f->kind == NET_FAIL_TLS_ON_PLAIN || f->kind == NET_FAIL_PROXY_SENDER || f->kind == NET_FAIL_PROXY_HEADER ||
	    f->kind == NET_FAIL_PROXY_CLIENT || f->kind == NET_FAIL_LIMIT ||
	    !config_is_tls(l->config))
		x.what = "connection";
	if (p != NULL) {
		x.subject = p->subject;
		x.issuer = p->issuer;
		x.serial = p->serial_hex;
		x.fingerprint = p->fingerprint;
		x.not_before = p->not_before;
		x.not_after = p->not_after;
	}
	write_refusal(l, &x, &r);
}

void
event_of_limit(struct listener *l, const char *peer, bool global)
{
	struct net_failure f = { .kind = NET_FAIL_LIMIT, .alert = -1, .detail = "" };
	struct line x = { .what = "connection", .peer = peer, .subject = "-", .issuer = "-", .serial = "-", .client_id = "-", .alert = -1 };
	struct refusal r;

	refusal_of_failure(&f, NULL, &r);
	(void)snprintf(r.text, sizeof(r.text),
	    global ? "the broker has its global_max_connections of %" PRId64 " already"
		   : "the listener has its max_connections of %" PRId64 " already",
	    global ? l->server->config->global_max_connections : l->config->max_connections);
	write_refusal(l, &x, &r);
}

void
event_came_by(const struct net_peer *peer, char *out, size_t cap)
{
	(void)snprintf(out, cap, "%s %s %s", peer->tls_version != NULL ? peer->tls_version : "", peer->cipher != NULL ? peer->cipher : "",
	    peer->sni != NULL ? peer->sni : "");
}

void
event_take_came_by(char *text, struct came_by *ret)
{
	char *version = text, *cipher = strchr(text, ' '), *sni = cipher != NULL ? strchr(cipher + 1, ' ') : NULL;

	*ret = (struct came_by){ NULL };
	if (sni == NULL)
		return;
	*cipher++ = '\0';
	*sni++ = '\0';
	ret->version = version[0] != '\0' ? version : NULL;
	ret->cipher = cipher[0] != '\0' ? cipher : NULL;
	ret->sni = sni[0] != '\0' ? sni : NULL;
}

static void
take_came_by(char *text, struct line *x)
{
	struct came_by by;

	event_take_came_by(text, &by);
	x->tls_version = by.version;
	x->sni = by.sni;
}

static void
refused_event(struct listener *l, const struct broker_event *e)
{
	static const char *const whats[] = {
		[BROKER_REFUSED] = "CONNECT",
		[BROKER_DROPPED] = "connection",
		[BROKER_DENIED_PUBLISH] = "PUBLISH to",
		[BROKER_DENIED_SUBSCRIBE] = "SUBSCRIBE to",
		[BROKER_DENIED_WILL] = "CONNECT with a will to",
		[BROKER_DENIED_RECEIVE] = "delivery of",
	};
	char what[SHOW_CAP + 40], topic[SHOW_CAP], subject[NAME_CAP], issuer[NAME_CAP],
	    id[SHOW_CAP], serial[2 * AUTHZ_SERIAL_MAX + 1], came_by[CAME_BY_CAP];
	struct authz_facts facts = { 0 };
	struct refusal r;
	struct line x = { .what = what, .peer = e->peer != NULL ? e->peer : "-", .subject = "-", .issuer = "-", .serial = "-", .client_id = "-",
		.alert = -1 };

	refusal_of_event(e, config_is_tls(l->config), &r);
	if (r.cause == REFUSAL_NONE && !log_on(LOG_LVL_DEBUG))
		return;
	if (e->kind == BROKER_DROPPED && l->config->protocol == CONFIG_WEBSOCKETS)
		(void)snprintf(what, sizeof(what), "%s", "WebSocket connection");
	else if (e->kind == BROKER_DROPPED && l->config->protocol == CONFIG_METRICS)
		(void)snprintf(what, sizeof(what), "%s", "request for metrics");
	else
		(void)snprintf(what, sizeof(what), e->topic.n > 0 ? "%s '%s'" : "%s",
		    whats[e->kind], text_show(e->topic, topic, sizeof(topic)));
	if (e->who != NULL)
		authz_principal_facts(e->who, &facts);
	if (facts.has_cert) {
		x.subject = text_show(facts.subject, subject, sizeof(subject));
		x.issuer = text_show(facts.issuer, issuer, sizeof(issuer));
		x.serial = text_hex(facts.serial, serial, sizeof(serial));
		x.fingerprint = facts.fingerprint;
		x.not_before = facts.not_before;
		x.not_after = facts.not_after;
	}
	if (e->client_id.n > 0)
		x.client_id = text_show(e->client_id, id, sizeof(id));
	copy(came_by, sizeof(came_by), e->came_by);
	take_came_by(came_by, &x);
	write_refusal(l, &x, &r);
}

/* "queue-full 12, slow 3" */
static uint64_t
drops_text(const uint32_t *drops, char *out, size_t cap)
{
	uint64_t sum = 0;
	size_t n = 0;

	out[0] = '\0';
	for (int i = 0; i < BROKER_DROPS; i++) {
		if (drops[i] == 0)
			continue;
		sum += drops[i];
		/* All names and numbers fit; see the test. */
		n += (size_t)snprintf(out + n, cap - n, "%s%s %" PRIu32, n > 0 ? ", " : "",
		    broker_drop_name((enum broker_drop)i), drops[i]);
	}
	return sum;
}

/* mosquitto's line for the first, and a sum for what follows. */
static void
dropping(const struct server *s, const struct broker_event *e, const char *id)
{
	char why[BROKER_DROPS * 32];
	uint64_t n;

	if (e->client_id.n == 0) {
		log_notice("Outgoing messages are being dropped for %" PRIu32 " more clients.", e->drops_clients);
		return;
	}
	n = drops_text(e->drops, why, sizeof(why));
	if (n == 1 && e->drops_total == 1)
		log_notice("Outgoing messages are being dropped for client %s (%s).", id, why);
	else
		log_notice("Outgoing messages were dropped for client %s: %" PRIu64 " in %" PRId64 " s (%s), %" PRIu32 " in all.", id,
		    n, s->config->drop_log_interval, why, e->drops_total);
}

/* mosquitto's line, and for a certificate who issued what behind it. */
static void
connected(const struct broker_event *e, const char *id)
{
	char user[SHOW_CAP + 8] = "", cert[NAME_CAP] = "", shown[SHOW_CAP];
	struct authz_facts facts = { 0 };

	if (e->who != NULL)
		authz_principal_facts(e->who, &facts);
	if (facts.username.p != NULL)
		(void)snprintf(
		    user, sizeof(user), ", u'%s'", text_show(facts.username, shown, sizeof(shown)));
	if (facts.has_cert)
		(void)snprintf(cert, sizeof(cert), " Certificate cn '%s', role %s.",
		    text_show(facts.cn, shown, sizeof(shown)), authz_role_name(facts.role));
	log_notice("New client connected from %s as %s (p%d, c%d, k%d%s).%s", e->peer, id,
	    e->version == MQTT_V5 ? 5 : e->version - 2, e->clean, e->keep_alive, user, cert);
}

static void
disconnected(const struct broker_event *e, const char *id)
{
	switch (e->reason) {
	case MQTT_RC_OK:
		log_notice("Client %s disconnected.", id);
		break;
	case MQTT_RC_UNSPECIFIED:
		if (strcmp(e->text, "connection closed by the peer") == 0)
			log_notice("Client %s closed its connection.", id);
		else
			log_notice("Client %s disconnected: %s.", id, e->text);
		break;
	case MQTT_RC_KEEP_ALIVE:
		log_notice("Client %s has exceeded timeout, disconnecting.", id);
		break;
	case MQTT_RC_TAKEN_OVER:
		log_notice("Client %s already connected, closing old connection.", id);
		break;
	case MQTT_RC_SHUTTING_DOWN:
		log_notice("Client %s disconnected: server shutting down.", id);
		break;
	default:
		log_notice("Client %s disconnected due to %s: %s.", id, mqtt_reason_text(e->reason),
		    e->text);
		break;
	}
}

void
event_of_broker(struct server *s, const struct broker_event *e)
{
	struct listener *l = &s->listeners[NUM_MIN(e->listener, s->n_listeners - 1)];
	const struct config *c = s->config;
	char id[SHOW_CAP], topic[SHOW_CAP];

	feed_event(s->feed, e);
	(void)text_show(e->client_id, id, sizeof(id));
	switch (e->kind) {
	case BROKER_CONNECTED:
		if (e->who != NULL && authz_principal_role(e->who) == AUTHZ_ROLE_QUARANTINE)
			renew_seen(s, e->who);
		if (e->who != NULL)
			succession_seen(s, e->who);
		if (c->connection_messages && log_on(LOG_LVL_NOTICE))
			connected(e, id);
		return;
	case BROKER_DISCONNECTED:
		if (c->connection_messages && log_on(LOG_LVL_NOTICE))
			disconnected(e, id);
		return;
	case BROKER_SUBSCRIBED:
		if (c->log_subscribe)
			log_write(LOG_LVL_SUBSCRIBE, "%s %d %s", id, e->qos, text_show(e->topic, topic, sizeof(topic)));
		return;
	case BROKER_UNSUBSCRIBED:
		if (c->log_unsubscribe)
			log_write(LOG_LVL_UNSUBSCRIBE, "%s %s", id, text_show(e->topic, topic, sizeof(topic)));
		return;
	case BROKER_FLAPPING:
		log_warning("Client %s from %s on listener %s %s [flapping].", id, e->peer, l->config->name, e->text);
		return;
	case BROKER_DROPPING:
		dropping(s, e, id);
		return;
	case BROKER_TRACE:
		log_debug("%s", e->text);
		return;
	case BROKER_REFUSED:
	case BROKER_DROPPED:
	case BROKER_DENIED_PUBLISH:
	case BROKER_DENIED_SUBSCRIBE:
	case BROKER_DENIED_WILL:
	case BROKER_DENIED_RECEIVE:
		refused_event(l, e);
		return;
	}
}
