/* Many devices' keys and certificates, in turns. In each: all files under hidden names, one sync; the audit log, one sync; the index, one sync; then the
 * folders get their names. So what a kill or a power cut leaves is a folder that is booked, and gets its name at the next start, or one that is not, and
 * goes with its key: nobody has its certificate. The index is locked only while names are looked at and while it is written, the folder <clients> always:
 * hidden folders are nobody else's to mend. */
#include "pki/internal.h"

#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <sys/file.h>
#include <sys/stat.h>

#include "base/map.h"

/* Entries of the index by common name. */
struct names {
	uint32_t *slots; /* number of an entry, and 1; 0: free */
	size_t cap, n;   /* <n>: entries that are in it */
};

struct staged {
	struct pki_entry entry;
	char made[PKI_PATH_MAX]; /* its hidden folder; "": nothing of it is there */
	char place[PKI_PATH_MAX]; /* its name later on */
};

struct pki_series {
	struct pki_order order;
	struct ca ca;
	struct index index;
	struct names names;
	X509 *root;
	int64_t now;
	char clients[PKI_PATH_MAX];
	int lock;        /* of it */
	unsigned reads;
	struct staged *staged;
};

/* ---- who has one ---- */

/* A hold may end; of what else is over nobody need know. */
static bool
is_over(const struct pki_entry *e)
{
	return e->status != PKI_LIVE && e->status != PKI_REVOKED;
}

static void
names_put(struct names *t, const struct index *x, size_t i)
{
	const struct pki_entry *all = x->entries;
	size_t at = map_hash(slice_str(all[i].cn)) & (t->cap - 1);

	while (t->slots[at] != 0 && !(is_over(&all[t->slots[at] - 1]) && strcmp(all[t->slots[at] - 1].cn, all[i].cn) == 0))
		at = (at + 1) & (t->cap - 1);
	t->slots[at] = (uint32_t)i + 1;
}

/* With all that the index has now. */
static bool
names_fill(struct names *t, const struct index *x, struct err *err)
{
	if (x->n > UINT32_MAX / 4)
		return err_set(err, ERR_LIMIT, "the index is too long");
	if (2 * x->n >= t->cap) {
		size_t cap = NUM_MAX(t->cap, (size_t)1024);

		while (cap <= 4 * x->n)
			cap *= 2;
		free(t->slots);
		*t = (struct names){ .slots = calloc(cap, sizeof *t->slots), .cap = cap };
		if (t->slots == NULL) {
			t->cap = 0;
			return err_set(err, ERR_MEMORY, "out of memory");
		}
	}
	for (; t->n < x->n; t->n++)
		names_put(t, x, t->n);
	return true;
}

static const struct pki_entry *
find_live(const struct pki_series *s, const char *cn)
{
	const struct names *t = &s->names;

	for (size_t at = map_hash(slice_str(cn)) & (t->cap - 1); t->slots[at] != 0; at = (at + 1) & (t->cap - 1)) {
		const struct pki_entry *e = &s->index.entries[t->slots[at] - 1];

		if (e->status == PKI_LIVE && strcmp(e->cn, cn) == 0)
			return e;
	}
	return NULL;
}

/* ---- what a run that was killed has left ---- */

/* Hidden names: no common name begins with a dot (new_cn_ok). Those of single certificates have another mark: they are locked by their CA's index alone. */
#define MARK_MANY ".many-XXXXXX"
#define MARK_ONE ".new-XXXXXX"

/* "DIR/NAME" of "DIR/.NAMEmark". False: it is none. */
static bool
name_later(const char *name, const char *mark, char *ret, size_t cap)
{
	size_t n = strlen(name), m = strlen(mark);

	return name[0] == '.' && n > m + 1 && memcmp(name + n - m, mark, m - 6) == 0 && text_copy(ret, cap, slice_of(name + 1, n - m - 1));
}

/* The leaf, behind which its CA stands. */
static X509 *
first_of(const char *path)
{
	STACK_OF(X509) *list = NULL;
	X509 *x;

	if (!certs_read(path, &list, NULL))
		return NULL;
	x = sk_X509_shift(list);
	sk_X509_pop_free(list, X509_free);
	return x;
}

enum known { NOT_THERE, STRANGE, UNBOOKED, BOOKED };

/* What the index has of the certificate in <folder>. STRANGE: another CA's. */
static enum known
look_up(const struct pki_series *s, const char *folder, struct pki_entry *ret_cert, const struct pki_entry **ret)
{
	char path[PKI_PATH_MAX + 64];
	auto_x509 cert = NULL;

	if (!path_join(path, sizeof path, folder, "cert.pem") || (cert = first_of(path)) == NULL || !entry_of(cert, "", PROFILE_CLIENT, "", ret_cert))
		return NOT_THERE;
	if (X509_check_issued(s->ca.cert, cert) != X509_V_OK)
		return STRANGE;
	for (size_t i = s->index.n; i-- > 0;)
		if (strcmp(s->index.entries[i].fingerprint, ret_cert->fingerprint) == 0) {
			*ret = &s->index.entries[i];
			return BOOKED;
		}
	return UNBOOKED;
}

static void
drop_copy(const struct pki_series *s, const char *serial)
{
	char copy[PKI_PATH_MAX + 128];

	(void)snprintf(copy, sizeof copy, "%s/certs/%s.pem", s->ca.dir, serial);
	(void)unlink(copy);
}

/* Nobody has it: its name is free, or that of an older one of this CA. Whatever else is there stays. */
static bool
place_late(const struct pki_series *s, const char *made, const char *place, const struct pki_entry *ours)
{
	const struct pki_entry *theirs = NULL;
	struct pki_entry other;

	if (access(place, F_OK) == -1)
		return folder_swap(made, place, false, NULL);
	return look_up(s, place, &other, &theirs) == BOOKED && (theirs->status != PKI_LIVE || ours > theirs) && folder_swap(made, place, true, NULL);
}

/* True: a folder has got its name. */
static bool
mend_one(const struct pki_series *s, const char *name, bool is_many, const char *later)
{
	char made[PKI_PATH_MAX], place[PKI_PATH_MAX];
	const struct pki_entry *ours = NULL;
	struct pki_entry cert;
	enum known known;

	if (!path_join(made, sizeof made, s->clients, name) || !path_join(place, sizeof place, s->clients, later))
		return false;
	known = look_up(s, made, &cert, &ours);
	if (known == BOOKED && strcmp(ours->cn, later) != 0)
		return false;
	if (known == BOOKED && ours->status == PKI_LIVE)
		return place_late(s, made, place, ours);
	if (known == STRANGE || (known == NOT_THERE && !is_many))
		return false;
	if (known == UNBOOKED)
		drop_copy(s, cert.serial);
	(void)dir_remove(made);
	return false;
}

/* Nobody is at them any more: who makes many has <clients> locked, and who makes one of this CA has the index. */
static bool
mend(const struct pki_series *s, struct err *err)
{
	char later[PKI_PATH_MAX];
	bool mended = false;
	struct dirent *e;
	DIR *d = opendir(s->clients);

	if (d == NULL)
		return err_sys(err, "%s", s->clients);
	while ((e = readdir(d)) != NULL) {
		bool is_many = name_later(e->d_name, MARK_MANY, later, sizeof later);

		if (is_many || name_later(e->d_name, MARK_ONE, later, sizeof later))
			mended |= mend_one(s, e->d_name, is_many, later);
	}
	(void)closedir(d);
	return !mended || dir_sync(s->clients, err);
}

/* ---- begin and end ---- */

static bool
lock_clients(struct pki_series *s, struct err *err)
{
	s->lock = open(s->clients, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
	if (s->lock == -1)
		return err_sys(err, "%s", s->clients);
	if (flock(s->lock, LOCK_EX | LOCK_NB) == 0)
		return true;
	return errno == EWOULDBLOCK ? err_set(err, ERR_EXISTS, "another command makes many devices in %s now: wait until it has ended", s->clients) :
				      err_sys(err, "cannot lock %s", s->clients);
}

static bool
open_series(struct pki_series *s, struct err *err)
{
	const struct pki_order *o = &s->order;
	char root[PKI_PATH_MAX];

	return ca_open(&s->ca, o->dir, o->ca, true, o->secret, err) && home_path(root, o->dir, "pki/root/cert.pem", err) &&
	    (s->root = cert_read_one(root, err)) != NULL && home_path(s->clients, o->dir, "clients", err) && dir_make(s->clients, 0700, err) && lock_clients(s, err) &&
	    index_open(&s->index, s->ca.dir, o->ca, s->now, true, err) && mend(s, err);
}

struct pki_series *
pki_series_new(const struct pki_order *o, struct err *err)
{
	struct pki_series *s = calloc(1, sizeof *s);

	if (s == NULL || (s->staged = calloc(PKI_SERIES_MAX, sizeof *s->staged)) == NULL) {
		free(s);
		(void)err_set(err, ERR_MEMORY, "out of memory");
		return NULL;
	}
	s->order = *o;
	s->index.fd = s->lock = -1;
	s->now = pki_clock(o->now);
	if (open_series(s, err)) {
		index_pause(&s->index);
		return s;
	}
	pki_series_free(s);
	return NULL;
}

void
pki_series_free(struct pki_series *s)
{
	if (s == NULL)
		return;
	ca_done(&s->ca);
	index_done(&s->index);
	if (s->lock != -1)
		(void)close(s->lock);
	X509_free(s->root);
	free(s->names.slots);
	free(s->staged);
	free(s);
}

/* ---- a turn ---- */

/* Key, certificate and folder under a hidden name. Nothing of it need be on the disk yet. */
static bool
write_one(struct pki_series *s, struct draft *d, struct staged *g, struct err *err)
{
	X509 *chain[2] = { d->leaf, s->ca.cert };
	struct bundle b = { d->key, chain, cert_is_self_issued(s->ca.cert) ? 1 : 2, s->root, FILE_UNSYNCED };

	if (!entry_of(d->leaf, s->ca.name, d->profile, draft_cn(d), &g->entry))
		return crypto_err(err, "cannot read the certificate that was made");
	if (mkdtemp(g->made) == NULL)
		return err_sys(err, "cannot make a folder in %s", s->clients);
	if (bundle_write(g->made, &b, err) && cert_copy(s->ca.dir, d->leaf, g->entry.serial, FILE_UNSYNCED, err))
		return true;
	(void)dir_remove(g->made);
	return false;
}

static bool
make_one(struct pki_series *s, const char *cn, struct staged *g, struct err *err)
{
	struct draft d = { .ca = s->ca.cert, .ca_key = s->ca.key, .profile = PROFILE_CLIENT, .now = s->now, .wish = { .cn = cn, .days = s->order.days } };
	bool ok = (d.key = key_new(s->order.key_type, err)) != NULL && draft_make(&d, err) && write_one(s, &d, g, err);

	draft_done(&d);
	if (!ok)
		g->made[0] = '\0';
	return ok;
}

static void
tell(struct pki_series_one *v, const struct pki_entry *e)
{
	memcpy(v->serial, e->serial, sizeof v->serial);
	memcpy(v->fingerprint, e->fingerprint, sizeof v->fingerprint);
	v->not_after = e->not_after;
}

/* Is its name good, and nobody's yet? Fills what is known of one that is there. */
static bool
look_at(struct pki_series *s, struct pki_series_one *v, struct staged *g)
{
	char why[128], shown[4 * PKI_CN_MAX];
	const struct pki_entry *e;

	if (!new_cn_ok(v->cn, why, sizeof why))
		return err_set(&v->why, ERR_INPUT, "\"%s\" cannot be the name of a certificate: the common name %s", text_show(slice_str(v->cn), shown, sizeof shown), why);
	(void)path_join(g->place, sizeof g->place, s->clients, v->cn);
	if (snprintf(g->made, sizeof g->made, "%s/.%s" MARK_MANY, s->clients, v->cn) >= (int)sizeof g->made)
		return err_set(&v->why, ERR_LIMIT, "%s: path too long", s->clients);
	e = find_live(s, v->cn);
	v->had = access(g->place, F_OK) == 0;
	if (e != NULL && v->had) {
		tell(v, e);
		return false;
	}
	if (e != NULL)
		return err_set(&v->why, ERR_EXISTS, "the %s CA has a live certificate for \"%s\" already (serial %s): use --reissue to replace it", s->order.ca, v->cn,
		    e->serial);
	if (v->had) {
		v->had = false;
		return err_set(&v->why, ERR_EXISTS, "%s is there already and is not overwritten: move it away first", g->place);
	}
	return true;
}

/* The same name twice in a turn: the later one is there already. */
static const struct pki_series_one *
twin(const struct pki_series_one *v, size_t i)
{
	for (size_t k = 0; k < i; k++)
		if (strcmp(v[k].cn, v[i].cn) == 0)
			return &v[k];
	return NULL;
}

/* The index is ours, and the names of all that is in it are known. */
static bool
lock_index(struct pki_series *s, struct err *err)
{
	s->now = pki_clock(s->order.now);
	if (!index_resume(&s->index, s->ca.dir, s->order.ca, s->now, err))
		return false;
	if (s->index.reads != s->reads)
		s->names.cap = s->names.n = 0;
	s->reads = s->index.reads;
	if (names_fill(&s->names, &s->index, err))
		return true;
	index_pause(&s->index);
	return false;
}

/* Whose turn is it to get one? Of those staged[].made is what the folder will be called, and empty of the others. */
static bool
look_at_all(struct pki_series *s, struct pki_series_one *v, size_t n, struct err *err)
{
	if (!lock_index(s, err))
		return false;
	for (size_t i = 0; i < n; i++) {
		v[i].had = false;
		v[i].why = (struct err){ .code = ERR_OK };
		if (twin(v, i) != NULL || !look_at(s, &v[i], &s->staged[i]))
			s->staged[i].made[0] = '\0';
	}
	index_pause(&s->index);
	return true;
}

/* False: nobody gets anything for a reason that is none of theirs, and the next ones would not either. */
static bool
stage(struct pki_series *s, struct pki_series_one *v, size_t n, size_t *ret_made, struct err *err)
{
	const struct err *why = NULL;
	size_t made = 0;

	for (size_t i = 0; i < n; i++) {
		if (s->staged[i].made[0] == '\0')
			continue;
		if (make_one(s, v[i].cn, &s->staged[i], &v[i].why))
			made++;
		else if (why == NULL)
			why = &v[i].why;
	}
	*ret_made = made;
	if (made > 0 || why == NULL)
		return true;
	*err = *why;
	return false;
}

static void
unstage_one(struct pki_series *s, struct staged *g)
{
	if (g->made[0] == '\0')
		return;
	(void)dir_remove(g->made);
	drop_copy(s, g->entry.serial);
	g->made[0] = '\0';
}

static bool
sync_all(const struct pki_series *s, struct err *err)
{
	struct stat clients, ca;

	if (!file_sync_all(s->clients, err))
		return false;
	return (stat(s->clients, &clients) == 0 && stat(s->ca.dir, &ca) == 0 && clients.st_dev == ca.st_dev) || file_sync_all(s->ca.dir, err);
}

/* In the audit log, in the index. Who has got one meanwhile by another way is left out. */
static bool
book_all(struct pki_series *s, struct pki_series_one *v, size_t n, struct err *err)
{
	const struct pki_entry **all = reallocarray(NULL, n, sizeof(struct pki_entry *));
	size_t made = 0;
	bool ok;

	if (all == NULL)
		return err_set(err, ERR_MEMORY, "out of memory");
	for (size_t i = 0; i < n; i++) {
		struct staged *g = &s->staged[i], meanwhile;

		if (g->made[0] == '\0')
			continue;
		if (look_at(s, &v[i], &meanwhile))
			all[made++] = &g->entry;
		else
			unstage_one(s, g);
	}
	ok = made == 0 || (note_certificates(s->order.dir, "issue", all, made, err) && index_issued_all(&s->index, all, made, err));
	free(all);
	return ok;
}

/* Its folder gets its name. */
static void
place_one(struct pki_series *s, struct pki_series_one *v, struct staged *g)
{
	struct err ignored;

	if (folder_swap(g->made, g->place, false, &v->why)) {
		tell(v, &g->entry);
		return;
	}
	(void)index_mark(&s->index, g->entry.serial, PKI_DROPPED, s->now, &ignored);
	(void)note_certificate(s->order.dir, "drop", &g->entry, &ignored);
	(void)dir_remove(g->made);
}

/* What was staged becomes theirs. */
static bool
deliver_all(struct pki_series *s, struct pki_series_one *v, size_t n, struct err *err)
{
	bool ok;

	if (!sync_all(s, err) || !lock_index(s, err))
		return false;
	ok = book_all(s, v, n, err);
	for (size_t i = 0; i < n && ok; i++)
		if (s->staged[i].made[0] != '\0')
			place_one(s, &v[i], &s->staged[i]);
	index_pause(&s->index);
	/* What has not got its name for good gets it when the next series begins. */
	(void)dir_sync(s->clients, NULL);
	return ok;
}

bool
pki_series_issue(struct pki_series *s, struct pki_series_one *v, size_t n, struct err *err)
{
	size_t made;

	if (n > PKI_SERIES_MAX)
		return err_set(err, ERR_LIMIT, "more than %d at once", PKI_SERIES_MAX);
	if (!look_at_all(s, v, n, err) || !stage(s, v, n, &made, err))
		return false;
	if (made > 0 && !deliver_all(s, v, n, err)) {
		for (size_t i = 0; i < n; i++)
			unstage_one(s, &s->staged[i]);
		return false;
	}
	for (size_t i = 0; i < n; i++) {
		const struct pki_series_one *first = twin(v, i);
		const char *cn = v[i].cn;

		if (first == NULL)
			continue;
		v[i] = *first;
		v[i].cn = cn;
		v[i].had = first->why.code == ERR_OK;
	}
	return true;
}
