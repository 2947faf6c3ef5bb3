/* Clocks, and what /proc says of the broker. */
#include <stdio.h>
#include <string.h>
#include <time.h>

#include "bench.h"

uint64_t
now_ns(void)
{
	struct timespec t;

	(void)clock_gettime(CLOCK_MONOTONIC, &t); /* cannot fail on Linux */
	return (uint64_t)t.tv_sec * NS_PER_S + (uint64_t)t.tv_nsec;
}

uint64_t
proc_cpu(pid_t pid)
{
	struct timespec t;
	clockid_t id;

	if (pid <= 0 || clock_getcpuclockid(pid, &id) != 0 || clock_gettime(id, &t) == -1)
		return 0;
	return (uint64_t)t.tv_sec * NS_PER_S + (uint64_t)t.tv_nsec;
}

static uint64_t
read_kb(const char *path, const char *format)
{
	unsigned long long kb = 0;
	char line[256];
	FILE *f = fopen(path, "re");

	if (f == NULL)
		return 0;
	while (kb == 0 && fgets(line, sizeof line, f) != NULL)
		if (strncmp(line, format, strlen(format)) == 0)
			(void)sscanf(line + strlen(format), "%llu", &kb); /* stays 0 */
	(void)fclose(f);                                                  /* only read */
	return kb * 1024;
}

uint64_t
proc_rss(pid_t pid)
{
	char path[64];
	uint64_t rss;

	(void)snprintf(path, sizeof path, "/proc/%d/smaps_rollup", (int)pid);
	rss = read_kb(path, "Rss:");
	if (rss > 0)
		return rss;
	/* A process that protects its memory still shows this one; it may be off by some pages. */
	(void)snprintf(path, sizeof path, "/proc/%d/status", (int)pid);
	return read_kb(path, "VmRSS:");
}
