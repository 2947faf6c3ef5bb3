#include "api/standing.h"

#include <stdlib.h>

#include "base/log.h"
#include "base/text.h"

enum { CESSATION = 5 }; /* RFC 5280 5.3.1 */

void
standing_of(struct registry *r, struct slice cn, struct standing *ret)
{
	struct registry_device d;

	*ret = (struct standing){ .device = registry_device_find(r, cn, &d, NULL) };
	if (!ret->device)
		return;
	ret->state = d.state;
	ret->created = d.created;
	free(d.mem);
}

static bool
take_one(void *ctx, const struct registry_certificate *x)
{
	(void)x;
	*(bool *)ctx = true;
	return true;
}

bool
standing_may(struct registry *r, struct slice cn, struct err *err)
{
	const struct registry_certificate_filter f = { .cn = cn, .states = 1u << REGISTRY_CERT_HOLD };
	struct registry_page page = { .limit = 1 };
	struct standing s;
	bool held = false;

	standing_of(r, cn, &s);
	if (s.device && s.state == REGISTRY_PENDING)
		return err_set(err, ERR_DENIED, "the device waits for its approval; an administrator can approve it");
	if (s.device && s.state != REGISTRY_ENABLED)
		return err_set(err, ERR_DENIED, "the device is %s; an administrator can enable it again", registry_device_state_name(s.state));
	return registry_certificate_list(r, &f, &page, take_one, &held, err) &&
	    (!held || err_set(err, ERR_DENIED, "a certificate of the device is on hold; an administrator can release or revoke it"));
}

static bool
still(struct registry *r, struct slice cn, const struct standing *then, struct err *err)
{
	struct standing now;

	if (!then->device)
		return true;
	standing_of(r, cn, &now);
	if (!now.device || now.created != then->created)
		return err_set(err, ERR_MISSING, "the device was removed while its certificate was being signed");
	return now.state == then->state || now.state == REGISTRY_ENABLED ||
	    err_set(err, ERR_DENIED, "the device was set to %s while its certificate was being signed", registry_device_state_name(now.state));
}

void
standing_void(struct api *a, const struct registry_certificate *x)
{
	const struct registry_certificate_new n = { .certificate = *x, .keep_entity = true };
	struct registry *r = a->registry;
	struct err err;

	if (registry_begin(r, &err) && registry_certificate_add(r, &n, &err) &&
	    registry_certificate_revoke(r, x->ca, slice_str(x->serial), CESSATION, &err) && registry_commit(r, &err)) {
		lists_due(a);
		return;
	}
	registry_rollback(r);
	log_error("Certificate %s of CA %.*s was signed, is not handed out, and cannot be booked as revoked: %s.", x->serial, SL_ARG(x->ca), err.text);
}

bool
standing_book(struct api *a, const struct registry_certificate_new *n, const struct standing *then, struct err *err)
{
	char shown[200];

	if (still(a->registry, n->certificate.cn, then, err)) {
		if (registry_certificate_add(a->registry, n, err))
			return true;
		/* Its one-time secret was withdrawn. */
		if (err->code != ERR_DENIED)
			return false;
	}
	log_warning("Certificate %s for '%s' is not handed out, and revoked: %s.", n->certificate.serial, text_show(n->certificate.cn, shown, sizeof(shown)), err->text);
	standing_void(a, &n->certificate);
	return false;
}
