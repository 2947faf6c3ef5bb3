/* signet ca: issue and sign; the other subcommands are in ca_ocsp.c, ca_revoke.c, ca_show.c and ca_trust.c. */
#include "cli/internal.h"

#include <stdlib.h>
#include "base/file.h"
#include "base/num.h"
#include "base/text.h"

static const struct subcommand subcommands[] = {
	{ "issue", "a key and a certificate", ca_issue },
	{ "sign", "a certificate for a request (CSR); the key stays where it is", ca_sign },
	{ "revoke", "take certificates back; their connections end at once", ca_revoke },
	{ "ocsp", "what the CA says of a certificate, as an OCSP answer to staple", ca_ocsp },
	{ "list", "what was issued, and what expires soon", ca_list },
	{ "show", "one certificate: by name, serial number or file", ca_show },
	{ "export", "a CA's certificate, PEM or DER", ca_export },
	{ "adopt", "take over an existing CA with its key", ca_adopt },
	{ "trust", "trust another CA's certificates, in a role", ca_trust },
};

int
cmd_ca(int argc, char *argv[])
{
	static const struct group group = {
		.name = "ca",
		.about = "Works on the certificate authorities of an installation: the folder given with --dir, else the present\n"
			 "folder or ./run.",
		.more = ". Without --dir the installation is the present folder\nor ./run. Exit codes: 0 success, 1 failure, 2 wrong usage.",
		.table = subcommands,
		.n = ARRAY_LEN(subcommands),
	};

	return group_run(&group, argc, argv);
}

static bool
read_order(struct pki_order *o, const char *key_type, struct err *err)
{
	if (o->ca == NULL)
		return err_set(err, ERR_USAGE, "say which CA issues it: --ca client, watch, control, cloud, or an adopted one");
	if (key_type != NULL && !pki_key_type_parse(slice_str(key_type), &o->key_type))
		return err_set(err, ERR_USAGE, "the key type is p256, p384, p521, rsa2048, rsa3072, rsa4096 or rsa8192");
	return site_dir(o->dir, &o->dir, err);
}

static void
report(const struct pki_issued *r, FILE *out)
{
	char shown[4 * PKI_CN_MAX];

	(void)fprintf(out, "Certificate of \"%s\"\n  serial   %s\n  SHA-256  %s\n",
	    text_show(slice_str(r->cn), shown, sizeof shown), r->serial, r->fingerprint);
	if (r->place[0] != '\0')
		(void)fprintf(out, "  in       %s\n", r->place);
	if (r->notes[0] != '\0')
		(void)fprintf(stderr, "%s", r->notes);
}

/* Of the CAs that init makes, whose name is the role; a server has nothing to try. */
static bool
try_it(const struct pki_order *o, const struct pki_issued *r, struct err *err)
{
	enum authz_role role;
	char *text = NULL;

	if (o->server || o->ocsp || !authz_role_parse(slice_str(o->ca), &role) || role == AUTHZ_ROLE_CLOUD || role == AUTHZ_ROLE_NONE)
		return true;
	if (!site_commands(o->dir, r->place, r->cn, role, &text, err))
		return false;
	if (text[0] != '\0')
		(void)printf("\nTry it (also in commands.txt):\n%s", text);
	free(text);
	return true;
}

static bool
issue(struct pki_order *o, const char *key_type, struct err *err)
{
	struct pki_issued r;

	if (!read_order(o, key_type, err) || !pki_issue(o, &r, err))
		return false;
	report(&r, stdout);
	free(r.pem);
	return try_it(o, &r, err);
}

int
ca_issue(int argc, char *argv[])
{
	struct pki_order o = { 0 };
	struct host_list hosts = { 0 };
	struct pass pass;
	const char *pass_file = NULL, *key_type = NULL;
	int words, code;
	struct err err;
	const struct arg table[] = {
		{ "dir", "DIR", ARG_TEXT, &o.dir, 0, 0, "the installation" },
		{ "ca", "NAME", ARG_TEXT, &o.ca, 0, 0, "client, watch, control, cloud, or an adopted CA", CHOICES_CA },
		{ "host", "NAME|IP[,...]", ARG_HOSTS, &hosts, 0, 0, "names for subjectAltName" },
		{ "days", "N", ARG_NUMBER, &o.days, 1, 36500, "validity (clients 730, servers 398; never beyond the CA's)" },
		{ "key-type", "TYPE", ARG_TEXT, &key_type, 0, 0, "p256 (default), p384, p521, rsa2048, ..., rsa8192", CHOICES_KEY },
		{ "out", "DIR", ARG_TEXT, &o.out, 0, 0, "folder to make (clients/NAME, servers/NAME or responders/NAME)" },
		{ "server", NULL, ARG_FLAG, &o.server, 0, 0, "a server's certificate (adopted CAs; cloud always does)" },
		{ "ocsp", NULL, ARG_FLAG, &o.ocsp, 0, 0, "of an OCSP responder that answers for the CA (90 days)" },
		{ "reissue", NULL, ARG_FLAG, &o.reissue, 0, 0, "replace a live certificate of the same name" },
		{ "passphrase-file", "FILE", ARG_TEXT, &pass_file, 0, 0, "the CA key's passphrase (or SIGNET_PASSPHRASE)" },
	};
	const struct args args = { "signet ca issue --ca CA NAME [options]",
		"Makes a key and a certificate for NAME, which becomes its common name. What the certificate may be used for\n"
		"follows from the CA.",
		table, ARRAY_LEN(table), "Example: signet ca issue --ca watch dashboard\n", 1, 1 };

	if (!args_parse(&args, argc, argv, &words, &code))
		return code;
	pass_init(&pass, pass_file);
	o.cn = argv[1];
	o.hosts = hosts.v;
	o.n_hosts = hosts.n;
	o.secret = &pass.secret;
	return issue(&o, key_type, &err) ? EXIT_OK : fail(&err);
}

static bool
sign(struct pki_order *o, const char *csr_file, struct err *err)
{
	struct pki_issued r;
	uint8_t *data;
	size_t n;
	bool ok;

	if (csr_file == NULL)
		return err_set(err, ERR_USAGE, "say which request with --csr FILE");
	if (!read_order(o, NULL, err) || !file_read(csr_file, PKI_FILE_MAX, &data, &n, err))
		return false;
	o->csr = slice_of(data, n);
	ok = n > 0 || err_set(err, ERR_INPUT, "%s: is an empty file, not a certificate request", csr_file);
	ok = ok && (pki_issue(o, &r, err) || err_prefix(err, "%s", csr_file));
	free(data);
	if (!ok)
		return false;
	/* Without --out the certificate goes to standard output, and nothing else does. */
	report(&r, o->out != NULL ? stdout : stderr);
	if (o->out == NULL)
		(void)fputs(r.pem, stdout);
	free(r.pem);
	return true;
}

int
ca_sign(int argc, char *argv[])
{
	struct pki_order o = { 0 };
	struct host_list hosts = { 0 };
	struct pass pass;
	const char *pass_file = NULL, *csr = NULL;
	int words, code;
	struct err err;
	const struct arg table[] = {
		{ "dir", "DIR", ARG_TEXT, &o.dir, 0, 0, "the installation" },
		{ "ca", "NAME", ARG_TEXT, &o.ca, 0, 0, "client, watch, control, cloud, or an adopted CA", CHOICES_CA },
		{ "csr", "FILE", ARG_TEXT, &csr, 0, 0, "the request, PEM or DER" },
		{ "name", "CN", ARG_TEXT, &o.cn, 0, 0, "the common name (else the request's own)" },
		{ "host", "NAME|IP[,...]", ARG_HOSTS, &hosts, 0, 0, "names for subjectAltName, besides the request's" },
		{ "days", "N", ARG_NUMBER, &o.days, 1, 36500, "validity (never beyond the CA's)" },
		{ "out", "FILE", ARG_TEXT, &o.out, 0, 0, "certificate and chain (else standard output)" },
		{ "server", NULL, ARG_FLAG, &o.server, 0, 0, "a server's certificate (adopted CAs)" },
		{ "reissue", NULL, ARG_FLAG, &o.reissue, 0, 0, "replace a live certificate of the same name, and FILE" },
		{ "passphrase-file", "FILE", ARG_TEXT, &pass_file, 0, 0, "the CA key's passphrase (or SIGNET_PASSPHRASE)" },
	};
	const struct args args = { "signet ca sign --ca CA --csr FILE [options]",
		"Signs a request. Its key, and the host names and addresses it asks for, are kept; subject, key usage and\n"
		"everything else follow from the CA. Keys: RSA 2048 to 8192 bits (a multiple of 8), EC P-256, P-384, P-521.",
		table, ARRAY_LEN(table), NULL, 0, 0 };

	if (!args_parse(&args, argc, argv, &words, &code))
		return code;
	pass_init(&pass, pass_file);
	o.hosts = hosts.v;
	o.n_hosts = hosts.n;
	o.secret = &pass.secret;
	return sign(&o, csr, &err) ? EXIT_OK : fail(&err);
}
