/* CAs that were not made here: taken over with their key, or only trusted. */
#include "pki/internal.h"

#include <stdio.h>
#include <sys/stat.h>

static bool
check_ca(X509 *x, const char *path, int64_t now, struct err *err)
{
	int64_t last = time_of(X509_get0_notAfter(x));
	EVP_PKEY *key = X509_get0_pubkey(x);
	char why[160], when[32];

	/* 1: by basicConstraints; 3: a self-signed X.509 v1 root. Others are guesses that verification does not share. */
	int ca = X509_check_ca(x);

	if (ca != 1 && ca != 3)
		return err_set(err, ERR_INPUT, "%s: is not the certificate of a CA (basicConstraints does not say CA:TRUE)", path);
	if ((X509_get_extension_flags(x) & EXFLAG_KUSAGE) != 0 && (X509_get_key_usage(x) & KU_KEY_CERT_SIGN) == 0)
		return err_set(err, ERR_INPUT, "%s: this CA may not sign certificates (keyUsage without keyCertSign)", path);
	if (last <= now)
		return err_set(err, ERR_DENIED, "%s: this CA's certificate expired at %s", path, text_when(last, when));
	if (key == NULL || !key_ok(key, why, sizeof why))
		return err_set(err, ERR_DENIED, "%s: the key %s", path, key != NULL ? why : "cannot be read");
	return true;
}

static bool
is_reserved(const char *name)
{
	static const char *const ours[] = { "root", "cloud", "client", "watch", "control", "broker", "trusted" };

	for (size_t i = 0; i < ARRAY_LEN(ours); i++) {
		if (strcmp(ours[i], name) == 0)
			return true;
	}
	return false;
}

static bool
check_adopt(const struct pki_adopt *a, char place[PKI_PATH_MAX], struct err *err)
{
	char sub[64], shown[64];

	if (!home_check(a->dir, err))
		return false;
	if (!ca_name_ok(a->name) || is_reserved(a->name))
		return err_set(err, ERR_USAGE,
		    "\"%s\" cannot be the name of an adopted CA: lower-case letters, digits, '-' and '_', and not one of our own CAs",
		    text_show(slice_str(a->name), shown, sizeof shown));
	(void)snprintf(sub, sizeof sub, "pki/%s", a->name);
	if (!home_path(place, a->dir, sub, err))
		return false;
	if (access(place, F_OK) == 0)
		return err_set(err, ERR_EXISTS, "%s is there already and is not overwritten: choose another --name", place);
	return true;
}

static bool
adopt_into(const struct pki_adopt *a, const char *place, EVP_PKEY *key, X509 *cert, struct err *err)
{
	char made[PKI_PATH_MAX + 32], file[PKI_PATH_MAX + 32], what[96];

	(void)snprintf(made, sizeof made, "%s.new-XXXXXX", place);
	if (mkdtemp(made) == NULL)
		return err_sys(err, "cannot make a folder beside %s", place);
	(void)snprintf(what, sizeof what, "the key of the adopted CA \"%s\"", a->name);
	if (!ca_write(made, key, cert, a->new_secret, what, err)) {
		(void)dir_remove(made);
		return false;
	}
	if (rename(made, place) == -1) {
		(void)err_sys(err, "cannot write %s", place);
		(void)dir_remove(made);
		return false;
	}
	(void)snprintf(file, sizeof file, "%s/cert.pem", place);
	if (note_ca(a->dir, "adopt-ca", a->name, cert, err) && home_trust(a->dir, cert, file, a->role != AUTHZ_ROLE_NONE ? authz_role_name(a->role) : NULL, err)) {
		(void)dir_sync(place, NULL); /* all is there; what a power cut takes now can be adopted again */
		return true;
	}
	(void)dir_remove(place);
	return false;
}

bool
pki_adopt(const struct pki_adopt *a, struct err *err)
{
	char place[PKI_PATH_MAX];
	auto_x509 cert = NULL;
	auto_pkey key = NULL;

	if (!check_adopt(a, place, err) || (cert = cert_read_one(a->cert_file, err)) == NULL ||
	    !check_ca(cert, a->cert_file, pki_clock(a->now), err) ||
	    (key = key_read(a->key_file, a->secret, a->key_file, err)) == NULL)
		return false;
	if (X509_check_private_key(cert, key) != 1)
		return err_set(err, ERR_INPUT, "the key in %s does not belong to the certificate in %s", a->key_file, a->cert_file);
	return adopt_into(a, place, key, cert, err);
}

/* A folder-safe name of a CA's CN: "SpringCore Client CA" -> "springcore-client-ca". */
static void
slug(const char *cn, char out[33])
{
	size_t n = 0;

	for (; *cn != '\0' && n < 32; cn++) {
		char c = *cn >= 'A' && *cn <= 'Z' ? (char)(*cn - 'A' + 'a') : *cn;

		if ((c >= 'a' && c <= 'z') || (c >= '0' && c <= '9'))
			out[n++] = c;
		else if (n > 0 && out[n - 1] != '-')
			out[n++] = '-';
	}
	while (n > 0 && out[n - 1] == '-')
		n--;
	out[n] = '\0';
}

static bool
trust_name(X509 *cert, const char *name, char out[33], struct err *err)
{
	char why[128];
	auto_str cn = NULL;

	if (name == NULL && name_cn(X509_get_subject_name(cert), &cn, why, sizeof why))
		slug(cn, out);
	else
		(void)snprintf(out, 33, "%s", name != NULL ? name : "");
	if (!ca_name_ok(out) || (name != NULL && strcmp(name, out) != 0))
		return err_set(err, ERR_USAGE, "give this CA a name with --name (lower-case letters, digits, '-' and '_', at most 32)");
	return true;
}

/* The same certificate under the same name is fine: adding it again repairs what an earlier failure left undone. */
static bool
keep_copy(const char *path, X509 *cert, const char *pem, bool *ret_new, struct err *err)
{
	struct err e;
	auto_x509 old = NULL;

	*ret_new = file_write(path, slice_str(pem), 0644, 0, &e);
	if (*ret_new)
		return true;
	if (e.code == ERR_EXISTS && (old = cert_read_one(path, err)) != NULL && X509_cmp(old, cert) == 0)
		return true;
	if (err != NULL)
		*err = e;
	return false;
}

bool
pki_trust_add(const char *dir, const char *cert_file, const char *role, const char *name, char *ret_path,
    struct err *err)
{
	char slugged[33], sub[128], folder[PKI_PATH_MAX], path[PKI_PATH_MAX];
	auto_x509 cert = NULL;
	auto_str pem = NULL;
	bool new = false, ok;

	if (!home_check(dir, err) || (cert = cert_read_one(cert_file, err)) == NULL ||
	    !check_ca(cert, cert_file, pki_clock(0), err) || !trust_name(cert, name, slugged, err) ||
	    !certs_pem(&cert, 1, &pem, err) || !home_path(folder, dir, "pki/trusted", err) ||
	    !dir_make(folder, 0700, err))
		return false;
	(void)snprintf(sub, sizeof sub, "pki/trusted/%s-%s.pem", role, slugged);
	ok = home_path(path, dir, sub, err) && keep_copy(path, cert, pem, &new, err) &&
	    (!new || note_ca(dir, "trust-ca", sub + strlen("pki/trusted/"), cert, err)) && home_trust(dir, cert, path, role, err);
	if (!ok) {
		if (new)
			(void)unlink(path);
		(void)rmdir(folder); /* stays when there is something in it */
		return false;
	}
	memcpy(ret_path, path, sizeof path);
	return true;
}
