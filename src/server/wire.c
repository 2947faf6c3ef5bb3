/* Network to broker and back: the functions that the two ask for, filled in. */
#include "server/internal.h"

#include <stdio.h>
#include <stdlib.h>
#include <time.h>

#include "base/num.h"
#include "server/succeed.h"

enum { LEAVE_MS = 1000, LEAVE_TURN_MS = 10 };

/* Takes <who>. */
static void *
mqtt_new(struct worker *worker, const struct net_peer *peer, struct authz_principal *who, const struct waker *w)
{
	struct listener *l = peer->listener;
	char addr[80], came_by[CAME_BY_CAP];
	void *client = client_new(worker->shard, l->index, who, net_addr_text(&peer->addr, addr, sizeof(addr)), w);

	if (client == NULL || peer->ssl == NULL)
		return client;
	event_came_by(peer, came_by, sizeof(came_by));
	client_came_by(client, came_by);
	return client;
}

/* An MQTT client inside a WebSocket; around metrics it only keeps the time. Takes <who>. */
static void *
websocket_new(struct worker *worker, const struct net_peer *peer, struct authz_principal *who, const struct waker *w)
{
	struct listener *l = peer->listener;
	bool refused = l->config->protocol == CONFIG_METRICS && !metrics_may_read(l, who);
	struct ws *ws = ws_new(refused ? &l->forbidden : &l->ws, w);
	struct waker inner;
	void *client;

	if (ws == NULL) {
		authz_principal_unref(who);
		return NULL;
	}
	inner = ws_waker(ws);
	client = mqtt_new(worker, peer, who, &inner);
	if (client == NULL) {
		ws_free(ws);
		return NULL;
	}
	ws_take(ws, client, &client_stream);
	return ws;
}

static struct authz_principal *
identity_of(struct listener *l, const struct net_peer *peer, struct authz_principal *nobody)
{
	unsigned rules = atomic_load(&l->rules);

	if (peer->proxy_identity != NULL)
		return (rules & RULE_CONSOLE) != 0 ? identity_of_console(peer->proxy_identity) : identity_of_proxied(peer->proxy_identity);
	if (peer->psk_identity != NULL)
		return identity_of_psk(rules, peer->psk_identity, judge_psk_tag(&l->server->judges[l->index], peer->psk_identity));
	return identity_of_peer(rules, peer->identity, nobody);
}

static void *
on_open(void *ctx, const struct net_peer *peer, const struct waker *w,
    const struct stream_ops **ret_ops)
{
	struct worker *worker = ctx;
	struct listener *l = peer->listener;
	struct authz_principal *who;
	const struct stream_ops *ops;
	void *stream, *wrapped;
	bool websocket, global;
	char addr[80];

	if (peer->dialled != NULL)
		return bridges_open(peer, w, ret_ops);
	if (peer->ssl != NULL)
		(void)atomic_fetch_add_explicit(&worker->server->counters->handshakes, 1, memory_order_relaxed);
	if (peer->resumed)
		(void)atomic_fetch_add_explicit(&worker->server->counters->resumptions, 1, memory_order_relaxed);
	who = identity_of(l, peer, worker->server->nobody);
	if ((atomic_load(&l->rules) & RULE_OCSP) != 0)
		ocsp_know(worker->server->ocsp, l->index, peer->identity);
	pki_peer_free(peer->identity);
	(void)net_addr_text(&peer->addr, addr, sizeof(addr));
	if (who == NULL) {
		log_error("Out of memory: connection from %s on listener %s refused.", addr,
		    l->config->name);
		return NULL;
	}
	if (!limit_take(l, &global)) {
		authz_principal_unref(who);
		event_of_limit(l, addr, global);
		return NULL;
	}
	websocket = l->config->protocol != CONFIG_MQTT && l->config->protocol != CONFIG_CONTROL;
	ops = websocket ? &ws_stream : &client_stream;
	stream = websocket ? websocket_new(worker, peer, who, w) : mqtt_new(worker, peer, who, w);
	*ret_ops = ops;
	if (!limit_applies(l))
		return stream;
	wrapped = stream != NULL ? limit_new(l, stream, ops, ret_ops) : NULL;
	if (wrapped == NULL)
		limit_give_back(l);
	if (wrapped == NULL && stream != NULL)
		ops->closed(stream, "out of memory");
	return wrapped;
}

static void
on_failed(void *ctx, const struct net_peer *peer, const struct net_failure *f)
{
	(void)ctx;
	if (peer->dialled != NULL)
		bridges_failed(peer, f);
	else
		event_of_failure(peer->listener, peer, f);
}

/* A reload has made a new world: new connections of this loop use its TLS contexts from now on. */
static void
take_world(struct worker *w)
{
	struct server *s = w->server;
	unsigned i;

	(void)pthread_mutex_lock(&s->lock);
	for (i = 0; i < s->n_listeners; i++)
		if (s->world->listeners[i].tls != NULL)
			loop_set_tls(w->loop, &s->listeners[i], s->world->listeners[i].tls);
	w->generation = atomic_load(&s->generation);
	(void)pthread_mutex_unlock(&s->lock);
}

/* The end: no new connections, everybody is told, and the loop stops when all is sent or the time
 * is up. */
static uint64_t
leave(struct worker *w, uint64_t now_ms)
{
	if (!w->leaving) {
		w->leaving = true;
		w->leave_by_ms = now_ms + LEAVE_MS;
		loop_stop_listening(w->loop);
		bridges_leave(w);
		shard_disconnect_all(w->shard, MQTT_RC_SHUTTING_DOWN);
		return LEAVE_TURN_MS;
	}
	if (loop_connections(w->loop) == 0 || now_ms >= w->leave_by_ms)
		loop_stop(w->loop);
	return LEAVE_TURN_MS;
}

static void
on_begin(void *ctx, uint64_t now_ms)
{
	struct worker *w = ctx;

	shard_begin(w->shard, now_ms);
	bridges_begin(w, now_ms);
}

static uint64_t
on_turn(void *ctx, uint64_t now_ms)
{
	struct worker *w = ctx;
	uint64_t next;

	if (atomic_load_explicit(&w->server->generation, memory_order_relaxed) != w->generation)
		take_world(w);
	if (atomic_load_explicit(&w->asked, memory_order_relaxed))
		atomic_store(&w->asked, false);
	next = bridges_turn(w, now_ms);
	next = NUM_MIN(next, shard_turn(w->shard, now_ms));
	if (w->index == 0 && w->server->logtopics != NULL)
		logtopics_turn(w->server->logtopics, w);
	if (feed_is_on(w->server->feed))
		feed_turn(w->server->feed, w);
	if (w->sys != NULL)
		next = NUM_MIN(next, sys_turn(w->sys, w, now_ms));
	if (atomic_load_explicit(&w->server->stopping, memory_order_relaxed))
		next = NUM_MIN(next, leave(w, now_ms));
	return next;
}

static uint64_t
on_rest(void *ctx, void *listener, uint64_t now_ms)
{
	(void)ctx;
	return admit_wait(listener, now_ms);
}

static const char *
on_admit(void *ctx, void *listener, const struct sockaddr *addr, uint64_t now_ms)
{
	(void)ctx;
	return admit(listener, addr, now_ms);
}

const struct net_handler server_handler = { .open = on_open, .failed = on_failed, .rest = on_rest, .admit = on_admit, .begin = on_begin, .turn = on_turn };

static void
port_wake(void *ctx, unsigned shard)
{
	const struct server *s = ctx;

	/* At the very end the loops go one by one, and connections that close then may still have letters. */
	if (s->workers[shard].loop != NULL)
		loop_wake(s->workers[shard].loop);
}

static uint8_t
port_vouch(void *ctx, struct broker_login *login)
{
	struct server *s = ctx;

	return ocsp_vouch(s->ocsp, login);
}

static uint8_t
into_quarantine(struct broker_login *login)
{
	struct authz_principal *cert = login->who;

	login->who = registration_quarantined(cert);
	authz_principal_unref(cert);
	if (login->who != NULL)
		return MQTT_RC_OK;
	(void)snprintf(login->why, sizeof(login->why), "out of memory");
	return MQTT_RC_UNAVAILABLE;
}

static uint8_t
port_authenticate(void *ctx, struct broker_login *login)
{
	struct server *s = ctx;
	unsigned rules;
	uint8_t rc;

	/* A bridge of ours is who it says. */
	if (login->listener == s->n_listeners) {
		login->who = authz_principal_ref(login->cert);
		return MQTT_RC_OK;
	}
	rules = atomic_load(&s->listeners[login->listener].rules);
	rc = identity_judge(rules, login);
	if (rc == MQTT_RC_OK && judge_wants_quarantine(&s->judges[login->listener], rules, login->who))
		return into_quarantine(login);
	if (rc != BROKER_LOGIN_PENDING)
		return rc;
	return logins_ask(s->logins, &s->judges[login->listener], login);
}

static uint8_t
port_judge_again(void *ctx, unsigned listener, const struct authz_principal *who, bool fresh, char why[static BROKER_WHY_MAX])
{
	struct server *s = ctx;
	char text[BROKER_WHY_MAX - sizeof(WHY_WITHDRAWN)];
	struct authz_facts f;
	unsigned rules;
	uint8_t rc;

	if (listener == s->n_listeners) /* a bridge of ours */
		return MQTT_RC_OK;
	rules = atomic_load(&s->listeners[listener].rules);
	rc = judge_again(&s->judges[listener], rules, who, fresh, why);
	/* Who is here already goes when his successor takes over the session. */
	if (rc == MQTT_RC_OK && fresh)
		rc = succession_judge(s->successions, who, why);
	if (rc != MQTT_RC_OK || (rules & RULE_OCSP) == 0)
		return rc;
	authz_principal_facts(who, &f);
	if (ocsp_stands(s->ocsp, listener, &f, text, sizeof(text)))
		return MQTT_RC_OK;
	(void)snprintf(why, BROKER_WHY_MAX, WHY_WITHDRAWN "%s", text);
	return MQTT_RC_NOT_AUTHORIZED;
}

static uint8_t
port_exchange(void *ctx, struct broker_exchange *x)
{
	struct server *s = ctx;

	/* A bridge of ours needs none. */
	if (x->listener == s->n_listeners) {
		(void)snprintf(x->why, sizeof(x->why), "%s", WHY_NO_METHOD);
		return MQTT_RC_AUTH_METHOD;
	}
	return scram_step(s->logins, &s->judges[x->listener], atomic_load(&s->listeners[x->listener].rules), x);
}

static void
port_exchange_end(void *ctx, struct broker_exchange *x)
{
	(void)ctx;
	scram_end(x);
}

static bool
port_request(void *ctx, struct broker_request *r)
{
	struct server *s = ctx;

	return control_request(s, r) || renew_request(s, r) || dynamics_request(s->dynamics, r);
}

static void
port_event(void *ctx, const struct broker_event *e)
{
	event_of_broker(ctx, e);
}

static int64_t
port_wall(void *ctx)
{
	(void)ctx;
	return (int64_t)time(NULL);
}

static void
port_note(void *ctx, struct slice name, struct slice value)
{
	successions_note(((struct server *)ctx)->successions, name, value);
}

struct broker_ports
server_ports(struct server *s)
{
	return (struct broker_ports){ .ctx = s,
		.wake = port_wake,
		.vouch = port_vouch,
		.authenticate = port_authenticate,
		.judge_again = port_judge_again,
		.exchange = port_exchange,
		.exchange_end = port_exchange_end,
		.request = port_request,
		.event = port_event,
		.note = port_note,
		.wall = port_wall };
}

struct broker_settings
settings_of_config(const struct config *c)
{
	struct broker_settings s;

	broker_settings_default(&s);
	s.max_packet_size = (uint32_t)c->max_packet_size;
	s.max_payload = (uint32_t)c->message_size_limit;
	s.max_queued_messages = (uint32_t)c->max_queued_messages;
	s.max_queued_bytes = (size_t)c->max_queued_bytes;
	s.max_inflight =
	    c->max_inflight_messages == 0 ? UINT16_MAX : (uint16_t)c->max_inflight_messages;
	s.receive_maximum = s.max_inflight; /* in both directions, as mosquitto has it */
	s.max_inflight_bytes = (size_t)c->max_inflight_bytes;
	/* The protocol's own largest value is no limit; the broker would take it for one on "no
	 * keep alive". */
	s.max_keep_alive = c->max_keepalive == UINT16_MAX ? 0 : (uint16_t)c->max_keepalive;
	s.max_session_expiry = c->persistent_client_expiration == 0
				   ? UINT32_MAX
				   : (uint32_t)c->persistent_client_expiration;
	s.flap_connects = (uint32_t)c->flapping_connects;
	s.flap_hold_s = (uint32_t)c->flapping_hold;
	s.drop_log_s = (uint32_t)c->drop_log_interval;
	s.max_clients = c->global_max_clients > 0 ? (uint32_t)c->global_max_clients : 0;
	s.retain_available = c->retain_available;
	s.check_retain_source = c->check_retain_source;
	s.stamp_publishers = c->publisher_stamp;
	s.allow_empty_client_id = true; /* judged for each listener by identity_judge() */
	s.queue_qos0 = c->queue_qos0_messages;
	s.upgrade_qos = c->upgrade_outgoing_qos;
	s.trace = log_on(LOG_LVL_DEBUG);
	return s;
}

_Static_assert((int)CONFIG_MOUNT_MAX == (int)BROKER_MOUNT_MAX, "a mount point that is configured fits");
_Static_assert((int)CONFIG_PREFIX_MAX == (int)BROKER_PREFIX_MAX, "a prefix that is configured fits");

static void
copy_prefix(char out[static BROKER_PREFIX_MAX + 1], const char *prefix)
{
	(void)snprintf(out, BROKER_PREFIX_MAX + 1, "%s", prefix != NULL ? prefix : "");
}

void
broker_listeners_of(const struct config *c, const struct world *w, struct broker_listener *ret)
{
	unsigned i;

	for (i = 0; i < c->n_listeners; i++) {
		const struct config_security *s = c->listeners[i].security;

		const char *prefix = c->listeners[i].auto_id_prefix;

		ret[i] = (struct broker_listener){ .policy = w->listeners[i].policy,
			.deny_v3_by_close = s->refuse_publish_by_close,
			.data = (enum broker_data)c->device_data,
			.grant_denied_v3 = s->grant_refused_subscriptions,
			.takeover_same_identity = s->takeover_same_identity,
			.vouch = c->listeners[i].ocsp_check != CONFIG_OCSP_OFF,
			.withdrawn_no_will = c->withdrawn_will != 0,
			.withdrawn_purge = c->withdrawn_session != 0,
			.own_aliases = true,
			.topic_alias_max_in = (uint16_t)c->listeners[i].max_topic_alias,
			.topic_alias_max_out = (uint16_t)c->listeners[i].max_topic_alias_broker,
			.own_max_qos = true,
			.max_qos = (uint8_t)c->listeners[i].max_qos,
			.username_is_client_id = c->listeners[i].use_username_as_clientid,
			.max_per_identity = (uint32_t)c->listeners[i].max_per_identity,
			.rate_disconnects = c->listeners[i].rate_exceeded != 0,
			.versions = c->listeners[i].accept_versions };
		for (unsigned k = 0; k < BROKER_RATES; k++) {
			ret[i].client_rates[k] = (uint64_t)c->listeners[i].client_rates[k];
			ret[i].rates[k] = (uint64_t)c->listeners[i].rates[k];
		}
		copy_prefix(ret[i].auto_id_prefix, prefix != NULL ? prefix : s->auto_id_prefix);
		copy_prefix(ret[i].client_id_prefix, c->clientid_prefixes);
		copy_prefix(ret[i].response_info, c->listeners[i].response_information);
		(void)snprintf(ret[i].name, sizeof(ret[i].name), "%s", c->listeners[i].name);
		(void)snprintf(ret[i].mount_point, sizeof(ret[i].mount_point), "%s",
		    c->listeners[i].mount_point != NULL ? c->listeners[i].mount_point : "");
	}
	ret[i] = (struct broker_listener){ .policy = w->bridges, .takeover_same_identity = true, .bridges = true, .name = "bridges" };
}
