/* From the lines of a bridge to what can be run. */
#include <openssl/ssl.h>
#include <stdio.h>
#include <stdlib.h>
#include <time.h>
#include <unistd.h>

#include "base/map.h"
#include "server/bridges.h"

enum { HOST_CAP = 256, SHOWN_CAP = 512 };

void
bridge_plan_free(struct bridge_plan *p)
{
	if (p == NULL)
		return;
	config_bridge_done(&p->config);
	tls_ctx_unref(p->tls);
	free(p->remote_id);
	free(p->local_id);
	free(p->notify_topic);
	free(p);
}

void
bridge_plans_free(struct bridge_plans *p)
{
	for (unsigned i = 0; p != NULL && i < p->n; i++)
		bridge_plan_free(p->v[i]);
	if (p != NULL)
		free(p->v);
	free(p);
}

/* Names that are made of others, as mosquitto makes them. */
static bool
name_all(struct bridge_plan *p)
{
	const struct config_bridge *c = &p->config;
	char host[HOST_CAP] = "";
	int n;

	if (gethostname(host, sizeof(host) - 1) == -1)
		(void)snprintf(host, sizeof(host), "%s", "localhost");
	n = c->remote_clientid != NULL ? asprintf(&p->remote_id, "%s", c->remote_clientid)
				       : asprintf(&p->remote_id, "%s.%s", host, c->name);
	if (n == -1) {
		p->remote_id = NULL;
		return false;
	}
	n = c->local_clientid != NULL ? asprintf(&p->local_id, "%s", c->local_clientid)
				      : asprintf(&p->local_id, "local.%s", p->remote_id);
	if (n == -1) {
		p->local_id = NULL;
		return false;
	}
	if (!c->notifications)
		return true;
	n = c->notification_topic != NULL
		? asprintf(&p->notify_topic, "%s", c->notification_topic)
		: asprintf(&p->notify_topic, "$SYS/broker/connection/%s/state", p->remote_id);
	if (n == -1)
		p->notify_topic = NULL;
	return n != -1;
}

static void
fill(struct bridge_plan *p)
{
	const struct config_bridge *c = &p->config;

	p->bridge = (struct bridge_config){ .remote_id = p->remote_id,
		.local_id = p->local_id,
		.username = c->remote_username,
		.password = c->remote_password,
		.notify_topic = p->notify_topic,
		.topics = c->topics,
		.n_topics = c->n_topics,
		.version = (uint8_t)c->protocol_version,
		.clean = c->cleansession,
		.local_clean = c->local_cleansession < 0 ? c->cleansession : c->local_cleansession != 0,
		.try_private = c->try_private,
		.notify_local_only = c->notifications_local_only,
		.attempt_unsubscribe = c->attempt_unsubscribe,
		.outgoing_retain = c->outgoing_retain,
		.keep_alive = (uint16_t)c->keepalive_interval,
		.alias_max = (uint16_t)c->max_topic_alias,
		.receive_max = (uint16_t)c->receive_maximum,
		.session_expiry = (uint32_t)c->session_expiry,
		.packet_max = (uint32_t)c->max_packet_size };
}

static uint64_t
mix(uint64_t h, const char *text)
{
	return (h ^ map_hash(slice_str(text))) * UINT64_C(0x9e3779b97f4a7c15);
}

/* map_hash() is the same throughout the process, which is all that is needed. */
static uint64_t
print_of(const struct bridge_plan *p)
{
	const struct config_bridge *c = &p->config;
	char shown[SHOWN_CAP];
	uint64_t h = mix(0, p->remote_id);

	for (unsigned i = 0; i < options_n; i++)
		if (options[i].scope == OPTION_BRIDGE && options[i].type != OPTION_CALL)
			h = mix(h, option_show(&options[i], c, shown, sizeof(shown)));
	for (unsigned i = 0; i < c->n_addresses; i++) {
		(void)snprintf(shown, sizeof(shown), "%s %u", c->addresses[i].host, c->addresses[i].port);
		h = mix(h, shown);
	}
	for (unsigned i = 0; i < c->n_topics; i++) {
		const struct bridge_topic *t = &c->topics[i];

		(void)snprintf(shown, sizeof(shown), "%u %u", t->direction, t->qos);
		h = mix(mix(mix(mix(h, shown), t->local), t->remote), t->local_prefix);
	}
	(void)snprintf(shown, sizeof(shown), "%lld %lld %lld %u %u %u", (long long)c->restart_base, (long long)c->restart_cap,
	    (long long)c->restart_stable, c->tcp_keepalive[0], c->tcp_keepalive[1], c->tcp_keepalive[2]);
	return mix(h, shown);
}

static bool
load_tls(const struct config *all, struct bridge_plan *p, struct err *err)
{
	const struct config_bridge *c = &p->config;
	struct tls_config t = { .cert_file = c->certfile,
		.key_file = c->keyfile,
		.ca_file = c->cafile,
		.ca_path = c->capath,
		.alpn = c->alpn,
		.ciphers = c->ciphers,
		.ciphersuites = c->ciphersuites,
		.os_anchors = c->use_os_certs,
		.psk_identity = c->identity,
		.psk_key = c->psk,
		.min_version = c->tls_version == 3 ? TLS1_3_VERSION : TLS1_2_VERSION };
	int64_t from, until, now = (int64_t)time(NULL);
	char where[CONFIG_PLACE_CAP];

	if (!config_bridge_has_anchors(c) && c->psk == NULL)
		return true;
	p->tls = tls_client_new(&t, c->insecure, err);
	/* The remote decides what to make of it, and the others have nothing to do with it. */
	if (p->tls != NULL && tls_ctx_dates(p->tls, &from, &until) && (now < from || now > until))
		log_error("ALARM: bridge_certfile %s of the bridge %s %s: the remote broker will hardly take it. Issue a new one.",
		    c->certfile, c->name, now < from ? "is not valid yet" : "has expired");
	return p->tls != NULL || err_prefix(err, "%s: connection %s",
				     config_place_text(all, c->place, where, sizeof(where)), c->name);
}

struct bridge_plans *
bridge_plans_load(struct config *c, struct err *err)
{
	struct bridge_plans *p = calloc(1, sizeof(*p));
	bool ok = p != NULL;

	if (ok && c->n_bridges > 0)
		ok = (p->v = calloc(c->n_bridges, sizeof(struct bridge_plan *))) != NULL;
	if (!ok)
		(void)err_set(err, ERR_MEMORY, "out of memory");
	for (unsigned i = 0; ok && i < c->n_bridges; i++) {
		struct bridge_plan *one = calloc(1, sizeof(*one));

		if (one == NULL) {
			ok = err_set(err, ERR_MEMORY, "out of memory");
			break;
		}
		p->v[p->n++] = one;
		one->config = c->bridges[i];
		c->bridges[i] = (struct config_bridge){ 0 };
		ok = name_all(one) || err_set(err, ERR_MEMORY, "out of memory");
		if (!ok)
			break;
		fill(one);
		one->print = print_of(one);
		ok = load_tls(c, one, err);
	}
	c->n_bridges = 0;
	if (ok)
		return p;
	bridge_plans_free(p);
	return NULL;
}
