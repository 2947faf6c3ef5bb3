/* How often somebody may give a wrong password: by address, and by address and user name. Failures cost, successes do not, so
 * that a fleet of devices behind one address can come back all at once. What takes long to judge is paid for before, and given back
 * to who was right: guesses in parallel are no more than guesses one after the other. */
#include "server/internal.h"
#include "server/attempts.h"

#include <arpa/inet.h>

#include "base/map.h"
#include "base/text.h"

enum { ADDRESS_N = 16, NS_MS = 1000000 };

static const struct bucket_rule rules[][ATTEMPTS_RULES] = {
	[ATTEMPTS_DEVICE] = { [ATTEMPTS_USER] = { .every_ns = UINT64_C(5000) * NS_MS, .burst = 10 },
		[ATTEMPTS_ADDRESS] = { .every_ns = UINT64_C(500) * NS_MS, .burst = 100 } },
	/* People's passwords can be guessed. dojot's gateway had 5 a minute, right or wrong. */
	[ATTEMPTS_PERSON] = { [ATTEMPTS_USER] = { .every_ns = UINT64_C(12000) * NS_MS, .burst = 5 },
		[ATTEMPTS_ADDRESS] = { .every_ns = UINT64_C(500) * NS_MS, .burst = 100 } },
};

/* The address without its port. Of IPv6 the network counts: each host has 2^64 addresses to choose from. */
static void
address_bytes(const char *peer, uint8_t out[static ADDRESS_N])
{
	const char *colon = strrchr(peer, ':');
	size_t n = colon != NULL ? (size_t)(colon - peer) : strlen(peer);
	struct in6_addr six;
	struct in_addr four;
	char text[64];

	memset(out, 0, ADDRESS_N);
	if (n > 2 && peer[0] == '[' && peer[n - 1] == ']') {
		peer++;
		n -= 2;
	}
	if (!text_copy(text, sizeof(text), slice_of(peer, n)))
		return;
	text[strcspn(text, "%")] = '\0';
	if (inet_pton(AF_INET, text, &four) == 1) {
		memcpy(out, &four, sizeof(four));
		out[ADDRESS_N - 1] = 4;
	} else if (inet_pton(AF_INET6, text, &six) == 1) {
		memcpy(out, &six, ADDRESS_N / 2);
		out[ADDRESS_N - 1] = 6;
	}
}

void
attempts_key(struct attempts_key *ret, enum attempts_of of, const char *peer, struct slice user)
{
	uint8_t bytes[ADDRESS_N + 8 + 1];
	uint64_t name = map_hash(user);

	address_bytes(peer, bytes);
	ret->rules = of;
	ret->of[ATTEMPTS_ADDRESS] = map_hash(slice_of(bytes, ADDRESS_N));
	bytes[sizeof(bytes) - 1] = (uint8_t)of;
	memcpy(bytes + ADDRESS_N, &name, sizeof(name));
	ret->of[ATTEMPTS_USER] = map_hash(slice_of(bytes, sizeof(bytes)));
}

bool
attempts_may(struct buckets *t, const struct attempts_key *k, uint64_t now_ms)
{
	bool ok = true;
	unsigned i;

	for (i = 0; i < ATTEMPTS_RULES && ok; i++)
		ok = buckets_has(t, k->of[i], &rules[k->rules][i], now_ms * NS_MS);
	return ok;
}

bool
attempts_take(struct buckets *t, const struct attempts_key *k, uint64_t now_ms)
{
	unsigned i;

	for (i = 0; i < ATTEMPTS_RULES && buckets_try(t, k->of[i], &rules[k->rules][i], now_ms * NS_MS); i++)
		;
	if (i == ATTEMPTS_RULES)
		return true;
	while (i-- > 0)
		buckets_give(t, k->of[i], &rules[k->rules][i]);
	return false;
}

void
attempts_spare(struct buckets *t, const struct attempts_key *k)
{
	unsigned i;

	for (i = 0; i < ATTEMPTS_RULES; i++)
		buckets_give(t, k->of[i], &rules[k->rules][i]);
}

void
attempts_failed(struct buckets *t, const struct attempts_key *k, uint64_t now_ms)
{
	unsigned i;

	for (i = 0; i < ATTEMPTS_RULES; i++)
		buckets_take(t, k->of[i], &rules[k->rules][i], now_ms * NS_MS);
}
