/* A file system in memory for tests: it records what was done to it, fails when told to, and says what a power cut at any moment
 * may have left on the disk. One thread. */
#ifndef STORE_FS_TESTKIT_H
#define STORE_FS_TESTKIT_H

#include "store/internal.h"

struct sim;
struct sim_file {
	const char *path;
	uint8_t *bytes;
	size_t n;
};

struct sim *sim_new(void);
struct sim *sim_copy(const struct sim *from); /* the files as they are, nothing recorded */
void sim_free(struct sim *s);
const struct store_fs *sim_fs(struct sim *s);
/* Time passes. */
void sim_sleep(struct sim *s, uint64_t us);
uint64_t sim_random(uint64_t *state);

/* ---- files ---- */
unsigned sim_count(const struct sim *s);
struct sim_file sim_at(struct sim *s, unsigned i);
void sim_cut_file(struct sim *s, unsigned i, size_t n);
void sim_remove(struct sim *s, unsigned i);
void sim_write(struct sim *s, const char *path, struct slice bytes);

/* ---- faults ---- */
enum sim_fault { SIM_NONE, SIM_ONCE, SIM_FOR_NOW /* until sim_heal() */, SIM_SHORT /* a write does half */, SIM_READS /* only they, until then */ };
/* The call number <nth> from now on (1 = the next) fails with <error>. What a failed flush covered is in the file, and never on
 * the disk. */
void sim_fail(struct sim *s, enum sim_fault how, uint64_t nth, int error);
void sim_heal(struct sim *s);
uint64_t sim_calls(const struct sim *s); /* that could have failed, since the start */
void sim_capacity(struct sim *s, uint64_t bytes); /* of all files; 0 = no limit */
/* Flushes do nothing: the control that shows that the test bites. */
void sim_lie(struct sim *s);

/* ---- power cuts ---- */
size_t sim_events(const struct sim *s);
enum sim_cut { CUT_SECTORS /* each sector that was not flushed may be there */, CUT_ALL_LOST, CUT_PREFIX, CUT_PAGES, CUT_MODES };
/* The disk as it may look when the power fails behind the first <events> that were recorded. Names change in order, and are only
 * sure after the directory was flushed. */
struct sim *sim_power_cut(const struct sim *s, size_t events, enum sim_cut how, uint64_t seed);

#endif
