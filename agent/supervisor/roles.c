// Where the binary becomes something else before Go's runtime starts: argv[0] names the role.
// Nothing here costs an ordinary start more than two comparisons.
#include "visor.h"
#include <linux/capability.h>
#include <linux/mount.h>
#include <net/if.h>
#include <sys/ioctl.h>
#include <sys/mount.h>
#include <sys/prctl.h>
#include <sys/socket.h>
#include <sys/syscall.h>
#include <sys/wait.h>

#define SEALED "PEAPOD_SUPERVISOR_SEALED=1"

// raise_loopback brings "lo" up in the pod's fresh network namespace.
static void raise_loopback(void) {
	struct ifreq r = {.ifr_name = "lo"};
	int fd = socket(AF_INET, SOCK_DGRAM | SOCK_CLOEXEC, 0);
	if (fd < 0)
		return;
	if (!ioctl(fd, SIOCGIFFLAGS, &r) && !(r.ifr_flags & IFF_UP)) {
		r.ifr_flags |= IFF_UP;
		if (ioctl(fd, SIOCSIFFLAGS, &r))
			pv_note("bringing the loopback up", errno);
	}
	close(fd);
}

// seal starts this program again from a detached read-only clone of its own mount. A process that
// the supervisor sends into a container shows /proc/PID/exe there for a moment, a pause that containers
// see shows it always, and nobody may write to the node's binary through it (CVE-2019-5736). Kernels before 5.12 go on unsealed; a
// supervisor is also not dumpable, which closes the same door to all but privileged containers.
static void seal(char **argv) {
	char *env[] = {SEALED, NULL};
	if (getenv("PEAPOD_SUPERVISOR_SEALED"))
		return;
#if defined(SYS_open_tree) && defined(SYS_mount_setattr) && defined(SYS_execveat)
	int fd = (int)syscall(SYS_open_tree, AT_FDCWD, "/proc/self/exe", 1 /* OPEN_TREE_CLONE */ | O_CLOEXEC);
	if (fd < 0)
		return;
	uint64_t attr[4] = {1 /* MOUNT_ATTR_RDONLY */, 0, 0, 0};
	if (!syscall(SYS_mount_setattr, fd, "", AT_EMPTY_PATH, attr, sizeof attr))
		syscall(SYS_execveat, fd, "", argv, env, AT_EMPTY_PATH);
	close(fd);
#else
	(void)argv, (void)env;
#endif
}

// hide leaves the pause with an empty root: containers that share its PID namespace see it as process 1, and one that may
// trace would otherwise find the node's files under /proc/1/root. It has a mount namespace of its own for this, in which
// the new root may cover any directory that is everywhere.
static int hide(void) {
	if (mount(NULL, "/", NULL, MS_REC | MS_PRIVATE, NULL) || mount("pause", "/proc", "tmpfs", MS_NOSUID | MS_NODEV | MS_NOEXEC, "size=4k"))
		return -1;
	if (chdir("/proc") || syscall(SYS_pivot_root, ".", ".") || umount2(".", MNT_DETACH) || chdir("/"))
		return -1;
	return mount(NULL, "/", NULL, MS_REMOUNT | MS_RDONLY | MS_NOSUID | MS_NODEV | MS_NOEXEC, NULL);
}

// humble gives up every privilege for good: the pause needs none.
static int humble(void) {
	struct __user_cap_header_struct h = {.version = _LINUX_CAPABILITY_VERSION_3};
	struct __user_cap_data_struct none[2];
	memset(none, 0, sizeof none);
	for (int cap = 0; cap < 64; cap++)
		if (prctl(PR_CAPBSET_DROP, cap, 0, 0, 0) && errno != EINVAL)
			return -1;
	return prctl(PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0) || syscall(SYS_capset, &h, none) || prctl(PR_SET_DUMPABLE, 0) ? -1 : 0;
}

// PAUSE_TELLS is where a pause that others will see says that they may come: Go's first extra file.
enum { PAUSE_TELLS = 3 };

// run_pause holds a pod's namespaces: it reaps what falls to it and ends on SIGTERM or SIGINT.
static void run_pause(int argc, char **argv) {
	int seen = argc == 3 && !strcmp(argv[2], "seen");
	sigset_t set;
	if (seen)
		seal(argv);
	sigemptyset(&set);
	sigaddset(&set, SIGTERM);
	sigaddset(&set, SIGINT);
	sigaddset(&set, SIGCHLD);
	sigprocmask(SIG_BLOCK, &set, NULL);
	prctl(PR_SET_NAME, "pause");
	raise_loopback();
	if ((seen && hide()) || humble()) {
		pv_note("making the pod's pause harmless", errno);
		_exit(1);
	}
	if (seen && write(PAUSE_TELLS, "", 1) == 1)
		close(PAUSE_TELLS);
	for (;;) {
		int sig = sigwaitinfo(&set, NULL);
		if (sig == SIGCHLD)
			while (waitpid(-1, NULL, WNOHANG) > 0)
				;
		else if (sig > 0)
			_exit(0);
	}
}

static void run_supervisor(int argc, char **argv) {
	seal(argv);
	prctl(PR_SET_NAME, "supervisor");
	prctl(PR_SET_DUMPABLE, 0);
	_exit(pv_loop(argc, argv));
}

__attribute__((constructor)) static void pv_take_role(int argc, char **argv) {
	if (argc < 1 || !argv || !argv[0])
		return;
	if (!strcmp(argv[0], "peapod-pause"))
		run_pause(argc, argv);
	if (!strcmp(argv[0], "peapod-supervisor"))
		run_supervisor(argc, argv);
}
