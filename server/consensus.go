package server

import (
	"context"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"sync/atomic"
	"time"

	"github.com/hashicorp/go-hclog"
	"github.com/hashicorp/raft"
	wal "github.com/hashicorp/raft-wal"
	"github.com/hashicorp/raft-wal/metadb"

	"github.com/peapod-sh/peapod/api/ops"
	"github.com/peapod-sh/peapod/fsm"
)

// Raft's timing. It is the last resort: a leader that ends or is cut off is replaced sooner by succession, and followers hear
// of commits by a nudge. A leader that is deposed because the servers are late leaves them with more to do than before, so it is patient.
// Heartbeats of its own come every 300 to 600 ms; the pulse makes it every 225, and each wakes two processes for each follower.
const (
	raftHeartbeat = 3 * time.Second
	raftElection  = 3 * time.Second
	raftLease     = 3 * time.Second
	raftCommit    = time.Second

	snapshotsKept     = 2
	snapshotThreshold = 16384
	snapshotInterval  = 30 * time.Second
	trailingLogs      = 16384
	raftAppendMax     = 64
	raftPool          = 3
	raftIOTimeout     = 5 * time.Second

	// pulsePause is how often a leader asks its followers for an answer.
	pulsePause = 225 * time.Millisecond
	// followedTold is after how long without a majority's answer a leader no longer says that it leads, and followedLately how old an
	// answer may be that vouches for what this leader sees of the nodes.
	followedTold   = 1500 * time.Millisecond
	followedLately = time.Second

	// logCacheEntries are kept in memory, since the leader reads each for each follower, and once more as the one before the
	// next. One entry is in flight at a time.
	logCacheEntries = 4
)

// consensus is raft with its log, snapshots and transport.
type consensus struct {
	name      string
	raft      *raft.Raft
	log       *wal.WAL
	index     *metadb.BoltMetaDB // the log's list of segments
	transport *raft.NetworkTransport
	found     uint64 // index of the last entry that was on disk at the start
	dir       string
	snapshots raft.SnapshotStore
	vault     *vault

	followed atomic.Int64 // when a majority last answered this leader, in nanoseconds since 1970
}

type consensusConfig struct {
	name      string // raft's server ID and address: where a name is, the layer's resolver knows
	dir       string
	bootstrap bool // make a new cluster of this server if the directory has none
	layer     raft.StreamLayer
	state     *fsm.FSM
	vault     *vault
	logger    hclog.Logger
}

// nudge is an entry of no ops.
var nudge = func() []byte {
	b, err := ops.Encode(nil)
	if err != nil {
		panic(err) // nothing is always encodable
	}
	return b
}()

func openConsensus(c consensusConfig) (*consensus, error) {
	dir := filepath.Join(c.dir, "log")
	if err := os.MkdirAll(dir, 0o700); err != nil {
		return nil, fmt.Errorf("making the log's directory: %w", err)
	}
	// The log does not close the metadata that it opens by itself, so we bring and close our own.
	index := &metadb.BoltMetaDB{}
	store, err := wal.Open(dir, wal.WithMetaStore(index), wal.WithSegmentFiler(newSegments(dir)))
	if err != nil {
		return nil, fmt.Errorf("opening the log in %s (is another server using this data directory, or is the disk full?): %w", dir, err)
	}
	snapshots, err := raft.NewFileSnapshotStoreWithLogger(c.dir, snapshotsKept, c.logger.Named("snapshot"))
	if err != nil {
		return nil, errors.Join(fmt.Errorf("opening the snapshots in %s: %w", c.dir, err), store.Close(), index.Close())
	}
	transport := raft.NewNetworkTransportWithConfig(&raft.NetworkTransportConfig{
		Stream: c.layer, MaxPool: raftPool, Timeout: raftIOTimeout, Logger: c.logger.Named("transport"),
	})
	conf := raftConfig(c)
	if c.bootstrap {
		if err := bootstrap(conf, c, store, snapshots, transport); err != nil {
			return nil, errors.Join(err, store.Close(), index.Close())
		}
	}
	found, err := store.LastIndex()
	if err != nil {
		return nil, errors.Join(fmt.Errorf("reading the log: %w", err), store.Close(), index.Close())
	}
	cached, err := raft.NewLogCache(logCacheEntries, compactedLog{store})
	if err != nil {
		return nil, errors.Join(fmt.Errorf("caching the log: %w", err), store.Close(), index.Close())
	}
	r, err := raft.NewRaft(conf, replica{c.state, c.vault}, cached, store, snapshots, transport)
	if err != nil {
		return nil, errors.Join(fmt.Errorf("starting raft: %w", err), store.Close(), index.Close())
	}
	return &consensus{name: c.name, raft: r, log: store, index: index, transport: transport, found: found,
		dir: dir, snapshots: snapshots, vault: c.vault}, nil
}

func raftConfig(c consensusConfig) *raft.Config {
	conf := raft.DefaultConfig()
	conf.LocalID = raft.ServerID(c.name)
	conf.HeartbeatTimeout, conf.ElectionTimeout = raftHeartbeat, raftElection
	conf.LeaderLeaseTimeout, conf.CommitTimeout = raftLease, raftCommit
	conf.SnapshotThreshold, conf.SnapshotInterval, conf.TrailingLogs = snapshotThreshold, snapshotInterval, trailingLogs
	conf.MaxAppendEntries = raftAppendMax
	conf.BatchApplyCh = true
	conf.Logger = c.logger
	return conf
}

func bootstrap(conf *raft.Config, c consensusConfig, store *wal.WAL, snapshots raft.SnapshotStore, transport raft.Transport) error {
	has, err := raft.HasExistingState(store, store, snapshots)
	if err != nil {
		return fmt.Errorf("reading the log: %w", err)
	}
	if has {
		return nil
	}
	members := raft.Configuration{Servers: []raft.Server{{ID: conf.LocalID, Address: raft.ServerAddress(c.name)}}}
	if err := raft.BootstrapCluster(conf, store, store, snapshots, transport, members); err != nil {
		return fmt.Errorf("making a new cluster: %w", err)
	}
	return nil
}

// Apply is the proposer's way into raft. What goes into the log is sealed.
func (c *consensus) Apply(entry []byte, timeout time.Duration) raft.ApplyFuture {
	return c.raft.Apply(c.vault.seal(entry), timeout)
}

// Leading says whether this server leads.
func (c *consensus) Leading() bool { return c.raft.State() == raft.Leader }

// leader is the name of who leads as far as this server knows; "" if nobody. A leader whom nobody has followed for a while does not
// say that it is one: who asks may find another.
func (c *consensus) leader() string {
	_, id := c.raft.LeaderWithID()
	if string(id) == c.name && !c.followedWithin(followedTold) {
		return ""
	}
	return string(id)
}

// followedWithin says whether a majority has answered this leader in the last d.
func (c *consensus) followedWithin(d time.Duration) bool {
	return c.Leading() && time.Since(time.Unix(0, c.followed.Load())) <= d
}

// pulse has the followers answer every so often while this server leads. Each answer is a heartbeat to them, and to the leader the word that
// it is followed.
func (c *consensus) pulse(ctx context.Context) {
	c.followed.Store(time.Now().UnixNano()) // a majority has just voted for it
	for ctx.Err() == nil {
		answered := make(chan error, 1)
		go func() { answered <- c.raft.VerifyLeader().Error() }() // ends with the leadership at the latest; we may have to sooner
		select {
		case err := <-answered:
			if err == nil {
				c.followed.Store(time.Now().UnixNano())
			}
		case <-ctx.Done():
		}
		select {
		case <-time.After(pulsePause):
		case <-ctx.Done():
		}
	}
}

// settle commits an entry of no ops: when it returns, this server's state has everything that earlier leaders committed.
func (c *consensus) settle() error { return c.raft.Apply(nudge, proposeTimeout).Error() }

// campaign starts an election at once, without asking first whether the others still have a leader.
func (c *consensus) campaign() error {
	self := []byte(c.name)
	request := &raft.TimeoutNowRequest{RPCHeader: raft.RPCHeader{ProtocolVersion: raft.ProtocolVersionMax, ID: self, Addr: self}}
	return c.transport.TimeoutNow(raft.ServerID(c.name), raft.ServerAddress(c.name), request, &raft.TimeoutNowResponse{})
}

// verify asks a quorum whether we still lead.
func (c *consensus) verify() error {
	if err := c.raft.VerifyLeader().Error(); err != nil {
		return errNotLeader
	}
	return nil
}

// Nudge lets the followers hear what is committed. Raft tells them with the next entry, so this appends one of no ops.
func (c *consensus) Nudge() {
	if len(c.raft.GetConfiguration().Configuration().Servers) > 1 {
		c.raft.Apply(nudge, enqueueTimeout)
	}
}

// members are the names of the servers that vote.
func (c *consensus) members() ([]string, error) {
	f := c.raft.GetConfiguration()
	if err := f.Error(); err != nil {
		return nil, fmt.Errorf("reading the members: %w", err)
	}
	var out []string
	for _, m := range f.Configuration().Servers {
		out = append(out, string(m.ID))
	}
	return out, nil
}

// add makes a server a voter, if it is not one.
func (c *consensus) add(name string) error {
	members, err := c.members()
	if err != nil || slices.Contains(members, name) {
		return err
	}
	if err := c.raft.AddVoter(raft.ServerID(name), raft.ServerAddress(name), 0, proposeTimeout).Error(); err != nil {
		return fmt.Errorf("adding server %s: %w", name, err)
	}
	return nil
}

// remove takes a server's vote away.
func (c *consensus) remove(name string) error {
	if err := c.raft.RemoveServer(raft.ServerID(name), 0, proposeTimeout).Error(); err != nil {
		return fmt.Errorf("removing server %s: %w", name, err)
	}
	return nil
}

// snapshotKeeping writes a snapshot and keeps only so many entries of the log before it.
func (c *consensus) snapshotKeeping(entries uint64) error {
	usual := c.raft.ReloadableConfig()
	once := usual
	once.TrailingLogs = entries
	if err := c.raft.ReloadConfig(once); err != nil {
		return err
	}
	err := c.raft.Snapshot().Error()
	return errors.Join(err, c.raft.ReloadConfig(usual))
}

// close stops raft and closes its files.
func (c *consensus) close() error {
	return errors.Join(c.raft.Shutdown().Error(), c.transport.Close(), c.log.Close(), c.index.Close())
}
