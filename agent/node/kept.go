package node

import (
	"context"
	"encoding/json"
	"errors"
	"io/fs"
	"os"
	"path/filepath"
	"time"

	"github.com/hashicorp/go-hclog"

	"github.com/peapod-sh/peapod/netproxy"
	"github.com/peapod-sh/peapod/rpc/wire"
)

const (
	// keptPatience is how long a starting agent waits for a server before it begins with what it has kept.
	keptPatience = time.Second
	// keptPause is the least time between two writes, and keptShare how many times longer than a write the pause after it is: tables of ten
	// thousand services take a tenth of a second.
	keptPause = 2 * time.Second
	keptShare = 20
)

// kept is what an agent keeps on disk of the cluster, so that one which starts while no server answers can resolve names and carry traffic
// as the one before it did. It is a memory, not the truth: the first watch replaces it.
type kept struct {
	Registered *wire.Registered
	Table      *netproxy.Table
	Guarded    bool // there were network policies
}

// keeping writes what is kept. A write that fails, or is torn by a loss of power, costs only this memory.
type keeping struct {
	path   string
	log    hclog.Logger
	latest chan *kept // capacity 1: what is to be written next
}

func newKeeping(dir string, log hclog.Logger) *keeping {
	return &keeping{path: filepath.Join(dir, "cluster.json"), log: log, latest: make(chan *kept, 1)}
}

// load returns nil if nothing is kept that can be read.
func (k *keeping) load() *kept {
	b, err := os.ReadFile(k.path)
	if errors.Is(err, fs.ErrNotExist) {
		return nil
	}
	out := &kept{}
	if err == nil {
		err = json.Unmarshal(b, out)
	}
	if err == nil && (out.Registered == nil || out.Table == nil) {
		err = errors.New("it is not whole")
	}
	if err != nil {
		k.log.Warn("what the agent kept of the cluster cannot be read; it needs a server", "file", k.path, "error", err)
		return nil
	}
	return out
}

// put has something written in place of what still waits.
func (k *keeping) put(next *kept) {
	select {
	case <-k.latest:
	default:
	}
	k.latest <- next // nobody else puts
}

// run writes until ctx ends, and then what is left.
func (k *keeping) run(ctx context.Context) error {
	for {
		var next *kept
		select {
		case next = <-k.latest:
		case <-ctx.Done():
			select {
			case next = <-k.latest:
				k.write(next)
			default:
			}
			return ctx.Err()
		}
		began := time.Now()
		k.write(next)
		select {
		case <-time.After(max(keptPause, keptShare*time.Since(began))):
		case <-ctx.Done():
		}
	}
}

func (k *keeping) write(next *kept) {
	b, err := json.Marshal(next)
	if err == nil {
		err = os.WriteFile(k.path+".new", b, 0o600)
	}
	if err == nil {
		err = os.Rename(k.path+".new", k.path)
	}
	if err != nil {
		k.log.Warn("what is known of the cluster's services cannot be kept for the next start", "error", err)
	}
}

// membership is what the cluster says of itself: now, or, if no server answers, as it was kept.
func (n *node) membership(ctx context.Context) (*wire.Registered, *kept, error) {
	old := n.keeping.load()
	if old == nil {
		r, err := n.register(ctx, false)
		return r, nil, err
	}
	patience, cancel := context.WithTimeout(ctx, keptPatience)
	defer cancel()
	r, err := n.register(patience, false)
	switch {
	case err == nil:
		return r, nil, nil
	case ctx.Err() != nil:
		return nil, nil, ctx.Err()
	}
	n.log.Warn("no server answers; names and services are as this node knew them last", "error", err)
	return old.Registered, old, nil
}

// recall puts what was kept in force. Of network policies nothing is kept, so where there were some no service is carried until a server
// tells of them: a name may be resolved, a connection may not be let through that should not be.
func (n *node) recall(old *kept) {
	if old == nil {
		return
	}
	n.dns.Swap(old.Table)
	if t := old.carried(); t != nil {
		t.Keeps = n.network.KeepsSource
		n.proxy.Swap(t)
		return
	}
	n.log.Warn("services are not carried before a server tells of the network policies")
}

// carried is the table for the proxy; nil if there should be none.
func (k *kept) carried() *netproxy.Table {
	if k.Guarded {
		return nil
	}
	return k.Table
}

// remember keeps a table that is in force, and what it needs.
func (n *node) remember(t *netproxy.Table) {
	n.keeping.put(&kept{Registered: n.registered, Table: t, Guarded: n.policies.model.Any()})
}
