/* The bytes of a CRL, read in place: libcrypto would make several objects of each entry, hundreds of megabytes for a million of
 * them, verify the signature again at every handshake, and look for a serial number by halving. */
#include "pki/crl.h"

#include <stdio.h>
#include <openssl/err.h>
#include <openssl/sha.h>
#include "base/map.h"

enum {
	TAG_BOOLEAN = 0x01, TAG_INTEGER = 0x02, TAG_BITS = 0x03, TAG_OCTETS = 0x04, TAG_OID = 0x06, TAG_ENUM = 0x0a,
	TAG_UTC = 0x17, TAG_TIME = 0x18, TAG_SEQ = 0x30, TAG_EXTS = 0xa0,
	TAIL = 5, /* date and reason behind a serial number */
	NO_REASON = 0xff,
};

/* The parts of a CRL, borrowed from its bytes. */
struct frame {
	struct slice tbs;          /* with its header: what is signed */
	struct slice inner, outer; /* the two algorithms, with header */
	struct slice signature;    /* without the count of unused bits */
	struct slice issuer;       /* with header */
	struct slice entries, extensions; /* contents; .p NULL: none */
	int64_t last, next;
};

static uint8_t
peek(struct slice in)
{
	return in.n > 0 ? in.p[0] : 0;
}

/* One value off the front of <in>: its content, and <whole> with the header (may be NULL). Any length that is definite. */
static bool
take(struct slice *in, uint8_t tag, struct slice *body, struct slice *whole)
{
	struct slice s = *in;
	size_t len, head = 2;

	if (s.n < 2 || s.p[0] != tag)
		return false;
	len = s.p[1];
	if (len >= 0x80) {
		size_t k = len & 0x7f;

		if (k < 1 || k > 4 || s.n < 2 + k)
			return false;
		len = 0;
		for (size_t i = 0; i < k; i++)
			len = len << 8 | s.p[2 + i];
		head += k;
	}
	if (len > s.n - head)
		return false;
	*body = slice_of(s.p + head, len);
	if (whole != NULL)
		*whole = slice_of(s.p, head + len);
	*in = slice_from(s, head + len);
	return true;
}

static int
digits(const uint8_t *p, unsigned n)
{
	int v = 0;

	for (unsigned i = 0; i < n; i++) {
		if (p[i] < '0' || p[i] > '9')
			return -1;
		v = v * 10 + (p[i] - '0');
	}
	return v;
}

/* Days since 1970 of a date in the Gregorian calendar. */
static int64_t
days_of(int64_t year, int month, int day)
{
	int64_t y = month <= 2 ? year - 1 : year, era = y / 400, of_era = y - era * 400;
	int64_t of_year = (153 * (month + (month > 2 ? -3 : 9)) + 2) / 5 + day - 1;

	return era * 146097 + of_era * 365 + of_era / 4 - of_era / 100 + of_year - 719468;
}

/* UTCTime or GeneralizedTime as RFC 5280 4.1.2.5 has them: to the second, in UTC. */
static bool
take_time(struct slice *in, int64_t *ret)
{
	unsigned year_n = peek(*in) == TAG_TIME ? 4 : 2;
	struct slice s;
	int year, part[5];

	if (!take(in, peek(*in) == TAG_TIME ? TAG_TIME : TAG_UTC, &s, NULL) || s.n != year_n + 11u || s.p[s.n - 1] != 'Z')
		return false;
	year = digits(s.p, year_n);
	if (year >= 0 && year_n == 2)
		year += year < 50 ? 2000 : 1900;
	for (unsigned i = 0; i < 5; i++)
		part[i] = digits(s.p + year_n + 2u * i, 2);
	if (year < 0 || part[0] < 1 || part[0] > 12 || part[1] < 1 || part[1] > 31 || part[2] < 0 || part[2] > 23 ||
	    part[3] < 0 || part[3] > 59 || part[4] < 0 || part[4] > 60)
		return false;
	*ret = days_of(year, part[0], part[1]) * 86400 + part[2] * 3600 + part[3] * 60 + part[4];
	return true;
}

static bool
read_tbs(struct slice in, struct frame *f)
{
	struct slice skip;

	if (peek(in) == TAG_INTEGER && !take(&in, TAG_INTEGER, &skip, NULL))
		return false;
	if (!take(&in, TAG_SEQ, &skip, &f->inner) || !take(&in, TAG_SEQ, &skip, &f->issuer) || !take_time(&in, &f->last))
		return false;
	f->next = INT64_MAX;
	if ((peek(in) == TAG_UTC || peek(in) == TAG_TIME) && !take_time(&in, &f->next))
		return false;
	if (peek(in) == TAG_SEQ && !take(&in, TAG_SEQ, &f->entries, NULL))
		return false;
	if (peek(in) == TAG_EXTS && !take(&in, TAG_EXTS, &f->extensions, NULL))
		return false;
	return in.n == 0;
}

static bool
read_frame(struct slice der, struct frame *ret)
{
	struct frame f = { .last = 0 };
	struct slice all, tbs, skip;

	if (!take(&der, TAG_SEQ, &all, NULL) || der.n > 0 || !take(&all, TAG_SEQ, &tbs, &f.tbs) ||
	    !take(&all, TAG_SEQ, &skip, &f.outer) || !take(&all, TAG_BITS, &f.signature, NULL) || all.n > 0)
		return false;
	/* Signatures are whole octets. */
	if (f.signature.n < 2 || f.signature.p[0] != 0)
		return false;
	f.signature = slice_from(f.signature, 1);
	if (!read_tbs(tbs, &f))
		return false;
	*ret = f;
	return true;
}

/* A number as libcrypto keeps it: the magnitude, without leading zeros. 0: too long or empty. */
static size_t
magnitude(struct slice s, uint8_t out[AUTHZ_SERIAL_MAX])
{
	bool minus = s.n > 0 && s.p[0] >= 0x80;
	unsigned carry = 1;

	if (s.n == 0)
		return 0;
	while (s.n > 1 && s.p[0] == (minus ? 0xff : 0))
		s = slice_from(s, 1);
	if (s.n > AUTHZ_SERIAL_MAX)
		return 0;
	for (size_t i = s.n; i-- > 0;) {
		unsigned v = minus ? (uint8_t)~s.p[i] + carry : s.p[i];

		out[i] = (uint8_t)v;
		carry = minus ? v >> 8 : 0;
	}
	return s.n;
}

/* ---- entries ---- */

/* The reason among an entry's extensions. A critical one would change whom the entry is about (RFC 5280 5.3.3). */
static bool
read_reason(struct slice list, uint8_t *ret)
{
	static const uint8_t crl_reason[] = { 0x55, 0x1d, 0x15 };

	while (list.n > 0) {
		struct slice ext, oid, flag, value, number;

		if (!take(&list, TAG_SEQ, &ext, NULL) || !take(&ext, TAG_OID, &oid, NULL))
			return false;
		if (peek(ext) == TAG_BOOLEAN && (!take(&ext, TAG_BOOLEAN, &flag, NULL) || flag.n != 1 || flag.p[0] != 0))
			return false;
		if (!take(&ext, TAG_OCTETS, &value, NULL) || ext.n > 0)
			return false;
		if (slice_eq(oid, slice_of(crl_reason, sizeof crl_reason)) && take(&value, TAG_ENUM, &number, NULL) &&
		    number.n == 1 && number.p[0] <= 10)
			*ret = number.p[0];
	}
	return true;
}

struct entry {
	uint8_t serial[AUTHZ_SERIAL_MAX];
	size_t n;
	uint32_t date;
	uint8_t reason;
};

static bool
take_entry(struct slice *list, struct entry *e)
{
	struct slice body, serial, exts;
	int64_t date;

	if (!take(list, TAG_SEQ, &body, NULL) || !take(&body, TAG_INTEGER, &serial, NULL) || !take_time(&body, &date))
		return false;
	e->n = magnitude(serial, e->serial);
	e->date = (uint32_t)NUM_MIN(NUM_MAX(date, INT64_C(0)), (int64_t)UINT32_MAX);
	e->reason = NO_REASON;
	if (e->n == 0)
		return false;
	if (body.n == 0)
		return true;
	return take(&body, TAG_SEQ, &exts, NULL) && body.n == 0 && read_reason(exts, &e->reason);
}

static struct slice
serial_at(const struct crl *c, uint32_t slot)
{
	const uint8_t *p = c->pool + slot - 1;

	return slice_of(p + 1, p[0]);
}

/* Where <serial> is, or the free slot where it would be. */
static uint32_t *
find_slot(const struct crl *c, struct slice serial)
{
	uint32_t i = (uint32_t)map_hash(serial) & c->mask;

	while (c->slots[i] != 0 && !slice_eq(serial_at(c, c->slots[i]), serial))
		i = (i + 1) & c->mask;
	return &c->slots[i];
}

static void
put_entry(struct crl *c, size_t *at, const struct entry *e)
{
	uint32_t *slot = find_slot(c, slice_of(e->serial, e->n));
	uint8_t *p = c->pool + *at;

	if (*slot != 0) /* twice: the first counts */
		return;
	*slot = (uint32_t)*at + 1;
	*p++ = (uint8_t)e->n;
	memcpy(p, e->serial, e->n);
	p += e->n;
	for (int shift = 24; shift >= 0; shift -= 8)
		*p++ = (uint8_t)(e->date >> shift);
	*p = e->reason;
	*at += 1 + e->n + TAIL;
	c->n++;
}

/* Counted first, so that every byte is asked for once. */
static bool
read_entries(struct crl *c, struct slice list, const char *name, struct err *err)
{
	struct slice left = list;
	struct entry e = { .n = 0 };
	size_t n = 0, bytes = 0, slots = 16;

	for (; left.n > 0; n++, bytes += 1 + e.n + TAIL) {
		if (!take_entry(&left, &e))
			return err_set(err, ERR_INPUT, "%s: entry %zu of the CRL of %s cannot be understood (indirect CRL?)", name,
			    n + 1, c->issuer_text);
	}
	if (n == 0)
		return true;
	/* Below three quarters full. */
	while (slots - slots / 4 < n)
		slots *= 2;
	c->pool = malloc(bytes);
	c->slots = calloc(slots, sizeof *c->slots);
	if (c->pool == NULL || c->slots == NULL)
		return err_set(err, ERR_MEMORY, "out of memory");
	c->mask = (uint32_t)slots - 1;
	bytes = 0;
	for (left = list; left.n > 0 && take_entry(&left, &e);)
		put_entry(c, &bytes, &e);
	return true;
}

bool
crl_find(const struct crl *c, struct slice serial, struct revoked *ret)
{
	const uint8_t *p;
	uint32_t slot;

	if (c->n == 0 || (slot = *find_slot(c, serial)) == 0)
		return false;
	p = serial_at(c, slot).p + serial.n;
	ret->date = (int64_t)((uint32_t)p[0] << 24 | (uint32_t)p[1] << 16 | (uint32_t)p[2] << 8 | p[3]);
	ret->reason = p[4] == NO_REASON ? -1 : p[4];
	return true;
}

bool
crl_each(const struct crl *c, bool (*each)(void *ctx, struct slice serial), void *ctx)
{
	for (size_t i = 0; c->n > 0 && i <= c->mask; i++) {
		if (c->slots[i] != 0 && !each(ctx, serial_at(c, c->slots[i])))
			return false;
	}
	return true;
}

/* ---- the rest of it ---- */

/* RFC 5280 5.2: a delta or a part of a CRL says less than it seems to; who must understand and does not has to refuse. */
static bool
read_extensions(struct crl *c, struct slice in, const char *name, struct err *err)
{
	const unsigned char *p = in.p;
	X509_EXTENSIONS *exts = in.n > 0 ? d2i_X509_EXTENSIONS(NULL, &p, (long)in.n) : NULL;
	ASN1_INTEGER *number = NULL;
	bool ok = true;
	int at;

	if (in.n > 0 && exts == NULL)
		return crypto_input_err(err, "%s: the extensions of the CRL of %s are damaged", name, c->issuer_text);
	at = X509v3_get_ext_by_critical(exts, 1, -1);
	if (X509v3_get_ext_by_NID(exts, NID_delta_crl, -1) >= 0)
		ok = err_set(err, ERR_INPUT, "%s: the CRL of %s is a delta CRL; give the complete one", name, c->issuer_text);
	else if (at >= 0)
		ok = err_set(err, ERR_INPUT,
		    "%s: the CRL of %s is limited by a critical extension (%s); give a complete one", name, c->issuer_text,
		    OBJ_nid2sn(OBJ_obj2nid(X509_EXTENSION_get_object(X509v3_get_ext(exts, at)))));
	else if ((number = X509V3_get_d2i(exts, NID_crl_number, NULL, NULL)) != NULL)
		c->number_n = serial_bytes(number, c->number);
	ASN1_INTEGER_free(number);
	sk_X509_EXTENSION_pop_free(exts, X509_EXTENSION_free);
	return ok;
}

static bool
fill(struct crl *c, const struct frame *f, struct slice der, const char *name, struct err *err)
{
	const unsigned char *p = f->issuer.p;

	c->issuer = d2i_X509_NAME(NULL, &p, (long)f->issuer.n);
	if (c->issuer == NULL)
		return crypto_input_err(err, "%s: the issuer of the CRL cannot be read", name);
	c->issuer_text = name_text(c->issuer);
	if (c->issuer_text == NULL || !crl_digest(der, c->digest))
		return err_set(err, ERR_MEMORY, "out of memory");
	c->last = f->last;
	c->next = f->next;
	return read_extensions(c, f->extensions, name, err) && read_entries(c, f->entries, name, err);
}

bool
crl_digest(struct slice der, uint8_t out[32])
{
	return SHA256(der.p, der.n, out) != NULL;
}

struct crl *
crl_new(struct slice der, const char *name, struct err *err)
{
	struct frame f;
	struct crl *c;

	if (!read_frame(der, &f) || !slice_eq(f.inner, f.outer)) {
		const char *kind = file_kind(der);

		(void)(strstr(kind, "CRL") != NULL ? err_set(err, ERR_INPUT, "%s: the CRL is damaged", name)
						   : err_set(err, ERR_INPUT, "%s: is %s, not a CRL", name, kind));
		return NULL;
	}
	c = calloc(1, sizeof *c);
	if (c == NULL || pthread_mutex_init(&c->lock, NULL) != 0) {
		free(c);
		(void)err_set(err, ERR_MEMORY, "out of memory");
		return NULL;
	}
	atomic_init(&c->refs, 1);
	if (!fill(c, &f, der, name, err)) {
		crl_unref(c);
		return NULL;
	}
	return c;
}

struct crl *
crl_ref(struct crl *c)
{
	atomic_fetch_add_explicit(&c->refs, 1, memory_order_relaxed);
	return c;
}

void
crl_unref(struct crl *c)
{
	if (c == NULL || atomic_fetch_sub_explicit(&c->refs, 1, memory_order_acq_rel) != 1)
		return;
	X509_NAME_free(c->issuer);
	free(c->issuer_text);
	free(c->pool);
	free(c->slots);
	free(c->raw);
	(void)pthread_mutex_destroy(&c->lock);
	free(c);
}

/* RSASSA-PSS has its parameters in the algorithm: libcrypto's own way, for the few who use it. */
static bool
signed_slowly(struct slice der, EVP_PKEY *key)
{
	const unsigned char *p = der.p;
	auto_crl c = d2i_X509_CRL(NULL, &p, (long)der.n);

	return c != NULL && X509_CRL_verify(c, key) == 1;
}

static bool
signed_by(struct slice der, const struct frame *f, EVP_PKEY *key)
{
	const unsigned char *p = f->outer.p;
	X509_ALGOR *alg = d2i_X509_ALGOR(NULL, &p, (long)f->outer.n);
	const ASN1_OBJECT *oid = NULL;
	EVP_MD_CTX *ctx = EVP_MD_CTX_new();
	int md = NID_undef, type = NID_undef;
	bool ok = false;

	if (alg != NULL)
		X509_ALGOR_get0(&oid, NULL, NULL, alg);
	if (oid == NULL || ctx == NULL || OBJ_find_sigid_algs(OBJ_obj2nid(oid), &md, &type) != 1)
		ok = false;
	else if (type == NID_rsassaPss)
		ok = signed_slowly(der, key);
	else if (EVP_PKEY_is_a(key, OBJ_nid2sn(type)))
		ok = EVP_DigestVerifyInit(ctx, NULL, md != NID_undef ? EVP_get_digestbynid(md) : NULL, NULL, key) == 1 &&
		    EVP_DigestVerify(ctx, f->signature.p, f->signature.n, f->tbs.p, f->tbs.n) == 1;
	X509_ALGOR_free(alg);
	EVP_MD_CTX_free(ctx);
	return ok;
}

bool
crl_signed_by(struct slice der, EVP_PKEY *key)
{
	struct frame f;
	bool ok = key != NULL && read_frame(der, &f) && signed_by(der, &f, key);

	ERR_clear_error();
	return ok;
}
