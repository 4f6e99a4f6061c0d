package main

import (
	"bytes"
	"fmt"
	"slices"
	"strings"

	"github.com/google/pprof/profile"
)

// share is a part of a processor profile.
type share struct {
	name string
	part float64
}

// rule gives a sample to a share if a function on its stack begins with one of these. What a share needs (allocation, growing
// stacks) counts for it.
type rule struct {
	name     string
	prefixes []string
}

// Whole rules are asked in order, each about the whole stack.
var wholeRules = []rule{
	{"garbage collection", []string{"runtime.gcBgMarkWorker", "runtime.gcAssistAlloc", "runtime.bgsweep", "runtime.bgscavenge", "runtime.gcStart",
		"runtime.gcMarkDone", "runtime.deductSweepCredit"}},
	{"fsync", []string{"syscall.Fsync", "syscall.Fdatasync", "os.(*File).Sync"}},
	{"managed fields", []string{"k8s.io/apimachinery/pkg/util/managedfields", "k8s.io/apiserver/pkg/endpoints/handlers/fieldmanager",
		"sigs.k8s.io/structured-merge-diff", "github.com/peapod-sh/peapod/server/fieldset", "github.com/peapod-sh/peapod/server/kube.(*creator)"}},
	{"admission and validation", []string{"k8s.io/apiserver/pkg/admission", "k8s.io/apiserver/pkg/registry/rest.BeforeCreate",
		"k8s.io/apimachinery/pkg/api/validation", "github.com/peapod-sh/peapod/server/kube.admit"}},
	{"raft, replication and the state", []string{"github.com/hashicorp/raft", "github.com/hashicorp/yamux", "github.com/hashicorp/go-msgpack",
		"github.com/peapod-sh/peapod/rpc", "github.com/peapod-sh/peapod/fsm", "github.com/peapod-sh/peapod/server.(*proposer).Run",
		"github.com/peapod-sh/peapod/server.(*proposer).complete"}},
}

// Nested rules are asked about one function after the other, the innermost first: handlers run inside HTTP's functions and call others of them.
var nestedRules = []rule{
	{"encoding and decoding", []string{"k8s.io/apimachinery/pkg/runtime/serializer", "k8s.io/api/", "github.com/peapod-sh/peapod/api/ops", "encoding/"}},
	{"authentication and authorisation", []string{"k8s.io/apiserver/pkg/authentication", "k8s.io/apiserver/pkg/authorization", "crypto/x509",
		"github.com/peapod-sh/peapod/server/rbac"}},
	{"handlers and storage", []string{"k8s.io/apiserver/", "k8s.io/apimachinery/", "github.com/emicklei/go-restful", "github.com/peapod-sh/peapod/server"}},
	{"HTTP and TLS", []string{"net/http", "crypto/", "net.", "internal/poll", "bufio", "net/textproto"}},
}

const otherShare = "the rest: Go's scheduler, controllers, gossip"

// shares folds a processor profile.
func shares(encoded []byte) ([]share, error) {
	p, err := profile.Parse(bytes.NewReader(encoded))
	if err != nil {
		return nil, fmt.Errorf("reading the profile: %w", err)
	}
	of, total := map[string]float64{}, 0.0
	for _, s := range p.Sample {
		v := float64(s.Value[len(s.Value)-1])
		of[shareOf(stack(s))] += v
		total += v
	}
	var out []share
	for _, r := range slices.Concat(wholeRules, nestedRules) {
		out = append(out, share{r.name, of[r.name] / total})
	}
	return append(out, share{otherShare, of[otherShare] / total}), nil
}

// stack is the functions of a sample, the innermost first.
func stack(s *profile.Sample) []string {
	var out []string
	for _, l := range s.Location {
		for _, line := range l.Line {
			out = append(out, line.Function.Name)
		}
	}
	return out
}

func shareOf(stack []string) string {
	for _, r := range wholeRules {
		if slices.ContainsFunc(stack, r.fits) {
			return r.name
		}
	}
	for _, function := range stack {
		for _, r := range nestedRules {
			if r.fits(function) {
				return r.name
			}
		}
	}
	return otherShare
}

func (r rule) fits(function string) bool {
	return slices.ContainsFunc(r.prefixes, func(p string) bool { return strings.HasPrefix(function, p) })
}
