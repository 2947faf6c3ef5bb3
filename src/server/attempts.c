/* How often somebody may give a wrong password: by address, and by address and user name. Failures cost, successes do not, so
 * that a fleet of devices behind one address can come back all at once. */
#include "server/internal.h"

#include <arpa/inet.h>
#include <stdio.h>
#include <stdlib.h>

#include "base/map.h"
#include "base/num.h"
#include "base/text.h"

enum { SETS = 1024, WAYS = 4, ADDRESS_N = 16 };

/* The state of a token bucket in one number: until when its failures count. */
struct bucket {
	uint64_t key, until_ms;
};

struct attempts {
	pthread_mutex_t lock;
	struct bucket sets[SETS][WAYS];
};

static const struct {
	uint32_t burst, every_ms;
} rules[] = {
	[ATTEMPTS_USER] = { 10, 5000 },
	[ATTEMPTS_ADDRESS] = { 100, 500 },
};

struct attempts *
attempts_new(void)
{
	struct attempts *t = calloc(1, sizeof(*t));

	if (t != NULL && pthread_mutex_init(&t->lock, NULL) != 0) {
		free(t);
		return NULL;
	}
	return t;
}

void
attempts_free(struct attempts *t)
{
	if (t == NULL)
		return;
	(void)pthread_mutex_destroy(&t->lock);
	free(t);
}

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
attempts_key(struct attempts_key *ret, const char *peer, struct slice user)
{
	uint8_t bytes[ADDRESS_N + 8];
	uint64_t name = map_hash(user);

	address_bytes(peer, bytes);
	ret->of[ATTEMPTS_ADDRESS] = map_hash(slice_of(bytes, ADDRESS_N)) | 1;
	memcpy(bytes + ADDRESS_N, &name, sizeof(name));
	ret->of[ATTEMPTS_USER] = map_hash(slice_of(bytes, sizeof(bytes))) | 1;
}

/* Its bucket; with <make> the place of the one that is nearest to being full again. */
static struct bucket *
find(struct attempts *t, uint64_t key, bool make)
{
	struct bucket *set = t->sets[(key >> 1) % SETS], *oldest = &set[0];
	unsigned i;

	for (i = 0; i < WAYS; i++) {
		if (set[i].key == key)
			return &set[i];
		if (set[i].until_ms < oldest->until_ms)
			oldest = &set[i];
	}
	if (!make)
		return NULL;
	*oldest = (struct bucket){ .key = key };
	return oldest;
}

bool
attempts_may(struct attempts *t, const struct attempts_key *k, uint64_t now_ms)
{
	bool ok = true;
	unsigned i;

	(void)pthread_mutex_lock(&t->lock);
	for (i = 0; i < ATTEMPTS_RULES && ok; i++) {
		const struct bucket *b = find(t, k->of[i], false);

		ok = b == NULL ||
		     b->until_ms <= now_ms + (uint64_t)(rules[i].burst - 1) * rules[i].every_ms;
	}
	(void)pthread_mutex_unlock(&t->lock);
	return ok;
}

void
attempts_failed(struct attempts *t, const struct attempts_key *k, uint64_t now_ms)
{
	unsigned i;

	(void)pthread_mutex_lock(&t->lock);
	for (i = 0; i < ATTEMPTS_RULES; i++) {
		struct bucket *b = find(t, k->of[i], true);

		b->until_ms = NUM_MAX(b->until_ms, now_ms) + rules[i].every_ms;
	}
	(void)pthread_mutex_unlock(&t->lock);
}
