/* One certificate under a CA whose key is at hand: what is asked for meets the profile. The folder's commands and the signer
 * both make theirs here. */
#include "pki/internal.h"

void
draft_done(struct draft *d)
{
	csr_taken_done(&d->csr);
	X509_free(d->leaf);
	EVP_PKEY_free(d->key);
	d->leaf = NULL;
	d->key = NULL;
}

const char *
draft_cn(const struct draft *d)
{
	return d->wish.cn != NULL ? d->wish.cn : d->csr.cn;
}

bool
draft_request(struct draft *d, struct slice csr, struct err *err)
{
	auto_req req = NULL;

	if (!csr_parse(csr, "the request", &req, err) || !csr_take(req, "the request", &d->csr, err))
		return false;
	d->key = d->csr.key;
	d->csr.key = NULL;
	notes_add(d->notes, sizeof d->notes, "%s", d->csr.notes);
	if (EVP_PKEY_eq(d->key, X509_get0_pubkey(d->ca)) == 1)
		return err_set(err, ERR_DENIED, "the request has the key of the CA itself");
	if (d->wish.cn != NULL && d->csr.cn != NULL && strcmp(d->wish.cn, d->csr.cn) != 0)
		notes_add(d->notes, sizeof d->notes, "the request's name \"%s\" was replaced by \"%s\"\n", d->csr.cn, d->wish.cn);
	return true;
}

static bool
add_hosts(struct draft *d, struct err *err)
{
	const char *cn = draft_cn(d);
	char why[128];
	bool ip;

	if (d->csr.san == NULL || d->wish.only_hosts) {
		if (d->csr.san != NULL && sk_GENERAL_NAME_num(d->csr.san) > 0)
			notes_add(d->notes, sizeof d->notes, "the request's alternative names were dropped\n");
		GENERAL_NAMES_free(d->csr.san);
		d->csr.san = GENERAL_NAMES_new();
		if (d->csr.san == NULL)
			return err_set(err, ERR_MEMORY, "out of memory");
	}
	/* A SpringCore device compares the CN, everybody else subjectAltName: a server's name stands in both. */
	if (d->profile == PROFILE_SERVER && host_ok(cn, &ip, why, sizeof why) && !hosts_add(d->csr.san, cn, err))
		return false;
	for (size_t i = 0; i < d->wish.n_hosts; i++) {
		if (!hosts_add(d->csr.san, d->wish.hosts[i], err))
			return false;
	}
	if (d->profile == PROFILE_SERVER && sk_GENERAL_NAME_num(d->csr.san) == 0)
		notes_add(d->notes, sizeof d->notes,
		    "the certificate has no subjectAltName: most clients will refuse this server; give its names with --host\n");
	return true;
}

bool
draft_make(struct draft *d, struct err *err)
{
	struct cert_spec s = {
		.profile = d->profile,
		.cn = draft_cn(d),
		.key = d->key,
		.issuer = d->ca,
		.issuer_key = d->ca_key,
		.days = d->wish.days > 0 ? d->wish.days : profile_days(d->profile),
		.now = d->now,
		.crl_url = d->crl_url,
		.ocsp_url = d->ocsp_url,
		.issuers_url = d->issuers_url,
	};
	bool clipped;

	if (!add_hosts(d, err))
		return false;
	s.san = d->csr.san;
	d->leaf = cert_make(&s, &clipped, err);
	if (d->leaf == NULL)
		return false;
	if (clipped)
		notes_add(d->notes, sizeof d->notes, "the validity ends with the CA's own, earlier than asked\n");
	return true;
}
