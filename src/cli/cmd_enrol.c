/* signet enrol: the device's side. Goes where the token says, makes sure by the fingerprint in it that this is the right place, and comes back
 * with a certificate for a key that never leaves this machine. */
#include "cli/internal.h"
#include "cli/local.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>
#include "base/file.h"
#include "base/num.h"
#include "base/secret.h"
#include "base/text.h"
#include "enrol/enrol.h"

struct enrol {
	const char *token_file, *dir, *name, *host, *key_type;
	bool overwrite;
	struct enrol_token token;
	char base[ENROL_HOST_CAP + 16];
	char key[PKI_PATH_MAX], csr[PKI_PATH_MAX], cert[PKI_PATH_MAX], ca[PKI_PATH_MAX];
	char new_key[PKI_PATH_MAX + 8]; /* that is in use until all is there */
};

static bool
read_token(struct enrol *e, struct err *err)
{
	char text[ENROL_TOKEN_CAP] = "";
	bool ok = e->token_file != NULL ? pass_from_file(e->token_file, text, sizeof text, err) : pass_ask("token", true, text, sizeof text, err);

	ok = ok && enrol_token_read(slice_str(text), &e->token, err);
	secret_wipe(text, sizeof text);
	return ok;
}

static bool
name_files(struct enrol *e, struct err *err)
{
	bool ok = path_join(e->key, sizeof e->key, e->dir, "key.pem") && path_join(e->csr, sizeof e->csr, e->dir, "request.pem") &&
	    path_join(e->cert, sizeof e->cert, e->dir, "cert.pem") && path_join(e->ca, sizeof e->ca, e->dir, "ca.pem");

	(void)snprintf(e->new_key, sizeof e->new_key, "%s%s", e->key, e->overwrite ? ".new" : "");
	return ok || err_set(err, ERR_USAGE, "%s: the path is too long", e->dir);
}

/* The installation's root, known by its fingerprint: whoever answers, nothing else is believed. */
static bool
get_root(struct enrol *e, struct err *err)
{
	struct https_config c = { .base = e->base, .unverified = true };
	struct https *h = https_open(&c, err);
	json_t *answer = NULL;
	uint8_t print[32];
	char hex[65];
	const char *pem;
	bool ok = h != NULL && (local_ask(h, "/api/v1/enrol", "", NULL, &answer, err) || err_prefix(err, "getting the root certificate failed"));

	https_close(h);
	if (!ok)
		return false;
	pem = json_string_value(json_object_get(answer, "pem"));
	if (pem == NULL || !pki_fingerprint(slice_str(pem), print))
		ok = err_set(err, ERR_INPUT, "%s sends no root certificate", e->token.host);
	else if (!secret_eq(slice_str(text_hex(slice_of(print, sizeof print), hex, sizeof hex)), slice_str(e->token.ca)))
		ok = err_set(err, ERR_DENIED, "%s is not the place that the token is for: its root has the fingerprint %s. Somebody stands between, or the installation was made anew", e->token.host,
		    hex);
	ok = ok && file_write(e->ca, slice_str(pem), 0644, FILE_REPLACE, err);
	json_decref(answer);
	return ok;
}

static bool
take_answer(struct enrol *e, struct pki_request *q, const json_t *a, struct err *err)
{
	const char *cert = json_string_value(json_object_get(a, "certificate")), *chain = json_string_value(json_object_get(a, "chain"));
	const char *device = json_string_value(json_object_get(a, "device"));
	char *pem = NULL, *whole = NULL;
	bool ok;

	q->cn = json_string_value(json_object_get(a, "cn"));
	if (cert == NULL || chain == NULL || device == NULL || q->cn == NULL || (e->token.device[0] != '\0' && strcmp(device, e->token.device) != 0))
		return err_set(err, ERR_INPUT, "the answer of %s is not what was asked for", e->token.host);
	ok = pki_answer_check(q, slice_str(cert), slice_str(chain), &pem, err);
	if (ok && asprintf(&whole, "%s%s", pem, chain) == -1) {
		whole = NULL;
		ok = err_set(err, ERR_MEMORY, "out of memory");
	}
	ok = ok && file_write(e->cert, slice_str(whole), 0644, FILE_REPLACE, err) &&
	    (strcmp(e->new_key, e->key) == 0 || rename(e->new_key, e->key) == 0 || err_sys(err, "%s", e->key));
	free(pem);
	free(whole);
	return ok;
}

static bool
read_csr(const struct enrol *e, char **ret, struct err *err)
{
	uint8_t *data;
	size_t n;

	if (!file_read(e->csr, PKI_FILE_MAX, &data, &n, err))
		return false;
	*ret = text_dup(slice_of(data, n));
	free(data);
	return *ret != NULL || err_set(err, ERR_MEMORY, "out of memory");
}

/* <a>: what came. */
static bool
order(struct enrol *e, const char *csr, json_t **ret, struct err *err)
{
	struct https_config c = { .base = e->base, .cafile = e->ca };
	json_t *body = json_pack("{s:s, s:s}", "secret", e->token.secret, "csr", csr);
	const char *name = e->token.device[0] != '\0' ? e->token.device : e->name;
	struct https *h;
	bool ok = body != NULL && (name == NULL || json_object_set_new(body, "device", json_string(name)) == 0);

	if (!ok) {
		json_decref(body);
		return err_set(err, ERR_USAGE, "the device's name is not UTF-8");
	}
	h = https_open(&c, err);
	if (h == NULL) {
		json_decref(body);
		return false;
	}
	ok = local_ask(h, "/api/v1/enrol", "", body, ret, err) || err_prefix(err, "getting the certificate failed");
	https_close(h);
	return ok;
}

static void
say_done(const struct enrol *e, const json_t *a)
{
	const json_t *broker = json_object_get(a, "broker");
	const char *host = json_string_value(json_object_get(broker, "host")), *device = json_string_value(json_object_get(a, "cn"));

	(void)printf("%s has its certificate, good until %s:\n  %s   its private key: keep it secret\n  %s  its certificate and its CA's\n  %s    the root that the broker is checked with\n",
	    device, json_string_value(json_object_get(a, "not_after")), e->key, e->cert, e->ca);
	if (host != NULL)
		(void)printf("The broker: %s, port %lld (MQTT over TLS).\n", host, (long long)json_integer_value(json_object_get(broker, "port")));
}

static bool
run(struct enrol *e, struct err *err)
{
	struct pki_request q = { .key_file = e->new_key, .csr_file = e->csr };
	struct pki_requested asked = { 0 };
	char own[256] = "device", *csr = NULL;
	json_t *answer = NULL;
	bool ok;

	if (!read_token(e, err) || !dir_make(e->dir, 0700, err) || !name_files(e, err))
		return false;
	(void)snprintf(e->base, sizeof e->base, "https://%s", e->host != NULL ? e->host : e->token.host);
	if (!e->overwrite && access(e->cert, F_OK) == 0)
		return err_set(err, ERR_EXISTS, "%s is there already and is not overwritten: choose another --out, or --overwrite", e->cert);
	if (e->key_type != NULL && !pki_key_type_parse(slice_str(e->key_type), &q.key_type))
		return err_set(err, ERR_USAGE, "the key type is one of " CHOICES_KEY);
	(void)gethostname(own, sizeof own - 1);
	q.cn = e->token.device[0] != '\0' ? e->token.device : e->name != NULL ? e->name : own;
	/* A run that was interrupted goes on with its key, so that a certificate that was on its way is for it. */
	ok = get_root(e, err) && (pki_request(&q, &asked, err) || err_prefix(err, "making key and request failed")) && read_csr(e, &csr, err) &&
	    order(e, csr, &answer, err) && take_answer(e, &q, answer, err);
	if (ok) {
		(void)unlink(e->csr);
		say_done(e, answer);
	}
	free(asked.base64);
	free(csr);
	json_decref(answer);
	return ok;
}

int
cmd_enrol(int argc, char *argv[])
{
	struct enrol *e = calloc(1, sizeof *e);
	struct err err;
	int words, code;
	bool ok;

	if (e == NULL)
		return EXIT_FAILED;
	e->dir = ".";
	const struct arg table[] = {
		{ "token-file", "FILE", ARG_TEXT, &e->token_file, 0, 0, "the token; else it is asked for, or a line of standard input" },
		{ "out", "DIR", ARG_TEXT, &e->dir, 0, 0, "where the files go (.)" },
		{ "name", "NAME", ARG_TEXT, &e->name, 0, 0, "what this device calls itself, for a fleet's token with {name}; else the host name" },
		{ "host", "HOST[:PORT]", ARG_TEXT, &e->host, 0, 0, "another way to the host that the token names" },
		{ "key-type", "TYPE", ARG_TEXT, &e->key_type, 0, 0, "p256 (default), p384, p521, rsa2048, ..., rsa8192", CHOICES_KEY },
		{ "overwrite", NULL, ARG_FLAG, &e->overwrite, 0, 0, "replace key and certificate that are there" },
	};
	const struct args args = { "signet enrol [options]",
		"Gets this device's certificate for a token (signet device token). The key is made here and stays here (key.pem, mode 0600); the fingerprint in the\n"
		"token proves that the answer comes from the right place. Leaves key.pem, cert.pem and ca.pem.",
		table, ARRAY_LEN(table), "Example: signet enrol --token-file token.txt --out /etc/sensor\nExit codes: 0 success, 1 failure, 2 wrong usage.\n", 0, 0 };

	if (args_parse(&args, argc, argv, &words, &code)) {
		https_wipe_json();
		ok = run(e, &err);
		code = ok ? EXIT_OK : fail(&err);
	}
	secret_wipe(&e->token, sizeof e->token);
	free(e);
	return code;
}
