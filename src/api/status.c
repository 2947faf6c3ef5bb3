/* Status messages, {"State":"online,ready","Uptime":"145:1860.081"}: what devices say of themselves, and that they have stopped saying it. */
#include "api/events.h"
#include "api/presence.h"
#include "api/stale.h"

#include <stdlib.h>

#include "base/text.h"

enum { STATUS_MAX = 4096 };

/* The level of <topic> that stands where the filter has its +. */
static bool
level_of(const char *filter, struct slice topic, struct slice *ret)
{
	struct slice f = slice_str(filter);
	bool more = true, more_topic = true;

	*ret = (struct slice){ 0 };
	while (more && more_topic) {
		struct slice a = slice_cut(&f, '/', &more), b = slice_cut(&topic, '/', &more_topic);

		if (slice_eq(a, SL("+")))
			*ret = b;
		else if (!slice_eq(a, b))
			return false;
	}
	return more == more_topic && ret->n > 0 && ret->n <= REGISTRY_LABEL_MAX;
}

/* A word of a device's: no place for anything that could be more. */
static bool
state_of(struct slice payload, char out[static PRESENCE_STATE_MAX + 1])
{
	json_t *o = payload.n <= STATUS_MAX ? json_loadb((const char *)payload.p, payload.n, JSON_REJECT_DUPLICATES, NULL) : NULL;
	const json_t *v = json_object_get(o, "State");
	struct slice s = json_is_string(v) ? slice_of(json_string_value(v), json_string_length(v)) : (struct slice){ 0 };
	bool ok = s.n > 0 && s.n <= PRESENCE_STATE_MAX;

	for (size_t i = 0; ok && i < s.n; i++)
		ok = s.p[i] >= ' ' && s.p[i] < 0x7f;
	ok = ok && text_copy(out, PRESENCE_STATE_MAX + 1, s);
	json_decref(o);
	return ok;
}

static bool
is_up(struct slice state)
{
	return slice_starts(state, SL("online"));
}

/* Who says that he is online will say so again. One message that was kept says nothing new of one who has stopped. */
static enum registry_beat
beat_of(struct api *a, const struct registry_device *d, struct slice state, bool retained)
{
	if (a->config->status_interval_s == 0 || !is_up(state)) {
		stale_forget(a, d->cn);
		return REGISTRY_BEAT_NONE;
	}
	if (retained && (d->stale || stale_expects(a, d->cn)))
		return REGISTRY_BEAT_SAME;
	stale_expect(a, d->cn);
	return REGISTRY_BEAT_EXPECTED;
}

void
presence_status(struct api *a, struct slice topic, struct slice payload, bool retained)
{
	struct registry_device d;
	struct slice cn;
	struct note n = { 0 };
	int64_t now = api_now(a);
	bool other, first;

	if (a->config->status_topic == NULL || !level_of(a->config->status_topic, topic, &cn))
		return;
	(void)text_copy(n.cn, sizeof(n.cn), cn);
	if (!state_of(payload, n.status))
		return;
	first = !stale_expects(a, cn);
	if (first && presence_is_noted(a, cn))
		presence_flush(a); /* it may have become stale just now */
	if (!registry_device_find(a->registry, cn, &d, NULL))
		return;
	other = !slice_eq(d.status, slice_str(n.status)) || (d.stale && !retained);
	n.online = presence_online(a, &d);
	n.beat = beat_of(a, &d, slice_str(n.status), retained);
	/* One that was kept says how it was, not that it is there. */
	n.seen = retained ? d.last_seen : now;
	if (other || (first && n.beat == REGISTRY_BEAT_EXPECTED) || (!retained && now - d.last_seen >= PRESENCE_STEP_S))
		presence_note(a, &n);
	if (other && !retained)
		event_put(a, "status", d.tenant, json_pack("{s:o, s:o, s:o, s:s}", "tenant", text_json(d.tenant), "device", text_json(d.id), "cn", text_json(d.cn), "state",
							   n.status));
	free(d.mem);
}

void
presence_stale(struct api *a, struct slice cn)
{
	struct registry_device d;
	struct note n = { 0 };

	if (!registry_device_find(a->registry, cn, &d, NULL))
		return;
	/* Another one may have been made under its name. */
	if (is_up(d.status)) {
		(void)text_copy(n.cn, sizeof(n.cn), cn);
		n.online = presence_online(a, &d);
		n.beat = REGISTRY_BEAT_STALE;
		n.seen = d.last_seen;
		presence_note(a, &n);
		event_put(a, "stale", d.tenant, json_pack("{s:o, s:o, s:o, s:o, s:o}", "tenant", text_json(d.tenant), "device", text_json(d.id), "cn", text_json(d.cn), "state",
							  text_json(d.status), "last_seen", time_json(d.last_seen)));
	}
	free(d.mem);
}
