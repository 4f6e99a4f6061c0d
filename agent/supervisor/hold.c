// Descriptors that must outlive the agent: terminals' masters, the write ends of stdins.
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

int pv_hold_add(const char *id, struct pv_message *m) {
	struct pv_hold *h = calloc(1, sizeof *h);
	char *copy = strdup(id);
	if (!h || !copy) {
		free(h);
		free(copy);
		return -1;
	}
	pv_hold_drop(id);
	h->id = copy;
	for (int fd; (fd = pv_take_fd(m)) >= 0;)
		h->fds[h->nfds++] = fd;
	h->next = pv_holds;
	pv_holds = h;
	return 0;
}
