/* Who published a message, for MQTT 5 subscribers: user properties that only the broker can write. Made once for a connection, copied once
 * into each message, lent to all subscribers with it. */
#include <stdlib.h>
#include "base/text.h"
#include "base/wr.h"
#include "broker/internal.h"
#include "broker/record.h"

enum { PAIR_MAX = 64, FINGERPRINT_N = 32 }; /* of a pair: identifier, two lengths, the name */

struct stamp {
	struct authz_principal *who;
	uint32_t n;
	uint8_t bytes[];
};

static bool
put(struct wr *w, const char *name, struct slice value)
{
	return mqtt_put_user_property(w, slice_str(name), value);
}

static bool
write_stamp(struct wr *w, const struct authz_facts *f)
{
	char hex[2 * FINGERPRINT_N + 1];
	struct slice name = f->username.n > 0 ? f->username : f->cn;

	/* A name that is no text would make the subscribers' packets malformed [MQTT-1.5.4-1]. */
	if (!put(w, "signet-publisher", utf8_ok(name) ? name : SL("")))
		return false;
	if (f->role != AUTHZ_ROLE_NONE && !put(w, "signet-role", slice_str(authz_role_name(f->role))))
		return false;
	return f->fingerprint == NULL ||
	       put(w, "signet-fingerprint", slice_str(text_hex(slice_of(f->fingerprint, FINGERPRINT_N), hex, sizeof hex)));
}

static struct stamp *
stamp_new(struct authz_principal *who)
{
	struct authz_facts f;
	struct stamp *s;
	struct wr w;
	size_t cap;

	authz_principal_facts(who, &f);
	cap = 4 * (size_t)PAIR_MAX + 2 * (size_t)FINGERPRINT_N + NUM_MAX(f.username.n, f.cn.n);
	if ((s = malloc(sizeof *s + cap)) == NULL)
		return NULL;
	w = wr_of(s->bytes, cap);
	if (!write_stamp(&w, &f)) {
		free(s);
		return NULL;
	}
	s->who = authz_principal_ref(who);
	s->n = (uint32_t)wr_len(&w);
	return s;
}

void
stamp_free(struct stamp *s)
{
	if (s == NULL)
		return;
	authz_principal_unref(s->who);
	free(s);
}

bool
stamp_put(struct stamp **stamp, struct authz_principal *who, struct mqtt_publish *p)
{
	if (*stamp == NULL || (*stamp)->who != who) {
		struct stamp *fresh = stamp_new(who);

		if (fresh == NULL)
			return false;
		stamp_free(*stamp);
		*stamp = fresh;
	}
	if (p->props.n > 0)
		mqtt_withhold(p, STAMP_PREFIX);
	p->added = slice_of((*stamp)->bytes, (*stamp)->n);
	return true;
}
