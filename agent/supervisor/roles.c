// Where the binary becomes something else before Go's runtime starts: argv[0] names the role.
// Nothing here costs an ordinary start more than two comparisons.
#include "visor.h"
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

// run_pause holds a pod's namespaces: it reaps what falls to it and ends on SIGTERM or SIGINT.
static void run_pause(void) {
	sigset_t set;
	sigemptyset(&set);
	sigaddset(&set, SIGTERM);
	sigaddset(&set, SIGINT);
	sigaddset(&set, SIGCHLD);
	sigprocmask(SIG_BLOCK, &set, NULL);
	prctl(PR_SET_NAME, "pause");
	raise_loopback();
	for (;;) {
		int sig = sigwaitinfo(&set, NULL);
		if (sig == SIGCHLD)
			while (waitpid(-1, NULL, WNOHANG) > 0)
				;
		else if (sig > 0)
			_exit(0);
	}
}

// seal starts this program again from a detached read-only clone of its own mount. A process that
// the supervisor sends into a container shows /proc/PID/exe there for a moment, and nobody may
// write to the node's binary through it (CVE-2019-5736). Kernels before 5.12 go on unsealed; a
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
		run_pause();
	if (!strcmp(argv[0], "peapod-supervisor"))
		run_supervisor(argc, argv);
}
