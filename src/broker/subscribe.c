/* SUBSCRIBE and UNSUBSCRIBE (3.8 to 3.11): every filter of a packet is judged by itself. */
#include <stdlib.h>
#include "broker/internal.h"

/* What became of one filter. */
struct outcome {
	uint8_t code;
	uint8_t slot; /* of a shared one that was kept */
	bool is_new, shared, kept; /* kept: the store has it as it is */
	uint16_t extra; /* the policy tag if deliveries need no look */
};

static struct sub *
sub_room(struct session *s, size_t filter_n)
{
	if (s->sub_bytes + filter_n > SUBSCRIPTION_BYTES_MAX)
		return NULL;
	if (s->n_subs == s->cap_subs) {
		if (s->n_subs >= SUBSCRIPTIONS_MAX)
			return NULL;
		uint32_t cap = s->cap_subs > 0 ? s->cap_subs * 2 : 2;
		struct sub *v = realloc(s->subs, cap * sizeof *v);

		if (v == NULL)
			return NULL;
		s->subs = v;
		s->cap_subs = cap;
	}
	return &s->subs[s->n_subs];
}

static void
sub_forget(struct session *s, uint32_t i)
{
	journal_unsubscribed(s, &s->subs[i]);
	s->subs[i] = s->subs[--s->n_subs];
	if (i < s->n_subs && s->subs[i].shared != NULL)
		s->subs[i].shared->index = i;
	stat_sub(s->shard, subscriptions, 1);
}

static bool
add_plain(struct session *s, const struct mqtt_sub *sub, uint32_t id, struct outcome *out)
{
	struct shard *sh = s->shard;
	struct trie_entry e = { .who = s, .id = id, .options = sub->options, .kind = SUB_SESSION, .extra = out->extra };
	struct sub *room = sub_room(s, sub->filter.n);
	struct trie_node *node;

	if (room == NULL)
		return false;
	/* Other shards look at the summary first: it must never be behind the tree. */
	interest_add(sh->broker, sh->index, sub->filter);
	switch (trie_put(sh->subs, sub->filter, &e, &node)) {
	case TRIE_ADDED:
		*room = (struct sub){ .node = node };
		s->n_subs++;
		s->sub_bytes += (uint32_t)sub->filter.n;
		stat_add(sh, subscriptions, 1);
		out->is_new = true;
		return true;
	case TRIE_REPLACED:
		interest_del(sh->broker, sh->index, sub->filter);
		return true;
	case TRIE_NOMEM:
		break;
	}
	interest_del(sh->broker, sh->index, sub->filter);
	return false;
}

static bool
add_shared(struct session *s, const struct mqtt_sub *sub, struct slice name, uint32_t id, struct outcome *out)
{
	struct share_terms t = { .id = id, .extra = out->extra, .name_n = (uint16_t)name.n, .slot = out->slot };
	struct shared_sub *shared = share_find(s, sub->filter);
	struct sub *room;

	if (shared != NULL)
		return share_rejoin(s, shared, sub, id, out->extra);
	room = s->n_shared < SHARED_MAX ? sub_room(s, sub->filter.n) : NULL;
	if (room == NULL || (shared = share_join(s, sub, &t)) == NULL)
		return false;
	shared->index = s->n_subs;
	*room = (struct sub){ .shared = shared };
	s->n_subs++;
	s->n_shared++;
	s->sub_bytes += (uint32_t)sub->filter.n;
	stat_add(s->shard, shared, 1);
	stat_add(s->shard, subscriptions, 1);
	return true;
}

/* Take entry <i> of the session's list out of the tree or its group. */
static void
drop(struct session *s, uint32_t i)
{
	struct shard *sh = s->shard;
	struct sub *sub = &s->subs[i];

	if (sub->shared != NULL) {
		s->n_shared--;
		stat_sub(sh, shared, 1);
		s->sub_bytes -= sub->shared->full_n;
		share_leave(s, sub->shared);
	} else {
		uint8_t text[UINT16_MAX];
		size_t n = trie_filter(sub->node, text, sizeof text);

		(void)trie_del(sh->subs, sub->node, s);
		interest_del(sh->broker, sh->index, slice_of(text, n));
		s->sub_bytes -= (uint32_t)n;
	}
	sub_forget(s, i);
}

/* The session's list is not in order: who asks again for all that he has asks in the order in which he did, so each one is
 * behind the one before. */
static struct sub *
find_plain(struct session *s, struct slice filter)
{
	struct trie_node *node = trie_find(s->shard->subs, filter);

	for (uint32_t n = 0; n < s->n_subs; n++) {
		s->sub_cursor = s->sub_cursor + 1 < s->n_subs ? s->sub_cursor + 1 : 0;
		if (s->subs[s->sub_cursor].node == node)
			return &s->subs[s->sub_cursor];
	}
	return NULL;
}

/* On a full disk what is there already may be written again, from the reserve: clients that come back for their messages subscribe
 * as they always do. */
static bool
may_keep(const struct session *s, const struct sub *sub)
{
	return !s->shard->journal.refuses || (sub->record != 0 && store_state(settings_of(s->shard)->store) == STORE_FULL);
}

/* It is to outlive this process. What cannot be written down is not promised. */
static bool
keep_sub(struct session *s, const struct mqtt_sub *how, uint32_t id, const struct outcome *out)
{
	uint32_t n = s->n_subs;
	struct sub *sub;

	if (s->journal == NULL || out->kept)
		return true;
	if (out->shared)
		sub = &s->subs[share_find(s, how->filter)->index];
	else
		sub = out->is_new ? &s->subs[n - 1] : find_plain(s, how->filter);
	if (sub == NULL || (may_keep(s, sub) && journal_subscribed(s, sub, how, id)))
		return true;
	if (sub->record == 0)
		drop(s, (uint32_t)(sub - s->subs));
	return false;
}

/* While the store fails: clients that come back subscribe as they always do. */
static bool
is_kept(struct session *s, const struct mqtt_sub *how, uint32_t id, bool shared)
{
	const struct shared_sub *sub = shared ? share_find(s, how->filter) : NULL;
	struct trie_node *node = shared ? NULL : trie_find(s->shard->subs, how->filter);
	const struct trie_entry *e = node != NULL ? trie_entry_of(node, s) : NULL;

	if (s->journal == NULL || !journal_is_durable(s))
		return false;
	return sub != NULL ? sub->options == how->options && sub->id == id : e != NULL && e->options == how->options && e->id == id;
}

bool
session_resubscribe(struct session *s, const struct record_sub *r, uint64_t record)
{
	struct outcome out = { .slot = r->share != 0 ? r->share : SHARE_NO_SLOT };
	struct mqtt_sub how = { r->filter, r->options };
	struct slice name = { 0 }, filter;
	uint32_t n = s->n_subs;
	enum topic_share share = topic_share_split(how.filter, &name, &filter);

	if (share == TOPIC_SHARE_BAD || (share == TOPIC_SHARE_NO && !topic_filter_ok(how.filter)))
		return false;
	if (!(share == TOPIC_SHARE_YES ? add_shared(s, &how, name, r->id, &out) : add_plain(s, &how, r->id, &out)) || s->n_subs == n)
		return false;
	s->subs[n].record = record;
	return true;
}

static void
report(struct client *c, enum broker_event_kind kind, const struct mqtt_sub *sub, uint8_t reason, const char *why)
{
	struct broker_event e = { .kind = kind, .topic = sub->filter, .reason = reason, .qos = sub->options & MQTT_SUB_QOS,
		.text = why };

	client_report(c, &e);
}

/* Carry out one filter; the SUBACK code. */
static void
subscribe_one(struct client *c, struct mqtt_sub *sub, uint32_t id, struct outcome *out)
{
	struct session *s = c->session;
	struct slice name = { 0 }, filter = sub->filter;
	struct authz_verdict v;
	uint8_t qos = NUM_MIN((uint8_t)(sub->options & MQTT_SUB_QOS), c->max_qos);
	bool ok;

	if (!mount_filter(c, &sub->filter)) {
		report(c, BROKER_DENIED_SUBSCRIBE, sub, MQTT_RC_FILTER_INVALID, "no topic filter behind the mount point");
		out->code = c->version == MQTT_V5 ? MQTT_RC_FILTER_INVALID : MQTT_RC_UNSPECIFIED;
		return;
	}
	filter = sub->filter;
	out->shared = topic_share_split(sub->filter, &name, &filter) == TOPIC_SHARE_YES;
	/* What a bridge cannot ask for in 3.1.1 goes without saying: nothing comes back to it, and what is retained stays so. */
	if (c->is_bridge && !out->shared)
		sub->options |= MQTT_SUB_NO_LOCAL | MQTT_SUB_RETAIN_AS_PUBLISHED;
	sub->options = (uint8_t)((sub->options & ~MQTT_SUB_QOS) | qos);
	if (!authz_allowed(listener_of(c->shard, c->listener)->policy, c->who, session_id(s), AUTHZ_SUBSCRIBE, filter, &v)) {
		bool silent = c->version != MQTT_V5 && listener_of(c->shard, c->listener)->grant_denied_v3;

		stat_add(c->shard, denied, 1);
		report(c, BROKER_DENIED_SUBSCRIBE, sub, MQTT_RC_NOT_AUTHORIZED, v.why);
		out->code = c->version == MQTT_V5 ? MQTT_RC_NOT_AUTHORIZED : silent ? qos : 0x80;
		out->shared = true; /* no retained messages */
		return;
	}
	out->extra = v.whole ? c->shard->policy_tag : 0;
	out->kept = c->shard->journal.failing && is_kept(s, sub, id, out->shared);
	ok = (out->shared ? add_shared(s, sub, name, id, out) : add_plain(s, sub, id, out)) && keep_sub(s, sub, id, out);
	out->code = ok ? qos : c->version == MQTT_V5 ? MQTT_RC_QUOTA : MQTT_RC_UNSPECIFIED;
	if (ok)
		report(c, BROKER_SUBSCRIBED, sub, qos, "");
}

/* What makes the whole packet an error; *ret_rc. */
static const char *
find_fault(const struct client *c, struct mqtt_filters f, uint8_t *ret_rc)
{
	struct mqtt_sub sub;
	struct slice name, filter;

	while (mqtt_filters_next(&f, &sub)) {
		enum topic_share share = topic_share_split(sub.filter, &name, &filter);

		*ret_rc = MQTT_RC_MALFORMED;
		if (share == TOPIC_SHARE_BAD || (share == TOPIC_SHARE_NO && !topic_filter_ok(sub.filter)))
			return "not a topic filter";
		*ret_rc = MQTT_RC_PROTOCOL;
		if (share == TOPIC_SHARE_YES && f.options && (sub.options & MQTT_SUB_NO_LOCAL) && c->version == MQTT_V5)
			return "no local on a shared subscription"; /* [MQTT-3.8.3-4] */
	}
	return NULL;
}

/* Retained messages come after SUBACK, for filters that were granted and where the options ask for them (3.3.1.3). */
static void
send_retained(struct client *c, struct mqtt_filters f, const struct outcome *out)
{
	struct session *s = c->session;
	struct mqtt_sub sub;

	for (unsigned i = 0; mqtt_filters_next(&f, &sub); i++) {
		unsigned handling = (sub.options & (unsigned)MQTT_SUB_RETAIN_HANDLING) >> 4;
		struct hit h = { .id = f.subscription_id, .qos = out[i].code, .extra = out[i].extra };

		if (out[i].code <= 2 && !out[i].shared && (handling == 0 || (handling == 1 && out[i].is_new)) &&
		    mount_filter(c, &sub.filter))
			retained_request(s, sub.filter, &h);
	}
}

static bool
suback(struct client *c, uint8_t type, uint16_t packet_id, struct slice codes)
{
	size_t cap = codes.n + 16;
	uint8_t *buf = malloc(cap);
	struct wr w = wr_of(buf, cap);
	bool ok;

	if (buf == NULL || !mqtt_put_suback(&w, c->version, type, packet_id, codes, SL(""))) {
		free(buf);
		return client_fail(c, MQTT_RC_UNSPECIFIED, "out of memory");
	}
	ok = out_packet(c, buf, wr_len(&w));
	free(buf);
	return ok;
}

bool
on_subscribe(struct client *c, const struct mqtt_frame *f)
{
	struct mqtt_filters filters, again;
	struct mqtt_sub sub;
	uint8_t rc = mqtt_decode_filters(f, c->version, &filters), *codes;
	const char *fault;
	struct outcome *out;
	uint64_t mark = c->shard->journal.marks;
	bool ok;

	if (rc != MQTT_RC_OK)
		return client_fail(c, rc, "malformed SUBSCRIBE");
	if (filters.count > SUBSCRIPTIONS_MAX)
		return client_fail(c, MQTT_RC_QUOTA, "too many filters in one SUBSCRIBE");
	if ((fault = find_fault(c, filters, &rc)) != NULL)
		return client_fail(c, rc, fault);
	codes = malloc(filters.count);
	out = calloc(filters.count, sizeof *out);
	if (codes == NULL || out == NULL) {
		free(codes);
		free(out);
		return client_fail(c, MQTT_RC_UNSPECIFIED, "out of memory");
	}
	again = filters;
	for (unsigned i = 0; i < filters.count && mqtt_filters_next(&again, &sub); i++) {
		subscribe_one(c, &sub, filters.subscription_id, &out[i]);
		codes[i] = out[i].code;
	}
	ok = gate_since(c, mark) && suback(c, MQTT_SUBACK, filters.packet_id, slice_of(codes, filters.count));
	if (ok)
		send_retained(c, filters, out);
	free(codes);
	free(out);
	return ok;
}

void
session_unsubscribe_all(struct session *s)
{
	while (s->n_subs > 0)
		drop(s, s->n_subs - 1);
	free(s->subs);
	s->subs = NULL;
	s->cap_subs = 0;
}

/* What one packet takes out of the tree; the session's list is swept once for all of it, since a search for each would cost
 * the square of their number. */
struct gone {
	struct trie_node **v; /* compared only: they may be freed */
	size_t n;
};

static int
by_address(const void *a, const void *b)
{
	uintptr_t x = (uintptr_t)*(struct trie_node *const *)a, y = (uintptr_t)*(struct trie_node *const *)b;

	return x < y ? -1 : x > y;
}

static void
sweep(struct session *s, const struct gone *g)
{
	if (g->n == 0)
		return;
	qsort(g->v, g->n, sizeof(struct trie_node *), by_address);
	for (uint32_t i = 0; i < s->n_subs;)
		if (s->subs[i].node != NULL &&
		    bsearch(&s->subs[i].node, g->v, g->n, sizeof(struct trie_node *), by_address) != NULL)
			sub_forget(s, i);
		else
			i++;
}

static bool
unsubscribe_one(struct session *s, struct slice filter, struct gone *g)
{
	struct slice name, inner;
	struct trie_node *node;
	struct shared_sub *shared;

	if (topic_share_split(filter, &name, &inner) != TOPIC_SHARE_YES) {
		node = topic_filter_ok(filter) ? trie_find(s->shard->subs, filter) : NULL;
		if (node == NULL || trie_entry_of(node, s) == NULL)
			return false;
		(void)trie_del(s->shard->subs, node, s);
		interest_del(s->shard->broker, s->shard->index, filter);
		s->sub_bytes -= (uint32_t)filter.n;
		g->v[g->n++] = node;
		return true;
	}
	if ((shared = share_find(s, filter)) == NULL)
		return false;
	drop(s, shared->index);
	return true;
}

/* The UNSUBACK code of one filter, which gets its mount point. */
static uint8_t
unsubscribe(struct client *c, struct mqtt_sub *sub, struct gone *g)
{
	struct slice name, filter;
	struct authz_verdict v;

	if (!mount_filter(c, &sub->filter))
		return MQTT_RC_NO_SUBSCRIPTION;
	filter = sub->filter;
	(void)topic_share_split(sub->filter, &name, &filter);
	if (!authz_allowed(listener_of(c->shard, c->listener)->policy, c->who, session_id(c->session), AUTHZ_UNSUBSCRIBE, filter, &v)) {
		stat_add(c->shard, denied, 1);
		return MQTT_RC_NOT_AUTHORIZED;
	}
	return unsubscribe_one(c->session, sub->filter, g) ? MQTT_RC_OK : MQTT_RC_NO_SUBSCRIPTION;
}

bool
on_unsubscribe(struct client *c, const struct mqtt_frame *f)
{
	struct mqtt_filters filters, again;
	struct mqtt_sub sub;
	struct gone gone = { 0 };
	uint64_t mark = c->shard->journal.marks;
	uint8_t rc = mqtt_decode_filters(f, c->version, &filters), *codes;
	bool ok;

	if (rc != MQTT_RC_OK)
		return client_fail(c, rc, "malformed UNSUBSCRIBE");
	for (again = filters; mqtt_filters_next(&again, &sub);)
		if (!topic_filter_ok(sub.filter))
			return client_fail(c, MQTT_RC_MALFORMED, "not a topic filter");
	codes = malloc(filters.count);
	gone.v = calloc(filters.count, sizeof(struct trie_node *));
	if (codes == NULL || gone.v == NULL) {
		free(codes);
		free(gone.v);
		return client_fail(c, MQTT_RC_UNSPECIFIED, "out of memory");
	}
	for (unsigned i = 0; i < filters.count && mqtt_filters_next(&filters, &sub); i++) {
		sub.options = 0;
		codes[i] = unsubscribe(c, &sub, &gone);
		report(c, BROKER_UNSUBSCRIBED, &sub, codes[i], "");
	}
	sweep(c->session, &gone);
	free(gone.v);
	ok = gate_since(c, mark) && suback(c, MQTT_UNSUBACK, filters.packet_id, slice_of(codes, filters.count));
	free(codes);
	return ok;
}
