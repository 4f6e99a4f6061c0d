package server

import (
	"bytes"
	"encoding/json"
	"fmt"
	"strings"

	"github.com/hashicorp/raft"

	"github.com/peapod-sh/peapod/api/ops"
)

// addressOf finds a server. After a start the state may be older than the log, whose end is applied only when a leader says how
// much of it is committed; and to have a leader the servers must find each other. So the log is asked first until
// the state has all of it, and the passport, which knows those whom this server joined, last.
func (s *Server) addressOf(name string) (string, error) {
	if name == s.cfg.Name {
		return s.cfg.AdvertiseRPC, nil
	}
	if s.consensus.behind() {
		if m, ok := s.loggedMembers()[name]; ok {
			return m.RPC, nil
		}
	}
	if m, ok := s.meta.member(name); ok {
		return m.RPC, nil
	}
	for _, known := range s.passport.Servers {
		if known.Name == name {
			return known.Address, nil
		}
	}
	return "", fmt.Errorf("the address of server %q is not known here", name)
}

// behind says that the state does not have all of the log that this server found on its disk.
func (c *consensus) behind() bool { return c.raft.AppliedIndex() < c.found }

// membersIn reads where servers say they are in the entries of a log, whether those are committed or not: a server
// writes its address before it becomes a member, and proves its name whenever it is dialled.
func membersIn(log raft.LogStore, v *vault) (map[string]member, error) {
	first, err := log.FirstIndex()
	if err != nil {
		return nil, err
	}
	last, err := log.LastIndex()
	if err != nil {
		return nil, err
	}
	out, peek := map[string]member{}, v.peek()
	for i := max(first, 1); i <= last; i++ {
		var entry raft.Log
		if err := log.GetLog(i, &entry); err != nil {
			return out, fmt.Errorf("reading entry %d of the log: %w", i, err)
		}
		if entry.Type != raft.LogCommand {
			continue
		}
		if plain, err := peek.open(entry.Data); err == nil && (bytes.Contains(plain, []byte(metaServer)) || bytes.Contains(plain, []byte(metaKeyring))) {
			noteMembers(out, plain, peek)
		}
	}
	return out, nil
}

func noteMembers(out map[string]member, entry []byte, peek *peeker) {
	list, err := ops.Decode(entry)
	if err != nil {
		return // whoever applies it will say so
	}
	for _, op := range list {
		put, ok := op.(*ops.PutMeta)
		if !ok {
			continue
		}
		if put.Key == metaKeyring {
			peek.turn(put.Value)
		}
		name, ok := strings.CutPrefix(put.Key, metaServer)
		var m member
		if ok && json.Unmarshal(put.Value, &m) == nil {
			out[name] = m
		}
	}
}
