package boot

import (
	"strings"
	"testing"
)

// Every fault of the options is told at once, with what to do about it.
func TestFaults(t *testing.T) {
	good := Options{Name: "a", Server: true, DataDir: "/tmp/x", Bind: "127.0.0.1", LogLevel: "info"}
	for _, c := range []struct {
		name string
		edit func(*Options)
		want []string
	}{
		{"nothing wrong", func(*Options) {}, nil},
		{"no role", func(o *Options) { o.Server = false; o.Join = []string{"x:1"} }, []string{"give --server, --client or both"}},
		{"a node alone", func(o *Options) { o.Server, o.Sim = false, 1 }, []string{"a node needs a cluster: give --join HOST:7440"}},
		{"address of nobody", func(o *Options) { o.Bind = "0.0.0.0" }, []string{`--bind "0.0.0.0" must be an IP address of this machine`}},
		{"all at once", func(o *Options) {
			o.Bind, o.DataDir, o.LogLevel, o.Mirrors = "here", "rel", "loud", []string{"docker.io"}
			o.DNSStubs = []string{"corp.example"}
		},
			[]string{"--bind", "--data-dir", "--log-level", "--mirror", "--dns-stub"}},
		{"a resolver without address", func(o *Options) { o.DNSUpstreams = []string{"resolver"} }, []string{"--dns-upstream"}},
	} {
		o := good
		c.edit(&o)
		err := o.complete()
		if (err == nil) != (c.want == nil) {
			t.Errorf("%s: %v", c.name, err)
			continue
		}
		for _, w := range c.want {
			if !strings.Contains(err.Error(), w) {
				t.Errorf("%s: %q is not in %q", c.name, w, err)
			}
		}
	}
}

func TestDefaults(t *testing.T) {
	o := Options{Server: true, DataDir: "/tmp/x", Bind: "::1", LogLevel: "warn", Mirrors: []string{"docker.io=http://a:1", "docker.io=http://b:1"}}
	if err := o.complete(); err != nil {
		t.Fatal(err)
	}
	if o.Name == "" || o.APIPort != APIPort || !o.Network.ServiceCIDR.IsValid() {
		t.Errorf("defaults are missing: %+v", o)
	}
	if got := o.at(o.RPCPort); got != "[::1]:7440" {
		t.Errorf("address %s", got)
	}
	m, err := o.mirrors()
	if err != nil || len(m["docker.io"]) != 2 || m["docker.io"][1].URL != "http://b:1" {
		t.Errorf("mirrors %v, %v", m, err)
	}
}
