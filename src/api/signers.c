/* Who signs, and where it is written down who did what. */
#include "api/internal.h"

#include <stdlib.h>

#include "base/log.h"
#include "base/text.h"

bool
signers_open(struct api *a, struct err *err)
{
	(void)a;
	(void)err;
	return true;
}

void
signers_close(struct api *a)
{
	(void)a;
}

void
api_audit(struct api *a, const char *actor, const char *action, struct slice object)
{
	char who[128], what[400];

	(void)a;
	log_notice("Control: %s by %s: %s.", action, text_show(slice_str(actor), who, sizeof(who)), text_show(object, what, sizeof(what)));
}

void
lists_due(struct api *a)
{
	(void)a;
}

void
lists_publish(struct call *c, int reason)
{
	struct registry_certificate x;

	(void)reason;
	if (!certificate_load(c, c->params[0], c->params[1], &x))
		return;
	free(x.mem);
	call_header(c, "Retry-After", "60");
	call_problem(c, 503, "list-pending", "the list is made as soon as the signer can; ask for the CA's list.due",
	    "the registry knows it, but the CA's revocation list is not published yet: the signer is not there");
}
