package ingresstest

import (
	"context"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/tls"
	"crypto/x509"
	"crypto/x509/pkix"
	"encoding/pem"
	"fmt"
	"io"
	"math/big"
	"net"
	"net/http"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/peapod-sh/peapod/e2e/kit"
)

// limit is how long anything may take on a busy machine; nothing here is timed.
const limit = 40 * time.Second

func TestMain(m *testing.M) { kit.Main(m, kit.Options{Name: "e2eingress", Servers: 1, Clients: 2}) }

// client asks a node as if the host's name led there, and believes the given certificate only.
func client(node string, trusted *x509.CertPool, shared bool) *http.Client {
	return &http.Client{Timeout: 10 * time.Second, CheckRedirect: func(*http.Request, []*http.Request) error { return http.ErrUseLastResponse },
		Transport: &http.Transport{ForceAttemptHTTP2: true, TLSClientConfig: &tls.Config{RootCAs: trusted}, DisableKeepAlives: !shared,
			DialContext: func(ctx context.Context, network, address string) (net.Conn, error) {
				_, port, _ := net.SplitHostPort(address)
				return (&net.Dialer{}).DialContext(ctx, network, net.JoinHostPort(node, port))
			}}}
}

func get(c *http.Client, url string) (res *http.Response, body string, err error) {
	if res, err = c.Get(url); err != nil {
		return nil, "", err
	}
	defer res.Body.Close()
	b, err := io.ReadAll(res.Body)
	return res, string(b), err
}

// reaches waits until an answer with the code has the text in it.
func reaches(t *testing.T, c *http.Client, url string, code int, text string) {
	t.Helper()
	kit.Eventually(t, limit, url, func() error {
		res, body, err := get(c, url)
		if err != nil {
			return err
		}
		if res.StatusCode != code || !strings.Contains(body, text) {
			return fmt.Errorf("%s: %s", res.Status, body)
		}
		return nil
	})
}

// certificate writes one for a host and its key into files, as people have them.
func certificate(t *testing.T, host string) (cert, key string, trusted *x509.CertPool) {
	private, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	c := &x509.Certificate{SerialNumber: big.NewInt(time.Now().UnixNano()), Subject: pkix.Name{CommonName: host}, DNSNames: []string{host},
		NotBefore: time.Now().Add(-time.Hour), NotAfter: time.Now().Add(time.Hour), IsCA: true, BasicConstraintsValid: true}
	der, err := x509.CreateCertificate(rand.Reader, c, c, private.Public(), private)
	if err != nil {
		t.Fatal(err)
	}
	secret, err := x509.MarshalPKCS8PrivateKey(private)
	if err != nil {
		t.Fatal(err)
	}
	dir, text := t.TempDir(), pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: der})
	cert, key, trusted = filepath.Join(dir, "crt"), filepath.Join(dir, "key"), x509.NewCertPool()
	trusted.AppendCertsFromPEM(text)
	for path, b := range map[string][]byte{cert: text, key: pem.EncodeToMemory(&pem.Block{Type: "PRIVATE KEY", Bytes: secret})} {
		if err := os.WriteFile(path, b, 0o600); err != nil {
			t.Fatal(err)
		}
	}
	return cert, key, trusted
}

func web(t *testing.T, l *kit.Lab, k kit.Kubectl, name string, replicas int) {
	t.Helper()
	k.Must(t, "create", "deployment", name, "--image=peapod/demo", fmt.Sprint("--replicas=", replicas), "--port=8080")
	k.Must(t, "expose", "deployment", name, "--port=80", "--target-port=8080")
	l.ReadyPods(t, k.Namespace, "app="+name, replicas, limit)
}

func TestIngress(t *testing.T) {
	l := kit.Shared(t)
	k := l.Kubectl(l.MakeNamespace(t))
	one, two := l.Node(t, "client1").Address, l.Node(t, "client2").Address
	cert, key, trusted := certificate(t, "shop.example")

	// What is missing is said, and served once it is there.
	k.Must(t, "create", "ingress", "shop", "--rule=shop.example/*=web:80,tls=cert", "--rule=shop.example/api=api:80", "--rule=*.wild.example/*=api:80")
	kit.Eventually(t, limit, "events", func() error {
		return kit.Matches(k.Must(t, "describe", "ingress", "shop"), `(?s)SecretNotFound.*secret `+k.Namespace+`/cert does not exist`)
	})
	kit.WantMatch(t, k.Must(t, "describe", "ingress", "shop"), `Warning +ServiceNotFound +.*service `+k.Namespace+`/web does not exist`)
	reaches(t, client(one, nil, false), "http://shop.example/", http.StatusServiceUnavailable, "")
	web(t, l, k, "web", 2)
	web(t, l, k, "api", 1)
	for _, node := range []string{one, two} {
		c := client(node, nil, false)
		reaches(t, c, "http://shop.example/", 200, "web-")
		reaches(t, c, "http://shop.example/api", 200, "api-")
		reaches(t, c, "http://a.wild.example/", 200, "api-")
		reaches(t, c, "http://a.b.wild.example/", http.StatusNotFound, "")
	}
	k.Must(t, "create", "secret", "tls", "cert", "--cert="+cert, "--key="+key)
	reaches(t, client(two, trusted, false), "https://shop.example/", 200, "web-")
	if res, _, err := get(client(one, trusted, false), "https://shop.example/"); err != nil || res.ProtoMajor != 2 {
		t.Errorf("%v %v", res, err)
	}

	// A certificate that changes is shown without a restart.
	cert, key, trusted = certificate(t, "shop.example")
	k.In(k.Must(t, "create", "secret", "tls", "cert", "--cert="+cert, "--key="+key, "--dry-run=client", "-o", "yaml")).Must(t, "replace", "-f", "-")
	reaches(t, client(one, trusted, false), "https://shop.example/", 200, "web-")

	// A Secret that was there before its ingress is found, too.
	cert, key, late := certificate(t, "late.example")
	k.Must(t, "create", "secret", "tls", "late", "--cert="+cert, "--key="+key)
	k.Must(t, "create", "ingress", "late", "--rule=late.example/*=web:80,tls=late")
	reaches(t, client(one, late, false), "https://late.example/", 200, "web-")
	k.Must(t, "delete", "ingress", "late")

	k.Must(t, "annotate", "ingress", "shop", "ingress.peapod.sh/ssl-redirect=true")
	reaches(t, client(one, nil, false), "http://shop.example/x", http.StatusPermanentRedirect, "")

	want := strings.Join(slices.Sorted(slices.Values([]string{one, two})), ",")
	kit.Eventually(t, limit, "addresses", func() error {
		out := k.Must(t, "get", "ingress", "shop", "--no-headers")
		if f := strings.Fields(out); len(f) < 4 || f[1] != "peapod" || f[3] != want {
			return fmt.Errorf("%s, want class peapod at %s", out, want)
		}
		return nil
	})

	// Other classes are for others, and without an ingress the port is free.
	k.Must(t, "patch", "ingress", "shop", "-p", `{"spec":{"ingressClassName":"another"}}`)
	kit.Eventually(t, limit, "the port closes", func() error {
		c, err := net.DialTimeout("tcp", net.JoinHostPort(one, "80"), time.Second)
		if err != nil {
			return nil
		}
		return fmt.Errorf("the port is still open: %v", c.Close())
	})
}

// TestRollout replaces every pod while clients ask, on connections that stay and on new ones. Nobody may notice (Invariant 150).
func TestRollout(t *testing.T) {
	l := kit.Shared(t)
	k := l.Kubectl(l.MakeNamespace(t))
	web(t, l, k, "web", 3)
	k.Must(t, "create", "ingress", "roll", "--rule=roll.example/*=web:80")
	for _, n := range []string{"client1", "client2"} {
		reaches(t, client(l.Node(t, n).Address, nil, false), "http://roll.example/", 200, "web-")
	}
	ctx, stop := context.WithCancel(context.Background())
	defer stop()
	var wg sync.WaitGroup
	var asked atomic.Int64
	for i := range 6 {
		c := client(l.Node(t, fmt.Sprintf("client%d", i%2+1)).Address, nil, i < 4)
		wg.Go(func() {
			for ctx.Err() == nil {
				res, body, err := get(c, "http://roll.example/healthz")
				if err != nil || res.StatusCode != 200 {
					t.Errorf("request %d: %v %v %s", asked.Load(), res, err, body)
					return
				}
				asked.Add(1)
				time.Sleep(5 * time.Millisecond) // the machine has other things to do
			}
		})
	}
	for range 2 {
		k.Restart(t, "deployment/web")
		k.Must(t, "rollout", "status", "deployment/web", "--timeout=50s")
	}
	stop()
	wg.Wait()
	if asked.Load() < 100 {
		t.Errorf("only %d requests were made", asked.Load())
	}
	t.Logf("%d requests, none failed", asked.Load())
}
