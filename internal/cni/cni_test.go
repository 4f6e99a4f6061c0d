package cni

import (
	"bytes"
	"encoding/json"
	"errors"
	"net/http"
	"net/netip"
	"path/filepath"
	"strings"
	"testing"

	"github.com/peapod-sh/peapod/internal/adminsock"
)

// agent answers at a socket as an agent does, and notes what it was asked.
func agent(t *testing.T, fault error) (socket string, asked *Request) {
	t.Helper()
	socket, asked = filepath.Join(t.TempDir(), "cni.sock"), &Request{}
	m := http.NewServeMux()
	m.HandleFunc("POST /attach", func(w http.ResponseWriter, r *http.Request) {
		if err := json.NewDecoder(r.Body).Decode(asked); err != nil {
			t.Error(err)
		}
		adminsock.Reply(w, Reply{Addresses: []netip.Addr{netip.MustParseAddr("10.42.0.9")}}, fault)
	})
	done := make(chan struct{})
	ctx := t.Context()
	go func() { defer close(done); _ = adminsock.Serve(ctx, socket, m) }()
	t.Cleanup(func() { <-done })
	for {
		var r Reply
		if err := adminsock.Call(ctx, socket, "POST", "/attach", strings.NewReader("{}"), &r); err == nil || fault != nil && strings.Contains(err.Error(), fault.Error()) {
			*asked = Request{}
			return socket, asked
		}
	}
}

// call starts the plugin as a runtime does.
func call(t *testing.T, program, conf string, env map[string]string) (out map[string]any, code int, handled bool) {
	t.Helper()
	var b bytes.Buffer
	code, handled = Main(program, func(k string) string { return env[k] }, strings.NewReader(conf), &b)
	if b.Len() > 0 {
		if err := json.Unmarshal(b.Bytes(), &out); err != nil {
			t.Fatalf("%v: %s", err, b.String())
		}
	}
	return out, code, handled
}

func environment(command string) map[string]string {
	return map[string]string{"CNI_COMMAND": command, "CNI_NETNS": "/run/netns/x", "CNI_IFNAME": "eth0", "CNI_CONTAINERID": "c",
		"CNI_ARGS": "IgnoreUnknown=1;K8S_POD_NAMESPACE=ns;K8S_POD_NAME=p;K8S_POD_UID=u-1"}
}

func TestAdd(t *testing.T) {
	socket, asked := agent(t, nil)
	for version, tagged := range map[string]bool{"0.3.1": true, "0.4.0": true, "1.0.0": false} {
		conf := `{"cniVersion":"` + version + `","type":"peapod-cni","socket":"` + socket + `"}`
		out, code, handled := call(t, "/opt/cni/bin/peapod-cni", conf, environment("ADD"))
		if code != 0 || !handled || out["cniVersion"] != version {
			t.Fatalf("%s: code %d, %v", version, code, out)
		}
		ip := out["ips"].([]any)[0].(map[string]any)
		if ip["address"] != "10.42.0.9/32" || (ip["version"] == "4") != tagged {
			t.Errorf("%s: the address is %v", version, ip)
		}
		if *asked != (Request{PodUID: "u-1", NetNS: "/run/netns/x"}) {
			t.Errorf("%s: the agent was asked for %+v", version, *asked)
		}
	}
}

func TestFaults(t *testing.T) {
	socket, _ := agent(t, errors.New("no address is left"))
	conf := `{"cniVersion":"0.4.0","socket":"` + socket + `"}`
	withoutUID := environment("ADD")
	withoutUID["CNI_ARGS"] = "K8S_POD_NAME=p"
	for _, c := range []struct {
		name, program, conf, want string
		env                       map[string]string
	}{
		{"the agent refuses", Program, conf, "no address is left", environment("ADD")},
		{"no agent", Program, strings.ReplaceAll(conf, "cni.sock", "no.sock"), "no agent answers", environment("ADD")},
		{"no UID", Program, conf, "K8S_POD_UID", withoutUID},
		{"unknown version", Program, strings.ReplaceAll(conf, "0.4.0", "9.0.0"), `"9.0.0"`, environment("ADD")},
		{"no configuration", Program, "", "network configuration", environment("ADD")},
		{"no namespace", Loopback, conf, "/run/netns/x", environment("ADD")},
	} {
		out, code, handled := call(t, c.program, c.conf, c.env)
		if code == 0 || !handled || !strings.Contains(out["msg"].(string), c.want) || out["code"].(float64) < 100 {
			t.Errorf("%s: code %d, %v, want %q", c.name, code, out, c.want)
		}
	}
}

// Whatever is left to the agent succeeds without it, so that a runtime can clean up after a dead one.
func TestWithoutAgent(t *testing.T) {
	for _, command := range []string{"DEL", "CHECK", "GC", "STATUS"} {
		for _, program := range []string{Program, Loopback} {
			if out, code, handled := call(t, program, `{"cniVersion":"0.4.0","socket":"/nowhere"}`, environment(command)); code != 0 || !handled || out != nil {
				t.Errorf("%s of %s: code %d, %v", command, program, code, out)
			}
		}
	}
	if out, code, _ := call(t, Program, `{"cniVersion":"1.0.0"}`, environment("VERSION")); code != 0 || len(out["supportedVersions"].([]any)) == 0 {
		t.Errorf("VERSION: code %d, %v", code, out)
	}
}

// Nothing else that this binary is started as becomes a plugin.
func TestOtherRoles(t *testing.T) {
	for _, c := range []struct {
		program string
		env     map[string]string
	}{{"/usr/bin/peapod", environment("ADD")}, {Program, nil}, {"ls", environment("ADD")}} {
		if _, _, handled := call(t, c.program, "{}", c.env); handled {
			t.Errorf("%s with %v was a plugin", c.program, c.env)
		}
	}
}

func TestConfig(t *testing.T) {
	b, err := Config("/a/b.sock")
	if err != nil {
		t.Fatal(err)
	}
	var v struct {
		CNIVersion, Name string
		Plugins          []settings
	}
	if err := json.Unmarshal(b, &v); err != nil || v.Name == "" || v.CNIVersion == "" || len(v.Plugins) != 1 || v.Plugins[0].Socket != "/a/b.sock" {
		t.Errorf("%v: %s", err, b)
	}
}
