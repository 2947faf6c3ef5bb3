/* signet inspect: where a certificate's revocation is told, and what an OCSP response tells. */
#include "pki/inspect.h"

#include <stdio.h>

enum { SINGLES_SHOWN = 100 };

static void
put_many(const struct look *l, const char *name, const char *value)
{
	l->v->field(l->v->ctx, name, value, true);
}

static void
put_urls(const struct look *l, const char *field, const GENERAL_NAMES *names)
{
	for (int i = 0; i < sk_GENERAL_NAME_num(names); i++) {
		int type;
		const ASN1_STRING *v = GENERAL_NAME_get0_value(sk_GENERAL_NAME_value(names, i), &type);
		char shown[400];

		if (type == GEN_URI)
			put_many(l, field, text_show(slice_of(ASN1_STRING_get0_data(v), (size_t)ASN1_STRING_length(v)), shown, sizeof shown));
	}
}

void
look_places(const struct look *l, const X509 *x)
{
	AUTHORITY_INFO_ACCESS *info = X509_get_ext_d2i(x, NID_info_access, NULL, NULL);
	STACK_OF(DIST_POINT) *points = X509_get_ext_d2i(x, NID_crl_distribution_points, NULL, NULL);

	for (int i = 0; i < sk_ACCESS_DESCRIPTION_num(info); i++) {
		const ACCESS_DESCRIPTION *d = sk_ACCESS_DESCRIPTION_value(info, i);
		int nid = OBJ_obj2nid(d->method);
		GENERAL_NAMES *one = sk_GENERAL_NAME_new_null();

		if (one != NULL && (nid == NID_ad_OCSP || nid == NID_ad_ca_issuers) && sk_GENERAL_NAME_push(one, d->location) > 0)
			put_urls(l, nid == NID_ad_OCSP ? "ocsp_responder" : "issuer_at", one);
		sk_GENERAL_NAME_free(one);
	}
	for (int i = 0; i < sk_DIST_POINT_num(points); i++) {
		const DIST_POINT_NAME *n = sk_DIST_POINT_value(points, i)->distpoint;

		if (n != NULL && n->type == 0)
			put_urls(l, "crl_at", n->name.fullname);
	}
	AUTHORITY_INFO_ACCESS_free(info);
	sk_DIST_POINT_pop_free(points, DIST_POINT_free);
	if (pki_cert_must_staple(x))
		put_many(l, "purpose", "must-staple: a server has to show an OCSP response with it");
}

static void
put_time(const struct look *l, const char *field, int64_t t)
{
	char text[32];

	look_put(l, field, text_when(t, text));
}

static void
put_single(const struct look *l, OCSP_SINGLERESP *s)
{
	ASN1_GENERALIZEDTIME *revoked = NULL, *from = NULL, *to = NULL;
	int reason = -1, status = OCSP_single_get0_status(s, &reason, &revoked, &from, &to);
	char text[256], hex[2 * AUTHZ_SERIAL_MAX + 1] = "(of a kind that is not read)", when[32], days[32], until[64] = "";
	struct pki_ocsp_id id;

	if (ocsp_id_of(OCSP_SINGLERESP_get0_id(s), &id))
		(void)text_hex(slice_of(id.serial, id.serial_n), hex, sizeof hex);
	if (to != NULL)
		(void)snprintf(until, sizeof until, time_of(to) > l->now ? ", good for %s" : ", EXPIRED %s ago",
		    days_text(time_of(to) - l->now, days));
	if (status == V_OCSP_CERTSTATUS_REVOKED)
		(void)snprintf(text, sizeof text, "%s: revoked at %s (%s)%s", hex, text_when(time_of(revoked), when), pki_reason_text(reason), until);
	else
		(void)snprintf(text, sizeof text, "%s: %s%s", hex, status == V_OCSP_CERTSTATUS_GOOD ? "good" : "unknown", until);
	put_many(l, "says", text);
	put_time(l, "this_update", time_of(from));
	if (to != NULL)
		put_time(l, "next_update", time_of(to));
}

static void
put_responder(const struct look *l, const OCSP_BASICRESP *b)
{
	const ASN1_OCTET_STRING *hash = NULL;
	const X509_NAME *name = NULL;
	auto_str text = NULL;
	char hex[129];

	if (OCSP_resp_get0_id(b, &hash, &name) != 1)
		return;
	if (name != NULL) {
		text = name_text(name);
		look_put(l, "responder", text != NULL ? text : "");
	} else {
		look_put(l, "responder_key", text_hex(slice_of(ASN1_STRING_get0_data(hash), (size_t)ASN1_STRING_length(hash)), hex, sizeof hex));
	}
}

bool
look_ocsp(const struct look *l, struct slice der)
{
	const unsigned char *p = der.p;
	OCSP_RESPONSE *r = der.n <= PKI_OCSP_RESPONSE_MAX ? d2i_OCSP_RESPONSE(NULL, &p, (long)der.n) : NULL;
	auto_basic b = NULL;
	const ASN1_OBJECT *oid;

	if (r == NULL)
		return false;
	look_begin(l, "OCSP response", 0);
	look_put(l, "answer", OCSP_response_status_str(OCSP_response_status(r)));
	b = OCSP_response_get1_basic(r);
	OCSP_RESPONSE_free(r);
	if (b == NULL)
		return true;
	put_responder(l, b);
	put_time(l, "produced_at", time_of(OCSP_resp_get0_produced_at(b)));
	X509_ALGOR_get0(&oid, NULL, NULL, OCSP_resp_get0_tbs_sigalg(b));
	look_put(l, "signature", OBJ_nid2ln(OBJ_obj2nid(oid)));
	for (int i = 0; i < OCSP_resp_count(b) && i < SINGLES_SHOWN; i++)
		put_single(l, OCSP_resp_get0(b, i));
	for (int i = 0; i < sk_X509_num(OCSP_resp_get0_certs(b)); i++)
		look_cert(l, sk_X509_value(OCSP_resp_get0_certs(b), i), 0);
	return true;
}
