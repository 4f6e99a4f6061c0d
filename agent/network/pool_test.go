package network

import (
	"errors"
	"fmt"
	"maps"
	"net/netip"
	"os"
	"path/filepath"
	"slices"
	"testing"

	"pgregory.net/rapid"
)

// reopen is what a new agent finds after a crash.
func reopen(t interface{ Fatal(...any) }, path string, cidr netip.Prefix) *pool {
	p, _, err := openPool(path)
	if err != nil {
		t.Fatal(err)
	}
	p.use(cidr)
	return p
}

// check proves the pool's invariants.
func (p *pool) check(t *rapid.T) {
	if len(p.byPod) != len(p.byAddr) || len(p.released) != len(p.isFree) {
		t.Fatalf("%d pods, %d addresses, %d released, %d free", len(p.byPod), len(p.byAddr), len(p.released), len(p.isFree))
	}
	for pod, a := range p.byPod {
		if p.byAddr[a] != pod || p.isFree[a] || !p.usable(a) {
			t.Fatalf("%s has %s, which is %q's (free: %v)", pod, a, p.byAddr[a], p.isFree[a])
		}
	}
}

// Whatever pods come and go, and wherever a write is cut short by a crash: no address has two pods,
// an acknowledged one stays with its pod, and a released one waits its turn.
// Invariant 22.
func TestPoolNeverDoublesAnAddress(t *testing.T) {
	dir := t.TempDir()
	rapid.Check(t, func(t *rapid.T) {
		d, err := os.MkdirTemp(dir, "")
		if err != nil {
			t.Fatal(err)
		}
		path, cidr := filepath.Join(d, "addresses"), prefix("10.42.0.0/28")
		p := reopen(t, path, cidr)
		defer func() { p.close() }()
		model := map[string]netip.Addr{}
		pod := rapid.Custom(func(t *rapid.T) string { return fmt.Sprint("pod-", rapid.IntRange(0, 19).Draw(t, "pod")) })
		t.Repeat(map[string]func(*rapid.T){
			"take": func(t *rapid.T) {
				uid := pod.Draw(t, "uid")
				a, err := p.take(uid, "pea"+uid)
				if errors.Is(err, errPoolFull) && len(model) == 13 {
					return
				}
				if err != nil || model[uid].IsValid() && model[uid] != a {
					t.Fatal(a, model[uid], err)
				}
				model[uid] = a
			},
			"release": func(t *rapid.T) {
				uid := pod.Draw(t, "uid")
				if err := p.release(uid); err != nil {
					t.Fatal(err)
				}
				delete(model, uid)
			},
			"crash": func(t *rapid.T) {
				p.close()
				p = reopen(t, path, cidr)
			},
			"crash in a write": func(t *rapid.T) {
				uid, from := pod.Draw(t, "uid"), p.size
				before := maps.Clone(p.byPod)
				if _, has := model[uid]; has {
					p.release(uid)
				} else {
					p.take(uid, "")
				}
				after := maps.Clone(p.byPod)
				cutLog(t, path, from, p.size)
				p.close()
				p = reopen(t, path, cidr)
				if !maps.Equal(p.byPod, before) && !maps.Equal(p.byPod, after) {
					t.Fatal(before, p.byPod, after)
				}
				model = maps.Clone(p.byPod)
			},
			"crash in a rewrite": func(t *rapid.T) {
				os.WriteFile(path+".new", []byte("assign 10.42.0.2 pod-0"), 0o600)
				p.close()
				p = reopen(t, path, cidr)
			},
			"failed write": func(t *rapid.T) {
				uid := pod.Draw(t, "uid")
				if _, had := model[uid]; had || p.torn || len(model) == 13 {
					return // it would write nothing, or a new file
				}
				p.file.Close()
				if a, err := p.take(uid, ""); err == nil {
					t.Fatal("acknowledged without a write", a)
				}
			},
			"": func(t *rapid.T) {
				p.check(t)
				if !maps.Equal(p.byPod, model) {
					t.Fatalf("pool %v, want %v", p.byPod, model)
				}
			},
		})
	})
}

// cutLog leaves the last write as a crash might: some of its bytes.
func cutLog(t *rapid.T, path string, from, to int64) {
	at := rapid.Int64Range(from, max(from, to)).Draw(t, "cut")
	if err := os.Truncate(path, at); err != nil {
		t.Fatal(err)
	}
}

// The address that has been free for the longest is given first, also after a restart.
func TestPoolPrefersLeastRecentlyUsed(t *testing.T) {
	path, cidr := filepath.Join(t.TempDir(), "addresses"), prefix("10.42.0.0/29")
	p := reopen(t, path, cidr)
	take := func(pod string) string {
		a, err := p.take(pod, "")
		must(t, err)
		return a.String()
	}
	var got []string
	for i := range 3 {
		got = append(got, take(fmt.Sprint(i)))
	}
	for _, pod := range []string{"2", "0", "1"} {
		must(t, p.release(pod))
	}
	p.close()
	p = reopen(t, path, cidr)
	defer func() { p.close() }()
	for i := range 5 {
		got = append(got, take(fmt.Sprint("again", i)))
	}
	want := []string{"10.42.0.2", "10.42.0.3", "10.42.0.4", "10.42.0.5", "10.42.0.6", "10.42.0.4", "10.42.0.2", "10.42.0.3"}
	if !slices.Equal(got, want) {
		t.Fatalf("got %v, want %v", got, want)
	}
}

// The log stays near the size of its content.
func TestPoolLogIsBounded(t *testing.T) {
	p := reopen(t, filepath.Join(t.TempDir(), "addresses"), prefix("10.42.0.0/28"))
	defer p.close()
	for i := range 3 * logSlackRecords {
		_, err := p.take(fmt.Sprint(i), "")
		must(t, err)
		must(t, p.release(fmt.Sprint(i)))
	}
	if limit := logSlackRecords + 4*13 + 2; p.records > limit {
		t.Fatalf("%d records, want at most %d", p.records, limit)
	}
}

func TestParseLogDropsDamage(t *testing.T) {
	good := record{addr: addr("10.42.0.2"), pod: "p"}.String() + record{addr: addr("10.42.0.3")}.String()
	for _, bad := range []string{"", "x", "assign 10.42.0.2 q 00000000\n", "\n", "release\n", "\x00\x00\n", good[:len(good)-1]} {
		records, _ := parseLog(good + bad)
		if len(records) < 2 || records[0].pod != "p" || records[1].addr != addr("10.42.0.3") {
			t.Errorf("%q: %v", bad, records)
		}
	}
}
