/* One certificate: the order is checked, the certificate made by its profile, booked, and only then handed out. */
#include "pki/internal.h"

#include <errno.h>
#include <fcntl.h>
#include <stdarg.h>
#include <stdio.h>
#include <sys/stat.h>

enum { DAYS_MAX = 36500 };

static void __attribute__((format(printf, 2, 3)))
note(struct pki_issued *r, const char *fmt, ...)
{
	size_t n = strlen(r->notes);
	va_list ap;

	va_start(ap, fmt);
	(void)vsnprintf(r->notes + n, sizeof r->notes - n, fmt, ap);
	va_end(ap);
}

bool
bundle_write(const char *dir, const struct bundle *b, struct err *err)
{
	auto_str chain = NULL;
	auto_str anchor = NULL;
	char key[PKI_PATH_MAX];

	if (!path_join(key, sizeof key, dir, "key.pem"))
		return err_set(err, ERR_LIMIT, "%s: path too long", dir);
	return certs_pem(b->chain, b->n_chain, &chain, err) && certs_pem(&b->anchor, 1, &anchor, err) &&
	    key_write(key, b->key, NULL, "a device's key", err) && write_text(dir, "cert.pem", chain, 0644, 0, err) &&
	    write_text(dir, "ca.pem", anchor, 0644, 0, err);
}

bool
entry_of(X509 *leaf, const char *ca, enum profile p, const char *cn, struct pki_entry *ret)
{
	uint8_t serial[AUTHZ_SERIAL_MAX], print[32];
	size_t n = serial_bytes(X509_get0_serialNumber(leaf), serial);

	if (n == 0 || !cert_fingerprint(leaf, print))
		return false;
	*ret = (struct pki_entry){ .not_before = time_of(X509_get0_notBefore(leaf)),
		.not_after = time_of(X509_get0_notAfter(leaf)), .status = PKI_LIVE };
	(void)text_hex(slice_of(serial, n), ret->serial, sizeof ret->serial);
	(void)text_hex(slice_of(print, sizeof print), ret->fingerprint, sizeof ret->fingerprint);
	(void)snprintf(ret->ca, sizeof ret->ca, "%s", ca);
	(void)snprintf(ret->profile, sizeof ret->profile, "%s", profile_name(p));
	(void)snprintf(ret->cn, sizeof ret->cn, "%s", cn);
	return true;
}

bool
cert_book(struct index *x, const char *ca_dir, const char *ca, X509 *leaf, enum profile p, const char *cn,
    struct err *err)
{
	char dir[PKI_PATH_MAX], name[64];
	struct pki_entry e;
	auto_str pem = NULL;

	if (!path_join(dir, sizeof dir, ca_dir, "certs"))
		return err_set(err, ERR_LIMIT, "%s: path too long", ca_dir);
	if (!entry_of(leaf, ca, p, cn, &e))
		return crypto_err(err, "cannot read the certificate that was made");
	(void)snprintf(name, sizeof name, "%s.pem", e.serial);
	return certs_pem(&leaf, 1, &pem, err) && dir_make(dir, 0700, err) && write_text(dir, name, pem, 0644, 0, err) &&
	    index_issued(x, &e, err);
}

/* Everything of one order under way. */
struct work {
	const struct pki_order *o;
	struct ca ca;
	struct index index;
	struct csr_taken csr;
	X509 *root, *leaf;
	EVP_PKEY *key;
	enum profile profile;
	int64_t now;
	bool clipped;
	char serial[41];      /* booked; empty: not yet */
};

static void
work_done(struct work *w)
{
	ca_done(&w->ca);
	index_done(&w->index);
	csr_taken_done(&w->csr);
	X509_free(w->root);
	X509_free(w->leaf);
	EVP_PKEY_free(w->key);
}

static bool
check_order(struct work *w, struct err *err)
{
	const struct pki_order *o = w->o;
	bool cloud = strcmp(o->ca, "cloud") == 0;
	bool role = cloud || strcmp(o->ca, "client") == 0 || strcmp(o->ca, "watch") == 0 || strcmp(o->ca, "control") == 0;

	if (strcmp(o->ca, "root") == 0)
		return err_set(err, ERR_DENIED, "the root CA only issues the CAs below it: choose client, watch, control or cloud");
	if (o->server && role && !cloud)
		return err_set(err, ERR_DENIED, "the %s CA issues no server certificates: choose --ca cloud", o->ca);
	if (o->days > DAYS_MAX)
		return err_set(err, ERR_USAGE, "%u days are more than the %d that are allowed", o->days, DAYS_MAX);
	w->profile = cloud || o->server ? PROFILE_SERVER : PROFILE_CLIENT;
	return true;
}

static const char *
order_cn(const struct work *w)
{
	return w->o->cn != NULL ? w->o->cn : w->csr.cn;
}

static bool
take_request(struct work *w, struct pki_issued *r, struct err *err)
{
	auto_req req = NULL;

	if (w->o->csr.n == 0) {
		w->csr.san = GENERAL_NAMES_new();
		w->key = key_new(w->o->key_type, err);
		return w->key != NULL && (w->csr.san != NULL || err_set(err, ERR_MEMORY, "out of memory"));
	}
	if (!csr_parse(w->o->csr, "the request", &req, err) || !csr_take(req, "the request", &w->csr, err))
		return false;
	w->key = w->csr.key;
	w->csr.key = NULL;
	note(r, "%s", w->csr.notes);
	if (EVP_PKEY_eq(w->key, X509_get0_pubkey(w->ca.cert)) == 1)
		return err_set(err, ERR_DENIED, "the request has the key of the CA itself");
	if (w->o->cn != NULL && w->csr.cn != NULL && strcmp(w->o->cn, w->csr.cn) != 0)
		note(r, "the request's name \"%s\" was replaced by \"%s\"\n", w->csr.cn, w->o->cn);
	return true;
}

static bool
check_name(struct work *w, struct err *err)
{
	const char *cn = order_cn(w);
	char why[128], shown[4 * PKI_CN_MAX];

	if (cn == NULL)
		return err_set(err, ERR_INPUT, "the common name of the request cannot be used, it %s: give one with --name",
		    w->csr.cn_fault);
	if (!new_cn_ok(cn, why, sizeof why))
		return err_set(err, ERR_INPUT, "\"%s\" cannot be the name of a certificate: the common name %s",
		    text_show(slice_str(cn), shown, sizeof shown), why);
	for (size_t i = 0; i < w->index.n; i++) {
		const struct pki_entry *e = &w->index.entries[i];

		if (e->status == PKI_LIVE && strcmp(e->cn, cn) == 0 && !w->o->reissue)
			return err_set(err, ERR_EXISTS,
			    "the %s CA has a live certificate for \"%s\" already (serial %s): use --reissue to replace it", w->o->ca,
			    cn, e->serial);
	}
	return true;
}

static bool
add_hosts(struct work *w, struct pki_issued *r, struct err *err)
{
	const char *cn = order_cn(w);
	char why[128];
	bool ip;

	/* A SpringCore device compares the CN, everybody else subjectAltName: a server's name stands in both. */
	if (w->profile == PROFILE_SERVER && host_ok(cn, &ip, why, sizeof why) && !hosts_add(w->csr.san, cn, err))
		return false;
	for (size_t i = 0; i < w->o->n_hosts; i++) {
		if (!hosts_add(w->csr.san, w->o->hosts[i], err))
			return false;
	}
	if (w->profile == PROFILE_SERVER && sk_GENERAL_NAME_num(w->csr.san) == 0)
		note(r, "the certificate has no subjectAltName: most clients will refuse this server; give its names with --host\n");
	return true;
}

static bool
make_leaf(struct work *w, struct pki_issued *r, struct err *err)
{
	struct cert_spec s = {
		.profile = w->profile,
		.cn = order_cn(w),
		.san = w->csr.san,
		.key = w->key,
		.issuer = w->ca.cert,
		.issuer_key = w->ca.key,
		.days = w->o->days > 0 ? w->o->days : profile_days(w->profile),
		.now = w->now,
	};

	w->leaf = cert_make(&s, &w->clipped, err);
	if (w->leaf == NULL)
		return false;
	if (w->clipped)
		note(r, "the validity ends with the CA's own, earlier than asked\n");
	if (w->ca.key_open)
		note(r, "%s/key.pem can be read by others than its owner: chmod 600 it\n", w->ca.dir);
	return true;
}

/* Old certificates of the same name stop being live; the new one is in the book before anybody has it. */
static bool
book(struct work *w, struct err *err)
{
	const char *cn = order_cn(w);
	struct pki_entry made;

	if (!entry_of(w->leaf, w->ca.name, w->profile, cn, &made))
		return crypto_err(err, "cannot read the certificate that was made");
	if (!note_certificate(w->o->dir, "issue", &made, err))
		return false;
	for (size_t i = 0; i < w->index.n; i++) {
		struct pki_entry *e = &w->index.entries[i];

		if (e->status == PKI_LIVE && strcmp(e->cn, cn) == 0 &&
		    !index_mark(&w->index, e->serial, PKI_REPLACED, w->now, err))
			return false;
	}
	if (!cert_book(&w->index, w->ca.dir, w->ca.name, w->leaf, w->profile, cn, err))
		return false;
	(void)snprintf(w->serial, sizeof w->serial, "%s", w->index.entries[w->index.n - 1].serial);
	return true;
}

/* A folder that is there already is replaced only when its certificate is: then it is moved aside first. */
static bool
swap_folder(const char *made, const char *place, bool replace, struct err *err)
{
	char old[PKI_PATH_MAX];

	if (renameat2(AT_FDCWD, made, AT_FDCWD, place, RENAME_NOREPLACE) == 0)
		return true;
	if (errno == EEXIST && !replace)
		return err_set(err, ERR_EXISTS, "%s is there already and is not overwritten: move it away, or use --reissue", place);
	if (errno == EEXIST) {
		int n = snprintf(old, sizeof old, "%s.old", made);

		if (n < 0 || (size_t)n >= sizeof old)
			return err_set(err, ERR_LIMIT, "%s: path too long", made);
		if (rename(place, old) == -1)
			return err_sys(err, "cannot move %s away", place);
		if (rename(made, place) == 0) {
			(void)remove_tree(old);
			return true;
		}
		(void)err_sys(err, "cannot write %s", place);
		if (rename(old, place) == -1)
			(void)err_prefix(err, "the old folder is now %s", old);
		return false;
	}
	if (errno != EINVAL && errno != ENOSYS)
		return err_sys(err, "cannot write %s", place);
	/* A file system without RENAME_NOREPLACE: rename() does not replace a folder that has something in it. */
	return rename(made, place) == 0 || err_sys(err, "cannot write %s", place);
}

static bool
folder_of(const struct work *w, char place[PKI_PATH_MAX], struct err *err)
{
	const char *parent = w->profile == PROFILE_SERVER ? "servers" : "clients";
	char dir[PKI_PATH_MAX];

	if (w->o->out != NULL)
		return path_join(place, PKI_PATH_MAX, ".", w->o->out) || err_set(err, ERR_LIMIT, "%s: path too long", w->o->out);
	if (!home_path(dir, w->o->dir, parent, err) || !dir_make(dir, 0700, err))
		return false;
	return path_join(place, PKI_PATH_MAX, dir, order_cn(w)) || err_set(err, ERR_LIMIT, "%s: path too long", dir);
}

/* "clients" or "servers", if it was made for this order and has stayed empty. Returns false. */
static bool
drop_parent(const struct work *w, char place[PKI_PATH_MAX])
{
	char *slash = strrchr(place, '/');

	if (w->o->out == NULL && slash != NULL) {
		*slash = '\0';
		(void)rmdir(place); /* stays when there is something in it */
	}
	return false;
}

/* Key and certificates are complete in a hidden sibling folder, the certificate is booked, then the folder gets its name. */
static bool
deliver_folder(struct work *w, struct pki_issued *r, struct err *err)
{
	X509 *chain[2] = { w->leaf, w->ca.cert };
	struct bundle b = { w->key, chain, cert_is_self_issued(w->ca.cert) ? 1 : 2, w->root };
	char place[PKI_PATH_MAX], made[PKI_PATH_MAX + 32];
	bool ok;

	if (!folder_of(w, place, err))
		return false;
	if (!w->o->reissue && access(place, F_OK) == 0)
		return err_set(err, ERR_EXISTS, "%s is there already and is not overwritten: move it away first", place);
	(void)snprintf(made, sizeof made, "%s.new-XXXXXX", place);
	if (mkdtemp(made) == NULL) {
		(void)err_sys(err, "cannot make a folder beside %s", place);
		return drop_parent(w, place);
	}
	ok = bundle_write(made, &b, err) && book(w, err) && swap_folder(made, place, w->o->reissue, err) &&
	    certs_pem(chain, b.n_chain, &r->pem, err);
	if (!ok) {
		(void)remove_tree(made);
		return drop_parent(w, place);
	}
	if (realpath(place, r->place) == NULL)
		(void)snprintf(r->place, sizeof r->place, "%s", place);
	return ok;
}

static bool
may_write_beside(const char *file, struct err *err)
{
	char dir[PKI_PATH_MAX];
	const char *slash = strrchr(file, '/');
	size_t n = slash == NULL ? 0 : slash == file ? 1 : (size_t)(slash - file);

	if (!text_copy(dir, sizeof dir, n > 0 ? slice_of(file, n) : SL(".")))
		return err_set(err, ERR_LIMIT, "%s: path too long", file);
	return access(dir, W_OK | X_OK) == 0 || err_sys(err, "cannot write %s", file);
}

static bool
deliver_file(struct work *w, struct pki_issued *r, struct err *err)
{
	X509 *chain[2] = { w->leaf, w->ca.cert };
	int flags = w->o->reissue ? FILE_REPLACE : 0;

	if (!certs_pem(chain, cert_is_self_issued(w->ca.cert) ? 1 : 2, &r->pem, err))
		return false;
	if (w->o->out != NULL && flags == 0 && access(w->o->out, F_OK) == 0)
		return err_set(err, ERR_EXISTS, "%s is there already and is not overwritten: move it away first", w->o->out);
	/* Before there is a certificate that nobody gets. */
	if (w->o->out != NULL && !may_write_beside(w->o->out, err))
		return false;
	if (!book(w, err))
		return false;
	if (w->o->out == NULL)
		return true;
	(void)snprintf(r->place, sizeof r->place, "%s", w->o->out);
	return file_write(w->o->out, slice_str(r->pem), 0644, flags, err);
}

static bool
fulfil(struct work *w, struct pki_issued *r, struct err *err)
{
	const struct pki_order *o = w->o;
	char root[PKI_PATH_MAX];
	struct err ignored;
	bool ok;

	if (!check_order(w, err) || !ca_open(&w->ca, o->dir, o->ca, true, o->secret, err) ||
	    !home_path(root, o->dir, "pki/root/cert.pem", err) || (w->root = cert_read_one(root, err)) == NULL ||
	    !index_open(&w->index, w->ca.dir, o->ca, w->now, true, err) || !take_request(w, r, err) ||
	    !check_name(w, err) || !add_hosts(w, r, err) || !make_leaf(w, r, err))
		return false;
	ok = o->csr.n > 0 ? deliver_file(w, r, err) : deliver_folder(w, r, err);
	if (!ok && w->serial[0] != '\0') {
		/* The first error is the one to tell. */
		(void)index_mark(&w->index, w->serial, PKI_DROPPED, w->now, &ignored);
		(void)note_certificate(o->dir, "drop", &w->index.entries[w->index.n - 1], &ignored);
	}
	return ok;
}

bool
pki_issue(const struct pki_order *o, struct pki_issued *ret, struct err *err)
{
	struct work w = { .o = o, .index = { .fd = -1 }, .now = pki_clock(o->now) };
	struct pki_issued r = { 0 };
	struct pki_entry e = { 0 };
	bool ok = fulfil(&w, &r, err);

	if (ok) {
		ok = entry_of(w.leaf, o->ca, w.profile, order_cn(&w), &e);
		memcpy(r.serial, e.serial, sizeof r.serial);
		memcpy(r.fingerprint, e.fingerprint, sizeof r.fingerprint);
		memcpy(r.cn, e.cn, sizeof r.cn);
		r.not_before = e.not_before;
		r.not_after = e.not_after;
	}
	work_done(&w);
	if (!ok) {
		free(r.pem);
		return false;
	}
	*ret = r;
	return true;
}
