// EXEC: a command in a running container, without a second program: the single-threaded supervisor
// points its children at the container's PID namespace, clones, and turns back; the child joins the rest.
#include "visor.h"
#include <grp.h>
#include <linux/capability.h>
#include <linux/filter.h>
#include <linux/sched.h>
#include <linux/seccomp.h>
#include <sched.h>
#include <sys/ioctl.h>
#include <sys/prctl.h>
#include <sys/resource.h>
#include <sys/stat.h>
#include <sys/syscall.h>

#define PV_RLIMITS_MAX 32

// What one EXEC asks for, checked. Pointers belong to the message but for the lists.
struct command {
	int target, own_users, uid, gid, no_new_privs, tty; // own_users: the container has a user namespace of its own
	unsigned long long caps;   // bit n: capability n is kept
	int rlimit_count;
	struct {
		int resource;
		struct rlimit limit;
	} rlimits[PV_RLIMITS_MAX];
	const char *oom;           // the OOM score
	const char *filter, *apparmor; // a file with a seccomp filter, a profile's name; "" for none
	const char *cwd, *into;    // into: a cgroup v2 directory, "" for none
	char **groups, **cgroups, **argv, **env; // cgroups: tasks files (v1)
	size_t output;             // RUN: bytes of the output that are kept
	int owner;                 // and whose the pipe is, as the node counts
	int stdio[3];
	int target_fd, into_fd, report;
};

// read_rlimits reads a count and as many triples: resource, soft limit, hard limit.
static void read_rlimits(struct pv_message *m, struct command *k) {
	k->rlimit_count = (int)pv_get_long(m, 0, PV_RLIMITS_MAX);
	for (int i = 0; i < k->rlimit_count && !m->failed; i++) {
		k->rlimits[i].resource = (int)pv_get_long(m, 0, RLIM_NLIMITS - 1);
		k->rlimits[i].limit.rlim_cur = (rlim_t)pv_get_long(m, 0, LONG_MAX);
		k->rlimits[i].limit.rlim_max = (rlim_t)pv_get_long(m, 0, LONG_MAX);
	}
}

static int read_command(struct pv_message *m, struct command *k, int with_output) {
	memset(k, 0, sizeof *k);
	k->target_fd = k->into_fd = k->stdio[0] = k->stdio[1] = k->stdio[2] = -1;
	if (with_output) {
		k->output = (size_t)pv_get_long(m, 0, PV_OUTPUT_MAX);
		k->owner = (int)pv_get_long(m, 0, INT32_MAX);
	}
	k->target = (int)pv_get_long(m, 1, 1 << 30);
	k->own_users = (int)pv_get_long(m, 0, 1);
	k->uid = (int)pv_get_long(m, 0, INT32_MAX);
	k->gid = (int)pv_get_long(m, 0, INT32_MAX);
	k->groups = pv_get_list(m);
	char *end;
	const char *caps = pv_get_string(m);
	k->caps = strtoull(caps, &end, 16);
	if (end == caps || *end)
		m->failed = 1;
	k->no_new_privs = (int)pv_get_long(m, 0, 1);
	k->oom = m->next < m->count ? m->field[m->next] : "";
	pv_get_long(m, -1000, 1000); // a number; the child writes it as it came
	read_rlimits(m, k);
	k->filter = pv_get_string(m);
	k->apparmor = pv_get_string(m);
	k->tty = (int)pv_get_long(m, 0, 1);
	k->cwd = pv_get_string(m);
	k->into = pv_get_string(m);
	k->cgroups = pv_get_list(m);
	k->argv = pv_get_list(m);
	k->env = pv_get_list(m);
	if (m->failed || !k->argv[0] || (with_output && (m->nfds > 0 || k->tty)))
		return -1;
	for (int i = 0; i < 3 && !with_output; i++)
		k->stdio[i] = pv_take_fd(m);
	return with_output || k->stdio[2] >= 0 ? 0 : -1;
}

static void free_command(struct command *k) {
	free(k->groups);
	free(k->cgroups);
	free(k->argv);
	free(k->env);
	for (int i = 0; i < 3; i++)
		if (k->stdio[i] >= 0)
			close(k->stdio[i]);
	if (k->target_fd >= 0)
		close(k->target_fd);
	if (k->into_fd >= 0)
		close(k->into_fd);
}

// give_up runs in the child: the client hears which step failed, and the exit status says so too.
static void give_up(struct command *k, const char *step) {
	int err = errno;
	struct pv_buffer b = {0};
	pv_put(&b, "FAILED");
	pv_put_long(&b, err);
	pv_put(&b, step);
	pv_send(k->report, &b, NULL, 0);
	_exit(err == ENOENT ? 127 : 126);
}

static void join_groups(struct command *k) {
	for (char **p = k->cgroups; *p; p++) {
		int fd = open(*p, O_WRONLY | O_CLOEXEC);
		if (fd < 0 || write(fd, "0", 1) < 0)
			give_up(k, *p);
		close(fd);
	}
	int fd = open("/proc/self/oom_score_adj", O_WRONLY | O_CLOEXEC);
	if (fd >= 0) {
		if (write(fd, k->oom, strlen(k->oom)) < 0) {
			// Lowering it needs CAP_SYS_RESOURCE, which this machine may not give us. The score
			// only orders victims, so the command may run without.
		}
		close(fd);
	}
}

// confine asks AppArmor to confine the next execve. It happens before the container's /proc is ours, which its
// programs may have covered.
static void confine(struct command *k) {
	char order[PATH_MAX];
	if (!k->apparmor[0])
		return;
	int n = snprintf(order, sizeof order, "exec %s", k->apparmor);
	if (n < 0 || (size_t)n >= sizeof order)
		errno = ENAMETOOLONG, give_up(k, "AppArmor profile");
	// Kernels that know several security modules have AppArmor's file in a directory of its own.
	int fd = open("/proc/self/attr/apparmor/exec", O_WRONLY | O_CLOEXEC);
	if (fd < 0)
		fd = open("/proc/self/attr/exec", O_WRONLY | O_CLOEXEC);
	if (fd < 0 || write(fd, order, (size_t)n) != n)
		give_up(k, "AppArmor profile");
	close(fd);
}

// A filter as the agent writes it: the flags of seccomp(2), the number of instructions, the instructions.
struct filter {
	uint32_t flags, count;
	struct sock_filter code[BPF_MAXINSNS];
};

// load_filter reads the container's seccomp filter while the node's files are still to be seen.
static void load_filter(struct command *k, struct filter *f) {
	f->count = 0; // and no more: each page that a child touches for the first time is a fault
	if (!k->filter[0])
		return;
	int fd = open(k->filter, O_RDONLY | O_CLOEXEC | O_NOFOLLOW);
	ssize_t n = fd < 0 ? -1 : read(fd, f, sizeof *f);
	if (n < 0)
		give_up(k, "seccomp filter");
	if (n < 16 || f->count == 0 || f->count > BPF_MAXINSNS || (size_t)n != 8 + f->count * sizeof f->code[0])
		errno = EINVAL, give_up(k, "seccomp filter");
	close(fd);
}

static void install_filter(struct command *k, struct filter *f) {
	struct sock_fprog p = {.len = (unsigned short)f->count, .filter = f->code};
	if (f->count && syscall(SYS_seccomp, SECCOMP_SET_MODE_FILTER, f->flags, &p))
		give_up(k, "seccomp filter");
}

static void limit(struct command *k) {
	for (int i = 0; i < k->rlimit_count; i++)
		if (setrlimit(k->rlimits[i].resource, &k->rlimits[i].limit))
			give_up(k, "resource limits");
}

static void take_stdio(struct command *k) {
	setsid();
	for (int i = 0; i < 3; i++)
		if (dup2(k->stdio[i], i) < 0)
			give_up(k, "stdio");
	if (k->tty && ioctl(0, TIOCSCTTY, 0))
		give_up(k, "controlling terminal");
	// Everything else was opened close-on-exec; this is the second lock on the door.
	syscall(SYS_close_range, 3U, ~0U, 4U /* CLOSE_RANGE_CLOEXEC */);
}

static void drop_capabilities(struct command *k) {
	for (int cap = 0; cap < 64; cap++)
		if (!(k->caps >> cap & 1) && prctl(PR_CAPBSET_DROP, cap, 0, 0, 0)) {
			if (errno == EINVAL) // past the kernel's last one
				return;
			give_up(k, "capabilities");
		}
}

// become changes identity. A user that is not root keeps no capability; root keeps what was given.
static void become(struct command *k) {
	gid_t groups[256];
	size_t n = 0;
	for (; k->groups[n] && n < 256; n++)
		groups[n] = (gid_t)strtoul(k->groups[n], NULL, 10);
	if (k->groups[n])
		errno = EINVAL, give_up(k, "more than 256 groups");
	if (setgroups(n, groups) || setresgid((gid_t)k->gid, (gid_t)k->gid, (gid_t)k->gid) || setresuid((uid_t)k->uid, (uid_t)k->uid, (uid_t)k->uid))
		give_up(k, "user");
	if (k->uid)
		return;
	struct __user_cap_header_struct h = {.version = _LINUX_CAPABILITY_VERSION_3};
	struct __user_cap_data_struct now[2], keep[2];
	if (syscall(SYS_capget, &h, now))
		give_up(k, "capabilities");
	for (int i = 0; i < 2; i++) {
		keep[i].permitted = now[i].permitted & (uint32_t)(k->caps >> (32 * i));
		keep[i].effective = keep[i].permitted;
		keep[i].inheritable = 0;
	}
	if (syscall(SYS_capset, &h, keep))
		give_up(k, "capabilities");
}

static const char *search_path(char **env) {
	for (; *env; env++)
		if (!strncmp(*env, "PATH=", 5))
			return *env + 5;
	return "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin";
}

// execute looks the program up in the container's PATH, as a shell would.
static void execute(struct command *k) {
	char file[4096];
	int last = ENOENT;
	if (strchr(k->argv[0], '/')) {
		execve(k->argv[0], k->argv, k->env);
		give_up(k, k->argv[0]);
	}
	for (const char *p = search_path(k->env); *p;) {
		size_t len = strcspn(p, ":");
		int n = snprintf(file, sizeof file, "%.*s/%s", (int)len, p, k->argv[0]);
		if (n > 0 && (size_t)n < sizeof file) {
			execve(file, k->argv, k->env);
			if (errno != ENOENT && errno != ENOTDIR)
				last = errno;
		}
		p += len + (p[len] == ':');
	}
	errno = last;
	give_up(k, k->argv[0]);
}

// enter_cwd goes there as root, and if root may not, as the user: either may be the only one who can.
static int enter_cwd(struct command *k) {
	if (!chdir(k->cwd))
		return 0;
	if (errno != EACCES && errno != EPERM)
		give_up(k, k->cwd);
	return -1;
}

// run_child is the way from the supervisor's child to the command, in the order in which each step is still allowed:
// what needs the node's files, the namespaces, what needs root. A filter needs CAP_SYS_ADMIN or no_new_privs, so
// without the latter it comes before the change of user, as it does for the container itself.
static void run_child(struct command *k) {
	static struct filter filter;
	int namespaces = CLONE_NEWNET | CLONE_NEWIPC | CLONE_NEWUTS | CLONE_NEWNS | CLONE_NEWCGROUP;
	join_groups(k);
	confine(k);
	load_filter(k, &filter);
	if (setns(k->target_fd, namespaces | (k->own_users ? CLONE_NEWUSER : 0)))
		give_up(k, "namespaces");
	take_stdio(k);
	pv_child_defaults();
	limit(k);
	umask(022);
	if (k->no_new_privs && prctl(PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0))
		give_up(k, "no_new_privs");
	if (!k->no_new_privs)
		install_filter(k, &filter);
	int outside = enter_cwd(k);
	drop_capabilities(k);
	become(k);
	if (outside && chdir(k->cwd))
		give_up(k, k->cwd);
	if (k->no_new_privs)
		install_filter(k, &filter);
	execute(k);
}

// clone_into makes the child in the target's PID namespace and, on cgroup v2, in its cgroup.
static int clone_into(struct command *k, int own) {
	struct clone_args a;
	memset(&a, 0, sizeof a);
	a.exit_signal = SIGCHLD;
	if (k->into_fd >= 0) {
		a.flags = CLONE_INTO_CGROUP;
		a.cgroup = (uint64_t)k->into_fd;
	}
	if (setns(k->target_fd, CLONE_NEWPID))
		return -1;
	long pid = syscall(SYS_clone3, &a, sizeof a);
	if (pid == 0)
		run_child(k); // does not return
	int err = errno;
	if (setns(own, CLONE_NEWPID)) {
		// Every later child, the agent too, would land in the container.
		pv_note("coming back from a container's namespace", errno);
		abort();
	}
	errno = err;
	return (int)pid;
}

static int start(struct command *k) {
	static int own = -1;
	if (own < 0)
		own = open("/proc/self/ns/pid", O_RDONLY | O_CLOEXEC);
	k->target_fd = (int)syscall(SYS_pidfd_open, k->target, 0);
	if (own < 0 || k->target_fd < 0)
		return -1;
	if (k->into[0] && (k->into_fd = open(k->into, O_PATH | O_DIRECTORY | O_CLOEXEC)) < 0)
		return -1;
	return clone_into(k, own);
}

// give_output makes the standard streams of a RUN: nothing to read, and one pipe for both outputs. The command's user
// owns it, else it could not open its /dev/stderr.
static int give_output(struct command *k, struct pv_exec *e) {
	static int null = -1;
	int ends[2];
	if (null < 0)
		null = open("/dev/null", O_RDONLY | O_CLOEXEC);
	if (null < 0 || pipe2(ends, O_CLOEXEC))
		return -1;
	if (pv_exec_pipe(e, ends[0], ends[1], k->output))
		return -1;
	k->stdio[0] = null;
	k->stdio[1] = k->stdio[2] = e->writer;
	return fcntl(ends[0], F_SETFL, O_NONBLOCK) || (k->owner && fchown(ends[1], (uid_t)k->owner, (gid_t)-1)) ? -1 : 0;
}

// run starts a checked command and remembers it.
static int run(struct pv_conn *c, struct command *k, int with_output) {
	struct pv_exec *e = pv_exec_add(0, c);
	if (!e)
		return -1;
	int pid = with_output && give_output(k, e) ? -1 : start(k), err = errno;
	if (with_output)
		k->stdio[0] = k->stdio[1] = k->stdio[2] = -1; // none came with the message
	e->pid = pid;
	if (pid < 0)
		pv_exec_drop(e);
	errno = err;
	return pid;
}

// pv_exec_start is EXEC, which is answered at once and at the command's end, or RUN, which is answered at the end.
void pv_exec_start(struct pv_conn *c, struct pv_message *m, int with_output) {
	struct command k;
	if (read_command(m, &k, with_output)) {
		pv_reply_error(c, EINVAL, "EXEC or RUN is not well formed");
		free_command(&k);
		return;
	}
	k.report = c->source.fd;
	int pid = run(c, &k, with_output), err = errno;
	free_command(&k);
	if (pid < 0) {
		pv_reply_error(c, err, "starting the command");
		return;
	}
	if (with_output)
		return;
	struct pv_buffer b = {0};
	pv_put(&b, "PID");
	pv_put_long(&b, pid);
	if (pv_send(c->source.fd, &b, NULL, 0))
		pv_drop_conn(c);
}
