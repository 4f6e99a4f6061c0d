package main

import (
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"time"

	"github.com/hashicorp/go-hclog"
	"github.com/hashicorp/raft"
	wal "github.com/hashicorp/raft-wal"
)

// nothing is a state machine that keeps nothing.
type nothing struct{}

func (nothing) Apply(*raft.Log) any                 { return nil }
func (nothing) Snapshot() (raft.FSMSnapshot, error) { return nothing{}, nil }
func (nothing) Restore(r io.ReadCloser) error       { return r.Close() }
func (nothing) Persist(s raft.SnapshotSink) error   { return s.Close() }
func (nothing) Release()                            {}

// bareRaft is the speed of the library alone: three servers in this process with fsync and transports
// in memory, and as many writers and bytes as through the API.
func bareRaft(dir string, d time.Duration) (rate float64, err error) {
	defer os.RemoveAll(dir)
	var members raft.Configuration
	var transports []*raft.InmemTransport
	for i := range 3 {
		address, t := raft.NewInmemTransport(raft.ServerAddress(fmt.Sprintf("bare%d", i)))
		members.Servers = append(members.Servers, raft.Server{ID: raft.ServerID(address), Address: address})
		transports = append(transports, t)
	}
	var peers []*raft.Raft
	defer func() {
		for _, r := range peers {
			err = errors.Join(err, r.Shutdown().Error())
		}
	}()
	for i, t := range transports {
		for j, other := range transports {
			if i != j {
				t.Connect(members.Servers[j].Address, other)
			}
		}
		r, err := barePeer(filepath.Join(dir, string(members.Servers[i].ID)), members, i, t)
		if err != nil {
			return 0, err
		}
		peers = append(peers, r)
	}
	leader, err := awaitBareLeader(peers)
	if err != nil {
		return 0, err
	}
	return fillBare(leader, d)
}

func barePeer(dir string, members raft.Configuration, i int, t raft.Transport) (*raft.Raft, error) {
	if err := os.MkdirAll(dir, 0o700); err != nil {
		return nil, err
	}
	store, err := wal.Open(dir)
	if err != nil {
		return nil, err
	}
	conf := raft.DefaultConfig()
	conf.LocalID, conf.BatchApplyCh, conf.Logger = members.Servers[i].ID, true, hclog.NewNullLogger()
	snapshots := raft.NewInmemSnapshotStore()
	if i == 0 {
		if err := raft.BootstrapCluster(conf, store, store, snapshots, t, members); err != nil {
			return nil, err
		}
	}
	return raft.NewRaft(conf, nothing{}, store, store, snapshots, t)
}

func awaitBareLeader(peers []*raft.Raft) (*raft.Raft, error) {
	for deadline := time.Now().Add(20 * time.Second); time.Now().Before(deadline); time.Sleep(10 * time.Millisecond) {
		for _, r := range peers {
			if r.State() == raft.Leader {
				return r, r.Barrier(5 * time.Second).Error()
			}
		}
	}
	return nil, errors.New("bare raft elects no leader")
}

func fillBare(leader *raft.Raft, d time.Duration) (float64, error) {
	rate, _, err := hammer(writers, d, func(int, int) error { return leader.Apply(make([]byte, entryBytes), 10*time.Second).Error() })
	return rate, err
}
