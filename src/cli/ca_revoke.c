/* signet ca revoke: take certificates back. */
#include "cli/internal.h"

#include <string.h>
#include "base/num.h"
#include "base/text.h"

/* Which CA has issued <what>; only one may have. */
struct search {
	const char *what;
	char ca[33];
	unsigned n; /* CAs */
};

static void
find_ca(void *ctx, const struct pki_entry *e)
{
	struct search *s = ctx;

	if ((strcmp(e->cn, s->what) != 0 && strcasecmp(e->serial, s->what) != 0) || strcmp(s->ca, e->ca) == 0)
		return;
	(void)snprintf(s->ca, sizeof s->ca, "%s", e->ca);
	s->n++;
}

static bool
choose_ca(struct pki_revocation *r, struct search *s, struct err *err)
{
	char shown[128];

	if (r->ca != NULL)
		return true;
	if (r->what == NULL)
		return err_set(err, ERR_USAGE, "say whose list or certificate it is: --ca CA");
	s->what = r->what;
	if (!pki_list(r->dir, NULL, 0, find_ca, s, err))
		return false;
	(void)text_show(slice_str(r->what), shown, sizeof shown);
	if (s->n == 0)
		return err_set(err, ERR_MISSING, "no CA here has issued a certificate \"%s\" (signet ca list shows all)", shown);
	if (s->n > 1)
		return err_set(err, ERR_USAGE, "more than one CA has issued a certificate \"%s\": say which with --ca", shown);
	r->ca = s->ca;
	return true;
}

static bool
revoke(struct pki_revocation *r, struct search *s, const char *reason, struct err *err)
{
	struct pki_revoked done;

	if (reason != NULL && !pki_reason_parse(slice_str(reason), &r->reason))
		return err_set(err, ERR_USAGE, "the reason is one of: " PKI_REASONS);
	if (!site_dir(r->dir, &r->dir, err) || !choose_ca(r, s, err) || !pki_revoke(r, &done, err))
		return false;
	if (done.n > 0)
		(void)printf("%u certificate%s revoked.\n", done.n, done.n == 1 ? "" : "s");
	else if (r->what != NULL || r->cert_file != NULL)
		(void)printf("It is revoked already.\n");
	(void)printf("The list of the CA \"%s\" is in %s; a broker with \"crlfile\" on that file or folder has it by now.\n", r->ca, done.path);
	return true;
}

int
ca_revoke(int argc, char *argv[])
{
	struct pki_revocation r = { 0 };
	struct search search = { .n = 0 };
	struct pass pass;
	const char *pass_file = NULL, *reason = NULL;
	int words, code;
	struct err err;
	const struct arg table[] = {
		{ "dir", "DIR", ARG_TEXT, &r.dir, 0, 0, "the installation" },
		{ "ca", "CA", ARG_TEXT, &r.ca, 0, 0, "who issued it; needed when several have issued the name", CHOICES_CA },
		{ "cert", "FILE", ARG_TEXT, &r.cert_file, 0, 0, "instead of NAME: the certificate, as that of a CA below --ca root" },
		{ "reason", "REASON", ARG_TEXT, &reason, 0, 0, PKI_REASONS, PKI_REASONS },
		{ "days", "N", ARG_NUMBER, &r.days, 1, 36500, "the list is good for N days (until the CA's own end)" },
		{ "passphrase-file", "FILE", ARG_TEXT, &pass_file, 0, 0, "the CA key's passphrase (or SIGNET_PASSPHRASE)" },
	};
	const struct args args = { "signet ca revoke [NAME|SERIAL] [options]",
		"Takes back the certificates of NAME, or the one with this serial number, and writes the CA's revocation list to\n"
		"crls/CA.pem. The broker cuts their connections at once. Without a name the list is only made anew.",
		table, ARRAY_LEN(table), "Example: signet ca revoke sensor01 --reason keyCompromise\n", 0, 1 };

	if (!args_parse(&args, argc, argv, &words, &code))
		return code;
	pass_init(&pass, pass_file);
	r.what = words > 0 ? argv[1] : NULL;
	r.secret = &pass.secret;
	return revoke(&r, &search, reason, &err) ? EXIT_OK : fail(&err);
}
