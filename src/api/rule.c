/* Forms of names, numbers and times. */
#include "api/field.h"

#include "base/text.h"
#include "registry/registry.h"

static bool
is_name(struct slice s)
{
	for (size_t i = 0; i < s.n; i++) {
		uint8_t c = s.p[i];
		bool letter = (c >= 'a' && c <= 'z') || (c >= '0' && c <= '9');

		if (!letter && (i == 0 || (c != '_' && c != '-')))
			return false;
	}
	return s.n > 0;
}
const struct rule rule_name = { "name", "^[a-z0-9][a-z0-9_-]*$", "lower-case letters, digits, _ and -, with a letter or digit first", is_name };

static bool
is_label(struct slice s)
{
	for (size_t i = 0; i < s.n; i++) {
		uint8_t c = s.p[i], lower = (uint8_t)(c | 0x20);

		if (!((lower >= 'a' && lower <= 'z') || (c >= '0' && c <= '9') || c == '_' || c == '-'))
			return false;
	}
	return s.n > 0;
}
const struct rule rule_label = { "label", "^[a-zA-Z0-9_-]+$", "letters, digits, _ and -", is_label };

static bool
is_user(struct slice s)
{
	for (size_t i = 0; i < s.n; i++) {
		uint8_t c = s.p[i];
		bool letter = (c >= 'a' && c <= 'z') || (c >= '0' && c <= '9');

		if (!letter && (i == 0 || c == 0 || strchr("_-.@", c) == NULL))
			return false;
	}
	return s.n > 0;
}
const struct rule rule_user = { "user", "^[a-z0-9][a-z0-9_.@-]*$", "lower-case letters, digits, _ - . and @, with a letter or digit first", is_user };

/* Its CN elsewhere than in the first tenant is "tenant:id"; a path of the API takes no backslash. */
static bool
is_device(struct slice s)
{
	return registry_cn_ok(s) && memchr(s.p, ':', s.n) == NULL && memchr(s.p, '\\', s.n) == NULL;
}
const struct rule rule_device = { "device", "^[^\\u0000-\\u001f\\u007f/+#:\\\\]+$", "text without control characters and / + # : \\", is_device };

static bool
is_serial(struct slice s)
{
	for (size_t i = 0; i < s.n; i++)
		if (!((s.p[i] >= '0' && s.p[i] <= '9') || (s.p[i] >= 'a' && s.p[i] <= 'f')))
			return false;
	return s.n > 0 && s.n % 2 == 0;
}
const struct rule rule_serial = { "serial", "^([0-9a-f]{2})+$", "whole bytes in lower-case hex", is_serial };

static bool
is_email(struct slice s)
{
	const uint8_t *at = memchr(s.p, '@', s.n);

	for (size_t i = 0; i < s.n; i++)
		if (s.p[i] <= ' ' || s.p[i] == 0x7f)
			return false;
	return at != NULL && at != s.p && at + 1 < s.p + s.n && memchr(at + 1, '@', (size_t)(s.p + s.n - at - 1)) == NULL;
}
const struct rule rule_email = { "email", "^[^\\s@]+@[^\\s@]+$", "an e-mail address", is_email };

static bool
is_plain(struct slice s)
{
	for (size_t i = 0; i < s.n; i++)
		if (s.p[i] < ' ' || s.p[i] == 0x7f)
			return false;
	return true;
}
const struct rule rule_plain = { "plain", "^[^\\u0000-\\u001f\\u007f]*$", "one line without control characters", is_plain };

static bool
is_pem(struct slice s)
{
	return memmem(s.p, s.n, "-----BEGIN ", 11) != NULL;
}
const struct rule rule_pem = { "pem", "-----BEGIN ", "PEM", is_pem };

static bool
is_host(struct slice s)
{
	for (size_t i = 0; i < s.n; i++) {
		uint8_t c = s.p[i], lower = (uint8_t)(c | 0x20);

		if (!((lower >= 'a' && lower <= 'z') || (c >= '0' && c <= '9') || (c != 0 && strchr("-.:_*", c) != NULL)))
			return false;
	}
	return s.n > 0;
}
const struct rule rule_host = { "host", "^[A-Za-z0-9.:_*-]+$", "a DNS name or an IP address", is_host };

/* RFC 3339 in UTC: 2026-01-31T12:00:00Z */
static bool
is_time(struct slice s)
{
	static const char form[] = "dddd-dd-ddTdd:dd:ddZ";

	for (size_t i = 0; i < s.n && i < sizeof(form) - 1; i++)
		if (form[i] == 'd' ? s.p[i] < '0' || s.p[i] > '9' : s.p[i] != (uint8_t)form[i])
			return false;
	return s.n == sizeof(form) - 1;
}
const struct rule rule_time = { "time", "^\\d{4}-\\d\\d-\\d\\dT\\d\\d:\\d\\d:\\d\\dZ$", "a time such as 2026-01-31T12:00:00Z", is_time };
