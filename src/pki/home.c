/* The folder of an installation: where things are, opening a CA, and the two files that say whom the broker trusts. */
#include "pki/internal.h"

#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <limits.h>
#include <stdio.h>
#include <sys/file.h>
#include <sys/stat.h>

bool
home_path(char out[PKI_PATH_MAX], const char *dir, const char *name, struct err *err)
{
	char real[PATH_MAX];

	if (realpath(dir, real) == NULL)
		return err_sys(err, "%s", dir);
	if (!path_join(out, PKI_PATH_MAX, real, name))
		return err_set(err, ERR_LIMIT, "%s/%s: path too long", dir, name);
	return true;
}

bool
home_check(const char *dir, struct err *err)
{
	char path[PKI_PATH_MAX];

	if (!path_join(path, sizeof path, dir, "pki"))
		return err_set(err, ERR_LIMIT, "%s: path too long", dir);
	if (access(path, F_OK) == -1)
		return err_set(err, ERR_MISSING, "%s has no installation (there is no %s): make one with \"signet init --dir %s --host NAME\"",
		    dir, path, dir);
	return true;
}

static bool
ca_paths(struct ca *ca, const char *dir, const char *name, char key[PKI_PATH_MAX], char cert[PKI_PATH_MAX],
    struct err *err)
{
	char sub[64], shown[64];

	if (!ca_name_ok(name))
		return err_set(err, ERR_USAGE, "\"%s\" cannot be the name of a CA (lower-case letters, digits, '-' and '_', at most 32)",
		    text_show(slice_str(name), shown, sizeof shown));
	(void)snprintf(sub, sizeof sub, "pki/%s", name);
	(void)snprintf(ca->name, sizeof ca->name, "%s", name);
	if (!home_path(ca->dir, dir, sub, err))
		return false;
	if (!path_join(key, PKI_PATH_MAX, ca->dir, "key.pem") || !path_join(cert, PKI_PATH_MAX, ca->dir, "cert.pem"))
		return err_set(err, ERR_LIMIT, "%s: path too long", ca->dir);
	return true;
}

/* pki/broker has a key and a certificate too; a CA has an index. */
static bool
ca_exists(const struct ca *ca, struct err *err)
{
	char path[PKI_PATH_MAX];

	if (!path_join(path, sizeof path, ca->dir, "index.txt"))
		return err_set(err, ERR_LIMIT, "%s: path too long", ca->dir);
	if (access(path, F_OK) == -1)
		return err_set(err, ERR_MISSING, "there is no CA \"%s\" here (%s): \"signet ca list\" shows what there is", ca->name,
		    ca->dir);
	return true;
}

/* From its file, or from where key.uri says. */
static bool
key_open(struct ca *c, const char *key, const struct pki_secret *secret, const struct pki_tokens *tokens, struct err *err)
{
	const struct pki_token_way way = { .secret = secret };
	char what[96], uri[TOKEN_URI_MAX], *slash;

	if (!token_uri_read(c->dir, uri, err))
		return false;
	if (uri[0] != '\0' && tokens == NULL) {
		char dir[PKI_PATH_MAX];

		/* DIR of DIR/pki/NAME */
		(void)snprintf(dir, sizeof dir, "%s", c->dir);
		for (unsigned i = 0; i < 2 && (slash = strrchr(dir, '/')) != NULL; i++)
			*slash = '\0';
		if (!pki_tokens_start(dir[0] != '\0' ? dir : "/", c->name, &way, &c->tokens, err))
			return false;
		tokens = c->tokens;
	}
	if (uri[0] != '\0')
		return tokens_open(tokens, c, err);
	(void)snprintf(what, sizeof what, "the key of the %s CA", c->name);
	c->key = key_read(key, secret, what, err);
	return c->key != NULL;
}

static bool
open_all(struct ca *c, const char *dir, const char *name, char key[PKI_PATH_MAX], struct err *err)
{
	char cert[PKI_PATH_MAX];
	struct stat st;

	if (!home_check(dir, err) || !ca_paths(c, dir, name, key, cert, err) || !ca_exists(c, err))
		return false;
	c->cert = cert_read_one(cert, err);
	c->key_open = stat(key, &st) == 0 && (st.st_mode & 077) != 0;
	return c->cert != NULL;
}

bool
ca_open_with(struct ca *ca, const char *dir, const char *name, const struct pki_secret *secret, const struct pki_tokens *tokens, struct err *err)
{
	char key[PKI_PATH_MAX];
	struct ca c = { 0 };
	bool ok = open_all(&c, dir, name, key, err) && key_open(&c, key, secret, tokens, err);

	/* One in a token has signed already. */
	if (ok && c.held == NULL && X509_check_private_key(c.cert, c.key) != 1)
		ok = err_set(err, ERR_INPUT, "%s does not belong to %s/cert.pem", key, c.dir);
	if (ok)
		*ca = c;
	else
		ca_done(&c);
	return ok;
}

bool
ca_open(struct ca *ca, const char *dir, const char *name, bool with_key, const struct pki_secret *secret,
    struct err *err)
{
	char key[PKI_PATH_MAX];
	struct ca c = { 0 };

	if (with_key)
		return ca_open_with(ca, dir, name, secret, NULL, err);
	if (!open_all(&c, dir, name, key, err)) {
		ca_done(&c);
		return false;
	}
	*ca = c;
	return true;
}

void
ca_done(struct ca *ca)
{
	X509_free(ca->cert);
	EVP_PKEY_free(ca->key);
	tkey_free(ca->held);
	pki_tokens_stop(ca->tokens, true);
	*ca = (struct ca){ 0 };
}

bool
write_text(const char *dir, const char *name, const char *text, mode_t mode, int flags, struct err *err)
{
	char path[PKI_PATH_MAX];

	if (!path_join(path, sizeof path, dir, name))
		return err_set(err, ERR_LIMIT, "%s/%s: path too long", dir, name);
	return file_write(path, slice_str(text), mode, flags, err);
}

static bool
write_beside_key(const char *dir, X509 *cert, struct err *err)
{
	auto_str pem = NULL;

	return certs_pem(&cert, 1, &pem, err) && write_text(dir, "cert.pem", pem, 0644, 0, err) &&
	    write_text(dir, "index.txt", "# issued SERIAL NOT-BEFORE NOT-AFTER PROFILE SHA-256 CN; then what became of it\n",
		0600, 0, err);
}

bool
ca_write(const char *dir, EVP_PKEY *key, X509 *cert, const struct pki_secret *secret, const char *what,
    struct err *err)
{
	char path[PKI_PATH_MAX];

	if (!path_join(path, sizeof path, dir, "key.pem"))
		return err_set(err, ERR_LIMIT, "%s: path too long", dir);
	return dir_make(dir, 0700, err) && key_write(path, key, secret, what, err) && write_beside_key(dir, cert, err);
}

bool
ca_write_held(const char *dir, const char *uri, X509 *cert, struct err *err)
{
	auto_str line = NULL;

	if (asprintf(&line, "%s\n", uri) == -1) {
		line = NULL;
		return err_set(err, ERR_MEMORY, "out of memory");
	}
	return dir_make(dir, 0700, err) && write_text(dir, "key.uri", line, 0600, 0, err) && write_beside_key(dir, cert, err);
}

/* Replace a file that people may have changed the mode of. */
static bool
rewrite(const char *path, const char *text, struct err *err)
{
	struct stat st;

	if (stat(path, &st) == -1)
		return err_sys(err, "%s", path);
	return file_write(path, slice_str(text), st.st_mode & 07777, FILE_REPLACE, err);
}

static bool
has_cert(STACK_OF(X509) *list, X509 *x)
{
	for (int i = 0; i < sk_X509_num(list); i++) {
		if (X509_cmp(sk_X509_value(list, i), x) == 0)
			return true;
	}
	return false;
}

static bool
add_to_bundle(const char *path, X509 *cert, struct err *err)
{
	STACK_OF(X509) *list;
	uint8_t *old;
	size_t n;
	auto_str pem = NULL;
	auto_str joined = NULL;
	bool there;

	if (!certs_read(path, &list, err))
		return false;
	there = has_cert(list, cert);
	sk_X509_pop_free(list, X509_free);
	if (there)
		return true;
	if (!certs_pem(&cert, 1, &pem, err) || !file_read(path, 16 * (size_t)PKI_FILE_MAX, &old, &n, err))
		return false;
	if (asprintf(&joined, "%s%s%s", (char *)old, n > 0 && old[n - 1] != '\n' ? "\n" : "", pem) == -1)
		joined = NULL;
	free(old);
	if (joined == NULL)
		return err_set(err, ERR_MEMORY, "out of memory");
	return rewrite(path, joined, err);
}

/* One line of signet.conf: does it give the key of <cert> another role? Lines that cannot be followed are the broker's to
 * complain about. */
static bool
check_role_line(struct slice line, X509 *cert, const char *role, struct err *err)
{
	uint8_t ours[32], theirs[32];
	char path[PKI_PATH_MAX];
	bool more;
	struct slice word = slice_cut(&line, ' ', &more);
	char other[16];
	auto_x509 x = NULL;

	if (!slice_eq(word, SL("role_ca")))
		return true;
	word = slice_cut(&line, ' ', &more);
	if (!text_copy(other, sizeof other, word) || strcmp(other, role) == 0 || !text_copy(path, sizeof path, line) ||
	    (x = cert_read_one(path, NULL)) == NULL || !spki_hash(x, theirs) || !spki_hash(cert, ours) ||
	    memcmp(ours, theirs, sizeof ours) != 0)
		return true;
	return err_set(err, ERR_EXISTS, "the key of this CA has the role \"%s\" already (%s): one key gives one role",
	    other, path);
}

static bool
check_role(const char *conf, X509 *cert, const char *role, struct err *err)
{
	uint8_t *text;
	size_t n;
	bool ok = true, more = true;

	if (!file_read(conf, PKI_FILE_MAX, &text, &n, err))
		return false;
	for (struct slice rest = slice_of(text, n); ok && more;)
		ok = check_role_line(slice_cut(&rest, '\n', &more), cert, role, err);
	free(text);
	return ok;
}

static bool
add_role_line(const char *path, const char *cert_path, const char *role, struct err *err)
{
	uint8_t *old;
	size_t n;
	auto_str line = NULL;
	auto_str joined = NULL;
	bool there;

	if (!file_read(path, PKI_FILE_MAX, &old, &n, err))
		return false;
	if (asprintf(&line, "role_ca %s %s\n", role, cert_path) == -1)
		line = NULL;
	there = line != NULL && memmem(old, n, line, strlen(line)) != NULL;
	if (line != NULL && !there &&
	    asprintf(&joined, "%s%s%s", (char *)old, n > 0 && old[n - 1] != '\n' ? "\n" : "", line) == -1)
		joined = NULL;
	free(old);
	if (there)
		return true;
	if (joined == NULL)
		return err_set(err, ERR_MEMORY, "out of memory");
	return rewrite(path, joined, err);
}

/* The lock of the bundle's folder: two commands that add a CA at once must not lose one. */
static int
lock_dir(const char *path, struct err *err)
{
	int fd = open(path, O_RDONLY | O_DIRECTORY | O_CLOEXEC);

	if (fd == -1 || flock(fd, LOCK_EX) == -1) {
		(void)err_sys(err, "cannot lock %s", path);
		if (fd != -1)
			(void)close(fd);
		return -1;
	}
	return fd;
}

bool
home_trust(const char *dir, X509 *cert, const char *cert_path, const char *role, struct err *err)
{
	char pki[PKI_PATH_MAX], bundle[PKI_PATH_MAX], conf[PKI_PATH_MAX];
	auto_fd lock = -1;

	if (!home_path(pki, dir, "pki", err) || !home_path(bundle, dir, "pki/ca.pem", err) ||
	    !home_path(conf, dir, "signet.conf", err) || (lock = lock_dir(pki, err)) == -1)
		return false;
	if (role != NULL && !check_role(conf, cert, role, err))
		return false;
	/* In this order a failure between the two leaves a CA that is trusted without a role: it may do nothing. */
	return add_to_bundle(bundle, cert, err) &&
	    (role == NULL || add_role_line(conf, cert_path, role, err));
}

bool
dir_sync(const char *path, struct err *err)
{
	auto_fd fd = open(path, O_RDONLY | O_DIRECTORY | O_CLOEXEC);

	/* File systems that cannot sync a directory (EINVAL) have their own promises. */
	if (fd == -1 || (fsync(fd) == -1 && errno == EIO))
		return err_sys(err, "cannot sync %s", path);
	return true;
}

static int
is_ca_dir(const struct dirent *d)
{
	return ca_name_ok(d->d_name);
}

bool
pki_each_ca(const char *dir, void (*each)(void *ctx, const char *name), void *ctx, struct err *err)
{
	char pki[PKI_PATH_MAX], index[PKI_PATH_MAX + 64];
	struct dirent **found;
	int n;

	if (!home_check(dir, err) || !home_path(pki, dir, "pki", err))
		return false;
	n = scandir(pki, &found, is_ca_dir, alphasort);
	if (n == -1)
		return err_sys(err, "cannot read %s", pki);
	for (int i = 0; i < n; i++) {
		(void)snprintf(index, sizeof index, "%s/%.32s/index.txt", pki, found[i]->d_name);
		if (access(index, F_OK) == 0)
			each(ctx, found[i]->d_name);
		free(found[i]);
	}
	free(found);
	return true;
}

struct listing {
	const char *dir;
	int64_t now;
	void (*each)(void *ctx, const struct pki_entry *e);
	void *ctx;
	struct err *err;
	bool ok;
};

static void
list_one(void *ctx, const char *name)
{
	struct listing *l = ctx;
	char sub[64], path[PKI_PATH_MAX];
	struct index x;

	(void)snprintf(sub, sizeof sub, "pki/%s", name);
	if (!l->ok)
		return;
	l->ok = home_path(path, l->dir, sub, l->err) && index_open(&x, path, name, l->now, false, l->err);
	if (!l->ok)
		return;
	for (size_t i = 0; i < x.n; i++)
		l->each(l->ctx, &x.entries[i]);
	index_done(&x);
}

bool
pki_list(const char *dir, const char *ca, int64_t now, void (*each)(void *ctx, const struct pki_entry *e), void *ctx,
    struct err *err)
{
	struct listing l = { dir, pki_clock(now), each, ctx, err, true };
	struct ca c;

	if (ca == NULL)
		return pki_each_ca(dir, list_one, &l, err) && l.ok;
	if (!ca_open(&c, dir, ca, false, NULL, err))
		return false;
	ca_done(&c);
	list_one(&l, ca);
	return l.ok;
}

static bool
to_der(X509 *x, uint8_t **ret, size_t *ret_n, struct err *err)
{
	unsigned char *p;
	int n = i2d_X509(x, NULL);
	uint8_t *der = n > 0 ? malloc((size_t)n) : NULL;

	if (der == NULL)
		return err_set(err, ERR_MEMORY, "out of memory");
	p = der;
	*ret_n = (size_t)i2d_X509(x, &p);
	*ret = der;
	return true;
}

bool
pki_export(const char *dir, const char *ca, bool der, bool chain, uint8_t **ret, size_t *ret_n, struct err *err)
{
	struct ca c = { 0 }, root = { 0 };
	X509 *all[2];
	char *pem = NULL;
	bool ok;

	if (!ca_open(&c, dir, ca, false, NULL, err))
		return false;
	if (der || !chain || cert_is_self_issued(c.cert)) {
		ok = der ? to_der(c.cert, ret, ret_n, err) : certs_pem(&c.cert, 1, &pem, err);
	} else {
		ok = ca_open(&root, dir, "root", false, NULL, err);
		all[0] = c.cert;
		all[1] = root.cert;
		ok = ok && certs_pem(all, 2, &pem, err);
	}
	if (pem != NULL) {
		*ret = (uint8_t *)pem;
		*ret_n = strlen(pem);
	}
	ca_done(&c);
	ca_done(&root);
	return ok;
}
