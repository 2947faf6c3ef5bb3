/* What the directives about OCSP need of each other. */
#include "server/config.h"

#include <stdio.h>

#include "fetch/fetch.h"

static bool
fail_at(const struct config *c, struct config_place at, struct err *err, const char *text)
{
	char where[CONFIG_PLACE_CAP];

	return err_set(err, ERR_USAGE, "%s: %s", config_place_text(c, at, where, sizeof(where)), text);
}

static bool
check_url(const struct config *c, const struct config_listener *l, const char *name, const char *url, struct err *err)
{
	struct fetch_url u;
	char text[512];

	if (url == NULL || fetch_url_parse(url, &u, err))
		return true;
	(void)snprintf(text, sizeof(text), "%s: %.400s", name, err->text);
	return fail_at(c, option_at(l->at, name), err, text);
}

bool
config_ocsp_finish(const struct config *c, const struct config_listener *l, struct err *err)
{
	struct config_place at = option_at(l->at, "ocsp_check");

	if (l->ocsp_check != CONFIG_OCSP_OFF && l->cafile == NULL && l->capath == NULL)
		return fail_at(c, at, err, "ocsp_check: cafile is missing; no certificate is looked at");
	if (l->ocsp_check != CONFIG_OCSP_OFF && l->protocol == CONFIG_METRICS)
		return fail_at(c, at, err, "ocsp_check: who reads metrics is not asked about; remove it, and use crlfile there");
	if (l->ocsp_responder != NULL && l->ocsp_check == CONFIG_OCSP_OFF)
		return fail_at(c, option_at(l->at, "ocsp_responder"), err, "ocsp_responder: nobody is asked without ocsp_check soft or hard");
	if (l->ocsp_stapling_file != NULL && (l->ocsp_stapling || l->ocsp_stapling_responder != NULL))
		return fail_at(c, option_at(l->at, "ocsp_stapling_file"), err, "ocsp_stapling_file: a responder is to be asked too; choose one of them");
	if (config_staples(l) && l->certfile == NULL)
		return fail_at(c, l->place, err, "OCSP stapling: certfile is missing; there is nothing to say about a pre-shared key");
	return check_url(c, l, "ocsp_responder", l->ocsp_responder, err) &&
	       check_url(c, l, "ocsp_stapling_responder", l->ocsp_stapling_responder, err);
}
