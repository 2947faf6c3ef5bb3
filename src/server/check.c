/* What is legal and probably not meant. Looks at the files that the configuration names; changes
 * nothing. */
#include "server/internal.h"

#include <dirent.h>
#include <limits.h>
#include <openssl/err.h>
#include <openssl/pem.h>
#include <openssl/x509v3.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/stat.h>
#include <time.h>
#include <unistd.h>

#include "base/file.h"
#include "base/num.h"
#include "base/secret.h"

enum { SOON_DAYS = 60, CERTS_MAX = 64, KEY_MAX = 64 * 1024 };

/* All certificates of a PEM file, at most CERTS_MAX. */
struct certs {
	X509 *c[CERTS_MAX];
	int n;
};

static void
certs_read(struct certs *ret, const char *path)
{
	uint8_t *text = NULL;
	size_t n = 0;
	BIO *bio;
	X509 *x;

	*ret = (struct certs){ 0 };
	if (!file_read(path, PKI_FILE_MAX, &text, &n, NULL))
		return;
	bio = BIO_new_mem_buf(text, (int)n);
	while (bio != NULL && ret->n < CERTS_MAX &&
	       (x = PEM_read_bio_X509(bio, NULL, NULL, NULL)) != NULL)
		ret->c[ret->n++] = x;
	BIO_free(bio);
	free(text);
	ERR_clear_error();
}

static void
certs_done(struct certs *c)
{
	while (c->n > 0)
		X509_free(c->c[--c->n]);
}

static void
show_subject(X509 *x, char *out, size_t cap)
{
	BIO *bio = BIO_new(BIO_s_mem());
	char *text = NULL;
	long n;

	out[0] = '\0';
	if (bio == NULL)
		return;
	(void)X509_NAME_print_ex(bio, X509_get_subject_name(x), 0,
	    XN_FLAG_RFC2253 & ~(unsigned long)ASN1_STRFLGS_ESC_MSB);
	n = BIO_get_mem_data(bio, &text);
	(void)snprintf(out, cap, "%.*s", (int)n, text);
	BIO_free(bio);
}

static bool
warn_end(struct config *c, const char *where, const char *word, const char *file, X509 *x)
{
	char subject[160], date[32] = "";
	struct tm tm;
	int days = 0, seconds = 0;

	if (ASN1_TIME_to_tm(X509_get0_notAfter(x), &tm) != 1 ||
	    ASN1_TIME_diff(&days, &seconds, NULL, X509_get0_notAfter(x)) != 1)
		return true;
	if (days >= SOON_DAYS)
		return true;
	show_subject(x, subject, sizeof(subject));
	(void)strftime(date, sizeof(date), "%Y-%m-%d", &tm);
	if (days < 0 || seconds < 0)
		return config_warn(c, "%s: %s %s: the certificate '%s' has expired on %s; renew it",
		    where, word, file, subject, date);
	return config_warn(c,
	    "%s: %s %s: the certificate '%s' ends in %d day%s, on %s; renew it before "
	    "(`openssl x509 -req` makes 30 days unless -days is given)",
	    where, word, file, subject, days, days == 1 ? "" : "s", date);
}

static bool
warn_leaf(struct config *c, const char *where, const char *file, X509 *x)
{
	char subject[160];

	show_subject(x, subject, sizeof(subject));
	if (X509_get_version(x) < X509_VERSION_3 &&
	    !config_warn(c,
		"%s: certfile %s: the certificate '%s' is X.509 version %ld, without any "
		"extension; many clients "
		"accept only version 3",
		where, file, subject, X509_get_version(x) + 1))
		return false;
	if (X509_get_ext_by_NID(x, NID_subject_alt_name, -1) < 0 &&
	    !config_warn(c,
		"%s: certfile %s: the certificate '%s' has no subjectAltName; clients that check "
		"only that "
		"(browsers, Go, Python) refuse it",
		where, file, subject))
		return false;
	return true;
}

static bool
warn_certificates(struct config *c, const struct config_listener *l)
{
	const char *const files[] = { l->certfile, l->cafile };
	static const char *const words[] = { "certfile", "cafile" };
	char where[CONFIG_PLACE_CAP];
	struct certs certs;
	bool ok = true;
	size_t f;
	int i;

	for (f = 0; f < ARRAY_LEN(files); f++) {
		if (files[f] == NULL)
			continue;
		(void)config_place_text(c, option_at(l->at, words[f]), where, sizeof(where));
		certs_read(&certs, files[f]);
		if (f == 0 && certs.n > 0)
			ok = warn_leaf(c, where, files[f], certs.c[0]) && ok;
		for (i = 0; i < certs.n; i++)
			ok = warn_end(c, where, words[f], files[f], certs.c[i]) && ok;
		certs_done(&certs);
	}
	return ok;
}

/* Root's key that the broker's group may read, so that the broker can read it again, is as it should be. */
static bool
warn_key_mode(struct config *c, const struct config_listener *l, const struct privileges *p)
{
	char where[CONFIG_PLACE_CAP];
	struct stat st;

	if (stat(l->keyfile, &st) == -1 || (st.st_mode & 077) == 0)
		return true;
	if ((st.st_mode & 077) == 040 && st.st_uid == 0 && st.st_gid != 0 && st.st_gid == (p->drop ? p->gid : getegid()))
		return true;
	(void)config_place_text(c, option_at(l->at, "keyfile"), where, sizeof(where));
	return config_warn(c,
	    "%s: keyfile %s: %s can read the private key (mode %04o); chmod 600 it", where,
	    l->keyfile, (st.st_mode & 07) != 0 ? "everybody" : "its group",
	    (unsigned)st.st_mode & 07777);
}

static bool
may_read(const struct privileges *p, const char *path)
{
	return p->drop ? privileges_may_read(p, path) : access(path, R_OK) == 0;
}

static int
no_passphrase(char *buf, int n, int writing, void *ctx)
{
	if (n > 0)
		buf[0] = '\0';
	(void)writing;
	(void)ctx;
	return -1;
}

static bool
is_key_of(const char *path, const struct certs *certs)
{
	uint8_t *text = NULL;
	size_t n = 0;
	EVP_PKEY *key = NULL;
	BIO *bio;
	bool found = false;
	int i;

	if (!file_read(path, KEY_MAX, &text, &n, NULL))
		return false;
	bio = BIO_new_mem_buf(text, (int)n);
	if (bio != NULL)
		key = PEM_read_bio_PrivateKey(bio, NULL, no_passphrase, NULL);
	for (i = 0; key != NULL && i < certs->n && !found; i++)
		found = EVP_PKEY_eq(key, X509_get0_pubkey(certs->c[i])) == 1;
	EVP_PKEY_free(key);
	BIO_free(bio);
	secret_free(text, n + 1);
	ERR_clear_error();
	return found;
}

static bool
is_key_name(const char *name)
{
	size_t n = strlen(name);

	return (n > 4 && strcmp(name + n - 4, ".key") == 0) ||
	       (n > 4 && strcmp(name + n - 4, ".pem") == 0);
}

/* A CA's key beside its certificate, readable by who runs the broker, makes every break-in one into
 * the CA. */
static bool
warn_ca_key(struct config *c, const char *file, struct config_place at, const struct privileges *p)
{
	char dir[PATH_MAX], path[PATH_MAX], where[CONFIG_PLACE_CAP];
	const char *slash = strrchr(file, '/');
	struct certs certs;
	const struct dirent *e;
	bool ok = true;
	DIR *d;

	(void)snprintf(dir, sizeof(dir), "%.*s", slash != NULL ? (int)(slash - file) + 1 : 1,
	    slash != NULL ? file : ".");
	d = opendir(dir);
	if (d == NULL)
		return true;
	certs_read(&certs, file);
	while (ok && (e = readdir(d)) != NULL) {
		if (!is_key_name(e->d_name) || !path_join(path, sizeof(path), dir, e->d_name) ||
		    !may_read(p, path) || !is_key_of(path, &certs))
			continue;
		(void)config_place_text(c, at, where, sizeof(where));
		ok = config_warn(c,
		    "%s: %s is the private key of this CA, unencrypted, and the broker can read "
		    "it; "
		    "encrypt it or keep it on another machine",
		    where, path);
	}
	(void)closedir(d); /* only read from */
	certs_done(&certs);
	return ok;
}

/* Who can read a hash can try passwords on it as fast as he can compute. */
static bool
warn_secret_mode(struct config *c, struct config_place at, const char *word, const char *file)
{
	char where[CONFIG_PLACE_CAP];
	struct stat st;

	if (file == NULL || stat(file, &st) == -1 || (st.st_mode & 07) == 0)
		return true;
	(void)config_place_text(c, at, where, sizeof(where));
	return config_warn(c, "%s: %s %s: everybody on this machine can read it (mode %04o); chmod 600 it, and give it to the "
			      "broker's user", where, word, file, (unsigned)st.st_mode & 07777);
}

static bool
warn_secrets(struct config *c, const struct config_security *s)
{
	return warn_secret_mode(c, option_at(s->at, "password_file"), "password_file", s->password_file) &&
	       warn_secret_mode(c, option_at(s->at, "psk_file"), "psk_file", s->psk_file);
}

/* Files that SIGHUP could not read again, because root opened them and we are not root any more. */
static bool
warn_reload(struct config *c, const struct config_listener *l, const struct privileges *p)
{
	const char *const files[] = { l->certfile, l->keyfile, l->cafile, l->crlfile, l->ocsp_stapling_file,
		l->security->acl_file, l->security->password_file, l->security->psk_file, c->files[0] };
	size_t i;

	for (i = 0; i < ARRAY_LEN(files); i++)
		if (files[i] != NULL && !privileges_may_read(p, files[i]))
			return config_warn(c,
			    "%s cannot be read by user %s, whom the broker runs as; SIGHUP will "
			    "not be able to "
			    "load it again (change its owner, or set `user`)",
			    files[i], p->name);
	return true;
}

/* Each change replaces the file, for which its directory counts. */
static bool
warn_dynsec(struct config *c, const struct config_plugin *x, const struct privileges *p)
{
	const char *slash = strrchr(x->file, '/');
	char dir[PATH_MAX], where[CONFIG_PLACE_CAP];

	(void)snprintf(dir, sizeof(dir), "%.*s", slash == NULL ? 1 : (int)NUM_MAX(slash - x->file, 1), slash == NULL ? "." : x->file);
	(void)config_place_text(c, x->place, where, sizeof(where));
	if (!(p->drop ? privileges_may_write(p, dir) : access(dir, W_OK) == 0) &&
	    !config_warn(c, "%s: plugin_opt_config_file: %s cannot be written to by user %s, whom the broker runs as: dynamic security will refuse "
		"every change", where, dir, p->drop ? p->name : "this"))
		return false;
	return warn_secret_mode(c, x->place, "plugin_opt_config_file", x->file);
}

bool
check_config(struct config *c, const struct privileges *p)
{
	unsigned i;
	bool ok = true;

	for (i = 0; i < c->n_listeners; i++) {
		const struct config_listener *l = &c->listeners[i];

		if (c->per_listener_settings || i == 0)
			ok = warn_secrets(c, l->security) && ok;
		if (l->dynsec != NULL)
			ok = warn_dynsec(c, l->dynsec, p) && ok;
		if (l->certfile != NULL)
			ok = warn_certificates(c, l) && warn_key_mode(c, l, p) && ok;
		if (l->cafile != NULL)
			ok = warn_ca_key(c, l->cafile, option_at(l->at, "cafile"), p) && ok;
		if (p->drop)
			ok = warn_reload(c, l, p) && ok;
	}
	for (i = 0; i < c->n_role_cas; i++)
		ok = warn_ca_key(c, c->role_cas[i].file, c->role_cas[i].place, p) && ok;
	return ok;
}
