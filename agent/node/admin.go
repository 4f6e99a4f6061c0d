package node

import (
	"context"
	"errors"
	"net/http"
	"path/filepath"

	"github.com/peapod-sh/peapod/agent/image"
	"github.com/peapod-sh/peapod/internal/adminsock"
)

// serveAdmin answers the operator on this machine: the image store belongs to this process, so
// `peapod image` asks it.
func (n *node) serveAdmin(ctx context.Context) error {
	m := http.NewServeMux()
	m.HandleFunc("GET /images", func(w http.ResponseWriter, _ *http.Request) { adminsock.Reply(w, n.pulls.List(), nil) })
	m.HandleFunc("POST /images", func(w http.ResponseWriter, r *http.Request) {
		list, err := n.pulls.Load(r.Context(), r.Body)
		adminsock.Reply(w, list, err)
	})
	m.HandleFunc("GET /images/pulls", func(w http.ResponseWriter, _ *http.Request) { adminsock.Reply(w, n.pulls.Downloads(), nil) })
	m.HandleFunc("POST /images/pull", func(w http.ResponseWriter, r *http.Request) {
		i, err := n.pulls.Pull(r.Context(), r.URL.Query().Get("ref"))
		adminsock.Reply(w, []*image.Image{i}, err)
	})
	m.HandleFunc("POST /images/prune", func(w http.ResponseWriter, r *http.Request) {
		select {
		case <-n.agent.Knowing(): // before, no image is known to be unused
			done, err := n.pulls.prune(r.Context())
			adminsock.Reply(w, done, err)
		default:
			adminsock.Reply(w, nil, errors.New("this node does not know its pods yet: try again when it has reached a server"))
		}
	})
	m.HandleFunc("POST /images/import", func(w http.ResponseWriter, r *http.Request) {
		list, err := n.pulls.ImportRootfs(r.Context(), r.URL.Query().Get("path"), r.URL.Query().Get("ref"))
		adminsock.Reply(w, list, err)
	})
	m.HandleFunc("DELETE /images", func(w http.ResponseWriter, r *http.Request) {
		adminsock.Reply(w, struct{}{}, n.pulls.Remove(r.Context(), r.URL.Query().Get("ref")))
	})
	if n.cfg.Metrics != nil {
		m.Handle("GET /metrics", n.cfg.Metrics)
	}
	return adminsock.Serve(ctx, filepath.Join(n.cfg.DataDir, adminsock.Name), m)
}
