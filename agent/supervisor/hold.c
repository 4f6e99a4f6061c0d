// Descriptors that must outlive the agent: terminals' masters, the write ends of stdins, the gates of containers.
#include "visor.h"

struct pv_hold *pv_holds;

struct pv_hold *pv_hold_find(const char *id) {
	for (struct pv_hold *h = pv_holds; h; h = h->next)
		if (!strcmp(h->id, id))
			return h;
	return NULL;
}

void pv_hold_drop(const char *id) {
	for (struct pv_hold **at = &pv_holds; *at;) {
		struct pv_hold *h = *at;
		if (strcmp(h->id, id)) {
			at = &h->next;
			continue;
		}
		*at = h->next;
		for (int i = 0; i < h->nfds; i++)
			close(h->fds[i]);
		free(h->id);
		free(h);
	}
}

// opened turns a descriptor that only names a file (O_PATH) into one that reads it. Whoever waits for a reader then has one
// that does not die with the agent.
static int opened(int fd) {
	int flags = fcntl(fd, F_GETFL);
	if (flags < 0 || !(flags & O_PATH))
		return fd;
	char path[40];
	snprintf(path, sizeof path, "/proc/self/fd/%d", fd);
	int reader = open(path, O_RDONLY | O_NONBLOCK | O_CLOEXEC);
	close(fd);
	return reader;
}

// pv_hold_add takes the message's descriptors over before it lets go of what the id held.
int pv_hold_add(const char *id, struct pv_message *m) {
	struct pv_hold *h = calloc(1, sizeof *h);
	char *copy = strdup(id);
	if (!h || !copy) {
		free(h);
		free(copy);
		return -1;
	}
	for (int fd; (fd = pv_take_fd(m)) >= 0;) {
		if ((fd = opened(fd)) >= 0)
			h->fds[h->nfds++] = fd;
	}
	pv_hold_drop(id);
	h->id = copy;
	h->next = pv_holds;
	pv_holds = h;
	return 0;
}
