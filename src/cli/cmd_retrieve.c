/* signet retrieve: what dojot's certificate retriever does. Logs in, gets the CA's certificate, makes a key and a request, has
 * it signed, and leaves four files. The key never leaves this machine. */
#include "cli/https.h"
#include "cli/internal.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>
#include "base/file.h"
#include "base/num.h"
#include "base/secret.h"
#include "base/text.h"

enum { PASS_CAP = 513, USER_CAP = 129 };

struct retrieve {
	const char *device, *ca;
	const char *user, *pass_file, *secret_file, *dir, *key_type;
	struct https_config host;
	struct host_list names;
	unsigned bits;
	bool overwrite;
	struct https *https;
	char *ca_pem;
	char key[PKI_PATH_MAX], csr[PKI_PATH_MAX], crt[PKI_PATH_MAX], ca_file[PKI_PATH_MAX];
};

/* ---- what the other side says ---- */

/* One exchange: what it is called, where, and what of its answer counts. */
struct step {
	const char *what, *path, *outer, *inner;
};
static const struct step login = { "logging in", "/auth", "jwt", NULL };
static const struct step fetch_ca = { "retrieving the CA's certificate", "/ca/%s", "certificate", NULL };
static const struct step sign = { "signing the certificate", "/sign/%s/pkcs10", "status", "data" };

/* "message" of dojot's answers, or the beginning of whatever came. */
static const char *
words(const struct https_answer *a, char out[static 300])
{
	json_t *o = a->body != NULL ? json_loadb(a->body, a->n, 0, NULL) : NULL;
	const char *said = json_string_value(json_object_get(o, "message"));

	if (said == NULL)
		said = json_string_value(json_object_get(o, "detail"));
	(void)text_show(said != NULL ? slice_str(said) : slice_of(a->body, NUM_MIN(a->n, (size_t)200)), out, 300);
	json_decref(o);
	return out;
}

/* What a person can do about it; NULL: nothing is known. */
static const char *
remedy(long status, const char *said)
{
	if (strstr(said, "GENERATED") != NULL)
		return "the device has had its certificate: reset it (dojot: update the device), or revoke and ask again";
	if (strstr(said, "Wrong username or password") != NULL)
		return "the CA knows no such device, or its enrolment secret is another: create the device first, or give --secret-file";
	if (strstr(said, "does not exist") != NULL)
		return "give the name of a CA that is there";
	switch (status) {
	case 401:
		return "user or password is wrong, or the login has run out";
	case 403:
		return "this user may not do it: he needs the permissions to read the CA (ro_ca) and to sign (wo_sign)";
	case 404:
		return "there is no such service here: check HOST (the gateway's address, often with port 8000)";
	case 429:
		return "too many attempts: wait a minute";
	case 503:
		return "the service behind the gateway is down: try again later";
	default:
		return NULL;
	}
}

/* A step failed with an answer. */
static bool
refused(const struct step *s, const struct https_answer *a, struct err *err)
{
	char said[300];
	const char *what = remedy(a->status, words(a, said));

	return err_set(err, ERR_DENIED, "%s failed: %ld %s%s%s", s->what, a->status, said, what != NULL ? "; " : "", what != NULL ? what : "");
}

/* The text that counts of an answer; NULL and an error. The caller frees. */
static char *
member(const struct step *s, const struct https_answer *a, struct err *err)
{
	json_error_t why;
	json_t *o = json_loadb(a->body != NULL ? a->body : "", a->n, JSON_REJECT_DUPLICATES, &why), *v = json_object_get(o, s->outer);
	const char *text = json_string_value(s->inner != NULL ? json_object_get(v, s->inner) : v);
	char *ret = text != NULL ? text_dup(slice_str(text)) : NULL;

	if (ret == NULL)
		(void)err_set(err, ERR_INPUT, "%s failed: the answer has no \"%s%s%s\": is that a dojot or a Signet?", s->what, s->outer,
		    s->inner != NULL ? "." : "", s->inner != NULL ? s->inner : "");
	json_decref(o);
	return ret;
}

/* <in> is released; *ret: free(). */
static bool
ask(struct retrieve *r, const struct step *s, const char *name, json_t *in, char **ret, struct err *err)
{
	struct https_answer a;
	bool ok = https_ask(r->https, s->path, name, in, &a, err);

	json_decref(in);
	if (!ok)
		return err_prefix(err, "%s failed", s->what);
	*ret = NULL;
	ok = a.status == 200 || a.status == 201 ? (*ret = member(s, &a, err)) != NULL : refused(s, &a, err);
	https_answer_done(&a);
	return ok;
}

/* ---- the steps ---- */

static bool
log_in(struct retrieve *r, struct err *err)
{
	char user[USER_CAP] = "", pass[PASS_CAP], prompt[USER_CAP + 32], shown[USER_CAP];
	char *token = NULL;
	json_t *in = NULL;
	bool ok = r->user != NULL ? text_copy(user, sizeof user, slice_str(r->user)) || err_set(err, ERR_USAGE, "the user name is too long") :
				    pass_ask("user name", false, user, sizeof user, err);

	(void)snprintf(prompt, sizeof prompt, "password for %s", text_show(slice_str(user), shown, sizeof shown));
	ok = ok && (r->pass_file != NULL ? pass_from_file(r->pass_file, pass, sizeof pass, err) : pass_ask(prompt, true, pass, sizeof pass, err));
	if (ok && (in = json_pack("{s:s,s:s}", "username", user, "passwd", pass)) == NULL)
		ok = err_set(err, ERR_USAGE, "user name and password have to be UTF-8");
	secret_wipe(pass, sizeof pass);
	ok = ok && ask(r, &login, "", in, &token, err) && https_bearer(r->https, token, err);
	if (token != NULL)
		secret_free(token, strlen(token));
	if (ok)
		(void)printf("Logged in as %s.\n", shown);
	return ok;
}

/* Base64 without its frame, as ejbca-rest sends certificates: in lines or in one; of a chain (Signet's) only the outer lines of the frames are
 * missing. free(). */
static char *
framed(const char *base64)
{
	static const char begin[] = "-----BEGIN CERTIFICATE-----\n", end[] = "-----END CERTIFICATE-----\n";
	bool chain = strstr(base64, "-----") != NULL;
	size_t n = strlen(base64), at = sizeof begin - 1;
	char *pem = malloc(n + n / 64 + sizeof begin + sizeof end + 1);

	if (pem == NULL)
		return NULL;
	memcpy(pem, begin, at);
	for (size_t i = 0, column = 0; i < n; i++) {
		if (!chain && strchr(" \t\r\n", base64[i]) != NULL)
			continue;
		pem[at++] = base64[i];
		if (!chain && ++column % 64 == 0)
			pem[at++] = '\n';
	}
	if (pem[at - 1] != '\n')
		pem[at++] = '\n';
	memcpy(pem + at, end, sizeof end);
	return pem;
}

static bool
get_ca(struct retrieve *r, struct err *err)
{
	char *base64;

	if (!ask(r, &fetch_ca, r->ca, NULL, &base64, err))
		return false;
	r->ca_pem = framed(base64);
	free(base64);
	if (r->ca_pem == NULL)
		return err_set(err, ERR_MEMORY, "out of memory");
	(void)printf("CA certificate retrieved.\n");
	return true;
}

static bool
get_certificate(struct retrieve *r, const struct pki_request *q, const char *base64, char **ret_pem, struct err *err)
{
	char secret[PASS_CAP] = "dojot"; /* of every entity that dojot makes */
	char *data, *pem;
	json_t *in = NULL;
	bool ok = r->secret_file == NULL || pass_from_file(r->secret_file, secret, sizeof secret, err);

	if (ok && (in = json_pack("{s:s,s:s}", "passwd", secret, "certificate", base64)) == NULL)
		ok = err_set(err, ERR_USAGE, "%s: the enrolment secret has to be UTF-8", r->secret_file);
	secret_wipe(secret, sizeof secret);
	if (!ok || !ask(r, &sign, r->device, in, &data, err))
		return false;
	pem = framed(data);
	free(data);
	ok = pem != NULL ? pki_answer_check(q, slice_str(pem), slice_str(r->ca_pem), ret_pem, err) || err_prefix(err, "checking the answer failed") :
			   err_set(err, ERR_MEMORY, "out of memory");
	free(pem);
	return ok;
}

/* ---- files ---- */

static bool
name_file(const struct retrieve *r, char out[static PKI_PATH_MAX], const char *name, const char *suffix, struct err *err)
{
	char file[4 * PKI_CN_MAX + 16];

	(void)snprintf(file, sizeof file, "%s%s", name, suffix);
	return path_join(out, PKI_PATH_MAX, r->dir, file) || err_set(err, ERR_USAGE, "%s: the path is too long", r->dir);
}

/* A name that becomes a file's. */
static bool
check_name(const char *what, const char *name, struct err *err)
{
	char why[160];

	if (!pki_cn_ok(slice_str(name), why, sizeof why))
		return err_set(err, ERR_USAGE, "the %s's name %s", what, why);
	return (name[0] != '.' && name[0] != '-') || err_set(err, ERR_USAGE, "the %s's name begins with a %c, and a file will have it", what, name[0]);
}

static bool
key_type(const struct retrieve *r, enum pki_key_type *ret, struct err *err)
{
	char name[16];

	(void)snprintf(name, sizeof name, "rsa%u", r->bits);
	if (r->key_type != NULL && r->bits != 0)
		return err_set(err, ERR_USAGE, "--bits is of an RSA key: give it or --key-type");
	if (r->key_type == NULL && r->bits == 0)
		*ret = PKI_RSA2048; /* what dojot takes, which has no others */
	else if (!pki_key_type_parse(slice_str(r->key_type != NULL ? r->key_type : name), ret))
		return err_set(err, ERR_USAGE, r->key_type != NULL ? "the key type is one of " CHOICES_KEY : "the bits are 2048, 3072, 4096 or 8192");
	return true;
}

/* What was retrieved before stays, if it is whole. */
static bool
have_already(const struct retrieve *r, const struct pki_request *q, bool *ret, struct err *err)
{
	uint8_t *data;
	char *pem = NULL;
	size_t n;
	bool ok;

	*ret = !r->overwrite && access(r->crt, F_OK) == 0;
	if (!*ret)
		return true;
	if (!file_read(r->crt, PKI_FILE_MAX, &data, &n, err))
		return false;
	ok = pki_answer_check(q, slice_of(data, n), slice_str(r->ca_pem), &pem, err) || err_prefix(err, "%s is there already, and", r->crt);
	free(data);
	free(pem);
	if (ok)
		(void)printf("%s is there already, and belongs to its key: nothing to do (-w makes all anew).\n", r->crt);
	return ok;
}

static bool
put_in_place(const char *from, const char *to, struct err *err)
{
	return strcmp(from, to) == 0 || rename(from, to) == 0 || err_sys(err, "%s", to);
}

/* With -w the new files stand beside the old ones until they are complete; an interrupted run goes on with its key. */
static bool
enrol(struct retrieve *r, struct err *err)
{
	const char *suffix = r->overwrite ? ".new" : "";
	char key[PKI_PATH_MAX + 8], csr[PKI_PATH_MAX + 8], crt[PKI_PATH_MAX + 8];
	struct pki_request q = { .cn = r->device, .hosts = r->names.v, .n_hosts = r->names.n, .key_file = key, .csr_file = csr };
	struct pki_requested asked = { 0 };
	char *pem = NULL;
	bool done, ok;

	(void)snprintf(key, sizeof key, "%s%s", r->key, suffix);
	(void)snprintf(csr, sizeof csr, "%s%s", r->csr, suffix);
	(void)snprintf(crt, sizeof crt, "%s%s", r->crt, suffix);
	if (!key_type(r, &q.key_type, err) || !have_already(r, &q, &done, err))
		return false;
	if (done)
		return true;
	if (!pki_request(&q, &asked, err))
		return err_prefix(err, "making key and request failed");
	(void)printf("%s %s.\n", asked.key_made ? "Key made:" : "Key that is there is used:", r->key);
	ok = get_certificate(r, &q, asked.base64, &pem, err) && file_write(crt, slice_str(pem), 0644, FILE_REPLACE, err) &&
	    file_write(r->ca_file, slice_str(r->ca_pem), 0644, FILE_REPLACE, err) && put_in_place(key, r->key, err) &&
	    put_in_place(csr, r->csr, err) && put_in_place(crt, r->crt, err);
	free(asked.base64);
	free(pem);
	if (ok)
		(void)printf("Certificate of %s signed: %s, its CA's: %s.\n", r->device, r->crt, r->ca_file);
	return ok;
}

static bool
run(struct retrieve *r, struct err *err)
{
	if (!check_name("device", r->device, err) || !check_name("CA", r->ca, err) || !name_file(r, r->key, r->device, ".key", err) ||
	    !name_file(r, r->csr, r->device, ".csr", err) || !name_file(r, r->crt, r->device, ".crt", err) ||
	    !name_file(r, r->ca_file, r->ca, ".crt", err))
		return false;
	if (strcmp(r->crt, r->ca_file) == 0)
		return err_set(err, ERR_USAGE, "device and CA have the same name: a certificate whose subject is its issuer's is refused everywhere");
	if ((r->https = https_open(&r->host, err)) == NULL || !dir_make(r->dir, 0755, err))
		return false;
	if (https_is_plain(r->https))
		(void)fprintf(stderr, "signet: warning: http:// sends user and password in clear text to everybody on the way\n");
	else if (r->host.unverified)
		(void)fprintf(stderr, "signet: warning: the server's certificate is not verified: user, password and CA can be anybody's on the way\n");
	return log_in(r, err) && get_ca(r, err) && enrol(r, err);
}

int
cmd_retrieve(int argc, char *argv[])
{
	struct retrieve r = { .dir = "certs" };
	struct err err;
	int words, code;
	bool ok;
	const struct arg table[] = {
		{ "user", "USER", ARG_TEXT, &r.user, 0, 0, "who logs in; else it is asked for", NULL, 'u' },
		{ "overwrite", NULL, ARG_FLAG, &r.overwrite, 0, 0, "make key, request and certificate anew, and replace those that are there", NULL, 'w' },
		{ "dns", "NAME", ARG_HOSTS, &r.names, 0, 0, "a host name for the certificate; may be repeated", NULL, 'd' },
		{ "ip", "ADDRESS", ARG_HOSTS, &r.names, 0, 0, "an IP address for the certificate; may be repeated", NULL, 'i' },
		{ "bits", "N", ARG_NUMBER, &r.bits, 2048, 8192, "of the RSA key: 2048 (default), 3072, 4096 or 8192", "2048 3072 4096 8192", 'k' },
		{ "key-type", "TYPE", ARG_TEXT, &r.key_type, 0, 0, "another key, where the CA takes it: p256, ...", CHOICES_KEY, 0 },
		{ "dir", "DIR", ARG_TEXT, &r.dir, 0, 0, "where the files go (certs)", NULL, 0 },
		{ "passwd-file", "FILE", ARG_TEXT, &r.pass_file, 0, 0, "the user's password; else it is asked for, or a line of standard input", NULL, 0 },
		{ "secret-file", "FILE", ARG_TEXT, &r.secret_file, 0, 0, "the device's enrolment secret; else \"dojot\", which every dojot has", NULL, 0 },
		{ "cafile", "FILE", ARG_TEXT, &r.host.cafile, 0, 0, "whom to trust for HOST; else the CAs of this machine", NULL, 0 },
		{ "skip-https-check", NULL, ARG_FLAG, &r.host.unverified, 0, 0, "do not verify HOST's certificate (said aloud; for trying out)", NULL, 0 },
	};
	const struct args args = { "signet retrieve HOST DEVICE CA [options]",
		"Gets the certificate of DEVICE from CA: logs in at HOST, retrieves the CA's certificate, makes a key here, has its request\n"
		"signed, checks what came, and leaves DEVICE.key (0600), DEVICE.csr, DEVICE.crt and CA.crt in the folder certs. HOST is the\n"
		"address of a dojot's or Signet's gateway, https unless it says http://. What is there already is used if it belongs together.",
		table, ARRAY_LEN(table),
		"Examples:\n  signet retrieve https://dojot.example:8000 f60c28 IOTmidCA -u admin\n"
		"  signet retrieve http://localhost:8000 f60c28 IOTmidCA -u admin -w -d sensor.example -i 192.0.2.7\n\n"
		"Exit codes: 0 the files are there; 1 a step failed, which is named; 2 wrong usage.\n", 3, 3 };

	if (!args_parse(&args, argc, argv, &words, &code))
		return code;
	r.host.base = argv[1];
	r.device = argv[2];
	r.ca = argv[3];
	https_wipe_json();
	ok = run(&r, &err);
	https_close(r.https);
	free(r.ca_pem);
	return ok ? EXIT_OK : fail(&err);
}
