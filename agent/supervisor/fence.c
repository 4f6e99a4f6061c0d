// Guards: pods that must not run without a lease. When the lease ends they are killed, whatever the agent does or cannot do,
// and nothing of them is let go until the agent has guarded them anew. rpc/fence has the rule and a model of this file.
#include "visor.h"
#include <dirent.h>
#include <linux/magic.h>
#include <sys/epoll.h>
#include <sys/timerfd.h>
#include <sys/vfs.h>
#include <time.h>

struct pv_guard *pv_guards;
int64_t pv_lease_ns; // on CLOCK_BOOTTIME, which counts while the machine sleeps
static struct pv_source timer = {.fd = -1};

static int64_t boot_ns(void) {
	struct timespec t;
	clock_gettime(CLOCK_BOOTTIME, &t);
	return (int64_t)t.tv_sec * 1000000000 + t.tv_nsec;
}

// arm sets the timer to the lease's end, or to the next look at what is being killed.
static int arm(void) {
	int runs = 0, dies = 0;
	for (struct pv_guard *g = pv_guards; g; g = g->next) {
		runs += !g->fenced;
		dies += g->killing;
	}
	int64_t at = dies ? boot_ns() + PV_KILL_LOOK_MS * 1000000LL : runs ? pv_lease_ns : 0;
	struct itimerspec t = {.it_value = {.tv_sec = at / 1000000000, .tv_nsec = at % 1000000000}};
	if (timer.fd < 0) {
		int fd = timerfd_create(CLOCK_BOOTTIME, TFD_CLOEXEC | TFD_NONBLOCK);
		if (fd < 0 || pv_watch(&timer, PV_FENCE, fd, EPOLLIN))
			return -1;
	}
	return timerfd_settime(timer.fd, TFD_TIMER_ABSTIME, &t, NULL);
}

// kill_list kills the processes named in a cgroup.procs file and counts them.
static int kill_list(int dir) {
	int fd = openat(dir, "cgroup.procs", O_RDONLY | O_CLOEXEC), n = 0, pid;
	FILE *f = fd < 0 ? NULL : fdopen(fd, "r");
	if (!f) {
		if (fd >= 0)
			close(fd);
		return 0;
	}
	while (fscanf(f, "%d", &pid) == 1)
		if (pid > 1 && pid != getpid() && !kill(pid, SIGKILL))
			n++;
	fclose(f);
	return n;
}

// kill_below kills what is in a cgroup and below it, and counts what it found. cgroup.kill would do it at once, but kernel 6.18
// goes on to kill what is later cloned into a cgroup that was killed so, and the pod may start here again.
static int kill_below(int at, const char *name, int depth) {
	int dir = openat(at, name, O_RDONLY | O_DIRECTORY | O_CLOEXEC | O_NOFOLLOW);
	if (dir < 0)
		return 0;
	int n = kill_list(dir);
	DIR *d = fdopendir(dir);
	for (struct dirent *e; d && depth < PV_CGROUP_DEPTH && (e = readdir(d));)
		if (e->d_type == DT_DIR && strcmp(e->d_name, ".") && strcmp(e->d_name, ".."))
			n += kill_below(dirfd(d), e->d_name, depth + 1);
	if (d)
		closedir(d);
	else
		close(dir);
	return n;
}

// is_pod says whether a directory is a cgroup that has the pod's name: nothing else is ever killed.
static int is_pod(const char *dir, const char *id) {
	struct statfs fs;
	const char *name = strrchr(dir, '/');
	if (!*id || dir[0] != '/' || strcmp(name + 1, id))
		return 0;
	return statfs(dir, &fs) ? errno == ENOENT : fs.f_type == CGROUP_SUPER_MAGIC || fs.f_type == CGROUP2_SUPER_MAGIC;
}

// kill_guard looks a few times at once, so that what forks needs luck in all of them.
static void kill_guard(struct pv_guard *g) {
	int n = 1;
	for (int look = 0; n > 0 && look < PV_KILL_LOOKS; look++) {
		n = 0;
		for (size_t i = 0; g->dirs[i]; i++)
			if (is_pod(g->dirs[i], g->id)) // it may not have been there before
				n += kill_below(AT_FDCWD, g->dirs[i], 0);
	}
	g->killing = n > 0;
}

// expire fences what runs without a lease. Its first look at a pod comes at once, further ones until nothing is found.
static void expire(void) {
	int over = boot_ns() >= pv_lease_ns;
	for (struct pv_guard *g = pv_guards; g; g = g->next) {
		if (over && !g->fenced) {
			g->fenced = g->killing = 1;
			dprintf(2, "supervisor: no lease any more: stopping pod %s\n", g->id);
		}
		if (g->killing)
			kill_guard(g);
	}
}

void pv_fence_tick(void) {
	uint64_t times;
	if (timer.fd >= 0 && read(timer.fd, &times, sizeof times) < 0 && errno != EAGAIN)
		pv_note("reading the lease's timer", errno);
	expire();
	if (pv_guards && arm())
		pv_note("setting the lease's timer", errno);
}

static int are_pods(char **dirs, const char *id) {
	for (size_t i = 0; dirs && dirs[i]; i++)
		if (!is_pod(dirs[i], id))
			return 0;
	return 1;
}

static struct pv_guard *find(const char *id) {
	for (struct pv_guard *g = pv_guards; g; g = g->next)
		if (!strcmp(g->id, id))
			return g;
	return NULL;
}

static void free_dirs(char **dirs) {
	for (size_t i = 0; dirs && dirs[i]; i++)
		free(dirs[i]);
	free(dirs);
}

// pv_guard_add takes the list of directories over, also when it fails.
struct pv_guard *pv_guard_add(const char *id, char **dirs) {
	struct pv_guard *g = find(id);
	if (!dirs)
		return NULL;
	if (!g) {
		g = calloc(1, sizeof *g);
		char *copy = strdup(id);
		if (!g || !copy) {
			free(g), free(copy), free_dirs(dirs);
			return NULL;
		}
		g->id = copy;
		g->next = pv_guards;
		pv_guards = g;
	}
	free_dirs(g->dirs);
	g->dirs = dirs;
	return g;
}

// extend takes a longer lease over. Whatever the old one's end should have stopped is stopped first.
static void extend(int64_t until) {
	expire();
	if (until > pv_lease_ns)
		pv_lease_ns = until;
}

// pv_guard lets a pod run while the lease lasts: GUARD id until dirs.
void pv_guard(struct pv_conn *c, struct pv_message *m) {
	const char *id = pv_get_string(m);
	int64_t until = pv_get_long(m, 0, INT64_MAX);
	char **dirs = pv_own_list(m);
	if (m->failed || !are_pods(dirs, id)) {
		free_dirs(dirs);
		pv_reply_error(c, EINVAL, "GUARD wants an id, a time and cgroups of that name");
		return;
	}
	extend(until);
	int late = boot_ns() >= until;
	struct pv_guard *g = pv_guard_add(id, dirs);
	if (!g) {
		pv_reply_error(c, ENOMEM, "guarding a pod");
		return;
	}
	g->fenced = late;
	g->killing = late;
	if (!late && arm()) {
		g->fenced = g->killing = 1;
		pv_reply_error(c, errno, "setting the lease's timer");
	} else if (late) {
		pv_reply_error(c, ESTALE, "the lease has ended");
	} else {
		pv_reply_ok(c);
	}
	pv_fence_tick();
}

void pv_unguard(struct pv_conn *c, struct pv_message *m) {
	const char *id = pv_get_string(m);
	for (struct pv_guard **at = &pv_guards; *at;) {
		struct pv_guard *g = *at;
		if (strcmp(g->id, id)) {
			at = &g->next;
			continue;
		}
		*at = g->next;
		free_dirs(g->dirs);
		free(g->id);
		free(g);
	}
	pv_reply_ok(c);
}

// pv_lease extends the lease and tells of every guarded pod whether it runs: LEASE until.
void pv_lease(struct pv_conn *c, struct pv_message *m) {
	int64_t until = pv_get_long(m, 0, INT64_MAX);
	struct pv_buffer b = {0};
	if (m->failed) {
		pv_reply_error(c, EINVAL, "LEASE wants a time");
		return;
	}
	extend(until);
	pv_fence_tick();
	pv_put(&b, "OK");
	for (struct pv_guard *g = pv_guards; g; g = g->next) {
		pv_put(&b, g->id);
		pv_put(&b, g->fenced ? "fenced" : "runs");
	}
	if (pv_send(c->source.fd, &b, NULL, 0))
		pv_drop_conn(c);
}

// pv_open opens a container's gate if its pod has a lease now, and holds it open: OPEN id path hold.
void pv_open(struct pv_conn *c, struct pv_message *m) {
	struct pv_message fds = {0};
	const char *id = pv_get_string(m), *path = pv_get_string(m), *hold = pv_get_string(m);
	if (m->failed) {
		pv_reply_error(c, EINVAL, "OPEN wants an id, a path and a name to hold it by");
		return;
	}
	pv_fence_tick();
	struct pv_guard *g = find(id);
	if (!g || g->fenced) {
		pv_reply_error(c, ESTALE, "the pod has no lease");
		return;
	}
	int fd = open(path, O_RDONLY | O_NONBLOCK | O_CLOEXEC);
	if (fd < 0) {
		pv_reply_error(c, errno, "opening the gate");
		return;
	}
	fds.fds[fds.nfds++] = fd;
	if (pv_hold_add(hold, &fds)) {
		close(fd);
		pv_reply_error(c, ENOMEM, "holding the gate");
		return;
	}
	pv_reply_ok(c);
}
