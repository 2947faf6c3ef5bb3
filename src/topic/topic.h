/* Topic names, topic filters, and the tree of subscriptions. Pure; one thread's own. */
#ifndef TOPIC_TOPIC_H
#define TOPIC_TOPIC_H

#include "base/slice.h"

/* Deeper names and filters are refused where they enter, so that no walk below goes deeper: mosquitto's bound, which is
 * 200 separators. */
enum { TOPIC_LEVELS_MAX = 201 };

/* A name one may publish to: not empty, no wildcards, no U+0000, at most TOPIC_LEVELS_MAX
 * levels (4.7.1, 4.7.3). UTF-8 is checked elsewhere. */
bool topic_name_ok(struct slice name);
/* A filter: wildcards only as whole levels, '#' only last (4.7.1). For a "$share/…" filter
 * judge the inner one after topic_share_split(). */
bool topic_filter_ok(struct slice filter);
bool topic_has_wildcard(struct slice filter);
/* Does <filter> match <name>? Wildcards in the first level do not match a name that begins with
 * '$' [MQTT-4.7.2-1]. */
bool topic_matches(struct slice filter, struct slice name);
/* Does <outer> match every name that <inner> matches? */
bool topic_covers(struct slice outer, struct slice inner);
/* Is there a name that both match? */
bool topic_overlaps(struct slice a, struct slice b);

enum topic_share { TOPIC_SHARE_NO, TOPIC_SHARE_YES, TOPIC_SHARE_BAD };
/* "$share/NAME/FILTER" (4.8.2): NO: not a shared filter; BAD: begins with "$share" followed by
 * '/' or end, but name or filter is empty, the name has wildcards, or the filter is not ok.
 * Slices borrow from <filter>. */
enum topic_share topic_share_split(
    struct slice filter, struct slice *ret_name, struct slice *ret_filter);

/* ---- the tree ---- */

struct trie;
struct trie_node; /* where a filter ends; stays valid as long as it has an entry */

/* One subscription. <who> and <kind> are the caller's. */
struct trie_entry {
	void *who;
	uint32_t id;     /* subscription identifier, 0 = none */
	uint8_t options; /* MQTT subscription options byte */
	uint8_t kind;    /* the caller's */
	uint16_t extra;  /* the caller's */
};

/* Called for each matching entry. The tree must not be changed from within. */
typedef void trie_hit(void *ctx, const struct trie_entry *e);

struct trie *trie_new(void); /* NULL: out of memory */
void trie_free(struct trie *t);

enum trie_put { TRIE_ADDED, TRIE_REPLACED, TRIE_NOMEM };
/* Add <e> under <filter>, or replace the entry with the same e->who there. <filter> must be
 * topic_filter_ok(). ret_node is written unless TRIE_NOMEM. */
enum trie_put trie_put(
    struct trie *t, struct slice filter, const struct trie_entry *e, struct trie_node **ret_node);
/* The node of <filter>, or NULL if no entry ends there. */
struct trie_node *trie_find(const struct trie *t, struct slice filter);
/* The entry of <who> at <n>, or NULL; valid until the node changes. */
struct trie_entry *trie_entry_of(struct trie_node *n, const void *who);
/* Remove the entry of <who>; false if there was none. Empty nodes up to the root go away with
 * it. */
bool trie_del(struct trie *t, struct trie_node *n, const void *who);
/* Write the node's filter into <out>; returns its length (nothing written if more than <cap>). */
size_t trie_filter(const struct trie_node *n, uint8_t *out, size_t cap);

/* Report every entry whose filter matches <name> (a topic_name_ok()). An entry is reported
 * once; a <who> with several matching filters is reported for each. */
void trie_match(const struct trie *t, struct slice name, trie_hit *hit, void *ctx);
/* Changes whenever a match could have changed: for callers who keep results. */
uint64_t trie_generation(const struct trie *t);
/* Entries in the tree. */
size_t trie_count(const struct trie *t);

#endif
