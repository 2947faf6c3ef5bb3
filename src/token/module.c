/* PKCS#11 (v2.40): modules, tokens, sessions, keys. In the process that is there for nothing else. */
#include "token/internal.h"

#include <dlfcn.h>
#include <p11-kit/pkcs11.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/num.h"
#include "base/secret.h"

enum { MODULES_MAX = 8, SLOTS_MAX = 256 };

struct module {
	char path[TOKEN_PATH_MAX];
	CK_FUNCTION_LIST *f;
	bool up; /* initialized */
};

struct key {
	struct token_key is;
	struct module *module;
	CK_SESSION_HANDLE session;
	CK_OBJECT_HANDLE handle, public;
	bool open, rsa;
	bool barred; /* its PIN is wrong: trying it again would lock the token */
};

struct modules {
	struct module modules[MODULES_MAX];
	size_t n_modules;
	struct key keys[TOKEN_KEYS_MAX];
	size_t n;
	bool making;
};

/* ---- errors ---- */

static const char *
rv_text(CK_RV rv, char buf[static 64])
{
	static const struct {
		CK_RV rv;
		const char *text;
	} known[] = {
		{ CKR_PIN_INCORRECT, "the PIN is wrong" },
		{ CKR_PIN_LEN_RANGE, "the PIN is wrong" },
		{ CKR_PIN_INVALID, "the PIN is wrong" },
		{ CKR_PIN_LOCKED, "the PIN is locked after too many wrong ones" },
		{ CKR_PIN_EXPIRED, "the PIN has expired" },
		{ CKR_USER_PIN_NOT_INITIALIZED, "the token has no PIN yet" },
		{ CKR_TOKEN_NOT_PRESENT, "the token is not there" },
		{ CKR_TOKEN_NOT_RECOGNIZED, "the token is not one that the module knows" },
		{ CKR_DEVICE_REMOVED, "the token was taken out" },
		{ CKR_DEVICE_ERROR, "the token has a fault" },
		{ CKR_DEVICE_MEMORY, "the token is full" },
		{ CKR_SESSION_READ_ONLY, "the token may only be read" },
		{ CKR_TOKEN_WRITE_PROTECTED, "the token may only be read" },
		{ CKR_MECHANISM_INVALID, "the token does not know this kind of key" },
		{ CKR_KEY_FUNCTION_NOT_PERMITTED, "the key may not sign" },
		{ CKR_GENERAL_ERROR, "the module has failed" },
		{ CKR_FUNCTION_FAILED, "the module has failed" },
	};

	for (size_t i = 0; i < ARRAY_LEN(known); i++)
		if (known[i].rv == rv)
			return known[i].text;
	(void)snprintf(buf, 64, "the module says 0x%lx", (unsigned long)rv);
	return buf;
}

static const char *
name_of(const struct key *k)
{
	return k->is.uri.token[0] != '\0' ? k->is.uri.token : k->is.uri.serial;
}

static bool
failed(const struct key *k, CK_RV rv, struct err *err)
{
	char buf[64];

	return err_set(err, rv == CKR_PIN_INCORRECT || rv == CKR_PIN_LOCKED ? ERR_DENIED : ERR_SYSTEM, "token \"%s\": %s", name_of(k), rv_text(rv, buf));
}

/* ---- modules ---- */

static struct module *
find_module(struct modules *m, const char *path, struct err *err)
{
	struct module *x = m->modules;
	CK_C_GetFunctionList get;
	void *lib, *sym;

	for (; x < m->modules + m->n_modules; x++)
		if (strcmp(x->path, path) == 0)
			return x;
	if (m->n_modules == MODULES_MAX) {
		(void)err_set(err, ERR_LIMIT, "more than %d PKCS#11 modules", MODULES_MAX);
		return NULL;
	}
	/* It stays until the process ends. */
	lib = dlopen(path, RTLD_NOW | RTLD_LOCAL);
	sym = lib != NULL ? dlsym(lib, "C_GetFunctionList") : NULL;
	if (sym == NULL) {
		(void)err_set(err, ERR_INPUT, "the PKCS#11 module %.300s cannot be loaded: %.200s", path, lib != NULL ? "it is none" : dlerror());
		return NULL;
	}
	memcpy(&get, &sym, sizeof(get));
	if (get(&x->f) != CKR_OK || x->f == NULL) {
		(void)err_set(err, ERR_INPUT, "the PKCS#11 module %.300s has no functions", path);
		return NULL;
	}
	(void)snprintf(x->path, sizeof(x->path), "%s", path);
	m->n_modules++;
	return x;
}

static bool
module_up(struct module *x, struct err *err)
{
	CK_C_INITIALIZE_ARGS how = { .flags = CKF_OS_LOCKING_OK };
	char buf[64];
	CK_RV rv = x->up ? CKR_OK : x->f->C_Initialize(&how);

	x->up = rv == CKR_OK || rv == CKR_CRYPTOKI_ALREADY_INITIALIZED;
	return x->up || err_set(err, ERR_SYSTEM, "the PKCS#11 module %.300s does not start: %s", x->path, rv_text(rv, buf));
}

/* Everything is to be opened anew: what the modules know of their tokens is no longer so. */
static void
close_all(struct modules *m)
{
	for (size_t i = 0; i < m->n; i++)
		m->keys[i].open = false;
	for (size_t i = 0; i < m->n_modules; i++) {
		if (m->modules[i].up)
			(void)m->modules[i].f->C_Finalize(NULL);
		m->modules[i].up = false;
	}
}

/* ---- tokens ---- */

/* PKCS#11's texts are padded with spaces. */
static bool
is_text(const char *want, const unsigned char *have, size_t cap)
{
	size_t n = strlen(want);

	if (n == 0)
		return true;
	if (n > cap || memcmp(want, have, n) != 0)
		return false;
	while (n < cap && have[n] == ' ')
		n++;
	return n == cap;
}

static bool
find_slot(const struct key *k, CK_SLOT_ID *ret, struct err *err)
{
	CK_SLOT_ID slots[SLOTS_MAX];
	CK_ULONG n = SLOTS_MAX;
	CK_TOKEN_INFO info;
	unsigned found = 0;
	CK_RV rv = k->module->f->C_GetSlotList(CK_TRUE, slots, &n);

	if (rv != CKR_OK)
		return failed(k, rv, err);
	for (CK_ULONG i = 0; i < n; i++) {
		if (k->module->f->C_GetTokenInfo(slots[i], &info) != CKR_OK || (info.flags & CKF_TOKEN_INITIALIZED) == 0 ||
		    !is_text(k->is.uri.token, info.label, sizeof(info.label)) || !is_text(k->is.uri.serial, info.serialNumber, sizeof(info.serialNumber)))
			continue;
		*ret = slots[i];
		found++;
	}
	if (found == 0)
		return err_set(err, ERR_SYSTEM, "token \"%s\" is not there: put it in, and see that this user may use it", name_of(k));
	return found == 1 || err_set(err, ERR_INPUT, "there are %u tokens \"%s\": say which by serial=…", found, name_of(k));
}

static bool
log_in(struct modules *m, struct key *k, struct err *err)
{
	CK_SLOT_ID slot = 0;
	CK_RV rv;

	if (!module_up(k->module, err) || !find_slot(k, &slot, err))
		return false;
	rv = k->module->f->C_OpenSession(slot, CKF_SERIAL_SESSION | (m->making ? CKF_RW_SESSION : 0), NULL, NULL, &k->session);
	if (rv != CKR_OK)
		return failed(k, rv, err);
	rv = k->module->f->C_Login(k->session, CKU_USER, (CK_UTF8CHAR *)k->is.pin, (CK_ULONG)strlen(k->is.pin));
	if (rv == CKR_OK || rv == CKR_USER_ALREADY_LOGGED_IN)
		return true;
	k->barred = rv == CKR_PIN_INCORRECT || rv == CKR_PIN_LOCKED || rv == CKR_PIN_LEN_RANGE || rv == CKR_PIN_INVALID;
	return failed(k, rv, err);
}

/* ---- keys ---- */

/* How many there are like it; *ret: one of them. */
static bool
find_key(struct key *k, CK_ULONG *ret_n, CK_OBJECT_HANDLE *ret, struct err *err)
{
	CK_OBJECT_CLASS class = CKO_PRIVATE_KEY;
	CK_ATTRIBUTE want[3] = { { CKA_CLASS, &class, sizeof(class) } };
	CK_OBJECT_HANDLE found[2];
	CK_ULONG n = 1;
	CK_FUNCTION_LIST *f = k->module->f;
	CK_RV rv;

	if (k->is.uri.object[0] != '\0')
		want[n++] = (CK_ATTRIBUTE){ CKA_LABEL, k->is.uri.object, (CK_ULONG)strlen(k->is.uri.object) };
	if (k->is.uri.id_n > 0)
		want[n++] = (CK_ATTRIBUTE){ CKA_ID, k->is.uri.id, (CK_ULONG)k->is.uri.id_n };
	rv = f->C_FindObjectsInit(k->session, want, n);
	if (rv == CKR_OK) {
		rv = f->C_FindObjects(k->session, found, 2, ret_n);
		(void)f->C_FindObjectsFinal(k->session);
	}
	if (rv != CKR_OK)
		return failed(k, rv, err);
	if (*ret_n > 0)
		*ret = found[0];
	return true;
}

static bool
open_key(struct modules *m, struct key *k, struct err *err)
{
	CK_KEY_TYPE type = 0;
	CK_ATTRIBUTE what = { CKA_KEY_TYPE, &type, sizeof(type) };
	CK_ULONG n = 0;
	CK_RV rv;

	if (k->barred)
		return err_set(err, ERR_DENIED, "token \"%s\": the PIN is wrong, and is not tried again", name_of(k));
	if (!log_in(m, k, err) || !find_key(k, &n, &k->handle, err))
		return false;
	if (m->making && n > 0)
		return err_set(err, ERR_EXISTS, "token \"%s\" has a key \"%s\" already, and nothing is overwritten", name_of(k), k->is.uri.object);
	k->open = true;
	if (m->making)
		return true;
	k->open = false;
	if (n != 1)
		return err_set(err, n == 0 ? ERR_MISSING : ERR_INPUT, "token \"%s\" has %s private key \"%s\"", name_of(k), n == 0 ? "no" : "more than one",
		    k->is.uri.object);
	rv = k->module->f->C_GetAttributeValue(k->session, k->handle, &what, 1);
	if (rv != CKR_OK)
		return failed(k, rv, err);
	if (type != CKK_RSA && type != CKK_EC)
		return err_set(err, ERR_INPUT, "token \"%s\": the key \"%s\" is neither RSA nor EC", name_of(k), k->is.uri.object);
	k->rsa = type == CKK_RSA;
	k->open = true;
	return true;
}

struct modules *
modules_new(const struct token_setup *s, struct err *err)
{
	struct modules *m = calloc(1, sizeof(*m));

	if (m == NULL) {
		(void)err_set(err, ERR_MEMORY, "out of memory");
		return NULL;
	}
	m->making = s->making;
	for (size_t i = 0; i < s->n; i++, m->n++) {
		struct key *k = &m->keys[i];

		k->is = s->keys[i];
		k->module = find_module(m, k->is.uri.module, err);
		if (k->module == NULL || !open_key(m, k, err)) {
			modules_wipe(m);
			return NULL;
		}
	}
	return m;
}

void
modules_wipe(struct modules *m)
{
	secret_wipe(m, sizeof(*m));
	free(m);
}

static CK_RV
sign_once(struct key *k, struct slice data, uint8_t *ret, size_t *ret_n)
{
	CK_MECHANISM how = { k->rsa ? CKM_RSA_PKCS : CKM_ECDSA, NULL, 0 };
	CK_FUNCTION_LIST *f = k->module->f;
	CK_ULONG n = TOKEN_SIGNATURE_MAX;
	CK_RV rv = f->C_SignInit(k->session, &how, k->handle);

	if (rv == CKR_OK)
		rv = f->C_Sign(k->session, (CK_BYTE *)(uintptr_t)data.p, (CK_ULONG)data.n, ret, &n);
	*ret_n = (size_t)n;
	return rv;
}

bool
modules_sign(struct modules *m, size_t key, struct slice data, uint8_t ret[static TOKEN_SIGNATURE_MAX], size_t *ret_n, struct err *err)
{
	struct key *k = &m->keys[key];
	CK_RV rv;

	if (k->open && sign_once(k, data, ret, ret_n) == CKR_OK)
		return true;
	/* Sessions end with the token's presence: once anew. */
	close_all(m);
	if (!open_key(m, k, err))
		return false;
	for (size_t i = 0; i < m->n; i++)
		if (i != key && m->keys[i].module == k->module && !open_key(m, &m->keys[i], err))
			err->code = ERR_OK; /* told when it is asked for */
	rv = sign_once(k, data, ret, ret_n);
	return rv == CKR_OK || failed(k, rv, err);
}

/* ---- making ---- */

static CK_RV
read_public(const struct key *k, bool rsa, uint8_t *ret, size_t *ret_n)
{
	CK_ATTRIBUTE what = { rsa ? CKA_MODULUS : CKA_EC_POINT, ret, TOKEN_PUBLIC_MAX };
	CK_RV rv = k->module->f->C_GetAttributeValue(k->session, k->public, &what, 1);
	size_t n = (size_t)what.ulValueLen, head;

	if (rv != CKR_OK || rsa) {
		*ret_n = rv == CKR_OK ? n : 0;
		return rv;
	}
	/* The point in an OCTET STRING. */
	head = n > 2 && ret[0] == 4 && ret[1] < 0x80 ? 2 : n > 3 && ret[0] == 4 && ret[1] == 0x81 ? 3 : 0;
	if (head == 0 || n - head != ret[head - 1])
		return CKR_GENERAL_ERROR;
	memmove(ret, ret + head, n - head);
	*ret_n = n - head;
	return CKR_OK;
}

bool
modules_make(struct modules *m, size_t key, enum token_kind kind, unsigned bits, uint8_t ret[static TOKEN_PUBLIC_MAX], size_t *ret_n, struct err *err)
{
	static const struct {
		const char *oid;
		CK_ULONG n;
	} curves[] = { [TOKEN_P256] = { "\x06\x08\x2a\x86\x48\xce\x3d\x03\x01\x07", 10 }, [TOKEN_P384] = { "\x06\x05\x2b\x81\x04\x00\x22", 7 },
		[TOKEN_P521] = { "\x06\x05\x2b\x81\x04\x00\x23", 7 } };
	static const CK_BYTE exponent[] = { 1, 0, 1 };
	struct key *k = &m->keys[key];
	CK_BBOOL yes = CK_TRUE, no = CK_FALSE;
	CK_ULONG size = bits;
	bool rsa = kind == TOKEN_RSA;
	CK_ATTRIBUTE label = { CKA_LABEL, k->is.uri.object, (CK_ULONG)strlen(k->is.uri.object) };
	CK_ATTRIBUTE public[] = { label, { CKA_TOKEN, &yes, 1 }, { CKA_VERIFY, &yes, 1 }, { CKA_PRIVATE, &no, 1 },
		rsa ? (CK_ATTRIBUTE){ CKA_MODULUS_BITS, &size, sizeof(size) } :
		      (CK_ATTRIBUTE){ CKA_EC_PARAMS, (void *)(uintptr_t)curves[kind].oid, curves[kind].n },
		{ CKA_PUBLIC_EXPONENT, (void *)(uintptr_t)exponent, sizeof(exponent) } };
	CK_ATTRIBUTE private[] = { label, { CKA_TOKEN, &yes, 1 }, { CKA_PRIVATE, &yes, 1 }, { CKA_SENSITIVE, &yes, 1 }, { CKA_EXTRACTABLE, &no, 1 },
		{ CKA_SIGN, &yes, 1 } };
	CK_MECHANISM how = { rsa ? CKM_RSA_PKCS_KEY_PAIR_GEN : CKM_EC_KEY_PAIR_GEN, NULL, 0 };
	CK_RV rv;

	rv = k->module->f->C_GenerateKeyPair(k->session, &how, public, rsa ? 6 : 5, private, 6, &k->public, &k->handle);
	if (rv != CKR_OK)
		return failed(k, rv, err);
	k->rsa = rsa;
	rv = read_public(k, rsa, ret, ret_n);
	if (rv == CKR_OK)
		return true;
	modules_unmake(m, key);
	return failed(k, rv, err);
}

void
modules_unmake(struct modules *m, size_t key)
{
	struct key *k = &m->keys[key];

	if (k->handle != 0)
		(void)k->module->f->C_DestroyObject(k->session, k->handle);
	if (k->public != 0)
		(void)k->module->f->C_DestroyObject(k->session, k->public);
	k->handle = k->public = 0;
}
