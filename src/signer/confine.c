/* What the signer gives up before it hears the first request: its user, the network, every file, every system call but a few.
 * What an older kernel has not is said in the log; the rest holds all the same. */
#include "signer/internal.h"

#include <errno.h>
#include <grp.h>
#include <linux/landlock.h>
#include <pwd.h>
#include <sched.h>
#include <seccomp.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/prctl.h>
#include <sys/resource.h>
#include <sys/syscall.h>
#include <time.h>
#include <unistd.h>
#include "base/log.h"

#if defined(__SANITIZE_ADDRESS__) || defined(__SANITIZE_THREAD__)
#define SANITIZED 1
#elif defined(__has_feature)
#if __has_feature(address_sanitizer) || __has_feature(thread_sanitizer)
#define SANITIZED 1
#endif
#endif
#ifndef SANITIZED
#define SANITIZED 0
#endif

/* No other process of this user sees or stops us; nothing of us reaches a disk. */
static bool
harden(struct err *err)
{
	struct rlimit none = { 0, 0 };

	if (prctl(PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0) == -1 || prctl(PR_SET_DUMPABLE, 0, 0, 0, 0) == -1 || setrlimit(RLIMIT_CORE, &none) == -1)
		return err_sys(err, "cannot forbid core dumps");
	return true;
}

static void
lock_memory(void)
{
	struct rlimit all = { RLIM_INFINITY, RLIM_INFINITY };

	/* Without the right to lock more than a little, what will be needed later must not count against it. */
	if (mlockall(setrlimit(RLIMIT_MEMLOCK, &all) == 0 ? MCL_CURRENT | MCL_FUTURE : MCL_CURRENT) == -1)
		log_warning("The signer's memory cannot be locked (%s): keys could reach the swap; raise LimitMEMLOCK, or encrypt the swap.",
		    strerror(errno));
}

static bool
become(const struct signer_setup *s, bool no_groups, struct err *err)
{
	uid_t r, e, v;

	if (!s->drop)
		return true;
	if ((no_groups && setgroups(0, NULL) == -1) || setresgid(s->gid, s->gid, s->gid) == -1 || setresuid(s->uid, s->uid, s->uid) == -1)
		return err_sys(err, "cannot become the signer's user");
	if (getresuid(&r, &e, &v) == -1 || r != s->uid || e != s->uid || v != s->uid || (s->uid != 0 && setresuid(0, 0, 0) != -1))
		return err_set(err, ERR_SYSTEM, "root could not be left behind");
	return true;
}

/* No rule, so no file at all. */
static void
forbid_files(void)
{
	struct landlock_ruleset_attr all = { .handled_access_fs = LANDLOCK_ACCESS_FS_EXECUTE | LANDLOCK_ACCESS_FS_WRITE_FILE |
		    LANDLOCK_ACCESS_FS_READ_FILE | LANDLOCK_ACCESS_FS_READ_DIR | LANDLOCK_ACCESS_FS_REMOVE_DIR |
		    LANDLOCK_ACCESS_FS_REMOVE_FILE | LANDLOCK_ACCESS_FS_MAKE_CHAR | LANDLOCK_ACCESS_FS_MAKE_DIR |
		    LANDLOCK_ACCESS_FS_MAKE_REG | LANDLOCK_ACCESS_FS_MAKE_SOCK | LANDLOCK_ACCESS_FS_MAKE_FIFO |
		    LANDLOCK_ACCESS_FS_MAKE_BLOCK | LANDLOCK_ACCESS_FS_MAKE_SYM };
	int fd = (int)syscall(SYS_landlock_create_ruleset, &all, sizeof all, 0);

	if (fd == -1 || syscall(SYS_landlock_restrict_self, fd, 0) == -1)
		log_info("No Landlock in this kernel (%s): the signer's system call filter alone keeps it from files.", strerror(errno));
	if (fd != -1)
		(void)close(fd);
}

/* What answers need (sysinfo: glibc's qsort() asks how much memory there is); nothing opens, connects, starts or looks at another process. */
static const int allowed[] = { SCMP_SYS(read), SCMP_SYS(write), SCMP_SYS(writev), SCMP_SYS(pread64), SCMP_SYS(lseek), SCMP_SYS(ftruncate),
	SCMP_SYS(fsync), SCMP_SYS(fdatasync), SCMP_SYS(flock), SCMP_SYS(close), SCMP_SYS(poll), SCMP_SYS(ppoll), SCMP_SYS(recvfrom),
	SCMP_SYS(recvmsg), SCMP_SYS(sendto), SCMP_SYS(sendmsg), SCMP_SYS(brk), SCMP_SYS(munmap), SCMP_SYS(mremap), SCMP_SYS(madvise),
	SCMP_SYS(futex), SCMP_SYS(clock_gettime), SCMP_SYS(gettimeofday), SCMP_SYS(time), SCMP_SYS(nanosleep), SCMP_SYS(clock_nanosleep),
	SCMP_SYS(getrandom), SCMP_SYS(sysinfo), SCMP_SYS(getpid), SCMP_SYS(gettid), SCMP_SYS(rt_sigreturn), SCMP_SYS(rt_sigprocmask), SCMP_SYS(restart_syscall),
	SCMP_SYS(exit), SCMP_SYS(exit_group) };

#if SANITIZED
/* Only so that a sanitizer can work and report. */
static const int for_sanitizers[] = { SCMP_SYS(open), SCMP_SYS(openat), SCMP_SYS(readlink), SCMP_SYS(readlinkat), SCMP_SYS(stat),
	SCMP_SYS(fstat), SCMP_SYS(newfstatat), SCMP_SYS(mmap), SCMP_SYS(mprotect), SCMP_SYS(sigaltstack), SCMP_SYS(rt_sigaction),
	SCMP_SYS(sched_yield), SCMP_SYS(sched_getaffinity), SCMP_SYS(getrusage), SCMP_SYS(prlimit64), SCMP_SYS(getppid), SCMP_SYS(tgkill),
	SCMP_SYS(fcntl), SCMP_SYS(ioctl), SCMP_SYS(pipe2), SCMP_SYS(mincore), SCMP_SYS(getuid), SCMP_SYS(uname), SCMP_SYS(clone),
	SCMP_SYS(set_robust_list), SCMP_SYS(rseq) };
#endif

static int
allow(scmp_filter_ctx f, const int *calls, size_t n)
{
	int no = 0;

	/* A call that this machine does not have is no fault. */
	for (size_t i = 0; no == 0 && i < n; i++)
		if (calls[i] >= 0)
			no = seccomp_rule_add(f, SCMP_ACT_ALLOW, calls[i], 0);
	return no;
}

static bool
filter_calls(struct err *err)
{
	scmp_filter_ctx f = seccomp_init(SCMP_ACT_KILL_PROCESS);
	int no = f != NULL ? allow(f, allowed, ARRAY_LEN(allowed)) : -ENOMEM;

	/* Memory, but none that can be executed. */
	if (no == 0)
		no = seccomp_rule_add(f, SCMP_ACT_ALLOW, SCMP_SYS(mmap), 1, SCMP_A2(SCMP_CMP_MASKED_EQ, PROT_EXEC, 0));
	if (no == 0)
		no = seccomp_rule_add(f, SCMP_ACT_ALLOW, SCMP_SYS(mprotect), 1, SCMP_A2(SCMP_CMP_MASKED_EQ, PROT_EXEC, 0));
#if SANITIZED
	if (no == 0)
		no = allow(f, for_sanitizers, ARRAY_LEN(for_sanitizers));
#endif
	if (no == 0)
		no = seccomp_load(f);
	seccomp_release(f);
	errno = -no;
	return no == 0 || err_sys(err, "cannot restrict the signer's system calls");
}

/* What a module may do is its own affair, but for other programs and other processes. */
static bool
forbid_others(struct err *err)
{
	static const int forbidden[] = { SCMP_SYS(execve), SCMP_SYS(execveat), SCMP_SYS(ptrace), SCMP_SYS(process_vm_readv), SCMP_SYS(process_vm_writev),
		SCMP_SYS(kill), SCMP_SYS(tkill), SCMP_SYS(pidfd_open), SCMP_SYS(pidfd_send_signal), SCMP_SYS(bpf), SCMP_SYS(perf_event_open),
		SCMP_SYS(userfaultfd), SCMP_SYS(mount), SCMP_SYS(unshare), SCMP_SYS(setns), SCMP_SYS(add_key), SCMP_SYS(request_key), SCMP_SYS(keyctl) };
	scmp_filter_ctx f = seccomp_init(SCMP_ACT_ALLOW);
	int no = f != NULL ? 0 : -ENOMEM;

	for (size_t i = 0; no == 0 && i < ARRAY_LEN(forbidden); i++)
		if (forbidden[i] >= 0)
			no = seccomp_rule_add(f, SCMP_ACT_ERRNO(EPERM), forbidden[i], 0);
	if (no == 0)
		no = seccomp_load(f);
	seccomp_release(f);
	errno = -no;
	return no == 0 || err_sys(err, "cannot restrict the system calls of the process for tokens");
}

bool
confine_token(void *ctx, struct err *err)
{
	const struct signer_setup *s = ctx;
	const struct passwd *pw = s->drop ? getpwuid(s->uid) : NULL;

	/* Tokens are for a group, as a rule. */
	if (s->drop && pw != NULL && initgroups(pw->pw_name, s->gid) == -1)
		return err_sys(err, "cannot take the groups of the signer's user");
	lock_memory();
	return become(s, pw == NULL, err) && harden(err) && forbid_others(err);
}

bool
confine(const struct signer_setup *s, struct err *err)
{
	/* Without a zone that is named, the C library looks at /etc/localtime each time that it writes a time, also of UTC. */
	if (setenv("TZ", "UTC", 1) == -1)
		return err_sys(err, "cannot set the time zone");
	tzset();
	/* Needs root; the filter forbids sockets in any case. */
	if (unshare(CLONE_NEWNET) == -1)
		log_info("The signer shares the network of this machine, which its system call filter keeps it from (%s).", strerror(errno));
	lock_memory();
	if (!become(s, true, err) || !harden(err))
		return false;
	forbid_files();
	return filter_calls(err);
}
