"""A process whose time(2) can be moved while it runs: whatever it judges by the clock on the wall goes with it, its timers do not."""
import os
import struct
import subprocess

SOURCE = r"""
#define _GNU_SOURCE
#include <fcntl.h>
#include <stdint.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/syscall.h>
#include <time.h>
#include <unistd.h>

static const volatile int64_t *shift;

/* Before a sanitizer is ready: by no function that it has one of its own for. */
__attribute__((constructor)) static void
begin(int argc, char **argv, char **env)
{
	static const char name[] = "SIGNET_TEST_CLOCK=";
	long fd = -1, at;

	(void)argc;
	(void)argv;
	for (; *env != NULL && fd < 0; env++) {
		unsigned i = 0;

		while (name[i] != '\0' && (*env)[i] == name[i])
			i++;
		if (name[i] == '\0')
			fd = syscall(SYS_openat, AT_FDCWD, *env + i, O_RDONLY | O_CLOEXEC);
	}
	if (fd < 0)
		return;
	at = syscall(SYS_mmap, NULL, sizeof(*shift), PROT_READ, MAP_SHARED, fd, 0);
	if (at != -1)
		shift = (const volatile int64_t *)at;
	(void)syscall(SYS_close, fd);
}

time_t
time(time_t *ret)
{
	struct timespec now;
	time_t t;

	(void)clock_gettime(CLOCK_REALTIME, &now);
	t = now.tv_sec + (time_t)(shift != NULL ? *shift : 0);
	if (ret != NULL)
		*ret = t;
	return t;
}
"""


class Clock:
    """<env> is for the process; move() counts from the true time, not from where it was."""

    def __init__(self, folder):
        library, self.file = folder / "clock.so", folder / "clock"
        subprocess.run(["gcc", "-shared", "-fPIC", "-O1", "-xc", "-", "-o", library], input=SOURCE.encode(), check=True)
        self.move(0)
        self.env = {"LD_PRELOAD": str(library), "SIGNET_TEST_CLOCK": str(self.file),
                    "ASAN_OPTIONS": os.environ.get("ASAN_OPTIONS", "") + ":verify_asan_link_order=0"}

    def move(self, seconds):
        with open(self.file, "r+b" if self.file.exists() else "wb") as f:
            f.write(struct.pack("q", seconds))
