/* Directives of the signer of `signet serve`. */
#include "server/config.h"

#include <stdio.h>

#include "base/num.h"
#include "base/text.h"

enum { SHOW_CAP = 120, URL_MAX = 350 };

bool
read_signer_profile(struct parse *p, struct slice value)
{
	static const char *const known[] = { "client", "server", "cfree" };
	struct slice ca = parse_word(&value);
	struct config_signer_profile *row;
	char show[SHOW_CAP];

	if (p->c->n_signer_profiles == CONFIG_SIGNER_PROFILES_MAX)
		return parse_fail(p, ERR_LIMIT, "more than %d of them", CONFIG_SIGNER_PROFILES_MAX);
	row = &p->c->signer_profiles[p->c->n_signer_profiles];
	if (ca.n == 0 || !text_copy(row->ca, sizeof(row->ca), ca) || slice_eq(ca, SL("root")))
		return parse_fail(p, ERR_USAGE, "\"%s\" is no CA that issues certificates", text_show(ca, show, sizeof(show)));
	for (size_t i = 0; i < ARRAY_LEN(known); i++) {
		if (slice_eq(value, slice_str(known[i]))) {
			(void)snprintf(row->profile, sizeof(row->profile), "%s", known[i]);
			p->c->n_signer_profiles++;
			return true;
		}
	}
	return parse_fail(p, ERR_USAGE, "\"%s\" is no profile (client, server, cfree)", text_show(value, show, sizeof(show)));
}

/* It stands in certificates, whose readers are many: nothing that means something to one of them, and no TLS, which would need
 * what is being asked about. */
static bool
read_url(struct parse *p, struct slice value, char **ret)
{
	static const char fine[] = "abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789-._~:/?&=%[]@";
	char url[URL_MAX + 1], show[SHOW_CAP];

	if (!text_copy(url, sizeof(url), value) || strncmp(url, "http://", 7) != 0 || url[7] == '\0' || strspn(url, fine) != strlen(url))
		return parse_fail(p, ERR_USAGE, "\"%s\" is no URL that begins with http:// and has at most %d plain characters",
		    text_show(value, show, sizeof(show)), URL_MAX);
	return read_text(p, value, ret);
}

bool
read_crl_url(struct parse *p, struct slice value)
{
	return read_url(p, value, &p->c->crl_url);
}

bool
read_ocsp_url(struct parse *p, struct slice value)
{
	return read_url(p, value, &p->c->ocsp_url);
}

bool
read_ca_issuers_url(struct parse *p, struct slice value)
{
	return read_url(p, value, &p->c->ca_issuers_url);
}
