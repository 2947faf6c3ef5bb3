/* signet device bundle: what `signet device add` made, in the forms that firmware, tools and readers take. */
#include "cli/internal.h"

#include <stdlib.h>
#include <string.h>
#include <time.h>
#include <unistd.h>
#include "base/file.h"
#include "base/num.h"
#include "base/secret.h"
#include "base/text.h"
#include "bundle/bundle.h"

struct wish {
	const char *id, *dir, *out, *host, *password_file;
	unsigned port;
	bool no_key, springcore;
	struct bundle_springcore reader;
};
struct material {
	uint8_t *key, *cert, *ca;
	size_t key_n, cert_n, ca_n;
	char *commands;
	char password[256];
	struct site_facts facts;
};

static void
material_done(struct material *m)
{
	secret_free(m->key, m->key_n);
	secret_wipe(m->password, sizeof m->password);
	free(m->cert);
	free(m->ca);
	free(m->commands);
}

static bool
read_one(const char *folder, const char *name, uint8_t **ret, size_t *ret_n, struct err *err)
{
	char path[PKI_PATH_MAX];

	return (path_join(path, sizeof path, folder, name) || err_set(err, ERR_USAGE, "%s: the path is too long", folder)) &&
	    file_read(path, PKI_FILE_MAX, ret, ret_n, err);
}

static bool
gather(const struct wish *w, struct material *m, struct err *err)
{
	char clients[PKI_PATH_MAX], folder[PKI_PATH_MAX], why[160];
	const char *dir;

	if (!pki_cn_ok(slice_str(w->id), why, sizeof why) || w->id[0] == '.')
		return err_set(err, ERR_USAGE, "the device's name %s", w->id[0] == '.' ? "begins with a dot" : why);
	if (!site_dir(w->dir, &dir, err))
		return false;
	if (!path_join(clients, sizeof clients, dir, "clients") || !path_join(folder, sizeof folder, clients, w->id))
		return err_set(err, ERR_USAGE, "%s: the path is too long", dir);
	if (access(folder, F_OK) == -1)
		return err_set(err, ERR_MISSING, "%s: there is no such device; \"signet device add\" makes one", folder);
	site_facts(dir, w->id, AUTHZ_ROLE_CLIENT, &m->facts);
	if (w->host != NULL && !text_copy(m->facts.host, sizeof m->facts.host, slice_str(w->host)))
		return err_set(err, ERR_USAGE, "the host's name is too long");
	if (w->port != 0)
		m->facts.usage.port = w->port;
	if (!site_command_text(&m->facts, NULL, &m->commands))
		return err_set(err, ERR_MEMORY, "out of memory");
	if (w->password_file != NULL && !pass_from_file(w->password_file, m->password, sizeof m->password, err))
		return false;
	return read_one(folder, "cert.pem", &m->cert, &m->cert_n, err) && read_one(folder, "ca.pem", &m->ca, &m->ca_n, err) &&
	    (w->no_key || read_one(folder, "key.pem", &m->key, &m->key_n, err));
}

static bool
ends(const char *s, const char *with)
{
	size_t n = strlen(s), m = strlen(with);

	return n > m && strcmp(s + n - m, with) == 0;
}

static bool
put(const struct bundle_set *b, const char *out, struct err *err)
{
	uint8_t *data;
	size_t n;
	bool zip = ends(out, ".zip"), ok;

	if (!zip && !ends(out, ".tar.gz") && !ends(out, ".tgz"))
		return bundle_put(b, out, err);
	if (!bundle_pack(b, zip ? BUNDLE_ZIP : BUNDLE_TAR_GZ, &data, &n, err))
		return false;
	ok = file_write(out, slice_of(data, n), 0600, 0, err);
	secret_free(data, n);
	return ok;
}

static bool
run(const struct wish *w, struct err *err)
{
	char place[4 * PKI_CN_MAX + 16];
	struct material m = { 0 };
	struct bundle_set b;
	bool ok = gather(w, &m, err);

	(void)snprintf(place, sizeof place, "%s-bundle", w->id);
	if (ok) {
		const struct bundle_order o = { .cn = w->id, .key = slice_of(m.key, m.key_n), .cert = slice_of(m.cert, m.cert_n), .ca = slice_of(m.ca, m.ca_n),
			.client_id = m.facts.usage.client_id, .host = m.facts.host, .port = (uint16_t)m.facts.usage.port, .commands = m.commands,
			.password = w->password_file != NULL ? m.password : NULL, .springcore = w->springcore ? &w->reader : NULL, .now = (int64_t)time(NULL) };

		ok = bundle_make(&o, &b, err);
	}
	if (ok) {
		ok = put(&b, w->out != NULL ? w->out : place, err);
		if (ok)
			(void)printf("%s\n", w->out != NULL ? w->out : place);
		for (size_t i = 0; ok && i < b.n; i++)
			(void)printf("  %-16s  %s\n", b.files[i].name, b.files[i].about);
		bundle_done(&b);
	}
	material_done(&m);
	return ok;
}

int
device_bundle(int argc, char *argv[])
{
	struct wish w = { 0 };
	int words, code;
	struct err err;
	const struct arg table[] = {
		{ "dir", "DIR", ARG_TEXT, &w.dir, 0, 0, "the installation (else . or ./run)" },
		{ "out", "PATH", ARG_TEXT, &w.out, 0, 0, "a folder to make (ID-bundle), or NAME.zip, NAME.tar.gz" },
		{ "no-key", NULL, ARG_FLAG, &w.no_key, 0, 0, "without the private key, PKCS#12 included" },
		{ "host", "NAME", ARG_TEXT, &w.host, 0, 0, "the broker's name for the device; else as its certificate says" },
		{ "port", "N", ARG_NUMBER, &w.port, 1, 65535, "the broker's port; else as signet.conf says" },
		{ "password-file", "FILE", ARG_TEXT, &w.password_file, 0, 0, "password of device.p12; else a random one, which is in the bundle" },
		{ "springcore", NULL, ARG_FLAG, &w.springcore, 0, 0, "with the configuration of a SpringCore reader" },
		{ "slot", "N", ARG_NUMBER, &w.reader.ca_slot, 0, SPRINGCORE_SLOT_MAX, "where the reader keeps our CA (0)" },
		{ "reader-id", "ID", ARG_TEXT, &w.reader.client_id, 0, 0, "the reader's client id; else its serial number" },
		{ "prefix", "TOPIC", ARG_TEXT, &w.reader.prefix, 0, 0, "of the reader's topics; else as it is" },
	};
	const struct args args = { "signet device bundle ID [options]",
		"Puts the files of a device that \"signet device add\" made into a folder, zip or tar: key and certificates as PEM and as PKCS#12,\n"
		"a C header for firmware, commands to try it, a README, and the configuration of a SpringCore reader.",
		table, ARRAY_LEN(table),
		"Examples:\n  signet device bundle sensor01 --out sensor01.zip\n  signet device bundle RD4S01 --springcore --host mqtt.example --out reader\n\n"
		"Exit codes: 0 success, 1 failure, 2 wrong usage.\n", 1, 1 };

	if (!args_parse(&args, argc, argv, &words, &code))
		return code;
	w.id = argv[1];
	return run(&w, &err) ? EXIT_OK : fail(&err);
}
