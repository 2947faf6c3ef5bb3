/* A server's names: which hosts a certificate is for. */
#include "pki/internal.h"

#include <arpa/inet.h>
#include <stdio.h>
#include <strings.h>

static bool
has_alt_names(const X509 *cert)
{
	return X509_get_ext_by_NID(cert, NID_subject_alt_name, -1) >= 0;
}

bool
pki_common_name(const X509 *cert, char *out, size_t cap)
{
	X509_NAME *subject = X509_get_subject_name(cert);
	int at = X509_NAME_get_index_by_NID(subject, NID_commonName, -1);
	unsigned char *utf8 = NULL;
	int n;
	bool ok;

	if (at < 0)
		return false;
	n = ASN1_STRING_to_UTF8(&utf8, X509_NAME_ENTRY_get_data(X509_NAME_get_entry(subject, at)));
	if (n < 0)
		return false;
	ok = text_copy(out, cap, slice_of(utf8, (size_t)n));
	OPENSSL_free(utf8);
	return ok;
}

/* RFC 6125 6.4: alternative names; the common name only when there are none. libssl has no such
 * fallback for addresses, but small installations do write the address into the common name. */
bool
pki_names_host(X509 *cert, const char *host)
{
	char cn[256];

	if (X509_check_ip_asc(cert, host, 0) == 1)
		return true;
	if (X509_check_host(cert, host, 0, X509_CHECK_FLAG_NO_PARTIAL_WILDCARDS, NULL) == 1)
		return true;
	return !has_alt_names(cert) && pki_common_name(cert, cn, sizeof cn) &&
	       strcasecmp(cn, host) == 0;
}

/* One alternative name as text, with ", " before all but the first. */
static void
list_name(char *out, size_t cap, const char *name)
{
	size_t n = strlen(out);

	if (n < cap)
		snprintf(out + n, cap - n, "%s%s", n > 0 ? ", " : "", name);
}

void
pki_list_names(X509 *cert, char *out, size_t cap)
{
	GENERAL_NAMES *names = X509_get_ext_d2i(cert, NID_subject_alt_name, NULL, NULL);
	char raw[256], shown[300];

	out[0] = '\0';
	for (int i = 0; i < sk_GENERAL_NAME_num(names); i++) {
		GENERAL_NAME *g = sk_GENERAL_NAME_value(names, i);

		if (g->type == GEN_DNS) {
			struct slice s = slice_of(ASN1_STRING_get0_data(g->d.dNSName),
			    (size_t)ASN1_STRING_length(g->d.dNSName));

			list_name(out, cap, text_show(s, shown, sizeof shown));
		} else if (g->type == GEN_IPADD) {
			char *ip = NULL;
			BIO *b = BIO_new(BIO_s_mem());
			long n = b != NULL && GENERAL_NAME_print(b, g) == 1
				     ? BIO_get_mem_data(b, &ip)
				     : 0;

			if (n > 11) /* "IP Address:" */
				list_name(out, cap,
				    text_show(
					slice_of(ip + 11, (size_t)n - 11), shown, sizeof shown));
			BIO_free(b);
		}
	}
	GENERAL_NAMES_free(names);
	if (out[0] == '\0' && pki_common_name(cert, raw, sizeof raw))
		list_name(out, cap, text_show(slice_str(raw), shown, sizeof shown));
	if (out[0] == '\0')
		list_name(out, cap, "no name at all");
}

/* What goes into an address: no "*.example". */
static bool
take_host(const GENERAL_NAME *g, int type, char *out, size_t cap)
{
	const ASN1_STRING *s = type == GEN_DNS ? g->d.dNSName : g->d.iPAddress;
	struct slice name = slice_of(ASN1_STRING_get0_data(s), (size_t)ASN1_STRING_length(s));
	char text[INET6_ADDRSTRLEN];
	int n = -1;

	if (type == GEN_DNS)
		return name.n > 0 && name.p[0] != '*' && memchr(name.p, '\0', name.n) == NULL && text_copy(out, cap, name);
	if ((name.n == 4 || name.n == 16) && inet_ntop(name.n == 4 ? AF_INET : AF_INET6, name.p, text, sizeof text) != NULL)
		n = snprintf(out, cap, name.n == 4 ? "%s" : "[%s]", text);
	return n > 0 && (size_t)n < cap;
}

bool
pki_host_of(const char *file, char *out, size_t cap)
{
	static const int kinds[] = { GEN_DNS, GEN_IPADD };
	STACK_OF(X509) *all = NULL;
	GENERAL_NAMES *names = NULL;
	bool found = false;

	if (!certs_read(file, &all, NULL))
		return false;
	if (sk_X509_num(all) > 0)
		names = X509_get_ext_d2i(sk_X509_value(all, 0), NID_subject_alt_name, NULL, NULL);
	for (size_t k = 0; k < ARRAY_LEN(kinds); k++)
		for (int i = 0; i < sk_GENERAL_NAME_num(names) && !found; i++) {
			const GENERAL_NAME *g = sk_GENERAL_NAME_value(names, i);

			found = g->type == kinds[k] && take_host(g, kinds[k], out, cap);
		}
	GENERAL_NAMES_free(names);
	sk_X509_pop_free(all, X509_free);
	return found;
}
