/* signet ca ocsp: an OCSP answer about one certificate, in a file. */
#include "cli/internal.h"

#include "base/num.h"

static bool
make(struct pki_ocsp_order *o, struct err *err)
{
	struct pki_ocsp_made m;

	if (o->ca == NULL || o->out == NULL)
		return err_set(err, ERR_USAGE, "say which CA answers and where to: --ca CA --out FILE");
	if (!site_dir(o->dir, &o->dir, err) || !pki_ocsp_make(o, &m, err))
		return false;
	(void)printf("The CA \"%s\" says for %lld days that certificate %s is %s: %s\n", o->ca, (long long)((m.until - m.from + 43200) / 86400),
	    m.serial, pki_ocsp_status_name(m.status), o->out);
	return true;
}

int
ca_ocsp(int argc, char *argv[])
{
	struct pki_ocsp_order o = { 0 };
	struct pass pass;
	const char *pass_file = NULL;
	int words, code;
	struct err err;
	const struct arg table[] = {
		{ "dir", "DIR", ARG_TEXT, &o.dir, 0, 0, "the installation" },
		{ "ca", "CA", ARG_TEXT, &o.ca, 0, 0, "who issued the certificate", CHOICES_CA },
		{ "out", "FILE", ARG_TEXT, &o.out, 0, 0, "where the answer is written (DER); an older one is replaced" },
		{ "days", "N", ARG_NUMBER, &o.days, 1, 366, "for which it is good (7; never beyond the CA's own end)" },
		{ "passphrase-file", "FILE", ARG_TEXT, &pass_file, 0, 0, "the CA key's passphrase (or SIGNET_PASSPHRASE)" },
	};
	const struct args args = { "signet ca ocsp CERTIFICATE --ca CA --out FILE [options]",
		"Writes what an OCSP responder of the CA would say of a certificate now: good, revoked, or unknown. A broker with\n"
		"\"ocsp_stapling_file FILE\" shows it to its clients, and takes a new one over at once.",
		table, ARRAY_LEN(table), "Example: signet ca ocsp servers/mqtt.example.com/cert.pem --ca cloud --out staple.der\n", 1, 1 };

	if (!args_parse(&args, argc, argv, &words, &code))
		return code;
	pass_init(&pass, pass_file);
	o.cert_file = argv[1];
	o.secret = &pass.secret;
	return make(&o, &err) ? EXIT_OK : fail(&err);
}
