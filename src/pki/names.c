/* Which names may stand in a certificate. */
#include "pki/internal.h"

#include <arpa/inet.h>
#include <stdio.h>

/* Characters, not bytes; <s> is valid UTF-8. */
static size_t
characters(struct slice s)
{
	size_t n = 0;

	for (size_t i = 0; i < s.n; i++)
		n += (s.p[i] & 0xc0) != 0x80;
	return n;
}

/* C0, DEL, and C1 (U+0080..U+009F is C2 80..C2 9F). */
static bool
has_control(struct slice s)
{
	for (size_t i = 0; i < s.n; i++) {
		if (s.p[i] < 0x20 || s.p[i] == 0x7f)
			return true;
		if (s.p[i] == 0xc2 && i + 1 < s.n && s.p[i + 1] < 0xa0)
			return true;
	}
	return false;
}

bool
pki_cn_ok(struct slice cn, char *why, size_t cap)
{
	const char *fault = NULL;

	if (cn.n == 0)
		fault = "is empty";
	else if (memchr(cn.p, 0, cn.n) != NULL)
		fault = "contains a NUL byte";
	else if (!utf8_ok(cn))
		fault = "is not valid UTF-8";
	else if (characters(cn) > PKI_CN_MAX)
		fault = "is longer than 64 characters";
	else if (has_control(cn))
		fault = "contains a control character";
	else if (memchr(cn.p, '/', cn.n) != NULL)
		fault = "contains '/', which separates topic levels";
	else if (memchr(cn.p, '+', cn.n) != NULL || memchr(cn.p, '#', cn.n) != NULL)
		fault = "contains '+' or '#', which are topic wildcards";
	if (fault != NULL && why != NULL)
		(void)snprintf(why, cap, "%s", fault);
	return fault == NULL;
}

bool
new_cn_ok(const char *cn, char *why, size_t cap)
{
	struct slice s = slice_str(cn);

	if (!pki_cn_ok(s, why, cap))
		return false;
	if (cn[0] == '.' || cn[0] == '-') {
		(void)snprintf(why, cap, "begins with '%c'; it is also the name of a folder", cn[0]);
		return false;
	}
	if (cn[0] == ' ' || cn[s.n - 1] == ' ') {
		(void)snprintf(why, cap, "begins or ends with a space");
		return false;
	}
	return true;
}

static bool
is_alnum(char c)
{
	return (c >= '0' && c <= '9') || (c >= 'a' && c <= 'z') || (c >= 'A' && c <= 'Z');
}

bool
ca_name_ok(const char *name)
{
	size_t n = strlen(name);

	if (n < 1 || n > 32)
		return false;
	for (size_t i = 0; i < n; i++) {
		bool letter = (name[i] >= 'a' && name[i] <= 'z') || (name[i] >= '0' && name[i] <= '9');

		if (!letter && (i == 0 || (name[i] != '-' && name[i] != '_')))
			return false;
	}
	return true;
}

/* RFC 1123 2.1 letters-digits-hyphens; underscores because real networks have them. No wildcards: a certificate here names
 * one host. */
static bool
dns_ok(const char *host)
{
	size_t n = strlen(host), label = 0;

	if (n < 1 || n > 253)
		return false;
	for (size_t i = 0; i < n; i++) {
		char c = host[i];

		if (c == '.') {
			if (label == 0 || host[i - 1] == '-')
				return false;
			label = 0;
			continue;
		}
		if (!is_alnum(c) && c != '_' && (c != '-' || label == 0))
			return false;
		if (++label > 63)
			return false;
	}
	return label > 0 && host[n - 1] != '-';
}

/* A last label of digits alone is no top-level domain: somebody meant an address. */
static bool
means_ip(const char *host)
{
	const char *last = strrchr(host, '.');

	last = last != NULL ? last + 1 : host;
	return strchr(host, ':') != NULL ||
	    (*last != '\0' && strspn(last, "0123456789") == strlen(last) && strchr(host, '.') != NULL);
}

bool
host_ok(const char *host, bool *ret_ip, char *why, size_t cap)
{
	unsigned char addr[16];

	if (inet_pton(AF_INET, host, addr) == 1 || inet_pton(AF_INET6, host, addr) == 1) {
		*ret_ip = true;
		return true;
	}
	if (means_ip(host)) {
		(void)snprintf(why, cap, "is not a valid IP address");
		return false;
	}
	if (!dns_ok(host)) {
		(void)snprintf(why, cap, "is not a valid host name (letters, digits, '-', '_' and '.', no wildcard)");
		return false;
	}
	*ret_ip = false;
	return true;
}

static ASN1_OCTET_STRING *
address_of(const char *host)
{
	unsigned char addr[16];
	int n = inet_pton(AF_INET, host, addr) == 1 ? 4 : inet_pton(AF_INET6, host, addr) == 1 ? 16 : 0;
	ASN1_OCTET_STRING *s = n > 0 ? ASN1_OCTET_STRING_new() : NULL;

	if (s != NULL && ASN1_OCTET_STRING_set(s, addr, n) != 1) {
		ASN1_OCTET_STRING_free(s);
		return NULL;
	}
	return s;
}

static GENERAL_NAME *
general_name(const char *host, bool ip)
{
	GENERAL_NAME *g = GENERAL_NAME_new();
	ASN1_STRING *s = ip ? address_of(host) : ASN1_IA5STRING_new();

	if (g == NULL || s == NULL || (!ip && ASN1_STRING_set(s, host, (int)strlen(host)) != 1)) {
		GENERAL_NAME_free(g);
		ASN1_STRING_free(s);
		return NULL;
	}
	GENERAL_NAME_set0_value(g, ip ? GEN_IPADD : GEN_DNS, s);
	return g;
}

bool
hosts_add(GENERAL_NAMES *g, const char *host, struct err *err)
{
	char why[128], shown[300];
	GENERAL_NAME *name;
	bool ip;

	if (!host_ok(host, &ip, why, sizeof why))
		return err_set(err, ERR_INPUT, "host \"%s\" %s", text_show(slice_str(host), shown, sizeof shown), why);
	name = general_name(host, ip);
	if (name == NULL)
		return err_set(err, ERR_MEMORY, "out of memory");
	for (int i = 0; i < sk_GENERAL_NAME_num(g); i++) {
		if (GENERAL_NAME_cmp(sk_GENERAL_NAME_value(g, i), name) == 0) {
			GENERAL_NAME_free(name);
			return true;
		}
	}
	if (sk_GENERAL_NAME_push(g, name) <= 0) {
		GENERAL_NAME_free(name);
		return err_set(err, ERR_MEMORY, "out of memory");
	}
	return true;
}
