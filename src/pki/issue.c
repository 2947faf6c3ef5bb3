/* One certificate: the order is checked, the certificate made by its profile, booked, and only then handed out. */
#include "pki/internal.h"

#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <sys/stat.h>

enum { DAYS_MAX = 36500 };

bool
bundle_write(const char *dir, const struct bundle *b, struct err *err)
{
	auto_str chain = NULL;
	auto_str anchor = NULL;
	char key[PKI_PATH_MAX];

	if (!path_join(key, sizeof key, dir, "key.pem"))
		return err_set(err, ERR_LIMIT, "%s: path too long", dir);
	return certs_pem(b->chain, b->n_chain, &chain, err) && certs_pem(&b->anchor, 1, &anchor, err) &&
	    key_write_plain(key, b->key, b->flags, err) && write_text(dir, "cert.pem", chain, 0644, b->flags, err) &&
	    write_text(dir, "ca.pem", anchor, 0644, b->flags, err);
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
cert_copy(const char *ca_dir, X509 *leaf, const char *serial, int flags, struct err *err)
{
	char dir[PKI_PATH_MAX], name[64];
	auto_str pem = NULL;

	if (!path_join(dir, sizeof dir, ca_dir, "certs"))
		return err_set(err, ERR_LIMIT, "%s: path too long", ca_dir);
	(void)snprintf(name, sizeof name, "%s.pem", serial);
	return certs_pem(&leaf, 1, &pem, err) && dir_make(dir, 0700, err) && write_text(dir, name, pem, 0644, flags, err);
}

bool
cert_book(struct index *x, const char *ca_dir, const char *ca, X509 *leaf, enum profile p, const char *cn,
    struct err *err)
{
	struct pki_entry e;

	if (!entry_of(leaf, ca, p, cn, &e))
		return crypto_err(err, "cannot read the certificate that was made");
	return cert_copy(ca_dir, leaf, e.serial, 0, err) && index_issued(x, &e, err);
}

/* Everything of one order under way. */
struct work {
	const struct pki_order *o;
	struct ca ca;
	struct index index;
	struct draft draft;
	X509 *root;
	int64_t now;
	char serial[41];      /* booked; empty: not yet */
};

static void
work_done(struct work *w)
{
	ca_done(&w->ca);
	index_done(&w->index);
	draft_done(&w->draft);
	X509_free(w->root);
}

static bool
check_order(struct work *w, struct err *err)
{
	const struct pki_order *o = w->o;
	bool cloud = strcmp(o->ca, "cloud") == 0;
	bool role = cloud || strcmp(o->ca, "client") == 0 || strcmp(o->ca, "watch") == 0 || strcmp(o->ca, "control") == 0;

	if (strcmp(o->ca, "root") == 0)
		return err_set(err, ERR_DENIED, "the root CA only issues the CAs below it: choose client, watch, control or cloud");
	if (o->server && o->ocsp)
		return err_set(err, ERR_USAGE, "a certificate is for a server or for an OCSP responder, not for both");
	if (o->server && role && !cloud)
		return err_set(err, ERR_DENIED, "the %s CA issues no server certificates: choose --ca cloud", o->ca);
	if (o->days > DAYS_MAX)
		return err_set(err, ERR_USAGE, "%u days are more than the %d that are allowed", o->days, DAYS_MAX);
	w->draft.profile = o->ocsp ? PROFILE_OCSP : cloud || o->server ? PROFILE_SERVER : PROFILE_CLIENT;
	return true;
}

static bool
take_request(struct work *w, struct err *err)
{
	const struct pki_order *o = w->o;
	struct draft *d = &w->draft;

	d->ca = w->ca.cert;
	d->ca_key = w->ca.key;
	d->wish = (struct draft_wish){ .cn = o->cn, .hosts = o->hosts, .n_hosts = o->n_hosts, .days = o->days };
	d->now = w->now;
	if (o->csr.n > 0)
		return draft_request(d, o->csr, err);
	d->key = key_new(o->key_type, err);
	return d->key != NULL;
}

static bool
check_name(struct work *w, struct err *err)
{
	const char *cn = draft_cn(&w->draft);
	char why[128], shown[4 * PKI_CN_MAX];

	if (cn == NULL)
		return err_set(err, ERR_INPUT, "the common name of the request cannot be used, it %s: give one with --name",
		    w->draft.csr.cn_fault);
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

/* Old certificates of the same name stop being live; the new one is in the book before anybody has it. */
static bool
book(struct work *w, struct err *err)
{
	const char *cn = draft_cn(&w->draft);
	struct pki_entry made;

	if (!entry_of(w->draft.leaf, w->ca.name, w->draft.profile, cn, &made))
		return crypto_err(err, "cannot read the certificate that was made");
	if (!note_certificate(w->o->dir, "issue", &made, err))
		return false;
	for (size_t i = 0; i < w->index.n; i++) {
		struct pki_entry *e = &w->index.entries[i];

		if (!w->o->overlap && e->status == PKI_LIVE && strcmp(e->cn, cn) == 0 &&
		    !index_mark(&w->index, e->serial, PKI_REPLACED, w->now, err))
			return false;
	}
	if (!cert_book(&w->index, w->ca.dir, w->ca.name, w->draft.leaf, w->draft.profile, cn, err))
		return false;
	(void)snprintf(w->serial, sizeof w->serial, "%s", w->index.entries[w->index.n - 1].serial);
	return true;
}

/* A folder that is there already is replaced only when its certificate is: then it is moved aside first. */
bool
folder_swap(const char *made, const char *place, bool replace, struct err *err)
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
			(void)dir_remove(old);
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
	const char *parent = w->draft.profile == PROFILE_SERVER ? "servers" : w->draft.profile == PROFILE_OCSP ? "responders" : "clients";
	char dir[PKI_PATH_MAX];

	if (w->o->out != NULL)
		return path_join(place, PKI_PATH_MAX, ".", w->o->out) || err_set(err, ERR_LIMIT, "%s: path too long", w->o->out);
	if (!home_path(dir, w->o->dir, parent, err) || !dir_make(dir, 0700, err))
		return false;
	return path_join(place, PKI_PATH_MAX, dir, draft_cn(&w->draft)) || err_set(err, ERR_LIMIT, "%s: path too long", dir);
}

/* "clients", "servers" or "responders", if it was made for this order and has stayed empty. Returns false. */
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
	X509 *chain[2] = { w->draft.leaf, w->ca.cert };
	struct bundle b = { w->draft.key, chain, cert_is_self_issued(w->ca.cert) ? 1 : 2, w->root };
	char place[PKI_PATH_MAX], made[PKI_PATH_MAX + 32];
	bool ok;

	if (!folder_of(w, place, err))
		return false;
	if (!w->o->reissue && access(place, F_OK) == 0)
		return err_set(err, ERR_EXISTS, "%s is there already and is not overwritten: move it away first", place);
	(void)snprintf(made, sizeof made, "%.*s/.%s.new-XXXXXX", (int)(strrchr(place, '/') - place), place, strrchr(place, '/') + 1);
	if (mkdtemp(made) == NULL) {
		(void)err_sys(err, "cannot make a folder beside %s", place);
		return drop_parent(w, place);
	}
	ok = bundle_write(made, &b, err) && book(w, err) && folder_swap(made, place, w->o->reissue, err) &&
	    certs_pem(chain, b.n_chain, &r->pem, err);
	if (!ok) {
		(void)dir_remove(made);
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
	X509 *chain[2] = { w->draft.leaf, w->ca.cert };
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
open_ca(struct work *w, struct err *err)
{
	char root[PKI_PATH_MAX];

	return check_order(w, err) && ca_open(&w->ca, w->o->dir, w->o->ca, true, w->o->secret, err) &&
	    home_path(root, w->o->dir, "pki/root/cert.pem", err) && (w->root = cert_read_one(root, err)) != NULL &&
	    index_open(&w->index, w->ca.dir, w->o->ca, w->now, true, err);
}

/* With CA and index open. */
static bool
make_one(struct work *w, struct pki_issued *r, struct err *err)
{
	const struct pki_order *o = w->o;
	struct err ignored;
	bool ok;

	if (!take_request(w, err) || !check_name(w, err) || !draft_make(&w->draft, err))
		return false;
	(void)snprintf(r->notes, sizeof r->notes, "%s", w->draft.notes);
	if (w->ca.key_open)
		(void)snprintf(r->notes + strlen(r->notes), sizeof r->notes - strlen(r->notes),
		    "%.400s/key.pem can be read by others than its owner: chmod 600 it\n", w->ca.dir);
	ok = o->csr.n > 0 ? deliver_file(w, r, err) : deliver_folder(w, r, err);
	if (!ok && w->serial[0] != '\0') {
		/* The first error is the one to tell. */
		(void)index_mark(&w->index, w->serial, PKI_DROPPED, w->now, &ignored);
		(void)note_certificate(o->dir, "drop", &w->index.entries[w->index.n - 1], &ignored);
	}
	return ok;
}

static bool
tell(const struct work *w, struct pki_issued *r)
{
	struct pki_entry e = { 0 };
	bool ok = entry_of(w->draft.leaf, w->o->ca, w->draft.profile, draft_cn(&w->draft), &e);

	memcpy(r->serial, e.serial, sizeof r->serial);
	memcpy(r->fingerprint, e.fingerprint, sizeof r->fingerprint);
	memcpy(r->cn, e.cn, sizeof r->cn);
	r->not_before = e.not_before;
	r->not_after = e.not_after;
	return ok;
}

bool
pki_issue(const struct pki_order *o, struct pki_issued *ret, struct err *err)
{
	struct work w = { .o = o, .index = { .fd = -1 }, .now = pki_clock(o->now) };
	struct pki_issued r = { 0 };
	bool ok = open_ca(&w, err) && make_one(&w, &r, err) && tell(&w, &r);

	work_done(&w);
	if (!ok) {
		free(r.pem);
		return false;
	}
	*ret = r;
	return true;
}
