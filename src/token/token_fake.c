/* A PKCS#11 module for tests: a token with one RSA key that never signs, and how often it was asked to. */
#include <string.h>

/* For who loads it. */
#pragma GCC visibility push(default)
#include <p11-kit/pkcs11.h>
unsigned token_fake_asked(void);
#pragma GCC visibility pop

static unsigned asked;

unsigned
token_fake_asked(void)
{
	return asked;
}

static CK_RV
initialize(void *args)
{
	(void)args;
	return CKR_OK;
}

static CK_RV
get_slot_list(unsigned char present, CK_SLOT_ID *slots, CK_ULONG *n)
{
	(void)present;
	slots[0] = 1;
	*n = 1;
	return CKR_OK;
}

static CK_RV
get_token_info(CK_SLOT_ID slot, CK_TOKEN_INFO *info)
{
	(void)slot;
	memset(info, ' ', sizeof(*info));
	memcpy(info->label, "fake", 4);
	info->flags = CKF_TOKEN_INITIALIZED;
	return CKR_OK;
}

static CK_RV
open_session(CK_SLOT_ID slot, CK_FLAGS flags, void *app, CK_NOTIFY notify, CK_SESSION_HANDLE *ret)
{
	(void)slot;
	(void)flags;
	(void)app;
	(void)notify;
	*ret = 1;
	return CKR_OK;
}

static CK_RV
login(CK_SESSION_HANDLE s, CK_USER_TYPE who, unsigned char *pin, CK_ULONG n)
{
	(void)s;
	(void)who;
	(void)pin;
	(void)n;
	return CKR_OK;
}

static CK_RV
find_objects_init(CK_SESSION_HANDLE s, CK_ATTRIBUTE *want, CK_ULONG n)
{
	(void)s;
	(void)want;
	(void)n;
	return CKR_OK;
}

static CK_RV
find_objects(CK_SESSION_HANDLE s, CK_OBJECT_HANDLE *ret, CK_ULONG max, CK_ULONG *n)
{
	(void)s;
	(void)max;
	ret[0] = 1;
	*n = 1;
	return CKR_OK;
}

static CK_RV
find_objects_final(CK_SESSION_HANDLE s)
{
	(void)s;
	return CKR_OK;
}

static CK_RV
get_attribute_value(CK_SESSION_HANDLE s, CK_OBJECT_HANDLE key, CK_ATTRIBUTE *a, CK_ULONG n)
{
	const CK_KEY_TYPE rsa = CKK_RSA;

	(void)s;
	(void)key;
	(void)n;
	memcpy(a->pValue, &rsa, sizeof(rsa));
	return CKR_OK;
}

static CK_RV
sign_init(CK_SESSION_HANDLE s, CK_MECHANISM *how, CK_OBJECT_HANDLE key)
{
	(void)s;
	(void)how;
	(void)key;
	return CKR_OK;
}

static CK_RV
sign(CK_SESSION_HANDLE s, unsigned char *data, CK_ULONG n, unsigned char *ret, CK_ULONG *ret_n)
{
	(void)s;
	(void)data;
	(void)n;
	(void)ret;
	(void)ret_n;
	asked++;
	return CKR_KEY_FUNCTION_NOT_PERMITTED;
}

static CK_FUNCTION_LIST functions = { .version = { 2, 40 }, .C_Initialize = initialize, .C_Finalize = initialize, .C_GetSlotList = get_slot_list,
	.C_GetTokenInfo = get_token_info, .C_OpenSession = open_session, .C_Login = login, .C_FindObjectsInit = find_objects_init, .C_FindObjects = find_objects,
	.C_FindObjectsFinal = find_objects_final, .C_GetAttributeValue = get_attribute_value, .C_SignInit = sign_init, .C_Sign = sign };

CK_RV
C_GetFunctionList(CK_FUNCTION_LIST **ret)
{
	*ret = &functions;
	return CKR_OK;
}
